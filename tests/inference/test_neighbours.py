from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.inference.neighbours import (
    SETTINGS,
    UNCHANGED,
    Setting,
    allowed_pairs,
    average_if_better,
    average_lookalikes,
)
from fisheries.inference.outputs import Outputs
from fisheries.inference.scoring import log_loss
from fisheries.schema import KEY, check_predictions

CLASSES = ["ALB", "BET", "NoF"]
BOATS, BURSTS, FRAMES = 8, 10, 3  # bursts on each boat, frames in each burst
SEEDS = st.integers(0, 2**32 - 1)


def outputs(noise: float, seed: int = 0) -> Outputs:
    """Bursts of one class each; a network says something near the truth of every frame, with noise of its own."""
    rng = np.random.default_rng(seed)
    boat = np.repeat(np.arange(BOATS + 1), BURSTS * FRAMES)
    burst = np.arange(len(boat)) // FRAMES
    label = rng.integers(0, len(CLASSES), burst.max() + 1)[burst]
    is_train = boat < BOATS
    names = [f"{'img' if train else 'test_stg2/image'}_{n:03}.jpg" for n, train in enumerate(is_train)]
    index = pd.Index(names, name=KEY)
    manifest = pd.DataFrame(
        {
            "label": np.array(CLASSES)[label],
            "boat": [f"boat_{number}" for number in boat],
            "burst": index[burst * FRAMES],
            "subset": np.where(is_train, "train", "test_stg2"),
            "status": "ok",
        },
        index,
    )
    hits = label[:, None] == np.arange(len(CLASSES))
    scores = np.exp(1.5 * hits + rng.normal(0, noise, hits.shape))
    said = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), index, CLASSES)
    folds = pd.DataFrame({"fold": boat[is_train] % 2}, index[is_train])
    shuffled = said.sample(frac=1, random_state=seed)
    known = shuffled.index.isin(folds.index)
    return Outputs(shuffled[known], shuffled[~known], manifest, folds)


def pairs_of(given: Outputs) -> pd.DataFrame:
    """Any two frames of a burst, each way round."""
    names = [list(group) for group in given.manifest.index.groupby(given.manifest["burst"]).values()]
    rows = [(one, other, 1.0) for group in names for one in group for other in group if one != other]
    return pd.DataFrame(rows, columns=[KEY, "lookalike", "similarity"])


