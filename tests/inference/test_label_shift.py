from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fisheries.inference.label_shift import (
    PUBLISHED,
    correct,
    mix_concentration,
    mix_log_loss,
    plausible_mixes,
    published_mix,
    read_mix,
    robust_mix,
)
from fisheries.inference.scoring import class_frequencies, log_loss, per_image_loss
from fisheries.schema import KEY, InputError, check_predictions

CLASSES = ["ALB", "BET", "YFT"]
TRAIN = pd.Series([0.5, 0.25, 0.25], CLASSES)


def ids(count: int) -> pd.Index:
    return pd.Index([f"img_{number:05}.jpg" for number in range(count)], name=KEY)


def test_a_correction_multiplies_by_the_ratio_of_shares():
    rows = pd.DataFrame([[0.5, 0.3, 0.2]], ids(1), CLASSES)
    corrected = correct(rows, pd.Series([0.25, 0.5, 0.25], CLASSES), TRAIN)
    np.testing.assert_allclose(corrected.iloc[0], np.array([0.25, 0.6, 0.2]) / 1.05)


@given(st.lists(st.floats(0.001, 1), min_size=3, max_size=3), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_corrected_rows_are_distributions_and_go_back_to_what_they_were(row, mix):
    rows = pd.DataFrame([np.array(row) / sum(row)], ids(1), CLASSES)
    expected = pd.Series(np.array(mix) / sum(mix), CLASSES)
    corrected = correct(rows, expected, TRAIN)
    check_predictions(corrected)
    np.testing.assert_allclose(correct(corrected, TRAIN, expected), rows, atol=1e-9)


def test_a_class_that_is_not_expected_is_not_predicted():
    rows = pd.DataFrame([[0.5, 0.3, 0.2]], ids(1), CLASSES)
    assert correct(rows, pd.Series([0.5, 0.5, 0.0], CLASSES), TRAIN).iloc[0].tolist()[2] == 0


def test_the_log_loss_in_another_mix_is_each_class_s_mean_by_its_share():
    labels = pd.Series(["ALB", "ALB", "ALB", "BET"], ids(4))
    rows = pd.DataFrame([[0.5, 0.25, 0.25]] * 3 + [[0.5, 0.1, 0.4]], ids(4), CLASSES)
    mix = pd.Series([0.2, 0.8, 0.0], CLASSES)
    assert mix_log_loss(rows, labels, mix) == pytest.approx(-0.2 * np.log(0.5) - 0.8 * np.log(0.1))
    own = class_frequencies(labels, CLASSES)
    assert mix_log_loss(rows, labels, own) == pytest.approx(log_loss(rows, labels))


def test_the_published_mix_gives_the_known_shares_and_keeps_the_proportions_of_the_rest():
    counts = {"ALB": 1719, "BET": 200, "DOL": 117, "LAG": 67, "NoF": 465, "OTHER": 299, "SHARK": 176, "YFT": 734}
    train = pd.Series(counts) / sum(counts.values())
    mix = published_mix(train)
    assert list(mix.index) == list(counts)
    assert mix.sum() == pytest.approx(1)
    assert mix[list(PUBLISHED)].to_dict() == PUBLISHED
    assert mix["ALB"] / mix["YFT"] == pytest.approx(1719 / 734)
    fish = published_mix(train.drop("NoF") / train.drop("NoF").sum())
    assert fish.sum() == pytest.approx(1)
    assert fish["BET"] == pytest.approx(0.108 / (1 - 0.076))


def test_a_mix_is_read_in_the_order_of_the_classes_and_a_class_that_it_lacks_has_no_share(tmp_path):
    (tmp_path / "mix.csv").write_text("class,share\nYFT,0.4\nALB,0.6\n")
    assert read_mix(tmp_path / "mix.csv", TRAIN).to_dict() == {"ALB": 0.6, "BET": 0.0, "YFT": 0.4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,share\nALB,1\n", "columns label,share; expected class,share"),
        ("class,share\nABL,1\n", r"no class 'ABL' \(did you mean 'ALB'\?\)"),
        ("class,share\nALB,0.5\nALB,0.5\n", "'ALB' occurs twice"),
        ("class,share\nALB,60\nBET,40\n", "share '60'; expected a number from 0 to 1"),
        ("class,share\nALB,most\n", "share 'most'; expected a number"),
        ("class,share\nALB,0.6\nBET,0.3\n", "shares sum to 0.9; expected 1"),
        ("", "not a CSV table"),
    ],
)
def test_a_mix_that_is_none_is_refused(text, message, tmp_path):
    (tmp_path / "mix.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mix(tmp_path / "mix.csv", TRAIN)


def test_a_mix_from_nowhere_or_of_a_class_without_training_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file; give a CSV with class,share, or published"):
        read_mix(tmp_path / "mix.csv", TRAIN)
    (tmp_path / "mix.csv").write_text("class,share\nALB,0.5\nYFT,0.5\n")
    with pytest.raises(InputError, match="'YFT' has a share, but no training image"):
        read_mix(tmp_path / "mix.csv", pd.Series([0.5, 0.5, 0.0], CLASSES))


@pytest.mark.parametrize("concentration", [0.7, 6.0])
def test_the_concentration_of_boats_is_found(concentration):
    rng = np.random.default_rng(0)
    mixes = rng.dirichlet(concentration * TRAIN.to_numpy(), 150)
    labels = pd.Series(np.concatenate([rng.choice(CLASSES, 30, p=mix) for mix in mixes]), ids(4500))
    boats = pd.Series(np.repeat([f"boat_{number}" for number in range(150)], 30), labels.index)
    one_boat = (mix_concentration(labels, boats, CLASSES) + 1) / 150 - 1  # 150 boats of one size
    assert one_boat == pytest.approx(concentration, rel=0.3)


def test_plausible_mixes_are_distributions_around_training_s_and_nearer_where_boats_are_alike():
    wide, narrow = (plausible_mixes(TRAIN, concentration, seed=1) for concentration in (5, 500))
    np.testing.assert_allclose(wide.sum(axis=1), 1)
    np.testing.assert_allclose(narrow.mean(), TRAIN, atol=0.01)
    assert narrow.std().max() < 0.2 * wide.std().max()
    distance = (wide * np.log(wide / TRAIN)).sum(axis=1)
    assert distance.is_monotonic_increasing
    assert wide.equals(plausible_mixes(TRAIN, 5, seed=1))


def test_a_robust_correction_has_a_better_worst_case_than_none_and_than_any_one_mix():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.dirichlet([1.5, 0.75, 0.75], 600), ids(600), CLASSES)
    labels = pd.Series([rng.choice(CLASSES, p=row) for row in rows.to_numpy()], rows.index)
    train = class_frequencies(labels, CLASSES)
    mixes = plausible_mixes(train, 8)

    def worst(mix: pd.Series) -> float:
        loss = per_image_loss(correct(rows, mix, train), labels).groupby(labels).mean()
        return float((mixes[CLASSES].to_numpy() @ loss[CLASSES].to_numpy()).max())

    found = worst(robust_mix(rows, labels, mixes))
    assert found < worst(train) - 0.1
    assert found < min(worst(mixes.iloc[number]) for number in range(0, 900, 90)) + 1e-3
