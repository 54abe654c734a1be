"""What a run's scores are worth: rows for boats, classes and light, with intervals that resample boats, and a forecast.

Images of one boat are alike, so an interval that resamples images is far too narrow; all here resample whole boats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from fisheries.inference.scoring import ALL
from fisheries.schema import TRAIN

LEVEL = 0.9  # of every interval
DRAWS = 4000
BINS = 15  # of the expected calibration error, as in Guo et al. 2017
MEANS = ("log_loss", "prior_log_loss", "accuracy", "fish_accuracy", "box_iou")


@dataclass(frozen=True)
class Forecast:
    """A log loss to expect, with the ends of its 90 % interval, in nats."""

    log_loss: float
    low: float
    high: float


def score_rows(images: pd.DataFrame, manifest: pd.DataFrame, *, classes: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Return a row for all images, and one for each class, boat, light, and for fish and no fish.

    Args:
        images: as `scoring.image_scores` returns them.
        manifest: has their boat, burst and is_night.
        classes: in the order of the rows.
        seed: of the bootstrap.

    Returns:
        Columns by (all, class, fish, light or boat) and name; images; boats; log_loss, its 90 % interval low and high
        (NaN with less than two boats), prior_log_loss (nats); accuracy, fish_accuracy; ece, see
        `expected_calibration_error`; and box_iou where `images` has it. The mean of no images is NaN. Boats come
        with the highest log loss first.
    """
    boats = boats_of(manifest.loc[images.index])
    facts = manifest.loc[images.index]
    groups = {
        "class": images["label"],
        "fish": images["is_fish"].map({True: "fish", False: "no fish"}),
        "light": facts["is_night"].map({True: "night", False: "day"}),
        "boat": facts["boat"].mask(facts["boat"] == ""),
    }
    rows: list[dict[str, Any]] = [{"by": ALL, "name": ALL, **_scores(images, boats, seed=seed)}]
    for by, names in groups.items():
        parts: list[dict[str, Any]] = [
            {"by": by, "name": name, **_scores(images[names == name], boats, seed=seed)}
            for name in (classes if by == "class" else sorted(names.dropna().unique()))
        ]
        rows += sorted(parts, key=lambda row: -row["log_loss"]) if by == "boat" else parts
    columns = ["images", "boats", "log_loss", "low", "high", *MEANS[1:4], "ece", *MEANS[4:]]
    table = pd.DataFrame(rows)
    return table[["by", "name", *(name for name in columns if name in table)]]


def boats_of(manifest: pd.DataFrame) -> pd.Series:
    """Return what is resampled as one: an image's boat, or its burst where the boat is not known."""
    return manifest["boat"].where(manifest["boat"] != "", manifest["burst"])


