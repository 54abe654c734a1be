"""Nights: photographs that nothing but a lamp lights."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.schema import OK

_BLOCKS_HW = (9, 16)  # a photograph is judged by the means of so many blocks, which noise hardly touches
_ONE_TINT = 0.02  # share of the light that one color times a brightness leaves over: twice that by day, less by a lamp
_GREEN = 0.45  # share of green in the light of a green lamp: under it even white and water are so green
_ALMOST_ALL = 0.9  # of the blocks are greenest: people and fish keep some color of their own
_UNLIT = 30  # of 255: the brightest channel where no light falls
_AWAY = 0.2  # share of the picture that lies beyond the reach of the lamp


def find_nights(manifest: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> pd.Series:
    """Find the photographs that nothing but a lamp lights, each judged by itself.

    They have a single tint, as an infrared camera's are gray; or a green lamp colors almost all that is seen; or a
    good part of the picture is black.

    Args:
        manifest: with `status`, by `image_id`.
        thumbnails: (N, H, W, 3) RGB in the manifest's order.

    Returns:
        "is_night", in the manifest's order; False where the status is not "ok".
    """
    height, width = _BLOCKS_HW
    blocks = np.zeros((len(thumbnails), height * width, 3))
    for block, thumbnail in zip(blocks, thumbnails, strict=True):
        block[:] = cv2.resize(thumbnail, (width, height), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    is_night = _has_one_tint(blocks) | _is_green(blocks) | _is_dark_away(blocks)
    return pd.Series(is_night & (manifest["status"] == OK).to_numpy(), manifest.index, name="is_night")


def _has_one_tint(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say of blocks (N, B, 3) whether all are one color, brighter or darker."""
    moments = np.einsum("nbi,nbj->nij", blocks, blocks)  # (N, 3, 3)
    energy = np.linalg.eigvalsh(moments).clip(min=0)  # (N, 3) in ascending order
    left_over: NDArray[np.float64] = np.sqrt(energy[:, :2].sum(axis=1))
    return left_over <= _ONE_TINT * np.sqrt(energy[:, 2])


def _is_green(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    share = blocks[..., 1] / blocks.sum(axis=2).clip(min=1)  # (N, B)
    greenest = (blocks.argmax(axis=2) == 1).mean(axis=1)
    return (np.median(share, axis=1) >= _GREEN) & (greenest >= _ALMOST_ALL)


def _is_dark_away(blocks: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.quantile(blocks.max(axis=2), _AWAY, axis=1) <= _UNLIT
