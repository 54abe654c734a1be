"""Cameras: which pictures show the same fixed surroundings, by day and by lamp, whatever moves in them.

Each thumbnail becomes a map of edge directions, whatever the light, in blocks that count alike. The mean map of a group
of images keeps what is the same in all of them and loses what moves; two groups are one camera where their mean maps
agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_matrix
from scipy.spatial.distance import squareform

from fisheries.progress import IMAGES, progress_bar, track

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
_CHUNK = 2048  # images worked on at a time
_ROUNDS = 2  # of giving each image to the camera that it fits best


@dataclass(frozen=True)
class _Cameras:
    count: NDArray[np.int64]  # (K,) images
    total: NDArray[np.float32]  # (K, F) sum of their maps
    stable: NDArray[np.float64]  # (K,) likeness of two of its images, within `_STABLE`
    has_size: NDArray[np.bool_]  # (K, S) whether any of them has that size


def edge_maps(
    ids: pd.Index, manifest: pd.DataFrame, thumbnails: Pixels, *, progress: bool = False
) -> tuple[Maps, Codes]:
    """Trace the edges of images.

    Args:
        ids: of the images.
        manifest: has their `height` and `width`.
        thumbnails: (N, H, W, 3) RGB in the manifest's order.
        progress: whether to draw a bar on standard error.

    Returns:
        The edges (N, F) of each image, and the number of its size (N,).
    """
    rows = manifest.index.get_indexer(ids)
    sizes, size = np.unique(manifest.loc[ids, ["height", "width"]].to_numpy(), axis=0, return_inverse=True)
    bars = [_find_bars(thumbnails, rows[size == number]) for number in range(len(sizes))]
    maps = np.empty((len(rows), len(_edge_map(np.zeros(thumbnails.shape[1:], np.uint8)))), np.float32)
    shown = track(rows, "Tracing edges", disable=not progress, unit=IMAGES)
    for edges, row, number in zip(maps, shown, size, strict=True):
        edges[:] = _edge_map(_without_bars(thumbnails[row], *bars[number]))
    return maps, size.astype(np.int64)


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


def _find_bars(thumbnails: Pixels, rows: Codes) -> tuple[int, int]:
    """Return how many lines to cut off the left and right, and off top and bottom, of thumbnails of one size.

    The same photograph comes bare, and with bars that make it wider.
    """
    light = [thumbnails[rows[part]].max(axis=3) for part in _chunks(len(rows))]
    # not the brightest pixel of a line, as a line has noise
    across, down = (np.concatenate([np.quantile(part, 0.98, axis=axis) for part in light]) for axis in (1, 2))
    return _bar(across), _bar(down)


def _without_bars(picture: Pixels, left: int, top: int) -> Pixels:
    height, width = picture.shape[:2]
    if not left and not top:
        return picture
    return np.asarray(cv2.resize(picture[top : height - top, left : width - left], (width, height)), np.uint8)


def _bar(light: NDArray[np.float64]) -> int:
    """Return how many lines to cut off on both sides, given the light of each line of each picture (n, lines)."""
    is_bright = (light > _BLACK).mean(axis=0) > 0.2
    if not is_bright.any():
        return 0
    dark = min(int(is_bright.argmax()), int(is_bright[::-1].argmax()))
    return dark + 1 if dark else 0  # the line where a bar ends is half dark


def find_cameras(
    maps: Maps, size: Codes, *, rng: np.random.Generator, strictness: float = 1, progress: bool = False
) -> Codes:
    """Group images by camera.

    Args:
        maps: (N, F) edges.
        size: (N,) number of each image's size.
        rng: says which images are compared first, where there are more than `_SAMPLE`.
        strictness: above 1, images must be more alike to be of one camera.
        progress: whether to draw a bar on standard error.

    Returns:
        The number (N,) of each image's camera, from 0 without gaps.
    """
    label = np.full(len(maps), -1, np.int64)
    same = strictness * _SAME
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task("Finding boats", total=len(maps), unit=IMAGES)
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
    pairs = (total**2).sum(axis=1) - member @ _self_likeness(maps)  # likeness, summed over two different images
    stable = np.where(count > 1, pairs / np.maximum(count * (count - 1), 1), _STABLE[1])
    has_size = member @ np.eye(int(size.max()) + 1, dtype=np.float32)[size] > 0
    return _Cameras(count, total, np.clip(stable, *_STABLE), has_size)


def _self_likeness(maps: Maps) -> NDArray[np.float32]:
    return np.concatenate([(maps[rows] ** 2).sum(axis=1) for rows in _chunks(len(maps))])


def _chunks(count: int) -> list[slice]:
    """Cut rows into parts, so that what is worked out of them needs little memory."""
    return [slice(start, start + _CHUNK) for start in range(0, max(count, 1), _CHUNK)]


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
    best = [(fit.max(axis=1), fit.argmax(axis=1)) for fit in _fits(maps, size, label)]
    most, camera = (np.concatenate(values) for values in zip(*best, strict=True))
    used, number = np.unique(np.where(most >= same, camera, label), return_inverse=True)
    return np.asarray(number - int(used[0] == -1), np.int64)


def fits(maps: Maps, size: Codes, label: Codes) -> NDArray[np.float32]:
    """Return how well each image fits each camera without it, (N, K); the lone image of a camera fits it by `_SAME`."""
    return np.concatenate(list(_fits(maps, size, label)))


def _fits(maps: Maps, size: Codes, label: Codes) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of `fits`, `_CHUNK` at a time: of 100,000 images and 1,000 cameras, all would be 400 MB."""
    cameras = _cameras(maps, size, label)
    mean = (cameras.total / cameras.count[:, None] / cameras.stable[:, None]).T.astype(np.float32)
    for rows in _chunks(len(maps)):
        fit = maps[rows] @ mean
        fit *= np.where(cameras.has_size[:, size[rows]].T, 1, _OTHER_SIZE)
        known = np.flatnonzero(label[rows] >= 0)
        own, held = label[rows][known], maps[rows][known]
        others = (held * cameras.total[own]).sum(axis=1) - (held**2).sum(axis=1)
        left_out = others / np.maximum(cameras.count[own] - 1, 1) / cameras.stable[own]
        fit[known, own] = np.where(cameras.count[own] > 1, left_out, _SAME)
        yield fit


