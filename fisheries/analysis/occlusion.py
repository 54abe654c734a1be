"""Fish painted out, and fish moved to another deck: what would the network say of such a photograph?"""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.boxes import Floats, iou_xyxy

Pixels = NDArray[np.uint8]
_TRIES = 200
_INPAINT_PX = 4


def box_mask(boxes_xyxy: Floats, image_hw: tuple[int, int]) -> Floats:
    """Return how much of each pixel (H, W) lies in one of the boxes (K, 4) in [0, 1]."""
    height, width = image_hw
    mask = np.zeros(image_hw)
    for left, top, right, bottom in boxes_xyxy:
        rows, columns = _covered(top * height, bottom * height, height), _covered(left * width, right * width, width)
        mask = np.maximum(mask, np.outer(rows, columns))
    return mask


def heat_share(heat: NDArray[np.floating], boxes_xyxy: Floats) -> float:
    """Return which share of the heat (H, W), at least 0, lies in the boxes (K, 4); NaN where there is none at all."""
    total = float(heat.sum())
    return float((heat * box_mask(boxes_xyxy, heat.shape)).sum()) / total if total > 0 else float("nan")


def paint_out(pixels: Pixels, boxes_xyxy: Floats) -> Pixels:
    """Fill boxes (K, 4) of a photograph (H, W, 3) from their surroundings, and leave all else (Telea 2004, by OpenCV)."""
    mask = (box_mask(boxes_xyxy, pixels.shape[:2]) > 0).astype(np.uint8)
    filled: Pixels = np.asarray(cv2.inpaint(pixels, mask, _INPAINT_PX, cv2.INPAINT_TELEA), dtype=np.uint8)
    return filled


def boxes_beside(boxes_xyxy: Floats, generator: np.random.Generator) -> Floats | None:
    """Return boxes as large, at random places that touch none of the boxes (K, 4) in [0, 1]; None if they find none."""
    placed: list[Floats] = []
    for box in boxes_xyxy:
        size = box[2:] - box[:2]
        corners = generator.random((_TRIES, 2)) * (1 - size)
        tried = np.concatenate([corners, corners + size], axis=1)
        taken = np.stack([*boxes_xyxy, *placed])
        free = [one for one in tried if not iou_xyxy(np.broadcast_to(one, taken.shape), taken).any()]
        if not free:
            return None
        placed.append(free[0])
    return np.stack(placed)


def paste(pixels: Pixels, box_xyxy: Floats, deck: Pixels, *, feather: float = 0.12) -> Pixels:
    """Put a fish from one photograph on the deck of another, at the same place.

    Args:
        pixels: (H, W, 3) with the fish.
        box_xyxy: (4,) in [0, 1] around it.
        deck: (H, W, 3); outside of the box it stays as it is.
        feather: how far the edge fades, inward, as a share of the box's shorter side.

    Raises:
        ValueError: the photographs differ in size.
    """
    if pixels.shape != deck.shape:
        raise ValueError(f"fish on {pixels.shape}, deck of {deck.shape}: expected the same size")
    alpha = _feathered(box_xyxy, deck.shape[:2], feather=feather)[..., None]
    return (alpha * pixels + (1 - alpha) * deck).round().astype(np.uint8)


def choose_decks(images: pd.DataFrame, decks: pd.DataFrame, *, seed: int) -> pd.Series:
    """Choose for each image a photograph of another boat to put its fish on.

    Args:
        images: with `boat`, by `image_id`.
        decks: photographs without fish, likewise.
        seed: of the choice, which depends on it and the image's name alone.

    Returns:
        An `image_id` of `decks`, or "" where the boat is not known or no other has one, by `image_id`.
    """
    known = decks[decks["boat"] != ""].sort_index()
    return pd.Series(
        [_deck(name, boat, known, seed) for name, boat in images["boat"].items()], images.index, dtype="str"
    )


def _deck(image_id: object, boat: str, decks: pd.DataFrame, seed: int) -> str:
    others = decks.index[decks["boat"] != boat]
    if boat == "" or others.empty:
        return ""
    return str(others[np.random.default_rng([seed, *str(image_id).encode()]).integers(len(others))])


def _covered(low: float, high: float, count: int) -> Floats:
    """Return how much of each of `count` unit steps lies between `low` and `high`."""
    steps = np.arange(count)
    return np.clip(np.minimum(high, steps + 1) - np.maximum(low, steps), 0, 1)


def _feathered(box_xyxy: Floats, image_hw: tuple[int, int], *, feather: float) -> Floats:
    height, width = image_hw
    left, top, right, bottom = box_xyxy * [width, height, width, height]
    fade_px = max(feather * min(right - left, bottom - top), 1e-6)
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    depth = np.minimum(np.minimum(rows - top, bottom - rows), np.minimum(columns - left, right - columns))
    return np.clip(depth / fade_px, 0, 1)
