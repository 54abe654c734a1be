"""Images that must stay together, and the sample of them on which a fold is scored on boats it trains on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# the columns of the manifest whose values each kind of split claims to keep on one side
BURST = ("burst", "sha256")
CLAIMS = {"random": (), "burst": BURST, "boat": ("boat", *BURST)}

Groups = NDArray[np.int64]


def connect(images: pd.DataFrame, columns: Sequence[str]) -> Groups:
    """Number the groups of images that share a value in one of `columns`, directly or over other images.

    Args:
        images: rows of a manifest.
        columns: such as `BURST`; "" is shared by nobody.

    Returns:
        (N,) numbers from 0 in the order of first appearance.
    """
    rows, nodes, size = [np.arange(0)], [np.arange(0)], len(images)
    for name in columns:
        known = np.flatnonzero(images[name] != "")
        codes, values = pd.factorize(images[name].iloc[known])
        rows.append(known)
        nodes.append(size + codes)  # after the images, a node for each value
        size += len(values)
    row, node = np.concatenate(rows), np.concatenate(nodes)
    _, group = connected_components(coo_array((np.ones(len(row)), (row, node)), shape=(size, size)), directed=False)
    return pd.factorize(group[: len(images)])[0].astype(np.int64)


def count_classes(groups: Groups, labels: pd.Series) -> pd.DataFrame:
    """Return how many images of each class, a column each, the groups, a row each, have."""
    codes, classes = pd.factorize(labels, sort=True)
    names, rows = np.unique(groups, return_inverse=True)
    counts = np.bincount(rows * len(classes) + codes, minlength=len(names) * len(classes))
    return pd.DataFrame(counts.reshape(len(names), len(classes)), names, classes)


def linked_boats(images: pd.DataFrame) -> list[list[str]]:
    """Return the lists of boats that share a burst or a file, and so stay together."""
    known = images[images["boat"] != ""]
    groups = pd.Series(connect(known, CLAIMS["boat"]), known.index)
    names = [sorted(set(boats)) for _, boats in known["boat"].groupby(groups)]
    return [boats for boats in names if len(boats) > 1]


def draw_seen(images: pd.DataFrame, fold: pd.Series, *, share: float, seed: int) -> Groups:
    """Draw, for each fold, a sample of the images it would train on, to score it on boats that it has seen.

    Whole bursts are drawn from all boats alike, about `share` of each class, each burst for one fold at most. The last
    burst of a class or of a boat stays in the fold's training part.

    Args:
        images: rows of a manifest, whose bursts and identical files lie in one fold each.
        fold: the fold of each, -1 for those that no fold trains on.
        share: of the images outside of a fold, from 0 to below 1; less where folds compete for too few.
        seed: another seed is another sample.

    Returns:
        (N,) the fold that each image is drawn for, or -1.
    """
    burst = connect(images, BURST)
    classes = count_classes(burst, images["label"]).to_numpy()  # (B, C)
    boats = count_classes(burst, images["boat"]).to_numpy()
    own = fold.to_numpy()[np.unique(burst, return_index=True)[1]]  # (B,)
    trained = (own != np.arange(fold.max() + 1)[:, None]) & (own >= 0)  # (K, B)
    order = _turns(boats.argmax(axis=1), classes.argmax(axis=1), rng=np.random.default_rng([seed, 1]))
    seen = _take(order, classes, trained, owned=np.hstack([classes, boats]) > 0, share=share)
    return seen[burst]


def _take(
    order: Groups, classes: Groups, trained: NDArray[np.bool_], *, owned: NDArray[np.bool_], share: float
) -> Groups:
    """Give each burst to the fold that wants its classes most, if that brings the fold closer to what it wants."""
    counts = np.hstack([classes, classes.sum(axis=1, keepdims=True)]).astype(np.float64)  # (B, C + 1), with the size
    wanted, left = share * (trained @ counts), trained @ owned.astype(np.int64)
    even = np.maximum(wanted, 1)
    seen = np.full(len(counts), -1, np.int64)
    for burst in order:
        count = counts[burst]
        best = np.where(trained[:, burst], (wanted / even) @ count, -np.inf).argmax()
        closer = trained[best, burst] and 2 * wanted[best] @ count >= count @ count
        if closer and (left[best, owned[burst]] > 1).all():
            seen[burst] = best
            wanted[best] -= count
            left[best] -= owned[burst]
    return seen


def _turns(boats: Groups, labels: Groups, *, rng: np.random.Generator) -> Groups:
    """Return an order whose every stretch has about the same share of each boat's bursts of each class."""
    shuffled = pd.DataFrame({"boat": boats, "label": labels}).iloc[rng.permutation(len(boats))]
    strata = shuffled.groupby(["boat", "label"])["boat"]
    place = (strata.cumcount() + rng.random(len(shuffled))) / strata.transform("size")
    return place.sort_values(kind="stable").index.to_numpy()
