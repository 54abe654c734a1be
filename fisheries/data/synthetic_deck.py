"""Draw boats' decks as a fixed camera sees them, and the strokes that all drawing here is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fisheries.data.synthetic_fish import SHIFT, Image, Rng, blotches
from fisheries.data.synthetic_species import Color

SCALE = 2  # drawn at twice the size, then reduced: smooth edges
MARGIN = 6  # canvas pixels around the frame, for a camera that shakes
Vector = NDArray[np.float64]

_DECKS: tuple[Color, ...] = (
    *((150, 112, 78), (186, 174, 152), (66, 112, 88), (74, 108, 146), (128, 132, 136), (138, 74, 62)),
    *((206, 206, 198), (82, 84, 90), (92, 146, 146), (176, 148, 104), (108, 96, 84), (158, 168, 178)),
)
_PAINTS: tuple[Color, ...] = (
    *((225, 225, 218), (60, 90, 140), (40, 100, 80), (150, 50, 45), (190, 160, 60), (90, 94, 100)),
)
OILSKINS: tuple[Color, ...] = ((226, 112, 30), (222, 178, 40), (206, 84, 36), (60, 96, 80), (52, 70, 110))
GLOVES: tuple[Color, ...] = ((224, 224, 220), (50, 90, 160), (220, 110, 50), (40, 42, 46))
GEAR: tuple[Color, ...] = (
    *((60, 90, 160), (220, 220, 214), (60, 60, 64), (190, 60, 50), (220, 180, 60), (70, 130, 100)),
)


@dataclass(frozen=True)
class Boat:
    """A fixed camera over one deck: what stays the same in all its frames."""

    background: Image  # canvas pixels, with a margin
    width: int  # frame pixels
    height: int
    spot: Vector  # where the catch is laid, canvas pixels
    oilskin: Color
    glove: Color
    shadow: Vector  # how far a shadow falls, canvas pixels
    balance: Vector  # the camera's gain in red, green and blue
    night: Vector  # the same by night: gray or green


def draw_boat(*, width: int, height: int, rng: Rng) -> Boat:
    """Draw one boat's deck and set up its camera, for frames of `width` x `height` pixels."""
    canvas = np.zeros((height * SCALE + 2 * MARGIN, width * SCALE + 2 * MARGIN, 3), np.uint8)
    gray = rng.uniform(0.9, 1.1, 3) * (0.92, 1.0, 0.95)
    return Boat(
        background=_draw_deck(canvas, rng=rng),
        width=width,
        height=height,
        spot=np.array([rng.uniform(0.4, 0.6) * width, rng.uniform(0.5, 0.62) * height]) * SCALE,
        oilskin=pick(OILSKINS, rng=rng),
        glove=pick(GLOVES, rng=rng),
        shadow=rng.uniform(-1, 1, 2) * 9 + (0, 4),
        balance=rng.uniform(0.9, 1.1, 3) * rng.uniform(0.85, 1.12),
        night=gray if rng.random() < 0.5 else np.array([0.55, 1.05, 0.6]) * rng.uniform(0.9, 1.1, 3),
    )


def pick(colors: tuple[Color, ...], *, rng: Rng, spread: float = 14) -> Color:
    """Choose one of `colors`, and vary it."""
    color = np.array(colors[int(rng.integers(len(colors)))]) + rng.normal(0, spread, 3)
    red, green, blue = (int(value) for value in np.clip(color, 8, 247))
    return red, green, blue


def shade(color: Color, factor: float) -> Color:
    """Return `color`, lighter or darker."""
    red, green, blue = (min(255, int(factor * value)) for value in color)
    return red, green, blue


def _fixed(points: Any) -> NDArray[np.int32]:
    return np.round(np.asarray(points, float) * 2**SHIFT).astype(np.int32)


