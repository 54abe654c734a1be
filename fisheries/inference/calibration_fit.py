"""Ways to restate probabilities, each with few parameters that are fitted by log loss, weighted by `boat_weights`.

A fit takes predictions (N, C), labels and boats, by `image_id`, and returns what changes predictions. Where a method
mixes with something that it counted (class frequencies, confusions), the share is fitted on counts of other boats than
the image's own: counts of its own would be confirmed by it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import optimize
from scipy.special import log_softmax, softmax

from fisheries.inference.calibration_math import (
    PSEUDO_COUNT,
    TOLERANCE,
    Array,
    Change,
    as_change,
    clipped,
    logits_of,
    mean_loss,
    minimize,
    mixed,
    sharpened,
    smoothed,
    smoothed_prior,
    sums_by_boat,
    sums_of_others,
    weighted_truth,
)
from fisheries.inference.crossfit import boat_parts

Fit = Callable[[pd.DataFrame, pd.Series, pd.Series], Change]

SHARPNESS = (-3.0, 3.0)  # of the logarithm of 1 / temperature
SHARE = (0.0, 1.0)
LOW = (-12.0, -2.3)  # of the logarithm of the lower clip
HIGH = (0.3, 1.0)
PENALTIES = (0.002, 0.05, 1.0)
PARTS = 3  # of boats, to choose a penalty


def fit_none(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    """Leave predictions as they are."""
    return lambda rows: rows


def fit_prior(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    """State the class frequencies of the images fitted on for every image, smoothed as `smoothed_prior` does."""
    prior, _ = smoothed_prior(weighted_truth(predictions, labels, boats), boats)
    return as_change(lambda values: np.tile(prior, (len(values), 1)))


def fit_temperature(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    """Divide logits by one temperature (Guo et al. 2017, "On calibration of modern neural networks")."""
    values, truth = predictions.to_numpy(np.float64), weighted_truth(predictions, labels, boats)
    (sharpness,) = minimize(lambda x: mean_loss(sharpened(values, x[0]), truth), [(0.0, SHARPNESS)])
    return as_change(lambda rows: sharpened(rows, sharpness))


def fit_prior_mix(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    """Mix with the class frequencies of the images fitted on."""
    values, truth = predictions.to_numpy(np.float64), weighted_truth(predictions, labels, boats)
    prior, others = smoothed_prior(truth, boats)
    (share,) = minimize(lambda x: mean_loss(mixed(values, others, x[0]), truth), [(0.3, SHARE)])
    return as_change(lambda rows: mixed(rows, prior, share))


def fit_temperature_prior_mix(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    """Divide logits by a temperature, then mix with the class frequencies of the images fitted on."""
    values, truth = predictions.to_numpy(np.float64), weighted_truth(predictions, labels, boats)
    prior, others = smoothed_prior(truth, boats)
    sharpness, share = minimize(
        lambda x: mean_loss(mixed(sharpened(values, x[0]), others, x[1]), truth), [(0.0, SHARPNESS), (0.3, SHARE)]
    )
    return as_change(lambda rows: mixed(sharpened(rows, sharpness), prior, share))


def fit_clip(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    """Clip probabilities from below and above, and rescale rows to sum to 1."""
    values, truth = predictions.to_numpy(np.float64), weighted_truth(predictions, labels, boats)
    low, high = minimize(lambda x: mean_loss(clipped(values, x[0], x[1]), truth), [(-4.0, LOW), (0.95, HIGH)])
    return as_change(lambda rows: clipped(rows, low, high))


def fit_confusion(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    """Mix with the true classes that images predicted like this one turn out to be.

    Row k of the confusion (C, C) holds the true classes of the images fitted on, each by its probability of class k,
    and a pseudo-count of the class frequencies; an image takes the rows' mean, weighted by its own probabilities.
    Temperature, share and pseudo-count are fitted on confusions of the other boats.
    """
    values, truth = predictions.to_numpy(np.float64), weighted_truth(predictions, labels, boats)
    prior, others = smoothed_prior(truth, boats)
    codes, counts = sums_by_boat(values[:, :, None] * truth[:, None, :], boats)  # (B, C, C)
    total, rest = counts.sum(axis=0), sums_of_others(counts)

    def shown(rows: Array, sharpness: float, share: float, size: float) -> Array:
        return mixed(sharpened(rows, sharpness), rows @ smoothed(total, prior, size), share)

    def loss(x: Array) -> float:
        size = np.exp(x[2])
        table = smoothed(rest, others_of_boat[:, None, :], size)  # (B, C, C)
        confusion = (values[:, None, :] @ table[codes])[:, 0]  # (N, C)
        return mean_loss(mixed(sharpened(values, x[0]), confusion, x[1]), truth)

    others_of_boat = others[np.unique(codes, return_index=True)[1]]  # (B, C)
    sharpness, share, size = minimize(loss, [(0.0, SHARPNESS), (0.5, SHARE), (3.0, PSEUDO_COUNT)])
    return as_change(lambda rows: shown(rows, sharpness, share, np.exp(size)))


def fit_vector(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    """Scale and shift the logits of each class, with a penalty on what differs from one temperature for all.

    The penalty is the one of `PENALTIES` with the lowest log loss cross-fitted over boats; with one boat the largest.
    """
    values, truth = predictions.to_numpy(np.float64), weighted_truth(predictions, labels, boats)
    part = boat_parts(boats, parts=PARTS).to_numpy()

    def loss_of_others(penalty: float) -> float:
        held_out = [part == number for number in np.unique(part)]
        changes = [_vector(values[~out], truth[~out], penalty) for out in held_out]
        return sum(
            mean_loss(change(values[out]), truth[out]) * out.sum()
            for change, out in zip(changes, held_out, strict=True)
        )

    penalty = max(PENALTIES) if part.max() == 0 else min(PENALTIES, key=loss_of_others)
    return as_change(_vector(values, truth, penalty))


def _vector(values: Array, truth: Array, penalty: float) -> Callable[[Array], Array]:
    logits, weight = logits_of(values), truth.sum(axis=1, keepdims=True)
    start = np.concatenate([[1.0], np.zeros(2 * truth.shape[1])])  # one scale for all; what classes add; shifts

    def scaled(logits: Array, x: Array) -> Array:
        own, shift = np.split(x[1:], 2)
        return logits * (x[0] + own) + shift

    def loss(x: Array) -> tuple[float, Array]:
        log_p = log_softmax(scaled(logits, x), axis=1)
        off = (np.exp(log_p) * weight - truth) / len(truth)  # (N, C), the slope by logit
        slope = np.concatenate([[(off * logits).sum()], (off * logits).sum(axis=0), off.sum(axis=0)])
        slope[1:] += 2 * penalty * x[1:]
        return float(-(truth * log_p).sum() / len(truth) + penalty * (x[1:] ** 2).sum()), slope

    x = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", tol=TOLERANCE).x
    return lambda rows: softmax(scaled(logits_of(rows), x), axis=1)
