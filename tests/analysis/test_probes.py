"""Classes predicted out of fold from a cue, and boats from a run's features."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.analysis.probes import CELLS, boat_probe, cells_of, held_out_predictions
from fisheries.inference.scoring import log_loss
from fisheries.schema import InputError
from tests.analysis.test_leakage import CLASSES, fleet

KINDS_OF_VALUES = ("prior", "category", "number", "picture")


def values_for(kind: str, images: int, rng: np.random.Generator) -> pd.DataFrame:
    numbers = rng.normal(size=(images, 2 if kind == "number" else 12))
    values = pd.DataFrame(numbers, index=[f"{number}.jpg" for number in range(images)])
    return (values[[0]] > 0).astype(str) if kind == "category" else values


@pytest.mark.parametrize("kind", KINDS_OF_VALUES)
def test_no_fold_s_own_labels_bear_on_its_predictions(kind: str):
    rng = np.random.default_rng(0)
    values = values_for(kind, 90, rng)
    labels = pd.Series(rng.choice(CLASSES, 90), values.index)
    labels[values.iloc[:, 0].astype(str).str.startswith(("T", "1", "2"))] = "ALB"
    fold = pd.Series(np.arange(90) % 3, values.index)
    predictions = held_out_predictions(values, labels, fold, labels.index.to_series(), kind=kind)
    shuffled = labels.where(fold != 0, pd.Series(rng.permutation(labels), labels.index))
    others = held_out_predictions(values, shuffled, fold, labels.index.to_series(), kind=kind)
    assert list(predictions.columns) == list(CLASSES)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(predictions[fold == 0], others[fold == 0])
    assert np.abs(predictions - others)[fold != 0].max(axis=None) > 1e-4


def test_the_prior_is_smoothed_by_one_made_up_image_a_class():
    labels = pd.Series(["A"] * 6 + ["B"] * 2 + ["C"], [f"{number}" for number in range(9)])
    fold = pd.Series([0] * 8 + [1], labels.index)
    own = labels.index.to_series()
    prior = held_out_predictions(pd.DataFrame(index=labels.index), labels, fold, own, kind="prior")
    assert prior.iloc[-1].tolist() == pytest.approx([7 / 11, 3 / 11, 1 / 11])
    assert prior.iloc[0].tolist() == pytest.approx([1 / 4, 1 / 4, 2 / 4])
    unknown = pd.DataFrame({"value": [*"xxxxxxxxy"]}, labels.index)
    category = held_out_predictions(unknown, labels, fold, own, kind="category")
    assert category.iloc[-1].tolist() == pytest.approx(prior.iloc[-1].tolist())


def test_a_category_is_drawn_to_the_prior_the_less_it_is_chance():
    rng = np.random.default_rng(1)
    index = pd.Index([f"{number}" for number in range(400)])
    labels = pd.Series(rng.choice(CLASSES, 400, p=[0.5, 0.3, 0.2]), index)
    fold, own = pd.Series(np.arange(400) % 4, index), index.to_series()
    telling = pd.DataFrame({"value": labels.where(rng.random(400) < 0.9, "ALB")})
    chance = pd.DataFrame({"value": rng.integers(60, size=400).astype(str)}, index)
    losses = {
        name: log_loss(held_out_predictions(values, labels, fold, own, kind=kind), labels)
        for name, values, kind in (
            ("telling", telling, "category"),
            ("chance", chance, "category"),
            ("none", chance, "prior"),
        )
    }
    assert losses["telling"] < losses["none"] - 0.5
    assert losses["chance"] == pytest.approx(losses["none"], abs=0.01)


def test_smoothing_is_not_fooled_by_bursts():
    rng = np.random.default_rng(2)
    burst = np.repeat(np.arange(120), 4)
    index = pd.Index([f"{number}" for number in range(480)])
    labels = pd.Series(rng.choice(CLASSES, 120)[burst], index)
    values = pd.DataFrame({"value": burst.astype(str)}, index)  # tells twins, and nothing of other bursts
    fold = pd.Series(burst % 4, index)
    bursts = pd.Series(burst, index)
    prior = held_out_predictions(values, labels, fold, bursts, kind="prior")
    noise = rng.normal(size=(120, 30))[burst] + rng.normal(scale=0.1, size=(480, 30))
    pictures = pd.DataFrame(noise, index)
    for kind, cue in (("category", values), ("picture", pictures)):
        predictions = held_out_predictions(cue, labels, fold, bursts, kind=kind)
        assert log_loss(predictions, labels) < log_loss(prior, labels) + 0.02, kind


def test_pictures_tell_classes_that_lie_apart_and_no_others():
    rng = np.random.default_rng(3)
    index = pd.Index([f"{number}" for number in range(300)])
    codes = rng.integers(3, size=300)
    labels = pd.Series(np.array(CLASSES)[codes], index)
    fold, own = pd.Series(np.arange(300) % 3, index), index.to_series()
    noise = pd.DataFrame(rng.normal(size=(300, 50)), index)
    shifted = noise + 3 * np.eye(3, 50)[codes]
    losses = [
        log_loss(held_out_predictions(values, labels, fold, own, kind="picture"), labels) for values in (shifted, noise)
    ]
    prior = log_loss(held_out_predictions(noise, labels, fold, own, kind="prior"), labels)
    assert losses[0] < 0.4
    assert losses[1] == pytest.approx(prior, abs=0.02)


def test_features_of_any_scale_and_constant_ones_are_taken():
    rng = np.random.default_rng(4)
    index = pd.Index([f"{number}" for number in range(60)])
    labels = pd.Series(rng.choice(CLASSES, 60), index)
    values = pd.DataFrame({0: rng.normal(size=60) * 1e30, 1: 7.0, 2: rng.normal(size=60) * 1e-30}, index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictions = held_out_predictions(
            values.astype("float32"), labels, pd.Series(np.arange(60) % 2, index), index.to_series(), kind="picture"
        )
    assert np.isfinite(predictions).all(axis=None)


@given(seed=st.integers(0, 1000), columns=st.integers(1, 3), ties=st.booleans())
@settings(deadline=None, max_examples=30)
def test_cells_keep_the_order_of_numbers_and_are_few(seed: int, columns: int, ties: bool):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(5, size=(80, columns)).astype(float) if ties else rng.normal(size=(80, columns))
    cells = cells_of(numbers, numbers[:50])
    assert cells.shape == numbers.shape
    assert np.prod(cells.max(axis=0) + 1) <= CELLS
    for own, cell in zip(numbers.T, cells.T, strict=True):
        order = np.argsort(own, kind="stable")
        assert (np.diff(cell[order]) >= 0).all()
        assert (np.diff(cell[order])[np.diff(own[order]) == 0] == 0).all()


def test_features_that_know_the_boat_are_found_out():
    manifest = fleet(leak=False, boats=6)
    rng = np.random.default_rng(7)
    noise = pd.DataFrame(rng.normal(size=(len(manifest), 8)), manifest.index)
    knowing = noise + 6 * pd.get_dummies(manifest["boat"]).to_numpy() @ rng.normal(size=(6, 8))
    found = boat_probe(knowing, manifest["boat"], manifest["burst"])
    assert found["accuracy"] > 0.9
    assert found["log_loss"] < 0.5 < 1.5 < found["prior_log_loss"]
    assert (found["images"], found["boats"]) == (120, 6)
    assert found["largest_share"] == pytest.approx(1 / 6)
    blind = boat_probe(noise.iloc[:100], manifest["boat"], manifest["burst"])
    assert blind["accuracy"] < 0.4
    assert blind["log_loss"] == pytest.approx(blind["prior_log_loss"], abs=0.1)
    assert blind["images"] == 100
    own = boat_probe(noise, manifest["boat"], manifest["burst"].where(manifest["boat"] != "b0", ""))
    assert own["images"] == 120


def test_a_boat_probe_that_cannot_be_made_is_one_line():
    manifest = fleet(leak=False, boats=2, bursts=2)
    features = pd.DataFrame(np.ones((8, 3)), manifest.index)
    with pytest.raises(InputError, match="boat probe: 1 boats are known among the 8 images with features; expected at"):
        boat_probe(features, manifest["boat"].replace("b1", ""), manifest["burst"])
    with pytest.raises(InputError, match="boat probe: 4 bursts of images for 5 folds; expected as many at least"):
        boat_probe(features, manifest["boat"], manifest["burst"])
