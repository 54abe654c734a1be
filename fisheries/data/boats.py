"""Find the cameras that took the photographs, without labels, and keep what a person corrects.

A camera is fixed on its boat, so the edges of deck, rails and overlays stay where they are, by day and by lamp, while
fish, people and water move; see `cameras`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from fisheries import schema
from fisheries.data.cameras import Codes, Pixels, confidence_of, cut_camera, edge_maps, find_cameras, fits
from fisheries.schema import OK, TRAIN, InputError, nearest

COLUMNS: Mapping[str, str] = {
    "boat": "str",  # what counts
    "confidence": "float64",  # of `found`, see `find_boats`
    "found": "str",  # what discovery said; where `boat` is another, a person corrected it
    "known": "bool",  # whether a training image is of this boat
}


def find_boats(manifest: pd.DataFrame, thumbnails: Pixels, *, seed: int = 0, progress: bool = False) -> pd.DataFrame:
    """Group the readable photographs, of training and test alike, by the camera that took them.

    Args:
        manifest: with `status`, `height` and `width`.
        thumbnails: (N, 54, 96, 3) RGB in the manifest's order, see `load_thumbnails`.
        seed: which images are compared first, where there are more than 2,500.
        progress: whether to draw bars on standard error.

    Returns:
        By `image_id`, in the manifest's order, `boat`: "cam_001" has the most images; and `confidence` in [0, 1]: how
        much better the image fits its own camera than the next best. A fit is the share of the camera's stable edges
        that an image shows, against the mean of the camera's images, the image itself left out: 1 is a typical image
        of the camera, 0 one of another. An image alone can't be compared with its own camera and has 0.38 at most.
        The confidence knows nothing of a camera taken for two, or of two taken for one.

    Raises:
        InputError: no photograph can be read.
    """
    readable = manifest.index[manifest["status"] == OK]
    if readable.empty:
        raise InputError(f"none of the manifest's {len(manifest)} photographs can be read; expected some of status ok")
    ids = readable.sort_values()  # so that the manifest's order does not matter
    maps, size = edge_maps(ids, manifest, thumbnails, progress=progress)
    label = find_cameras(maps, size, rng=np.random.default_rng(seed), progress=progress)
    return pd.DataFrame({"boat": _names(label), "confidence": confidence_of(maps, size, label)}, ids).loc[readable]


def read_boats(path: Path | str) -> pd.DataFrame:
    """Read a table of boats, to be brought up to date.

    Args:
        path: a CSV with `COLUMNS`, or with `image_id,boat` alone, such as the table of another participant. In the
            latter "" and "-1" mean that the boat isn't known, and all others count as corrected by hand.

    Returns:
        `boat` and `found` by `image_id`; `found` is "" where the file does not have it.

    Raises:
        InputError: as `schema.read_table`; a row without a boat in a file that has `found`.
    """
    table = schema.read_table(path, {"boat": "str", "found": "str"}, optional={"found": ""})
    table = table.assign(boat=table["boat"].str.strip(), found=table["found"].str.strip())
    unknown = table["boat"].isin(["", "-1"])
    emptied = unknown & (table["found"] != "")
    if emptied.any():
        raise InputError(
            f"{path}: {table.index[emptied][0]!r} has no boat; give a name, or delete the row to have it found again"
        )
    return table[~unknown]


def update_boats(
    found: pd.DataFrame, previous: pd.DataFrame | None, manifest: pd.DataFrame, thumbnails: Pixels
) -> pd.DataFrame:
    """Bring a table of boats up to date: names stay, corrections are kept, and new images follow corrected ones.

    A camera keeps the name under which most of its images were found before. Where images of a camera were corrected,
    a new image of it goes to the boat of those that it is most like.

    Args:
        found: as `find_boats` returns it.
        previous: as `read_boats` returns it; None for a first run.
        manifest: the same as for `find_boats`.
        thumbnails: likewise.

    Returns:
        `COLUMNS` by `image_id`, in the order of `found`.

    Raises:
        InputError: `previous` has ids that are not in the manifest: any if it was found here, or all.
    """
    names, boat = found["boat"], found["boat"]
    if previous is not None:
        _check_ids(previous, manifest)
        previous = previous.loc[previous.index.intersection(found.index)]
        names = found["boat"].map(_kept_names(found["boat"], previous))
        boat = _corrected(names, previous)
        boat = _follow(boat, names, previous.index, manifest, thumbnails)
    table = pd.DataFrame({"boat": boat, "confidence": found["confidence"], "found": names})
    return table.assign(known=_known(table["boat"], manifest))


def merge_boats(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the table with several boats made one, which has the name of the first.

    Args:
        table: `COLUMNS`.
        names: two or more.

    Raises:
        InputError: fewer than two names, or a name that no boat has.
    """
    if len(set(names)) < 2:
        raise InputError(f"merge {','.join(names)}: expected two or more boats, such as cam_001,cam_002")
    for name in names:
        _check_name(table, name)
    merged = table.assign(boat=table["boat"].where(~table["boat"].isin(names), names[0]))
    return merged.assign(known=merged.groupby("boat")["known"].transform("any"))


