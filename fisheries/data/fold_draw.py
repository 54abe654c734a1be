"""Draw folds from the groups of images that stay together, in a number that is asked for or found."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fisheries.data.fold_groups import CLAIMS, Groups, connect, count_classes
from fisheries.data.fold_search import fold_counts, search_folds
from fisheries.schema import InputError

_UNITS = {"random": "images", "burst": "bursts", "boat": "boats"}
_HAS = {"random": "has {} images", "burst": "is in {} bursts", "boat": "is on {} boats"}


def draw_folds(images: pd.DataFrame, *, split: str, folds: int | None, most: int, seed: int) -> tuple[pd.Series, str]:
    """Divide images into folds that have about the same share of every class.

    Args:
        images: rows of a manifest, all of which are divided.
        split: one of `CLAIMS`.
        folds: how many; None for the largest number up to `most` for which no class is missing from a part of a fold,
            save those that can't be in all, being in a single group; or else 2.
        most: see above.
        seed: of the search.

    Returns:
        The fold of each image, and a sentence that says why there are so many.

    Raises:
        InputError: there are too few images, bursts or boats.
    """
    groups = connect(images, CLAIMS[split])
    counts = count_classes(groups, images["label"])
    _check_count(len(counts), folds, split=split, linked=split == "boat" and images["boat"].nunique() > len(counts))
    carriers = (counts > 0).sum().sort_values(kind="stable")  # groups by class
    if folds is None:
        parts, reason = _search_largest(counts, carriers[carriers > 1], split=split, most=most, seed=seed)
    else:
        parts, reason = _assign(counts, folds, split=split, seed=seed), _asked(carriers, folds, split=split)
    lone = ", ".join(carriers.index[carriers == 1])
    if lone:
        reason += f"; in a single one of the {_UNITS[split]}, so that one fold can't train on it: {lone}"
    return pd.Series(parts[groups], images.index), reason


def _check_count(groups: int, folds: int | None, *, split: str, linked: bool) -> None:
    known, unit = list(CLAIMS), _UNITS[split] + " (those that share a burst or a file count as one)" * linked
    others = [f"split={other} divides {_UNITS[other]}" for other in known[: known.index(split)]]
    remedy = f"; {' and '.join(others)}" if others else ""
    if groups < 2:
        raise InputError(f"split={split}: expected at least 2 {unit}, there is {groups or 'none'}{remedy}")
    if folds is not None and not 2 <= folds <= groups:
        raise InputError(f"split.folds={folds}: expected 2 to {groups}, the number of {unit}{remedy}")


def _asked(carriers: pd.Series, folds: int, *, split: str) -> str:
    few = carriers[(carriers > 1) & (carriers < folds)]
    but = "".join(f", but {name} {_HAS[split].format(count)} only" for name, count in few[:1].items())
    return f"{folds} folds, as asked for{but}"


def _search_largest(counts: pd.DataFrame, shared: pd.Series, *, split: str, most: int, seed: int) -> tuple[Groups, str]:
    """Return folds of the largest number for which none of the `shared` classes, groups by class, is missing."""
    if shared.empty:
        return _assign(counts, 2, split=split, seed=seed), f"2 folds, since no class is shared by 2 {_UNITS[split]}"
    scarcest, bound = shared.index[0], int(shared.iloc[0])
    limit = min(most, bound)
    for folds in range(limit, 1, -1):
        parts = _assign(counts, folds, split=split, seed=seed)
        if (fold_counts(counts[shared.index].to_numpy(), parts, folds) > 0).all():
            break
    else:
        return parts, "2 folds, though the search found no way to have every class in both"
    carried = f"{scarcest} {_HAS[split].format(bound)}"
    if folds == bound:
        return parts, f"{folds} folds, the most that can be: {carried} only"
    if folds == most:
        return parts, f"{folds} folds, the most that are tried"
    return parts, f"{folds} folds, the most that the search found: {carried}, which does not rule out {limit}"


def _assign(counts: pd.DataFrame, folds: int, *, split: str, seed: int) -> Groups:
    if split == "random":
        return _deal(counts.to_numpy().argmax(axis=1), folds, seed=seed)
    return search_folds(counts.to_numpy(dtype=np.float64), folds, seed=seed)


def _deal(labels: Groups, folds: int, *, seed: int) -> Groups:
    """Deal shuffled images out, class after class, so that no fold has two more of a class than another."""
    rng = np.random.default_rng([seed, folds])
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    parts = np.empty(len(labels), np.int64)
    parts[order] = np.arange(len(labels)) % folds
    return parts
