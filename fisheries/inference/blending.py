"""Means of the predictions of several networks, and the weights that make such a mean best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from fisheries.inference.submission import CLIP

METHODS = ("mean", "geometric", "weighted", "greedy")  # the simplest first
FITTED = ("weighted", "greedy")  # those with weights of their own for each member
SINGLE = "single"  # no mean: the member of least log loss
_ROUNDS = 50  # of greedy selection

Floats = NDArray[np.float64]


def stack(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return tables of the same images side by side, by name: columns (member, class), rows as the first has them."""
    first = next(iter(tables.values()))
    return pd.concat({name: table.loc[first.index, first.columns] for name, table in tables.items()}, axis=1)


def members_of(stacked: pd.DataFrame) -> list[str]:
    """Return the names of the members of a table made by `stack`, in its order."""
    return list(stacked.columns.get_level_values(0).unique())


def combine(stacked: pd.DataFrame, weights: pd.Series, *, method: str) -> pd.DataFrame:
    """Return the weighted mean of members: of their probabilities, or with `geometric` of their logarithms.

    Args:
        stacked: see `stack`.
        weights: by member, 0 or more, with a sum of 1.
        method: one of `METHODS`, or `SINGLE`.

    Returns:
        (N, C); rows sum to 1.
    """
    names = members_of(stacked)
    members = np.stack([stacked[name].to_numpy(np.float64) for name in names])  # (M, N, C)
    by_member = weights.loc[names].to_numpy(np.float64)
    if method == "geometric":
        mixed = np.exp(np.einsum("m,mnc->nc", by_member, np.log(members.clip(CLIP))))
    else:
        mixed = np.einsum("m,mnc->nc", by_member, members)
    return pd.DataFrame(mixed / mixed.sum(axis=1, keepdims=True), stacked.index, stacked[names[0]].columns)


def fit_weights(stacked: pd.DataFrame, labels: pd.Series, *, method: str) -> pd.Series:
    """Return the weights of members, 0 or more with a sum of 1: fitted by log loss, or all alike.

    Args:
        stacked: see `stack`.
        labels: true classes, among those of the tables, by `image_id`.
        method: one of `METHODS`, or `SINGLE`.
    """
    names = members_of(stacked)
    if method not in (*FITTED, SINGLE):
        return pd.Series(1 / len(names), names)
    own = _of_true_class(stacked, labels)
    if method == SINGLE:
        return pd.Series(np.eye(len(names))[np.log(own).mean(axis=0).argmax()], names)
    return pd.Series(best_weights(own) if method == "weighted" else greedy_weights(own), names)


def best_weights(own: Floats) -> Floats:
    """Return the weights (M,), 0 or more with a sum of 1, of the mean that has the least log loss.

    The sum of the weights less the mean log of what they mix has its least value at the same weights, and needs no
    condition on their sum.

    Args:
        own: (N, M) probability of each image's true class, above 0, by member.
    """

    def loss(weights: Floats) -> tuple[float, Floats]:
        mixed = own @ weights  # (N,)
        return float(weights.sum() - np.log(mixed).mean()), 1 - (own / mixed[:, None]).mean(axis=0)

    count = own.shape[1]
    found = minimize(loss, np.full(count, 1 / count), jac=True, method="L-BFGS-B", bounds=[(0, None)] * count).x
    return np.asarray(found / found.sum(), np.float64)


def greedy_weights(own: Floats) -> Floats:
    """Return how often each member is taken, as shares (M,), by forward selection with replacement.

    Each round takes the member with which the mean of those taken has the least log loss, and the best round counts
    (Caruana et al. 2004, "Ensemble selection from libraries of models").

    Args:
        own: as in `best_weights`.
    """
    taken, kept = np.zeros(own.shape[1]), np.zeros(own.shape[1])
    total, least = np.zeros(len(own)), np.inf
    for count in range(1, _ROUNDS + 1):
        losses = -np.log((total[:, None] + own) / count).mean(axis=0)  # (M,)
        best = int(losses.argmin())
        taken[best] += 1
        total += own[:, best]
        if losses[best] < least:
            least, kept = losses[best], taken.copy()
    return kept / kept.sum()


def _of_true_class(stacked: pd.DataFrame, labels: pd.Series) -> Floats:
    """Return the probability (N, M) of each image's true class, by member."""
    names, images = members_of(stacked), np.arange(len(stacked))
    column = stacked[names[0]].columns.get_indexer(labels.loc[stacked.index])
    own = [stacked[name].to_numpy(np.float64)[images, column] for name in names]
    return np.stack(own, axis=1).clip(CLIP)
