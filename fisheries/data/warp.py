"""Flips, turns, scales, moves, slants, light and color of a picture: one matrix for places, one for colors, one step each.

However many of them there are, a picture is resampled once and its colors are computed once, which is four times as fast
as one after the other, and blurs and clips once in place of many times. Coordinates here are pixels from the picture's
upper left corner, so that the center of the first pixel is at (0.5, 0.5).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Less of the box than this left in the picture, and it no longer says where the fish is.
MIN_VISIBLE = 0.3
LUMA = np.array([0.299, 0.587, 0.114])  # brightness of R, G and B in ITU-R BT.601
_YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_FROM_YIQ = np.linalg.inv(_YIQ)

Matrix = NDArray[np.float64]


class Change(NamedTuple):
    """What becomes of a picture: of its places, and of its colors; None leaves them."""

    places: Matrix | None  # (2, 3): where a point (x, y, 1) goes, in pixels
    colors: Matrix | None  # (3, 4): what a color (R, G, B, 1) becomes, 0 to 255


class Amounts(NamedTuple):
    """How much is drawn at random, see `transforms.train_transform`."""

    hflip: float = 0.0
    vflip: float = 0.0
    rotate_deg: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    shear_deg: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    gray: float = 0.0


def draw_change(amounts: Amounts, *, image_hw: tuple[int, int], mean_rgb: Matrix, rng: np.random.Generator) -> Change:
    """Draw what becomes of a picture.

    Args:
        amounts: how much at most.
        image_hw: height and width.
        mean_rgb: (3,) of the picture, which contrast leaves where it is.
        rng: always asked for the same numbers, so that places do not depend on what becomes of colors.
    """
    draws = rng.uniform(-1.0, 1.0, len(Amounts._fields) + 2)
    return Change(_draw_places(amounts, image_hw, draws[:8]), _draw_colors(amounts, mean_rgb, draws[8:]))


def apply_change(
    image: NDArray[np.uint8], change: Change, *, border: int = cv2.BORDER_REFLECT_101
) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) as `change` makes it; its mirror image fills what was outside."""
    if change.places is not None:
        height, width = image.shape[:2]
        image = cv2.warpAffine(
            image,
            backwards(change.places),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border,
        )  # type: ignore[assignment]
    if change.colors is not None:
        image = cv2.transform(image, change.colors)  # type: ignore[assignment] # rounds, and clips to 0 and 255
    return image


def backwards(places: Matrix | None) -> Matrix:
    """Return where the pixels of the changed picture come from, (2, 3), with the first pixel's center at (0, 0)."""
    if places is None:
        return np.eye(2, 3)
    inverse = np.linalg.inv(places[:, :2])
    center = np.array([0.5, 0.5])
    offset = inverse @ (center - places[:, 2]) - center
    return np.column_stack([inverse, offset])


def move_box(
    box_xyxy: NDArray[np.float64], places: Matrix | None, *, image_hw: tuple[int, int]
) -> NDArray[np.float64] | None:
    """Return the box (4,) in [0, 1] around a moved one; None if less than `MIN_VISIBLE` of it is in the picture."""
    if places is None:
        return box_xyxy
    wh = np.array(image_hw[::-1], dtype=np.float64)
    left, top, right, bottom = box_xyxy
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]]) * wh
    moved = (corners @ places[:, :2].T + places[:, 2]) / wh  # (4, 2)
    whole = np.concatenate([moved.min(axis=0), moved.max(axis=0)])
    inside = whole.clip(0.0, 1.0)
    return inside if _area(inside) >= MIN_VISIBLE * _area(whole) > 0 else None


def _draw_places(amounts: Amounts, image_hw: tuple[int, int], draws: Matrix) -> Matrix | None:
    """Flip, slant, turn and scale around the middle, then move."""
    if not any(amounts[:6]):
        return None
    mirrors = np.where((draws[:2] + 1) / 2 < amounts[:2], -1.0, 1.0)
    turn, scale = math.radians(amounts.rotate_deg) * draws[2], 1 + amounts.zoom * draws[3]
    slant_x, slant_y = np.tan(np.radians(amounts.shear_deg) * draws[6:8])
    turned = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    linear = turned @ np.array([[1.0, slant_x], [slant_y, 1.0]]) @ np.diag(mirrors)
    wh = np.array(image_hw[::-1], dtype=np.float64)
    offset = wh / 2 - linear @ (wh / 2) + amounts.shift * draws[4:6] * wh
    if (linear == np.eye(2)).all() and not offset.any():
        return None
    return np.column_stack([linear, offset])


def _draw_colors(amounts: Amounts, mean_rgb: Matrix, draws: Matrix) -> Matrix | None:
    """Turn the hue, then saturate, then stretch around the mean brightness, then brighten."""
    if not any(amounts[6:]):
        return None
    brightness, contrast, saturation = 1 + np.array(amounts[6:9]) * draws[:3]
    hue = 2 * math.pi * amounts.hue * draws[3]
    saturation = 0.0 if (draws[4] + 1) / 2 < amounts.gray else saturation
    linear = _saturated(max(saturation, 0.0)) @ _turned_hue(hue)
    gain = max(brightness, 0.0) * max(contrast, 0.0)
    level = max(brightness, 0.0) * (1 - max(contrast, 0.0)) * float(LUMA @ mean_rgb)
    return np.column_stack([gain * linear, np.full(3, level)])


def _saturated(share: float) -> Matrix:
    return share * np.eye(3) + (1 - share) * np.tile(LUMA, (3, 1))


def _turned_hue(angle: float) -> Matrix:
    """Turn colors around the axis of grays, in YIQ."""
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    return _FROM_YIQ @ turn @ _YIQ


def _area(box_xyxy: NDArray[np.float64]) -> float:
    return float(np.prod(box_xyxy[2:] - box_xyxy[:2]))
