"""Choose the boats that no fold trains on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.data.fold_groups import CLAIMS, Groups, connect, count_classes
from fisheries.data.fold_search import search_holdout
from fisheries.schema import InputError, nearest


def choose_holdout(images: pd.DataFrame, holdout: int | str | Sequence[str], *, seed: int) -> NDArray[np.bool_]:
    """Choose boats to be held out of all folds, with all that shares a burst or a file with them.

    Args:
        images: rows of a manifest.
        holdout: names of boats, or how many: the search chooses boats that look like the others and, if that can be,
            leave every class on two others. Boats that share a burst or a file count as one.
        seed: of the search.

    Returns:
        (N,) whether an image is held out.

    Raises:
        InputError: a boat that is not in `images`, or so many boats that fewer than two are left.
    """
    groups = connect(images, CLAIMS["boat"])
    known = images["boat"] != ""
    if isinstance(holdout, int):
        chosen = _search(groups[known], images.loc[known, "label"], holdout, seed=seed)
    else:
        names = [holdout] if isinstance(holdout, str) else [str(name) for name in holdout]
        _check_names(names, images.loc[known, "boat"])
        chosen = groups[images["boat"].isin(names)]
    return np.isin(groups, chosen)


def _search(groups: Groups, labels: pd.Series, holdout: int, *, seed: int) -> Groups:
    counts = count_classes(groups, labels)
    most = max(len(counts) - 2, 0)
    if not 0 <= holdout <= most:
        raise InputError(
            f"split.holdout={holdout}: expected 0 to {most}, so that of {len(counts)} boats 2 are left for the folds"
        )
    if holdout == 0:
        return np.empty(0, np.int64)
    return counts.index[search_holdout(counts.to_numpy(dtype=np.float64), holdout, seed=seed)].to_numpy()


def _check_names(names: Sequence[str], boats: pd.Series) -> None:
    unknown = sorted(set(names) - set(boats))
    if unknown:
        raise InputError(
            f"split.holdout: boat {unknown[0]!r} has no usable training image{nearest(unknown[0], set(boats))}; "
            f"there are {boats.nunique()} boats, such as {boats.iloc[0]!r}"
            if len(boats)
            else f"split.holdout: boat {unknown[0]!r} is asked for, but no usable training image has a boat"
        )