def fill(canvas: Image, points: Any, color: Color) -> None:
    """Fill a polygon, its points (N, 2) in fractions of canvas pixels."""
    cv2.fillPoly(canvas, [_fixed(points)], color, cv2.LINE_AA, SHIFT)


def stroke(canvas: Image, points: Any, color: Color, thickness: float) -> None:
    """Draw an open line through points (N, 2) in canvas pixels."""
    cv2.polylines(canvas, [_fixed(points)], False, color, max(1, round(thickness)), cv2.LINE_AA, SHIFT)


def ellipse(canvas: Image, center: Vector, axes: tuple[float, float], angle: float, color: Color) -> None:
    """Fill an ellipse with half axes `axes`, turned by `angle` radians."""
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    x, y = axes[0] * np.cos(t), axes[1] * np.sin(t)
    turned = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=1)
    fill(canvas, center + turned, color)


def _draw_deck(canvas: Image, *, rng: Rng) -> Image:
    height, width = canvas.shape[:2]
    _draw_sea(canvas, rng=rng)
    corners = _deck_corners(rng=rng) * (width, height)
    to_canvas = _plane(corners)
    _draw_planks(canvas, to_canvas, rng=rng)
    _draw_hatches(canvas, to_canvas, rng=rng)
    _draw_gunwale(canvas, to_canvas, rng=rng)
    for _ in range(int(rng.integers(2, 5))):
        _draw_machine(canvas, rng=rng)
    return _weather(canvas, rng=rng)


def _draw_sea(canvas: Image, *, rng: Rng) -> None:
    height, width = canvas.shape[:2]
    far, near = rng.uniform(120, 200), rng.uniform(60, 120)
    ramp = np.linspace(far, near, height, dtype=np.float32)[:, None]
    waves = cv2.resize(blotches(rng=rng, width=width, height=4 * height, cells=26), (width, height))
    tint = np.array([rng.uniform(0.5, 0.8), rng.uniform(0.85, 1.0), rng.uniform(0.95, 1.15)], np.float32)
    canvas[:] = np.clip((ramp + 14 * waves)[..., None] * tint, 0, 255).astype(np.uint8)


def _deck_corners(*, rng: Rng) -> Vector:
    """Return the deck's far left, far right, near right and near left corner, in shares of the canvas."""
    top = rng.uniform(-0.1, 0.3)
    roll = rng.normal(0, 0.1)
    left, right = rng.uniform(-0.3, 0.22), rng.uniform(0.78, 1.3)
    flare = rng.uniform(0.1, 0.5)
    low = rng.uniform(1.05, 1.6)
    return np.array([[left, top - roll], [right, top + roll], [right + flare, low + roll], [left - flare, low - roll]])


def _plane(corners: Vector) -> Callable[[Any], Vector]:
    """Return the map from the unit square, the deck seen from above, to the canvas."""
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    matrix = cv2.getPerspectiveTransform(square, corners.astype(np.float32))

    def to_canvas(points: Any) -> Vector:
        flat = np.asarray(points, float) @ matrix[:, :2].T + matrix[:, 2]
        return np.asarray(flat[:, :2] / flat[:, 2:], float)

    return to_canvas


def _draw_planks(canvas: Image, to_canvas: Callable[[Any], Vector], *, rng: Rng) -> None:
    color = pick(_DECKS, rng=rng)
    count = int(rng.choice([1, 5, 9, 14, 22]))
    seam = shade(color, rng.uniform(0.45, 0.85))
    lengthwise = rng.random() < 0.6
    variety = rng.uniform(0.02, 0.14)
    for i in range(count):
        band = np.array([[i, 0], [i + 1, 0], [i + 1, count], [i, count]]) / count
        outline = to_canvas(band if lengthwise else band[:, ::-1])
        fill(canvas, outline, shade(color, 1 + rng.normal(0, variety)))
        stroke(canvas, outline, seam, rng.uniform(1, 3))


