"""Nights: photographs that nothing but a lamp lights."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.schema import OK

_BLOCKS_HW = (9, 16)  # a photograph is judged by the means of so many blocks, which noise hardly touches
_ONE_TINT = 0.02  # colors this far from one tint are noise; by day even gray decks differ more from the sea
_GREEN = 0.45  # share of green in the middle block's light: a green lamp makes even white and water so green
_GREENEST = 0.9  # share of blocks with more green than red or blue; an orange oilskin keeps some of its color
_UNLIT = 36  # gray level of the brightest channel where no light falls
_AWAY = 0.2  # share of the picture that lies beyond the lamp's reach
_BAR = 5  # gray level of bars that make a picture wider


def find_nights(manifest: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> pd.Series:
    """Find the photographs that nothing but a lamp lights, each judged by itself.

    All in them has one tint, gray or another; or a green lamp colors nearly all of it; or a good part of the picture,
    where the lamp does not reach, is black.

    Args:
        manifest: with `status`, by `image_id`.
        thumbnails: (N, H, W, 3) RGB in the manifest's order.

    Returns:
        "is_night", in the manifest's order; False where the status is not "ok".
    """
    blocks = np.zeros((len(thumbnails), _BLOCKS_HW[0] * _BLOCKS_HW[1], 3))
    for block, thumbnail in zip(blocks, thumbnails, strict=True):
        block[:] = _blocks(thumbnail)
    is_night = _are_nights(blocks) & (manifest["status"] == OK).to_numpy()
    return pd.Series(is_night, manifest.index, name="is_night")


def looks_like_night(image: NDArray[np.uint8]) -> bool:
    """Say of one photograph (H, W, 3) RGB, as `find_nights`, whether nothing but a lamp lights it."""
    return bool(_are_nights(_blocks(image)[None])[0])


def _blocks(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means (B, 3) of the picture's blocks."""
    height, width = _BLOCKS_HW
    means = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.uint8).reshape(-1, 3)


def _are_nights(blocks: NDArray[np.float64] | NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say of each of N pictures' blocks (N, B, 3)."""
    blocks = blocks.astype(np.float64)
    return _has_one_tint(blocks) | _is_green(blocks) | _is_dark_away(blocks)


def _has_one_tint(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say of blocks (N, B, 3) whether all are one color, brighter or darker."""
    moments = np.einsum("nbi,nbj->nij", blocks, blocks)  # (N, 3, 3)
    energy = np.linalg.eigvalsh(moments).clip(min=0)  # (N, 3) in ascending order
    return energy[:, :2].sum(axis=1) <= _ONE_TINT**2 * energy[:, 2]


def _is_green(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    share = blocks[..., 1] / blocks.sum(axis=2).clip(min=1)  # (N, B)
    greenest = (blocks.argmax(axis=2) == 1).mean(axis=1)
    return (np.median(share, axis=1) >= _GREEN) & (greenest >= _GREENEST)


def _is_dark_away(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    brightest = blocks.max(axis=2)  # (N, B)
    left, right = brightest[:, :: _BLOCKS_HW[1]], brightest[:, _BLOCKS_HW[1] - 1 :: _BLOCKS_HW[1]]
    has_bars = np.maximum(left, right).max(axis=1) <= _BAR
    return (np.quantile(brightest, _AWAY, axis=1) <= _UNLIT) & ~has_bars
