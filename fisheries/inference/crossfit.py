"""Fitting on some boats and judging on others, for everything that is fitted on predictions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

PARTS = 10


def boat_parts(boats: pd.Series, *, parts: int = PARTS) -> pd.Series:
    """Divide images into parts of about equal size, whole boats each; the largest boats are dealt out first.

    Args:
        boats: of each image, by `image_id`.
        parts: how many, or as many as there are boats if these are fewer.

    Returns:
        The part of each image, from 0, in the order of `boats`.
    """
    counts = boats.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    sizes = np.zeros(min(parts, len(counts)), np.int64)
    part_of = {}
    for boat, count in counts.items():
        part_of[boat] = int(sizes.argmin())
        sizes[part_of[boat]] += count
    return boats.map(part_of).rename("part")


def cross_fit(
    predictions: pd.DataFrame,
    labels: pd.Series,
    boats: pd.Series,
    fit: Callable[[pd.DataFrame, pd.Series, pd.Series], Callable[[pd.DataFrame], pd.DataFrame]],
    *,
    parts: int = PARTS,
) -> pd.DataFrame:
    """Change predictions by what was fitted on the images of other boats.

    Args:
        predictions: (N, C) by `image_id`.
        labels: true classes, by `image_id`.
        boats: by `image_id`.
        fit: takes predictions, labels and boats of the images to fit on, and returns what changes predictions.
        parts: see `boat_parts`.

    Returns:
        The changed predictions, in the order of `predictions`; as they were with a single boat, which leaves nothing
        to fit on.
    """
    part = boat_parts(boats.loc[predictions.index], parts=parts)
    if part.max() == 0:
        return predictions
    changed = []
    for number in range(part.max() + 1):
        rest, held_out = part.index[part != number], part.index[part == number]
        change = fit(predictions.loc[rest], labels.loc[rest], boats.loc[rest])
        changed.append(change(predictions.loc[held_out]))
    return pd.concat(changed).loc[predictions.index]