def new_boat_images(manifest: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Return the test images, rows of a manifest, of boats that are known, and of which no image is in the folds."""
    test = manifest[manifest["subset"] != TRAIN]
    return test[~test["boat"].isin({*manifest.loc[folds.index, "boat"], ""})]


def interval(values: pd.Series, boats: pd.Series, *, seed: int = 0) -> tuple[float, float]:
    """Return the 90 % interval of the mean of `values`, from a bootstrap over boats.

    The percentile interval is too narrow for few groups, so it is expanded as Hesterberg (2015, "What teachers should
    know about the bootstrap") does: its level is what the t distribution asks for with that many boats.

    Args:
        values: one an image, by `image_id`.
        boats: of at least these images, by `image_id`.
        seed: of the draws.

    Returns:
        Both ends; NaN with less than two boats.
    """
    sums, counts = _by_boat(values, boats)
    if len(sums) < 2:
        return float("nan"), float("nan")
    means = _resampled(sums, counts, boats=len(sums), rng=np.random.default_rng([seed, 0]))
    tail = stats.norm.cdf(-_widening(len(sums)) * stats.norm.ppf((1 + LEVEL) / 2))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def standard_error(values: pd.Series, boats: pd.Series) -> float:
    """Return the standard error of the mean of `values` where boats are drawn and not images; NaN with less than two.

    Args:
        values: one an image, by `image_id`, such as the difference of two losses.
        boats: of at least these images, by `image_id`.
    """
    sums, counts = _by_boat(values, boats)
    if len(sums) < 2:
        return float("nan")
    residuals = sums - counts * values.mean()
    return float(np.sqrt((residuals**2).sum() * len(sums) / (len(sums) - 1)) / counts.sum())


def is_clear_gain(before: pd.Series, after: pd.Series, boats: pd.Series) -> bool:
    """Whether losses fell by more than one standard error of their mean change, over boats; with one boat, at all.

    Args:
        before: losses, by `image_id`.
        after: of the same images.
        boats: of at least these images, by `image_id`.
    """
    gain = before - after.loc[before.index]
    error = standard_error(gain, boats)
    return bool(gain.mean() > (0.0 if np.isnan(error) else error))


def forecast(losses: pd.Series, boats: pd.Series, *, new_boats: int, seed: int = 0) -> Forecast:
    """Forecast the mean log loss on `new_boats` boats that are yet to be seen.

    Two things are unsure: the mean over boats like ours, of which we have a sample, and which of them the new ones
    are. Both are drawn by resampling boats, the first with as many as there are and the second with `new_boats`.

    Args:
        losses: of images of boats that the networks had not seen, by `image_id`, in nats.
        boats: of these images, by `image_id`.
        new_boats: how many.
        seed: of the draws.

    Returns:
        The mean of `losses`, and an interval that holds the new mean in 90 of 100 cases; NaN with less than two boats.
    """
    sums, counts = _by_boat(losses, boats)
    center = float(sums.sum() / counts.sum())
    if len(sums) < 2 or new_boats < 1:
        return Forecast(center, float("nan"), float("nan"))
    sample = _resampled(sums, counts, boats=len(sums), rng=np.random.default_rng([seed, 0]))
    new = _resampled(sums, counts, boats=new_boats, rng=np.random.default_rng([seed, 1]))
    # as ratios, since losses are positive and a few boats are much worse than the rest
    spread = _widening(len(sums)) * (np.log(new / center) - np.log(sample / center))
    low, high = center * np.exp(np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Forecast(center, float(low), float(high))


def averaging_gain(tables: Sequence[pd.DataFrame], mean_table: pd.DataFrame | None = None) -> float:
    """Return by how much the log loss of the mean prediction lies below the mean of the log losses, in nats.

    It is the mean Kullback-Leibler divergence of the members from their mean: exact for labels drawn from the mean
    prediction, for the geometric mean for any labels, and it needs none.

    Args:
        tables: prediction tables of the same images.
        mean_table: their mean; by default the arithmetic one.
    """
    first = tables[0]
    members = np.stack([table.loc[first.index, first.columns].to_numpy(np.float64) for table in tables])  # (M, N, C)
    mean = members.mean(axis=0)
    if mean_table is not None:
        mean = mean_table.loc[first.index, first.columns].to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(mean > 0, mean * (np.log(mean) - np.log(np.maximum(members, 1e-15))), 0.0)
    return float(terms.sum(axis=2).mean())


def expected_calibration_error(confidence: pd.Series, hits: pd.Series) -> float:
    """Return the mean distance of confidence and accuracy over 15 bins of equal width (Guo et al. 2017).

    Args:
        confidence: the highest probability of each image, in [0, 1].
        hits: whether its class was the right one.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = (confidence - hits).groupby(bins).sum().abs()
    return float(gaps.sum() / len(confidence)) if len(confidence) else float("nan")


def _scores(images: pd.DataFrame, boats: pd.Series, *, seed: int) -> dict[str, float]:
    low, high = interval(images["log_loss"], boats, seed=seed)
    ece = expected_calibration_error(images["confidence"], images["accuracy"])
    means = images[[name for name in MEANS if name in images]].mean().to_dict()
    count = boats.loc[images.index].nunique()
    return {"images": len(images), "boats": count, "low": low, "high": high, "ece": ece, **means}


def _by_boat(values: pd.Series, boats: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = values.groupby(boats.loc[values.index]).agg(["sum", "size"])
    return table["sum"].to_numpy(np.float64), table["size"].to_numpy(np.float64)


def _resampled(
    sums: NDArray[np.float64], counts: NDArray[np.float64], *, boats: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the means (DRAWS,) over `boats` boats drawn with replacement."""
    times = rng.multinomial(boats, np.full(len(sums), 1 / len(sums)), size=DRAWS)  # (DRAWS, B)
    return (times @ sums) / (times @ counts)


def _widening(boats: int) -> float:
    """Return by how much a bootstrap over few boats is too narrow: its spread, and the t distribution's tails."""
    tail = (1 + LEVEL) / 2
    return float(np.sqrt(boats / (boats - 1)) * stats.t.ppf(tail, boats - 1) / stats.norm.ppf(tail))
