from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.inference.evaluation import (
    averaging_gain,
    expected_calibration_error,
    forecast,
    interval,
    is_clear_gain,
    score_rows,
    standard_error,
)
from fisheries.inference.predict import mean_predictions
from fisheries.inference.scoring import image_scores

CLASSES = ["ALB", "BET", "NoF"]


def fleet(boats: int, *, each: int, spread: float, seed: int) -> tuple[pd.Series, pd.Series]:
    """Losses of images whose boats differ by `spread` and whose images differ by 0.1."""
    rng = np.random.default_rng(seed)
    index = pd.Index([f"img_{number:05}.jpg" for number in range(boats * each)], name="image_id")
    boat = np.repeat(np.arange(boats), each)
    losses = np.exp(spread * rng.standard_normal(boats)[boat]) + 0.1 * rng.random(len(index))
    return pd.Series(losses, index), pd.Series(boat.astype(str), index)


def scored(seed: int = 0, images: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    index = pd.Index([f"img_{number:05}.jpg" for number in range(images)], name="image_id")
    labels = pd.Series(rng.choice(CLASSES, images), index)
    predictions = pd.DataFrame(rng.dirichlet([1, 1, 1], images), index, CLASSES)
    manifest = pd.DataFrame(
        {"boat": rng.choice(["a", "b", "c", ""], images), "burst": index, "is_night": rng.random(images) < 0.3}, index
    )
    return image_scores(predictions, labels, pd.Series(1 / 3, CLASSES), no_fish="NoF"), manifest


def test_there_is_a_row_for_all_and_for_each_class_fish_light_and_boat():
    images, manifest = scored()
    rows = score_rows(images, manifest, classes=CLASSES)
    assert rows["by"].unique().tolist() == ["all", "class", "fish", "light", "boat"]
    assert rows.loc[rows["by"] == "class", "name"].tolist() == CLASSES
    assert set(rows.loc[rows["by"] == "boat", "name"]) == {"a", "b", "c"}
    assert rows.loc[rows["by"] == "boat", "log_loss"].is_monotonic_decreasing
    whole = rows.set_index("by").loc["all"]
    assert whole["log_loss"] == pytest.approx(images["log_loss"].mean())
    assert whole["boats"] == 3 + (manifest["boat"] == "").sum()
    for by in ("class", "fish", "light"):
        part = rows[rows["by"] == by]
        assert part["images"].sum() == len(images)
        for name in ("log_loss", "accuracy", "fish_accuracy"):
            assert (part[name] * part["images"]).sum() / len(images) == pytest.approx(whole[name])


def test_a_class_without_images_has_a_row_without_scores():
    images, manifest = scored()
    rows = score_rows(images[images["label"] != "BET"], manifest, classes=CLASSES).set_index(["by", "name"])
    assert rows.loc[("class", "BET"), "images"] == 0
    assert np.isnan(rows.loc[("class", "BET"), "log_loss"])


@given(seed=st.integers(0, 1000), boats=st.integers(2, 30))
@settings(deadline=None, max_examples=20)
def test_the_interval_holds_the_mean_and_does_not_depend_on_the_order(seed: int, boats: int):
    losses, boat = fleet(boats, each=4, spread=0.4, seed=seed)
    low, high = interval(losses, boat, seed=1)
    assert low <= losses.mean() <= high
    assert interval(losses[::-1], boat, seed=1) == pytest.approx((low, high))


def test_the_interval_is_one_of_boats_and_not_of_images():
    losses, boat = fleet(10, each=100, spread=0.4, seed=0)
    by_boat, by_image = (np.subtract(*interval(losses, groups)[::-1]) for groups in (boat, boat.index.to_series()))
    assert by_boat > 5 * by_image


def test_one_boat_has_no_interval():
    losses, boat = fleet(1, each=5, spread=0.4, seed=0)
    assert np.isnan(interval(losses, boat)).all()
    assert np.isnan([forecast(losses, boat, new_boats=3).low, forecast(losses, boat, new_boats=3).high]).all()


@pytest.mark.parametrize("boats", [6, 20])
def test_forecasts_hold_what_new_boats_give_in_about_90_of_100_worlds(boats: int):
    held = 0
    for seed in range(200):
        losses, boat = fleet(boats + 10, each=10, spread=0.4, seed=seed)
        known = boat.astype(int) < boats
        said = forecast(losses[known], boat[known], new_boats=10, seed=seed)
        held += said.low <= losses[~known].mean() <= said.high
    assert 165 <= held <= 195


def test_a_forecast_for_few_boats_is_less_sure():
    losses, boat = fleet(20, each=10, spread=0.4, seed=0)
    few, many = (forecast(losses, boat, new_boats=count) for count in (2, 200))
    assert few.log_loss == many.log_loss == pytest.approx(losses.mean())
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_the_averaging_gain_is_exact_for_labels_drawn_from_the_mean():
    rng = np.random.default_rng(0)
    index = pd.Index(["a", "b"], name="image_id")
    members = [pd.DataFrame(rng.dirichlet([1, 1, 1], 2), index, CLASSES) for _ in range(3)]
    mean = sum(members) / 3
    expected = (mean * (np.log(mean) - sum(np.log(member) for member in members) / 3)).to_numpy().sum() / 2
    assert averaging_gain([members[0], members[1][::-1], members[2][CLASSES[::-1]]]) == pytest.approx(expected)
    assert averaging_gain([members[0], members[0]]) == pytest.approx(0)


def test_the_gain_of_a_geometric_mean_is_exact_whatever_the_labels():
    rng = np.random.default_rng(0)
    members = [pd.DataFrame(rng.dirichlet([1, 1, 1], 50), columns=["A", "B", "C"]) for _ in range(3)]
    mean = mean_predictions(members, "geometric")
    labels = rng.integers(0, 3, 50)
    losses = [-np.log(table.to_numpy()[np.arange(50), labels]).mean() for table in (*members, mean)]
    assert averaging_gain(members, mean) == pytest.approx(np.mean(losses[:3]) - losses[3])


def test_calibration_error_is_the_mean_gap_of_confidence_and_accuracy():
    sure = pd.Series([1.0, 1.0, 1.0, 1.0])
    assert expected_calibration_error(sure, pd.Series([1.0, 1, 1, 1])) == 0
    assert expected_calibration_error(sure, pd.Series([1.0, 1, 0, 0])) == pytest.approx(0.5)
    mixed = pd.Series([0.9, 0.9, 0.3, 0.3])
    assert expected_calibration_error(mixed, pd.Series([1.0, 1, 0, 1])) == pytest.approx((0.2 + 0.4) / 4)


def test_standard_error_is_of_boats_and_not_of_images():
    means = [fleet(20, each=30, spread=0.5, seed=seed)[0].mean() for seed in range(300)]
    errors = [standard_error(*fleet(20, each=30, spread=0.5, seed=seed)) for seed in range(300)]
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)
    values, boats = fleet(20, each=30, spread=0.5, seed=0)
    assert standard_error(values, boats) > 3 * values.sem()
    assert np.isnan(standard_error(values, pd.Series("a", boats.index)))


def test_a_gain_is_clear_beyond_one_standard_error_over_boats():
    losses, boats = fleet(20, each=30, spread=0.5, seed=0)
    rng = np.random.default_rng(0)
    by_boat = boats.map(dict(zip(boats.unique(), rng.standard_normal(20), strict=True)))
    noise = (by_boat - by_boat.mean()).astype(float)
    error = standard_error(noise, boats)
    assert is_clear_gain(losses, losses - noise - 1.1 * error, boats)
    assert not is_clear_gain(losses, losses - noise - 0.9 * error, boats)
    assert is_clear_gain(losses, losses - 0.01, pd.Series("one", boats.index))
