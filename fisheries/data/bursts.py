"""Bursts: frames of one moment, found among all photographs without comparing each with each.

Frames of one camera share their background, so two of them show one moment only if nowhere in the picture something
else lies. Small pictures tell, and only those are compared that share a perceptual hash.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fisheries.progress import track
from fisheries.schema import OK

# Frames are compared in tones: square roots of brightness, in percent of the square root of the picture's mean.
_PICTURE_HW = (36, 64)  # pixels in which two frames are compared
_REACH = 3  # pixels that things move within a moment, and the picture with a camera that shakes
_FLOOR = 16  # gray levels added to every pixel, so that noise in the dark counts for little
_FLAT = 4.0  # tones: a picture of less contrast shows nothing by which to know a moment
SAME_TONES = 0.25  # by which frames of one moment differ in the mean; moments are seldom less than 0.3 apart

_BLOCKS_HW = (4, 7)  # means of so many blocks are hashed
_TABLES = 12  # hashes of each frame
_BUCKET = 40  # frames that may share a hash, so that a camera that hardly changes costs no more than others
_FAR = 4.0  # tones by which the blocks of frames of one moment never differ in the mean
_SOME = 4  # one in so many tones is compared first: most pairs differ by too much in these alone
_CHUNK = 2048  # pairs compared at a time

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
_T = TypeVar("_T")


def find_bursts(manifest: pd.DataFrame, thumbnails: Pixels, *, progress: bool = False) -> pd.Series:
    """Find the frames of one moment, also across train and test.

    Frames of different sizes are never of one burst; files of the same content always are.

    Args:
        manifest: with `height`, `width`, `sha256` and `status`, by `image_id`.
        thumbnails: (N, H, W, 3) RGB in the manifest's order.
        progress: whether to draw bars on standard error.

    Returns:
        "burst", in the manifest's order: the alphabetically first `image_id` of the frame's burst. It is the frame's
        own where it is alone, or where its status is not "ok" and no other file has its content.
    """
    images = manifest.sort_index()  # the same bursts whatever the order of the rows
    ids = pd.Series(images.index, images.index)
    content = images["sha256"].where(images["sha256"] != "", ids)
    shown = images[images["status"] == OK]
    shown = shown[~content[shown.index].duplicated()]
    pictures = _pictures(thumbnails, manifest.index.get_indexer(shown.index))
    sizes = list(shown.groupby(["height", "width"]).indices.values())
    pairs = _candidates(pictures, sizes, progress=progress)
    first = _join(pairs, _differences(pictures, pairs, below=SAME_TONES, progress=progress), count=len(shown))
    known = content[shown.index]
    moments = dict(zip(known, known.iloc[first], strict=True))
    moment = [moments.get(name, name) for name in content]
    return ids.groupby(moment).transform("first")[manifest.index].rename("burst")


def compare_frames(thumbnails: Pixels, pairs: Ints, *, progress: bool = False) -> Floats:
    """Return how unlike frames are: frames of one moment differ by less than `SAME_TONES`, if in anything.

    Args:
        thumbnails: (N, H, W, 3) RGB.
        pairs: (P, 2) numbers of frames.
        progress: whether to draw a bar on standard error.

    Returns:
        (P,) by how many tones they differ in the mean; infinity for those that are plainly of different moments.
    """
    return _differences(_pictures(thumbnails, np.arange(len(thumbnails))), pairs, progress=progress)


def _pictures(thumbnails: Pixels, rows: Ints) -> Pixels:
    """Return small pictures (N, h, w, 3) of some thumbnails in tones."""
    height, width = _PICTURE_HW
    pictures = np.empty((len(rows), height, width, 3), np.uint8)
    for picture, row in zip(pictures, rows, strict=True):
        light = cv2.resize(thumbnails[row], (width, height), interpolation=cv2.INTER_AREA) + np.float32(_FLOOR)
        picture[:] = np.minimum(100 * np.sqrt(light / light.mean()), 255)
    return pictures


def _blocks(pictures: Pixels) -> Floats:
    height, width = _BLOCKS_HW
    small = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).ravel() for picture in pictures]
    return np.array(small, np.float32).reshape(len(pictures), height * width * 3)


def _candidates(pictures: Pixels, groups: Sequence[Ints], *, progress: bool) -> Ints:
    """Return pairs (P, 2) of pictures of the same group that share one of their hashes, the lower number first."""
    blocks = _blocks(pictures)
    contrast = np.array([picture.std(axis=(0, 1)).max() for picture in pictures])
    groups = [group[contrast[group] >= _FLAT] for group in groups]
    found = [np.empty(0, np.int64)]
    hashes = [(group, table) for group in groups for table in range(_TABLES)]
    for group, table in _track(hashes, "Hashing frames", progress=progress):
        buckets = _hash(blocks[group], rng=np.random.default_rng(table))
        one, other = group[_pairs_within(buckets)].T
        found.append(np.minimum(one, other) * len(pictures) + np.maximum(one, other))  # a number a pair sorts quickly
    pairs = np.sort(np.concatenate(found))
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return np.stack(np.divmod(pairs, max(len(pictures), 1)), axis=1)


def _hash(features: Floats, *, rng: np.random.Generator) -> Ints:
    """Hash features (N, F) so that like ones often share a hash, but no more than `_BUCKET`.

    A bit says on which side of the median a random mixture of the features lies, among those that agree in all bits
    before: where many are alike, bits look closer (random projection trees, Dasgupta and Freund, 2008).
    """
    bucket = np.zeros(len(features), np.int64)
    while np.bincount(bucket, minlength=1).max() > _BUCKET:
        mixture = features @ rng.standard_normal(features.shape[1], np.float32)
        order = np.lexsort((mixture, bucket))
        held = bucket[order]
        rank = np.arange(len(held)) - np.searchsorted(held, held)
        bucket[order] = 2 * held + (2 * rank >= np.bincount(held)[held])
    return bucket


def _pairs_within(bucket: Ints) -> Ints:
    """Return all pairs (P, 2) of positions in the same bucket."""
    order = np.argsort(bucket, kind="stable")
    held = bucket[order]
    pairs = [np.empty((0, 2), np.int64)]
    for step in range(1, np.bincount(bucket, minlength=1).max()):
        same = held[step:] == held[:-step]
        pairs.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
    return np.concatenate(pairs)


def _differences(pictures: Pixels, pairs: Ints, *, below: float = np.inf, progress: bool) -> Floats:
    """Return by how many tones the pictures of each pair differ in the mean.

    It is infinity where their blocks differ by much, and may be where it is not `below`.
    """
    blocks, some = _blocks(pictures), _tones(pictures, every=_SOME)
    most = below * math.prod(pictures.shape[1:])
    differences = np.full(len(pairs), np.inf, np.float32)
    starts = range(0, len(pairs), _CHUNK)
    for start in _track(starts, "Comparing frames", progress=progress):
        part = pairs[start : start + _CHUNK]
        near = np.flatnonzero(np.abs(blocks[part[:, 0]] - blocks[part[:, 1]]).mean(axis=1) < _FAR)
        near = near[_outside(some, part[near]).sum(axis=1) < most]
        shown, places = np.unique(part[near], return_inverse=True)  # all tones of all frames would fill the memory
        differences[start + near] = _outside(_tones(pictures[shown]), places.reshape(-1, 2)).mean(axis=1)
    return differences


def _tones(pictures: Pixels, *, every: int = 1) -> list[Pixels]:
    """Return the tones of pictures (N, F), or of one in so `every` pixel and color, and the lowest and the highest nearby."""
    kernel = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
    tones = np.ascontiguousarray(pictures.reshape(len(pictures), math.prod(pictures.shape[1:]))[:, ::every])
    lowest, highest = np.empty_like(tones), np.empty_like(tones)
    for picture, low, high in zip(pictures, lowest, highest, strict=True):
        low[:] = cv2.erode(picture, kernel).ravel()[::every]
        high[:] = cv2.dilate(picture, kernel).ravel()[::every]
    return [tones, lowest, highest]


def _outside(tones: Sequence[Pixels], pairs: Ints) -> Pixels:
    """Return by how much each tone of one picture or the other is darker or brighter than any nearby in its partner."""
    own, lowest, highest = tones
    one, other = pairs.T
    return np.maximum(
        np.maximum(own[one], lowest[other]) - np.minimum(own[one], highest[other]),
        np.maximum(own[other], lowest[one]) - np.minimum(own[other], highest[one]),
    )


def _join(pairs: Ints, differences: Floats, *, count: int) -> Ints:
    """Join frames that show one moment, the most alike first, and return the number of the first of each one's burst.

    Two bursts become one if at least a quarter of the pairs compared between them are of one moment: in a chain of
    frames, each like the next, the last may have nothing left of the first.
    """
    same = differences < SAME_TONES
    votes = _votes(pairs, same, count=count)
    joined = list(range(count))  # another frame of the same burst, or the frame itself
    links = pairs[same][np.argsort(differences[same], kind="stable")]
    for link in links.tolist():
        gone, kept = sorted((_burst(joined, frame) for frame in link), key=lambda burst: len(votes[burst]))
        if kept != gone and votes[kept][gone] >= 0:
            joined[gone] = kept
            _merge(votes, kept=kept, gone=gone)
    burst = np.array([_burst(joined, frame) for frame in range(count)], np.int64)
    _, first, number = np.unique(burst, return_index=True, return_inverse=True)
    return np.asarray(first[number], np.int64)


def _burst(joined: list[int], frame: int) -> int:
    """Follow a frame to the one that stands for its burst, and shorten the way for the next time."""
    while joined[frame] != frame:
        joined[frame] = joined[joined[frame]]
        frame = joined[frame]
    return frame


def _votes(pairs: Ints, same: NDArray[np.bool_], *, count: int) -> dict[int, Counter[int]]:
    """Return what speaks for joining one frame and another, not less than 0 if enough does, where a chain could."""
    links = coo_array((same[same], pairs[same].T), shape=(count, count))
    chain = connected_components(links, directed=False)[1]
    within = chain[pairs[:, 0]] == chain[pairs[:, 1]]
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    for (one, other), is_same in zip(pairs[within].tolist(), same[within].tolist(), strict=True):
        votes[one][other] = votes[other][one] = 3 if is_same else -1  # in sum, a quarter outweighs the rest
    return votes


def _merge(votes: dict[int, Counter[int]], *, kept: int, gone: int) -> None:
    for third, vote in votes.pop(gone).items():
        del votes[third][gone]
        if third != kept:
            votes[kept][third] += vote
            votes[third][kept] += vote


def _track(steps: Sequence[_T], description: str, *, progress: bool) -> Iterable[_T]:
    return track(steps, description, disable=not (progress and len(steps)))
