from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fisheries.inference.stages import chain_stages, check_stages, merge_crops, sees_fish
from fisheries.schema import KEY, InputError, check_predictions

CLASSES = ["ALB", "BET", "NoF", "YFT"]
FISH = ["ALB", "BET", "YFT"]
SEEDS = st.integers(0, 2**32 - 1)
SCORES = st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=8)


def table(rows: dict[str, list[float]], classes: list[str]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index", columns=classes, dtype="float64").rename_axis(KEY)


def drawn(names: list[str], classes: list[str], seed: int) -> pd.DataFrame:
    rows = np.random.default_rng(seed).dirichlet(np.full(len(classes), 0.3), len(names))
    return pd.DataFrame(rows, pd.Index(names, name=KEY), columns=classes)


def crops_of(scores: list[float], seed: int) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Crops of up to three frames, in no order."""
    names = [f"{'abc'[number % 3]}.jpg#{number}" for number in range(len(scores))]
    crops = drawn(names, FISH, seed).sample(frac=1, random_state=seed % 1000)
    return crops, pd.Series([name.split("#")[0] for name in names], names), pd.Series(scores, names)


@given(SCORES, SEEDS)
def test_merged_rows_are_distributions_one_a_frame(scores, seed):
    crops, frame, score = crops_of(scores, seed)
    merged = merge_crops(crops, frame, score)
    assert list(merged.index) == sorted(set(frame))
    check_predictions(merged)


@given(SCORES, SEEDS)
def test_the_order_of_crops_makes_no_difference(scores, seed):
    crops, frame, score = crops_of(scores, seed)
    merged = merge_crops(crops, frame, score)
    pd.testing.assert_frame_equal(merge_crops(crops.iloc[::-1], frame.iloc[::-1], score), merged, check_exact=True)


@given(st.floats(1e-300, 1e300), SEEDS)
def test_the_only_crop_of_a_frame_keeps_its_answer(score, seed):
    crops, frame, scores = crops_of([score], seed)
    np.testing.assert_allclose(merge_crops(crops, frame, scores), crops, rtol=1e-12)


@given(SCORES, SEEDS, st.floats(1e-3, 1e3))
def test_only_the_ratios_of_scores_count(scores, seed, factor):
    crops, frame, score = crops_of([min(max(value, 1e-200), 1e200) for value in scores], seed)
    np.testing.assert_allclose(merge_crops(crops, frame, score * factor), merge_crops(crops, frame, score), atol=1e-12)


def test_the_higher_score_counts_more():
    crops = table({"a#1": [1, 0, 0], "a#2": [0, 1, 0]}, FISH)
    merged = merge_crops(crops, pd.Series("a", crops.index), pd.Series([3.0, 1.0], crops.index))
    assert merged.loc["a"].tolist() == [0.75, 0.25, 0]


@given(SEEDS, st.sets(st.sampled_from("abcd")), st.booleans(), st.booleans())
def test_chained_rows_are_distributions_with_the_first_stages_probability_of_no_fish(
    seed, seen, frames_know, crops_know
):
    frames = drawn(list("abcd"), CLASSES if frames_know else FISH, seed)
    crops = drawn(sorted(seen), CLASSES[::-1] if crops_know else FISH, seed + 1)
    prior = drawn(["prior"], list(crops.columns), seed + 2).loc["prior"]
    chained = chain_stages(frames, crops, prior=prior, no_fish="NoF")
    check_predictions(chained)
    assert list(chained.columns) == list(frames.columns)
    assert list(chained.index) == list("abcd")
    if frames_know:
        pd.testing.assert_series_equal(chained["NoF"], frames["NoF"], check_exact=True)
    for name in "abcd":
        shares = (crops.loc[name] if name in seen else prior)[FISH]
        expected = shares / shares.sum() * (1 - (frames.loc[name, "NoF"] if frames_know else 0))
        np.testing.assert_allclose(chained.loc[name, FISH], expected, rtol=1e-9, atol=1e-15)


def test_a_crop_that_shows_no_fish_at_all_leaves_the_prior():
    frames, crops = table({"a": [0.1, 0.1, 0.2, 0.6]}, CLASSES), table({"a": [0, 0, 1, 0]}, CLASSES)
    prior = pd.Series([0.4, 0.1, 0.5, 0.0], CLASSES)
    chained = chain_stages(frames, crops, prior=prior, no_fish="NoF")
    np.testing.assert_allclose(chained.loc["a"], [0.8 * 0.8, 0.8 * 0.2, 0.2, 0])


def test_the_first_stage_sees_no_fish_where_that_is_likelier_than_not():
    frames = table({"a": [0.1, 0.1, 0.5, 0.3], "b": [0.1, 0.1, 0.6, 0.2]}, CLASSES)
    assert sees_fish(frames, "NoF").tolist() == [True, False]
    assert sees_fish(frames.drop(columns="NoF"), "NoF").tolist() == [True, True]
    assert sees_fish(frames, "").tolist() == [True, True]


def test_the_second_stage_may_lack_the_class_without_fish():
    check_stages(CLASSES, FISH, no_fish="NoF")
    check_stages(CLASSES, CLASSES[::-1], no_fish="NoF")
    check_stages(FISH, CLASSES, no_fish="NoF")


@pytest.mark.parametrize(
    ("crop_classes", "message"),
    [
        (["ALB", "YFT"], r"runs/x: only the first stage knows the class 'BET'; expected ALB,BET,YFT: train on crops"),
        ([*FISH, "SHARK"], r"only the second stage knows the class 'SHARK'"),
    ],
)
def test_a_class_that_one_stage_alone_knows_is_refused_by_name(crop_classes, message: str):
    with pytest.raises(InputError, match=message):
        check_stages(CLASSES, crop_classes, no_fish="NoF", name="runs/x")
