"""Find the cameras that took the photographs, without labels, and keep what a person corrects.

A camera is fixed on its boat, so the edges of deck, rails and overlays stay where they are, by day and by lamp, while
fish, people and water move. Each thumbnail becomes a map of edge directions, whatever the light, in blocks that count
alike. The mean map of a group of images keeps what is the same in all of them and loses what moves; two groups are one
camera where their mean maps agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, track
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.spatial.distance import squareform

from fisheries import schema
from fisheries.schema import OK, TRAIN, InputError, nearest

COLUMNS: Mapping[str, str] = {
    "boat": "str",  # what counts
    "confidence": "float64",  # of `found`, see `find_boats`
    "found": "str",  # what discovery said; where `boat` is another, a person corrected it
    "known": "bool",  # whether a training image is of this boat
}
Pixels = NDArray[np.uint8]
Maps = NDArray[np.float32]  # (N, F), one row of edges an image, of a length up to 1
Codes = NDArray[np.int64]

_CELL = 3  # thumbnail pixels a side
_BLOCK_HW = (3, 4)  # cells; a block is compared as a whole
_DIRECTIONS = 6
_BLUR = 1.2  # thumbnail pixels: the shake of a camera
_NEARBY = 4.0  # thumbnail pixels: how far around an edge others are looked at to judge its contrast
_NOISE = 0.05  # contrast (of square roots of gray levels) that counts for little
_BLACK = 20  # gray level up to which a border belongs to a bar

_TIGHT = 0.4  # mean likeness of the images of a first group: two images of different cameras have 0.3 at most
_SAME = 0.38  # agreement from which groups are one camera: of 150 cameras two pairs have more than 0.35
_OTHER_SIZE = 0.6  # what an agreement is worth between images of different sizes
_STABLE = (0.2, 0.4)  # limits of a camera's stable share: fewer edges are chance, more come from bursts
_SAMPLE = 2500  # images compared with each other at a time; the others are compared with cameras only
_ROUNDS = 2  # of giving each image to the camera that it fits best


@dataclass(frozen=True)
class _Cameras:
    count: NDArray[np.int64]  # (K,) images
    total: NDArray[np.float32]  # (K, F) sum of their maps
    stable: NDArray[np.float64]  # (K,) likeness of two of its images, within `_STABLE`
    has_size: NDArray[np.bool_]  # (K, S) whether any of them has that size


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
    maps, size = _edge_maps(ids, manifest, thumbnails, progress=progress)
    label = _discover(maps, size, rng=np.random.default_rng(seed), progress=progress)
    return pd.DataFrame({"boat": _names(label), "confidence": _confidence(maps, size, label)}, ids).loc[readable]


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
    maps, size = _edge_maps(ids, manifest, thumbnails)
    label = _cut(maps, size, seed=seed)
    if label is None:
        raise InputError(f"split {name}: its {len(ids)} images are too few or too much alike; correct rows by hand")
    taken = {*table["boat"], *table["found"]}
    parts = dict(zip(sorted(set(_names(label))), [name, *_fresh_names(taken, label.max())], strict=True))
    boat = table["boat"].copy()
    boat.loc[ids] = [parts[part] for part in _names(label)]
    return table.assign(boat=boat, known=_known(boat, manifest))


def _edge_maps(
    ids: pd.Index, manifest: pd.DataFrame, thumbnails: Pixels, *, progress: bool = False
) -> tuple[Maps, Codes]:
    """Return the edges of each image, (N, F), and its size as a number."""
    pixels = thumbnails[manifest.index.get_indexer(ids)]
    sizes, size = np.unique(manifest.loc[ids, ["height", "width"]].to_numpy(), axis=0, return_inverse=True)
    for number in range(len(sizes)):
        pixels[size == number] = _without_bars(pixels[size == number])
    shown = track(pixels, "Tracing edges", console=Console(stderr=True), disable=not progress)
    return np.array([_edge_map(picture) for picture in shown]), size.astype(np.int64)


def _edge_map(picture: Pixels) -> Maps:
    """Return the edges of one picture (H, W, 3): in each block, how much there is of each direction in each cell.

    It is a histogram of oriented gradients (Dalal and Triggs, 2005), in square roots of gray levels, with the gradients
    measured against the contrast around them, so that a lamp or the sun changes little.
    """
    gray = np.sqrt(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32))
    smooth = cv2.GaussianBlur(gray, (0, 0), 0.7)
    gradient = np.stack([cv2.Sobel(smooth, -1, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))], axis=-1)
    steep = np.linalg.norm(gradient, axis=-1, keepdims=True)
    nearby = np.sqrt(cv2.GaussianBlur(steep**2, (0, 0), _NEARBY))[..., None] + _NOISE
    angle = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    along = np.maximum(gradient @ np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32), 0)
    edges = along**2 / (np.maximum(steep, 1e-6) * np.maximum(steep, nearby))  # (H, W, directions)
    cells = cv2.GaussianBlur(edges, (0, 0), _BLUR)[_CELL // 2 :: _CELL, _CELL // 2 :: _CELL]
    return _blocks(cells)


def _blocks(cells: NDArray[np.float32]) -> Maps:
    """Return cells (h, w, directions) block by block, each less its mean and of the same length."""
    height, width = _BLOCK_HW
    rows, columns = cells.shape[0] // height, cells.shape[1] // width
    grid = cells.reshape(rows, height, columns, width, -1).swapaxes(1, 2).reshape(rows * columns, height * width, -1)
    blocks = (grid - grid.mean(axis=1, keepdims=True)).reshape(rows * columns, -1)
    blocks /= np.linalg.norm(blocks, axis=1, keepdims=True) + 1e-3
    return np.asarray(blocks.ravel() / np.sqrt(len(blocks)), np.float32)


def _without_bars(pictures: Pixels) -> Pixels:
    """Return pictures (n, H, W, 3) of one size, with the black bars that most have on two opposite sides cut off.

    The same photograph comes bare, and with bars that make it wider.
    """
    height, width = pictures.shape[1:3]
    light = pictures.max(axis=3)
    left, top = (_bar(np.quantile(light, 0.98, axis=axis)) for axis in (1, 2))  # as a line has noise
    if not left and not top:
        return pictures
    inner = pictures[:, top : height - top, left : width - left]
    return np.array([cv2.resize(picture, (width, height)) for picture in inner])


def _bar(light: NDArray[np.float64]) -> int:
    """Return how many lines to cut off on both sides, given the light of each line of each picture (n, lines)."""
    is_bright = (light > _BLACK).mean(axis=0) > 0.2
    if not is_bright.any():
        return 0
    dark = min(int(is_bright.argmax()), int(is_bright[::-1].argmax()))
    return dark + 1 if dark else 0  # the line where a bar ends is half dark


def _discover(
    maps: Maps, size: Codes, *, rng: np.random.Generator, strictness: float = 1, progress: bool = False
) -> Codes:
    """Return the number of each image's camera, from 0 without gaps."""
    label = np.full(len(maps), -1, np.int64)
    same = strictness * _SAME
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("Finding boats", total=len(maps))
        while (free := np.flatnonzero(label < 0)).size:
            sample = np.sort(rng.choice(free, min(len(free), _SAMPLE), replace=False))
            label[sample] = label.max() + 1 + _first_groups(maps[sample], likeness=strictness * _TIGHT)
            label = _assign(maps, size, _merge(maps, size, label, same=same), same=same)
            bar.update(task, completed=int((label >= 0).sum()))
    for _ in range(_ROUNDS):
        label = _merge(maps, size, _assign(maps, size, label, same=same), same=same)
    return label