def _draw_hatches(canvas: Image, to_canvas: Callable[[Any], Vector], *, rng: Rng) -> None:
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(0.1, 0.75), rng.uniform(0.05, 0.7)
        wide, long = rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.25)
        corners = np.array([[x, y], [x + wide, y], [x + wide, y + long], [x, y + long]])
        paint = pick(_PAINTS + _DECKS, rng=rng)
        fill(canvas, to_canvas(corners), shade(paint, 0.5))
        fill(canvas, to_canvas(corners + [[0.012, 0.012], [-0.012, 0.012], [-0.012, -0.012], [0.012, -0.012]]), paint)


def _draw_gunwale(canvas: Image, to_canvas: Callable[[Any], Vector], *, rng: Rng) -> None:
    """Draw bulwarks along the deck's far side and flanks, and on some boats a rail on posts."""
    paint, tall = pick(_PAINTS, rng=rng), rng.uniform(14, 46)
    railed = rng.random() < 0.55
    for start, end in (((0, 0), (1, 0)), ((0, 0), (0, 1)), ((1, 0), (1, 1))):
        foot = to_canvas(np.linspace(start, end, 12))
        head = foot - (0, tall)
        fill(canvas, np.concatenate([foot, head[::-1]]), shade(paint, 0.7))
        stroke(canvas, head, paint, rng.uniform(4, 10))
        if railed:
            rail = head - (0, 0.9 * tall)
            stroke(canvas, rail, shade(paint, 0.9), 3)
            for low, high in zip(head, rail, strict=True):
                stroke(canvas, [low, high], shade(paint, 0.8), 3)


def _draw_machine(canvas: Image, *, rng: Rng) -> None:
    """Draw a locker, a winch or a pipe at the frame's edge, clear of the middle."""
    height, width = canvas.shape[:2]
    side = rng.uniform(0, 2 * np.pi)
    center = np.array([0.5 + 0.56 * np.cos(side), 0.5 + 0.52 * np.sin(side)]) * (width, height)
    paint, size = pick(_PAINTS + GEAR, rng=rng), rng.uniform(0.06, 0.15) * width
    kind = int(rng.integers(3))
    if kind == 0:
        block = center + np.array([[-1, -0.7], [1, -0.7], [1, 0.7], [-1, 0.7]]) * size
        fill(canvas, block, shade(paint, 0.65))
        fill(canvas, block - (0, 0.35 * size), paint)
    elif kind == 1:
        for reach, factor in ((1.0, 0.5), (0.85, 1.0), (0.5, 0.7), (0.2, 0.35)):
            ellipse(canvas, center, (reach * size, 0.8 * reach * size), side, shade(paint, factor))
    else:
        end = center + rng.uniform(-0.6, 0.6, 2) * (width, height)
        stroke(canvas, [center, (center[0], end[1])], shade(paint, 0.7), 0.16 * size)
        stroke(canvas, [center - (2, 0), (center[0] - 2, end[1])], paint, 0.06 * size)


def _weather(canvas: Image, *, rng: Rng) -> Image:
    """Stain the deck, wet it, and let the cabin's shadow and the lens's falloff lie on it."""
    height, width = canvas.shape[:2]
    light = 1 + 0.07 * blotches(rng=rng, width=width, height=height, cells=7)
    light += 0.05 * blotches(rng=rng, width=width, height=height, cells=60)
    if rng.random() < 0.5:
        edge = np.zeros((height, width), np.uint8)
        line = rng.uniform(0.1, 0.9, 2) * width
        fill(edge[..., None], [[line[0], 0], [line[1], height], [0, height], [0, 0]], (255, 255, 255))
        light *= 1 - rng.uniform(0.15, 0.4) * cv2.blur(edge, (9, 9)) / np.float32(255)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light *= 1 - np.float32(rng.uniform(0.02, 0.16)) * (x**2 + y**2)
    shaded = np.clip(canvas * light[..., None], 0, 255).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(shaded, (0, 0), 1.2), np.uint8)
