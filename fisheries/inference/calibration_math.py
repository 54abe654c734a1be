"""Arithmetic on probabilities (N, C), and counts by boat, that ways to restate probabilities have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import softmax

from fisheries.inference.submission import CLIP

Array = NDArray[np.float64]
Change = Callable[[pd.DataFrame], pd.DataFrame]

TOLERANCE = 1e-6  # nats
PSEUDO_COUNT = (-4.0, 12.0)  # of its logarithm, in images


def boat_weights(boats: pd.Series) -> pd.Series:
    """Return a weight for each image, 1 on average, such that a boat of n images counts as the square root of n.

    Frames of one boat are alike: with equal weights the quirks of the few boats with most images are what is fitted.
    """
    codes, _ = pd.factorize(boats)
    weights = 1 / np.sqrt(np.bincount(codes)[codes])
    return pd.Series(weights / weights.mean(), boats.index)


def smoothed_prior(truth: Array, boats: pd.Series) -> tuple[Array, Array]:
    """Return class frequencies (C,), and for each image those of the other boats (N, C), no class without a share.

    Every class is counted as if it had been seen a few times more, as often as suits the boats best when each is
    predicted from the others: a class that is on one boat alone has to be expected on the next one, too.

    Args:
        truth: one-hot times weight (N, C).
        boats: of the N images.
    """
    codes, counts = sums_by_boat(truth, boats)  # (B, C)
    total, rest = counts.sum(axis=0), sums_of_others(counts)
    uniform = np.full(truth.shape[1], 1 / truth.shape[1])
    (size,) = minimize(lambda x: mean_loss(smoothed(rest, uniform, np.exp(x[0]))[codes], truth), [(2.0, PSEUDO_COUNT)])
    return smoothed(total, uniform, np.exp(size)), smoothed(rest, uniform, np.exp(size))[codes]


def weighted_truth(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Array:
    """Return true classes (N, C), one-hot times the image's weight; the weights are 1 on average."""
    codes = predictions.columns.get_indexer(labels.loc[predictions.index])
    weights = boat_weights(boats.loc[predictions.index]).to_numpy()
    return np.eye(len(predictions.columns))[codes] * weights[:, None]


def minimize(loss: Callable[[Array], float], start: Sequence[tuple[float, tuple[float, float]]]) -> Array:
    """Minimize over parameters given as (start, (lowest, highest))."""
    first, bounds = zip(*start, strict=True)
    return optimize.minimize(loss, first, method="L-BFGS-B", bounds=bounds, tol=TOLERANCE).x


def mean_loss(values: Array, truth: Array) -> float:
    """Return the mean log loss of probabilities (N, C), in nats, where `truth` is weighted."""
    return float(-(truth * np.log(values.clip(CLIP, 1))).sum() / len(truth))


def logits_of(values: Array) -> Array:
    """Return the logarithms of probabilities (N, C), clipped as scores are."""
    return np.log(values.clip(CLIP, 1))


def sharpened(values: Array, sharpness: float) -> Array:
    """Return probabilities (N, C) whose logits are multiplied by exp(sharpness): the temperature is exp(-sharpness)."""
    return softmax(logits_of(values) * np.exp(sharpness), axis=1)


def mixed(values: Array, constant: Array, share: float) -> Array:
    """Return the mean of `values` (N, C) and of `constant` (C,) or (N, C), the second with weight `share`."""
    return (1 - share) * values + share * constant


def clipped(values: Array, low: float, high: float) -> Array:
    """Return probabilities (N, C) between exp(low) and `high`, rescaled to sum to 1."""
    inside = values.clip(np.exp(low), high)
    return inside / inside.sum(axis=1, keepdims=True)


def smoothed(counts: Array, shares: Array, size: float) -> Array:
    """Return frequencies of `counts` (..., C) to which `size` more, in the given shares, are added."""
    return (counts + size * shares) / (counts.sum(axis=-1, keepdims=True) + size)


def sums_by_boat(values: Array, boats: pd.Series) -> tuple[NDArray[np.int64], Array]:
    """Return the number (N,) of each image's boat, and the sums of `values` (N, ...) over its images (B, ...)."""
    codes, names = pd.factorize(boats)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, codes, values)
    return codes, sums


def sums_of_others(sums: Array) -> Array:
    """Return the sums over the other boats; with one boat alone its own, since there are no others."""
    return sums.sum(axis=0) - sums if len(sums) > 1 else sums


def as_change(restate: Callable[[Array], Array]) -> Change:
    """Return a change of tables that changes their values (N, C) by `restate`."""
    return lambda rows: pd.DataFrame(restate(rows.to_numpy(np.float64)), rows.index, rows.columns)
