from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.inference.calibration import METHODS
from fisheries.inference.calibration_fit import (
    fit_clip,
    fit_confusion,
    fit_prior,
    fit_prior_mix,
    fit_temperature,
    fit_temperature_prior_mix,
    fit_vector,
)
from fisheries.inference.calibration_math import boat_weights, smoothed_prior
from fisheries.inference.scoring import log_loss
from fisheries.schema import KEY, check_predictions

CLASSES = ["ALB", "BET", "DOL", "YFT"]


def table(values: np.ndarray) -> pd.DataFrame:
    index = pd.Index([f"img_{number:05}.jpg" for number in range(len(values))], name=KEY)
    return pd.DataFrame(values / values.sum(axis=1, keepdims=True), index, CLASSES)


def boats_for(predictions: pd.DataFrame, *, count: int) -> pd.Series:
    return pd.Series([f"boat_{number % count}" for number in range(len(predictions))], predictions.index)


def labels_from(predictions: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    """True classes as often as the predictions say."""
    draws = (predictions.to_numpy().cumsum(axis=1) < rng.random((len(predictions), 1))).sum(axis=1)
    return pd.Series(np.array(CLASSES)[draws.clip(0, 3)], predictions.index)


@pytest.fixture(scope="module")
def honest() -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Calibrated predictions of 12 boats, labels, boats."""
    rng = np.random.default_rng(0)
    predictions = table(rng.dirichlet([0.8, 0.4, 0.3, 0.5], 4000))
    return predictions, labels_from(predictions, rng), boats_for(predictions, count=12)


@pytest.mark.parametrize("name", METHODS)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), images=st.integers(2, 24), boats=st.integers(1, 5), certain=st.booleans())
def test_rows_stay_distributions_whatever_was_fitted(name, seed, images, boats, certain):
    rng = np.random.default_rng(seed)
    predictions = table(rng.dirichlet(np.full(4, 0.05 if certain else 1), images) + (0 if certain else 1e-9))
    labels = pd.Series(rng.choice(CLASSES, images), predictions.index)
    change = METHODS[name](predictions, labels, boats_for(predictions, count=boats))
    rows = table(rng.dirichlet(np.full(4, 0.3), 5))
    changed = change(rows)
    check_predictions(changed)
    assert changed.index.equals(rows.index)
    assert list(changed.columns) == CLASSES


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"none"}))
def test_calibrated_predictions_are_left_almost_as_they_are(name, honest):
    predictions, labels, boats = honest
    changed = METHODS[name](predictions, labels, boats)(predictions)
    assert (changed - predictions).abs().mean().mean() < 0.02


@pytest.mark.parametrize("temperature", [0.6, 2.5])
def test_the_temperature_of_predictions_is_found(temperature, honest):
    predictions, labels, boats = honest
    off = table(predictions.to_numpy() ** temperature)
    changed = fit_temperature(off, labels, boats)(off)
    ratio = np.log(changed["ALB"] / changed["BET"]) / np.log(off["ALB"] / off["BET"])
    assert ratio.median() == pytest.approx(1 / temperature, rel=0.08)
    above_clip = off.min(axis=1) > 1e-12
    np.testing.assert_allclose(ratio[above_clip], ratio.median(), rtol=1e-6)


def test_the_share_of_the_prior_is_found_with_and_without_a_temperature(honest):
    predictions, _, boats = honest
    prior = np.array([0.5, 0.1, 0.1, 0.3])
    truth = table(0.4 * predictions.to_numpy() + 0.6 * prior)
    labels = labels_from(truth, np.random.default_rng(1))
    assert (fit_prior_mix(predictions, labels, boats)(predictions) - truth).abs().max().max() < 0.05
    sharper = table(predictions.to_numpy() ** 2)
    assert (fit_temperature_prior_mix(sharper, labels, boats)(sharper) - truth).abs().mean().mean() < 0.02


def test_a_clip_bounds_what_is_certain_and_wrong(honest):
    predictions, labels, boats = honest
    certain = table(np.eye(4)[predictions.to_numpy().argmax(axis=1)])
    changed = fit_clip(certain, labels, boats)(certain)
    share = (certain.idxmax(axis=1) == labels).mean()
    assert changed.to_numpy().max() == pytest.approx(share, abs=0.05)


def test_classes_that_are_taken_for_each_other_are_told_by_the_confusion(honest):
    predictions, labels, boats = honest
    swapped = labels.replace({"ALB": "BET", "BET": "ALB"})
    by_confusion = fit_confusion(predictions, swapped, boats)(predictions)
    by_temperature = fit_temperature(predictions, swapped, boats)(predictions)
    assert log_loss(by_confusion, swapped) < log_loss(by_temperature, swapped) - 0.15
    said_albacore = predictions["ALB"] > 0.9
    assert (by_confusion.loc[said_albacore, "BET"] > by_confusion.loc[said_albacore, "ALB"]).all()


def test_vector_scaling_undoes_a_class_that_is_said_too_often(honest):
    predictions, labels, boats = honest
    off = table(predictions.to_numpy() * [1, 8, 1, 1])
    changed = fit_vector(off, labels, boats)(off)
    assert log_loss(changed, labels) < log_loss(predictions, labels) + 0.005
    assert log_loss(fit_temperature(off, labels, boats)(off), labels) > log_loss(predictions, labels) + 0.1


def test_the_prior_of_an_image_is_counted_on_other_boats_and_has_a_share_for_every_class():
    truth = np.eye(4)[[0] * 6 + [1] * 6 + [0, 1] * 3]
    boats = pd.Series(["a"] * 6 + ["b"] * 6 + ["c"] * 6)
    prior, others = smoothed_prior(truth, boats)
    assert prior.sum() == pytest.approx(1)
    np.testing.assert_allclose(others.sum(axis=1), 1)
    assert others.min() > 0
    assert prior[0] == pytest.approx(prior[1])
    assert others[0, 1] > 2 * others[0, 0]  # of boat a, which alone has class 0 only
    assert others[6, 0] > 2 * others[6, 1]


def test_the_constant_prior_is_the_same_for_all_images(honest):
    predictions, labels, boats = honest
    changed = fit_prior(predictions, labels, boats)(predictions.iloc[:7])
    assert changed.nunique().eq(1).all()
    np.testing.assert_allclose(changed.iloc[0], labels.value_counts(normalize=True)[CLASSES], atol=0.01)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_a_boat_counts_as_the_square_root_of_its_images(boats):
    series = pd.Series(boats)
    weights = boat_weights(series)
    assert weights.mean() == pytest.approx(1)
    totals, sizes = weights.groupby(series).sum(), series.value_counts().sort_index()
    np.testing.assert_allclose((totals / totals.sum()).sort_index(), np.sqrt(sizes) / np.sqrt(sizes).sum())