def split_boat(
    table: pd.DataFrame, name: str, manifest: pd.DataFrame, thumbnails: Pixels, *, seed: int = 0
) -> pd.DataFrame:
    """Return the table with one boat cut in two or more, where its images agree least; the largest keeps the name.

    Args:
        table: `COLUMNS`.
        name: the boat.
        manifest: the same as for `find_boats`.
        thumbnails: likewise.
        seed: likewise.

    Raises:
        InputError: no boat has that name, or its images are all alike.
    """
    _check_name(table, name)
    ids = table.index[table["boat"] == name].sort_values()
    maps, size = edge_maps(ids, manifest, thumbnails)
    label = cut_camera(maps, size, seed=seed)
    if label is None:
        raise InputError(f"split {name}: its {len(ids)} images are too few or too much alike; correct rows by hand")
    taken = {*table["boat"], *table["found"]}
    parts = dict(zip(sorted(set(_names(label))), [name, *_fresh_names(taken, int(label.max()))], strict=True))
    boat = table["boat"].copy()
    boat.loc[ids] = [parts[part] for part in _names(label)]
    return table.assign(boat=boat, known=_known(boat, manifest))


def _names(label: Codes) -> list[str]:
    """Name cameras by the number of their images; of equal ones the one with the first image comes first."""
    used, first, count = np.unique(label, return_index=True, return_counts=True)
    rank = np.empty(len(used), np.int64)
    rank[np.lexsort((first, -count))] = np.arange(len(used))
    return [f"cam_{rank[number] + 1:03}" for number in label]


def _fresh_names(taken: set[str], count: int) -> list[str]:
    numbers = [int(name[4:]) for name in taken if name.startswith("cam_") and name[4:].isdecimal()]
    return [f"cam_{max(numbers, default=0) + 1 + k:03}" for k in range(count)]


def _check_ids(previous: pd.DataFrame, manifest: pd.DataFrame) -> None:
    strange = ~previous.index.isin(manifest.index)
    wrong = strange & (previous["found"] != "")
    if wrong.any() or (strange.all() and len(strange)):
        name = previous.index[wrong if wrong.any() else strange][0]
        raise InputError(
            f"boats: {name!r} is not in the manifest{nearest(name, manifest.index)}; correct or delete its row "
            f"({int(strange.sum())} such rows)"
        )


def _check_name(table: pd.DataFrame, name: str) -> None:
    names = sorted(set(table["boat"]))
    if name not in names:
        raise InputError(f"no boat {name!r}{nearest(name, names)}; there are {len(names)}, see the column boat")


def _kept_names(boat: pd.Series, previous: pd.DataFrame) -> dict[str, str]:
    """Return the name of each camera: that of the earlier one with which it shares the most images, or a new one."""
    earlier = previous["found"].where(previous["found"] != "", previous["boat"])
    shared = pd.crosstab(boat.loc[earlier.index], earlier)
    pairs = zip(*linear_sum_assignment(-shared.to_numpy()), strict=True)
    kept = {shared.index[row]: shared.columns[column] for row, column in pairs if shared.iloc[row, column]}
    rest = sorted(set(boat) - set(kept))
    return kept | dict(zip(rest, _fresh_names({*earlier, *previous["boat"]}, len(rest)), strict=True))


def _corrected(found: pd.Series, previous: pd.DataFrame) -> pd.Series:
    corrected = previous.loc[previous["boat"] != previous["found"], "boat"]
    boat = found.copy()
    boat.loc[corrected.index] = corrected
    return boat


def _follow(
    boat: pd.Series, found: pd.Series, earlier: pd.Index, manifest: pd.DataFrame, thumbnails: Pixels
) -> pd.Series:
    """Give the new images of cameras that were corrected to the boat of the earlier images that they are most like."""
    boat = boat.copy()
    is_new = ~found.index.isin(earlier)
    for name in sorted(set(found[~is_new & (boat != found)]) & set(found[is_new])):
        ids, new = found.index[~is_new & (found == name)], found.index[is_new & (found == name)]
        maps, size = edge_maps(ids.append(new), manifest, thumbnails)
        names, number = np.unique(boat.loc[ids], return_inverse=True)
        label = np.concatenate([number, np.full(len(new), -1)])
        boat.loc[new] = names[fits(maps, size, label)[len(ids) :].argmax(axis=1)]
    return boat


def _known(boat: pd.Series, manifest: pd.DataFrame) -> pd.Series:
    trained = boat[manifest.loc[boat.index, "subset"] == TRAIN]
    return boat.isin(set(trained))