def _first_groups(maps: Maps, *, likeness: float) -> Codes:
    """Return groups of images that are alike in most blocks, by average linkage."""
    if len(maps) < 2:
        return np.zeros(len(maps), np.int64)
    distance = squareform(1 - np.clip(maps @ maps.T, -1, 1), checks=False)
    return np.asarray(fcluster(linkage(distance, "average"), 1 - likeness, "distance"), np.int64) - 1


def _cameras(maps: Maps, size: Codes, label: Codes) -> _Cameras:
    rows = np.flatnonzero(label >= 0)
    shape = int(label.max()) + 1, len(maps)
    member = csr_matrix((np.ones(len(rows), np.float32), (label[rows], rows)), shape)
    count = np.bincount(label[rows])
    total = member @ maps
    pairs = (total**2).sum(axis=1) - member @ (maps**2).sum(axis=1)  # likeness, summed over two different images
    stable = np.where(count > 1, pairs / np.maximum(count * (count - 1), 1), _STABLE[1])
    has_size = member @ np.eye(int(size.max()) + 1, dtype=np.float32)[size] > 0
    return _Cameras(count, total, np.clip(stable, *_STABLE), has_size)


def _merge(maps: Maps, size: Codes, label: Codes, *, same: float) -> Codes:
    """Join cameras that are each other's best match until none agree; -1 stays.

    The agreement is the mean likeness of an image of one and an image of the other, as a share of that of two images
    of the less stable one: about 1 for one camera, whatever part of its picture moves, and 0 for two.
    """
    while True:
        cameras = _cameras(maps, size, label)
        mean = cameras.total / cameras.count[:, None]
        agreement = mean @ mean.T / np.minimum(cameras.stable[:, None], cameras.stable)
        agreement *= np.where(cameras.has_size @ cameras.has_size.T, 1, _OTHER_SIZE)
        np.fill_diagonal(agreement, -1)
        own, best = np.arange(len(mean)), agreement.argmax(axis=1)
        joins = (best[best] == own) & (best < own) & (agreement.max(axis=1) >= same)
        if not joins.any():
            return label
        number = np.unique(np.where(joins, best, own), return_inverse=True)[1]
        label = np.where(label >= 0, number[label], -1)