def table(rows: list[list[float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, pd.Index(list("abcd")[: len(rows)], name=KEY), ["A", "B"])


def pair(one: str, other: str, similarity: float = 1.0) -> pd.DataFrame:
    names = {KEY: [one, other], "lookalike": [other, one]}
    return pd.DataFrame({**names, "similarity": similarity})


def test_frames_with_noise_of_their_own_are_better_averaged_and_test_is_by_as_much():
    given = outputs(noise=1.0)
    result = average_if_better(given, pairs_of(given))
    assert SETTINGS[result.used].strength == 1
    gain = result.losses[UNCHANGED].mean() - result.after.mean()
    assert gain > 0.05
    truth = given.manifest["label"].loc[given.test.index]
    assert log_loss(given.test, truth) - log_loss(result.outputs.test, truth) == pytest.approx(gain, rel=0.6)
    assert result.after.mean() == pytest.approx(log_loss(result.outputs.oof, given.labels))
    assert (result.oof_images, result.test_images) == (BOATS * BURSTS * FRAMES, BURSTS * FRAMES)


def test_the_order_of_rows_and_pairs_changes_nothing():
    given = outputs(noise=1.0)
    first = average_if_better(given, pairs_of(given)).outputs
    turned = replace(given, oof=given.oof.iloc[::-1], test=given.test.iloc[::-1], manifest=given.manifest.iloc[::-1])
    second = average_if_better(turned, pairs_of(given).sample(frac=1, random_state=0)).outputs
    pd.testing.assert_frame_equal(second.oof.loc[first.oof.index], first.oof)
    pd.testing.assert_frame_equal(second.test.loc[first.test.index], first.test)


def test_no_gain_hands_the_tables_on_unchanged():
    given = outputs(noise=1.0)
    pairs = pairs_of(given)
    strangers = pairs.assign(lookalike=np.random.default_rng(0).permutation(pairs["lookalike"]))
    result = average_if_better(given, strangers)
    assert result.used == UNCHANGED
    assert result.outputs is given
    assert result.test_images > 0
    assert result.oof_images > 100


def test_without_look_alikes_in_test_or_in_training_nothing_is_averaged():
    given = outputs(noise=1.0)
    pairs = pairs_of(given)
    in_test = pairs[KEY].isin(given.test.index)
    for some in (pairs[in_test], pairs[~in_test], pairs[:0]):
        assert average_if_better(given, some).outputs is given


def test_one_boat_can_not_show_a_gain():
    given = outputs(noise=1.0)
    alone = replace(given, manifest=given.manifest.assign(boat="the only one"))
    assert average_if_better(alone, pairs_of(given)).outputs is alone


def test_what_is_said_of_a_boat_does_not_depend_on_its_labels():
    given = outputs(noise=1.0)
    own = given.boats[given.boats == "boat_1"].index
    labels = given.manifest["label"].copy()
    labels[own] = given.oof.loc[own].idxmax(axis=1)  # so that look-alikes only spoil what is said
    changed = replace(given, manifest=given.manifest.assign(label=labels))
    first, second = (average_if_better(some, pairs_of(given)) for some in (given, changed))
    assert first.used != second.used  # on all boats
    assert second.used != UNCHANGED
    pd.testing.assert_frame_equal(first.outputs.oof.loc[own], second.outputs.oof.loc[own], check_exact=True)


def test_look_alikes_are_never_on_both_sides_of_train_and_test_nor_of_the_folds():
    given = outputs(noise=1.0)
    everyone = given.manifest.index
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({KEY: rng.choice(everyone, 5000), "lookalike": rng.choice(everyone, 5000), "similarity": 1.0})
    side = pd.concat([given.folds["fold"].map({0: "first", 1: "second"}), pd.Series("test", given.test.index)])
    allowed = allowed_pairs(pairs, given)
    assert (side[allowed[KEY]].to_numpy() == side[allowed["lookalike"]].to_numpy()).all()
    left_out = pairs.drop(allowed.index)
    assert (side[left_out[KEY]].to_numpy() != side[left_out["lookalike"]].to_numpy()).all()
    assert len(allowed) > 500
    assert len(left_out) > 500


def test_images_that_no_table_predicts_are_no_look_alikes():
    given = outputs(noise=1.0)
    gone = given.oof.index[0]
    short = replace(given, oof=given.oof.drop(gone))
    assert gone not in set(allowed_pairs(pairs_of(given), short)[["image_id", "lookalike"]].to_numpy().ravel())


def test_a_burst_on_both_sides_of_train_and_test_and_of_the_folds_carries_nothing_over():
    given = outputs(noise=1.0)
    one_burst = pairs_of(replace(given, manifest=given.manifest.assign(burst="the only one")))
    test = given.test.copy()
    test.iloc[0] = [1.0, 0.0, 0.0]
    before, after = (average_if_better(replace(given, test=said), one_burst).losses for said in (given.test, test))
    pd.testing.assert_frame_equal(after, before, check_exact=True)
    first = given.folds.index[given.folds["fold"] == 0]
    oof = given.oof.copy()
    oof.loc[first] = oof.loc[first].iloc[:, ::-1].to_numpy()
    after = average_if_better(replace(given, oof=oof), one_burst).losses
    second = given.folds.index[given.folds["fold"] == 1]
    pd.testing.assert_frame_equal(after.loc[second], before.loc[second], check_exact=True)


@settings(max_examples=40)
@given(SEEDS, st.sampled_from(list(SETTINGS.values())), st.floats(0.01, 50))
def test_rows_stay_distributions_and_those_without_look_alikes_as_they_were(seed, setting, sharpness):
    rng = np.random.default_rng(seed)
    names = pd.Index([f"{number}.jpg" for number in range(12)], name=KEY)
    predictions = pd.DataFrame(rng.dirichlet(np.full(3, sharpness), 12), names, CLASSES)
    one, other = rng.choice(names[:9], (2, 15))
    pairs = pd.DataFrame({KEY: one, "lookalike": other, "similarity": rng.uniform(0, 1, 15)})
    averaged = average_lookalikes(predictions, pairs, setting)
    check_predictions(averaged)
    alone = names.difference(one)
    pd.testing.assert_frame_equal(averaged.loc[alone], predictions.loc[alone], check_exact=True)
    if setting == SETTINGS[UNCHANGED]:
        pd.testing.assert_frame_equal(averaged, predictions, check_exact=True)


def test_strength_similarity_and_mean_are_what_they_say():
    predictions = table([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]])
    pairs = pair("a", "b", 0.5)
    equal = average_lookalikes(predictions, pairs, Setting(0.5, "equal", "arithmetic"))
    np.testing.assert_allclose(equal.loc["a"], [(0.9 + 0.5 * 0.3) / 1.5, (0.1 + 0.5 * 0.7) / 1.5])
    np.testing.assert_allclose(equal.loc["b"], [(0.3 + 0.5 * 0.9) / 1.5, (0.7 + 0.5 * 0.1) / 1.5])
    similar = average_lookalikes(predictions, pairs, Setting(1.0, "similarity", "arithmetic"))
    pd.testing.assert_frame_equal(similar, equal)
    geometric = average_lookalikes(predictions, pairs, Setting(1.0, "equal", "geometric"))
    roots = np.sqrt([0.9 * 0.3, 0.1 * 0.7])
    np.testing.assert_allclose(geometric.loc["a"], roots / roots.sum())
    assert geometric.loc["c"].tolist() == [0.5, 0.5]


def test_a_look_alike_that_differs_in_everything_does_not_count_by_similarity():
    predictions = table([[0.9, 0.1], [0.3, 0.7]])
    same = average_lookalikes(predictions, pair("a", "b", 0.0), Setting(1.0, "similarity", "geometric"))
    pd.testing.assert_frame_equal(same, predictions, check_exact=True)
