"""Search for folds: groups of images that stay together are put into parts that all look like the whole.

Everything here works on counts (G, C): how many images of each class a group has; every group and class has some. A
fold lacks a class where it holds none of its images out, or holds out all, so that it trains without the class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Parts = NDArray[np.int64]

_STEPS = 1500  # of annealing; ten times as many take a fifth off the imbalance of 60 boats, which is small by then
_HOT, _COLD = 1.0, 1e-4  # what a step may cost at first and at last, as a share of what a group weighs
_DRAWS = 20_000  # of groups for the holdout, at most
_TRIED = 10  # of them are searched for two folds, the best first


def search_folds(counts: Counts, folds: int, *, seed: int) -> Parts:
    """Put groups into folds, so that first no fold lacks a class, and then all have alike shares of all classes.

    Many greedy starts are improved side by side by simulated annealing, with single moves and swaps of two groups.

    Args:
        counts: (G, C) images a group and class.
        folds: from 2 to G.
        seed: another seed is another search.

    Returns:
        (G,) the fold of each group.
    """
    rng = np.random.default_rng([seed, folds])
    columns = _with_sizes(counts[:, counts.any(axis=0)])  # (G, C + 1)
    chains = int(np.clip(200_000 // (len(counts) * folds), 4, 64))
    parts, sums = _start(columns, folds, chains=chains, rng=rng)
    _anneal(parts, sums, columns, rng=rng)
    totals = columns.sum(axis=0)
    best = _costs(sums, totals, folds).sum(axis=1).argmin()
    return parts[best, :-1]


def fold_counts(counts: Counts, parts: Parts, folds: int) -> Counts:
    """Return (K, C) images a fold and class."""
    sums = np.zeros((folds, counts.shape[1]))
    np.add.at(sums, parts, counts)
    return sums


def search_holdout(counts: Counts, groups: int, *, seed: int) -> Parts:
    """Choose groups that look like the others and leave each class on two others, if that can be, for two folds.

    Args:
        counts: (G, C) images a group and class.
        groups: how many, below G.
        seed: another seed is another search.

    Returns:
        (groups,) rows of `counts`.
    """
    drawn = _subsets(len(counts), groups, rng=np.random.default_rng([seed, 0]))  # (D, G)
    left = (~drawn).astype(np.int64) @ (counts > 0)  # (D, C) other groups of each class
    spoiled = (left < 2).sum(axis=1) + (left < 1).sum(axis=1)
    columns = _with_sizes(counts)
    even = columns.sum(axis=0) * groups / len(counts)
    unlike = ((drawn @ columns / even - 1) ** 2).mean(axis=1)
    ranked = drawn[np.lexsort((unlike, spoiled))]
    shared = (counts > 0).sum(axis=0) > 1
    good = (chosen for chosen in ranked[:_TRIED] if _divides(counts[~chosen], shared))
    return np.flatnonzero(next(good, ranked[0]))


def _subsets(size: int, chosen: int, *, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return all subsets of one, or many random ones of more."""
    if chosen == 1:
        return np.eye(size, dtype=bool)
    keys = rng.random((min(_DRAWS, _DRAWS * 100 // size), size))
    return np.unique(keys.argsort(axis=1).argsort(axis=1) < chosen, axis=0)


def _divides(counts: Counts, shared: NDArray[np.bool_]) -> bool:
    """Whether the search finds two folds that both have all the `shared` classes (C,)."""
    parts = search_folds(counts, 2, seed=0)
    return bool((fold_counts(counts, parts, 2)[:, shared] > 0).all())


def _with_sizes(counts: Counts) -> Counts:
    return np.hstack([counts, counts.sum(axis=1, keepdims=True)])


def _start(columns: Counts, folds: int, *, chains: int, rng: np.random.Generator) -> tuple[Parts, Counts]:
    """Put each group, the weighty ones first, where it costs least."""
    totals = columns.sum(axis=0)
    parts = np.zeros((chains, len(columns) + 1), np.int64)  # the last column belongs to nobody
    sums = np.zeros((chains, folds, columns.shape[1]))
    row = np.arange(chains)
    weight = (columns / totals).sum(axis=1) * rng.lognormal(sigma=0.5, size=(chains, len(columns)))
    for group in np.argsort(-weight, axis=1).T:  # (chains,)
        rise = _costs(sums + columns[group, None], totals, folds) - _costs(sums, totals, folds)  # (chains, K)
        best = (rise + 1e-9 * rng.random(rise.shape)).argmin(axis=1)
        parts[row, group] = best
        sums[row, best] += columns[group]
    return parts, sums


def _anneal(parts: Parts, sums: Counts, columns: Counts, *, rng: np.random.Generator) -> None:
    """Improve parts and their sums in place."""
    chains, folds, _ = sums.shape
    totals = columns.sum(axis=0)
    weight = ((columns * folds / totals) ** 2).mean()
    columns = np.vstack([columns, np.zeros_like(totals)])  # the last row is nobody
    row = np.arange(chains)
    for heat in weight * np.geomspace(_HOT, _COLD, _STEPS):
        one, other, target = _propose(parts, folds, rng=rng)
        source = parts[row, one]
        change = columns[one] - columns[other]  # (chains, C + 1)
        before = np.stack([sums[row, source], sums[row, target]])
        after = before + np.stack([-change, change])
        rise = (_costs(after, totals, folds) - _costs(before, totals, folds)).sum(axis=0)
        taken = np.flatnonzero((source != target) & (rise < heat * rng.exponential(size=chains)))
        parts[taken, one[taken]] = target[taken]
        parts[taken, other[taken]] = source[taken]
        sums[taken, source[taken]] = after[0, taken]
        sums[taken, target[taken]] = after[1, taken]


def _propose(parts: Parts, folds: int, *, rng: np.random.Generator) -> tuple[Parts, Parts, Parts]:
    """Return for each chain a group, another or nobody that it changes places with, and the fold that it comes to."""
    chains, nobody = len(parts), parts.shape[1] - 1
    row = np.arange(chains)
    one, other = rng.integers(nobody, size=(2, chains))
    elsewhere = (parts[row, one] + rng.integers(1, folds, size=chains)) % folds
    alone = rng.random(chains) < 0.5
    return one, np.where(alone, nobody, other), np.where(alone, elsewhere, parts[row, other])


def _costs(sums: Counts, totals: Counts, folds: int) -> Counts:
    """Return what folds with these sums (..., C + 1) cost; a class that is missing costs more than any balance."""
    unlike = ((sums * (folds / totals) - 1) ** 2).mean(axis=-1)  # all folds together cost less than folds ** 2
    lacks = (sums == 0).sum(axis=-1) + (sums == totals).sum(axis=-1)  # not held out, not trained on
    return unlike + folds**2 * lacks