def _assign(maps: Maps, size: Codes, label: Codes, *, same: float) -> Codes:
    """Return the camera that each image fits best, or its own or none (-1) if it fits no other well."""
    fit = _fits(maps, size, label)
    label = np.where(fit.max(axis=1) >= same, fit.argmax(axis=1), label)
    used, number = np.unique(label, return_inverse=True)
    return np.asarray(number - int(used[0] == -1), np.int64)


def _fits(maps: Maps, size: Codes, label: Codes) -> NDArray[np.float32]:
    """Return how well each image fits each camera without it, (N, K); the lone image of a camera fits it by `_SAME`."""
    cameras = _cameras(maps, size, label)
    fit = maps @ (cameras.total / cameras.count[:, None] / cameras.stable[:, None]).T.astype(np.float32)
    fit *= np.where(cameras.has_size[:, size].T, 1, _OTHER_SIZE)
    rows = np.flatnonzero(label >= 0)
    own = label[rows]
    others = (maps[rows] * cameras.total[own]).sum(axis=1) - (maps[rows] ** 2).sum(axis=1)
    left_out = others / np.maximum(cameras.count[own] - 1, 1) / cameras.stable[own]
    fit[rows, own] = np.where(cameras.count[own] > 1, left_out, _SAME)
    return fit


def _confidence(maps: Maps, size: Codes, label: Codes) -> NDArray[np.float64]:
    fit = _fits(maps, size, label).astype(np.float64)
    own = fit[np.arange(len(fit)), label].copy()
    fit[np.arange(len(fit)), label] = 0
    return np.clip(np.minimum(own, 1) - np.maximum(fit.max(axis=1), 0), 0, 1)


def _cut(maps: Maps, size: Codes, *, seed: int) -> Codes | None:
    """Return two or more groups by the least strict standard that gives them, each with a fair share, or None."""
    least = min(max(2, round(0.02 * len(maps))), len(maps) // 2)
    for strictness in np.geomspace(1, 6, 25):  # at 6 hardly any two images are one camera
        label = _discover(maps, size, rng=np.random.default_rng(seed), strictness=strictness)
        large = np.flatnonzero(np.bincount(label) >= least)
        if len(large) > 1:
            fit = _fits(maps, size, label)[:, large]
            return np.where(np.isin(label, large), np.searchsorted(large, label), fit.argmax(axis=1))
    return None


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
        maps, size = _edge_maps(ids.append(new), manifest, thumbnails)
        names, number = np.unique(boat.loc[ids], return_inverse=True)
        label = np.concatenate([number, np.full(len(new), -1)])
        boat.loc[new] = names[_fits(maps, size, label)[len(ids) :].argmax(axis=1)]
    return boat


def _known(boat: pd.Series, manifest: pd.DataFrame) -> pd.Series:
    trained = boat[manifest.loc[boat.index, "subset"] == TRAIN]
    return boat.isin(set(trained))