def confidence_of(maps: Maps, size: Codes, label: Codes) -> NDArray[np.float64]:
    """Return how much better each image fits its own camera than the next best, in [0, 1]; see `boats.find_boats`."""
    parts = zip(_fits(maps, size, label), _chunks(len(maps)), strict=True)
    return np.concatenate([_confidence(fit.astype(np.float64), label[rows]) for fit, rows in parts])


def _confidence(fit: NDArray[np.float64], label: Codes) -> NDArray[np.float64]:
    own = fit[np.arange(len(fit)), label].copy()
    fit[np.arange(len(fit)), label] = 0
    return np.clip(np.minimum(own, 1) - np.maximum(fit.max(axis=1), 0), 0, 1)


def cut_camera(maps: Maps, size: Codes, *, seed: int) -> Codes | None:
    """Return two or more groups by the least strict standard that gives them, each with a fair share, or None."""
    least = min(max(2, round(0.02 * len(maps))), len(maps) // 2)
    for strictness in np.geomspace(1, 6, 25):  # at 6 hardly any two images are one camera
        label = find_cameras(maps, size, rng=np.random.default_rng(seed), strictness=strictness)
        large = np.flatnonzero(np.bincount(label) >= least)
        if len(large) > 1:
            fit = fits(maps, size, label)[:, large]
            return np.where(np.isin(label, large), np.searchsorted(large, label), fit.argmax(axis=1))
    return None
