"""Draw photographs of what happens on a deck: fish, fishermen, gear, light and lens."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fisheries.data.synthetic_deck import (
    GEAR,
    MARGIN,
    OILSKINS,
    SCALE,
    Boat,
    Vector,
    ellipse,
    fill,
    pick,
    shade,
    stroke,
)
from fisheries.data.synthetic_fish import Image, Mask, Rng, draw_fish, lay
from fisheries.data.synthetic_species import SPECIES, Color

Box = tuple[float, float, float, float]  # left, top, width, height in frame pixels


def draw_frame(
    boat: Boat, *, label: str, is_night: bool, companion: str, scene: tuple[int, ...], frame: tuple[int, ...]
) -> tuple[Image, list[Box]]:
    """Draw one photograph.

    Args:
        boat: the boat.
        label: the class of the largest fish; a class without a species has no fish.
        is_night: whether the lamp's gray or green light is on.
        companion: the class of a smaller fish of another kind, if there is one.
        scene: seed of what a burst's frames share.
        frame: seed of what changes between them.

    Returns:
        The photograph (H, W, 3), and a tight box around what is seen of each fish, the largest first.
    """
    layout, school, clutter, weather = (np.random.default_rng([*scene, k]) for k in range(4))
    shake = np.random.default_rng(frame)
    left, top = shake.integers(0, 2 * MARGIN + 1, 2)
    canvas = boat.background[top : top + boat.height * SCALE, left : left + boat.width * SCALE].copy()
    spot = boat.spot + layout.normal(0, 1, 2) * (0.055, 0.06) * np.array(canvas.shape[1::-1])
    for _ in range(int(clutter.integers(0, 5))):
        _draw_gear(canvas, boat, rng=clutter, shake=shake)
    fish = _draw_school(canvas, boat, label, companion, spot, rng=school, shake=shake) if label in SPECIES else []
    bare = canvas.copy()
    for _ in range(int(clutter.choice([0, 1, 2, 3], p=[0.25, 0.35, 0.28, 0.12]))):
        _draw_person(canvas, boat, spot, rng=clutter, shake=shake)
    if clutter.random() < 0.35:
        _draw_rope(canvas, spot, rng=clutter, shake=shake)
    in_sight = cv2.inRange(cv2.absdiff(canvas, bare), (0, 0, 0), (0, 0, 0)) > 0
    boxes = [box for mask in fish if (box := _box(mask & in_sight))]
    return _photograph(canvas, boat, is_night=is_night, rng=weather, shake=shake), boxes


def _draw_school(
    canvas: Image, boat: Boat, label: str, companion: str, spot: Vector, *, rng: Rng, shake: Rng
) -> list[NDArray[np.bool_]]:
    """Lay the main fish on smaller ones, and return where each is seen, the main one first."""
    length = rng.uniform(0.27, 0.54) * canvas.shape[1]
    main = (label, length, spot, rng.uniform(0, 2 * np.pi))
    others = []
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.55, 0.25, 0.12, 0.08]))):
        kind = companion if rng.random() < 0.25 else label
        away = rng.uniform(0.2, 0.42) * canvas.shape[1] * _heading(rng.uniform(0, 2 * np.pi)) * (1, 0.6)
        others.append((kind, length * rng.uniform(0.3, 0.6), spot + away, rng.uniform(0, 2 * np.pi)))
    seen: list[NDArray[np.bool_]] = []
    for kind, size, at, angle in (*others, main):
        mask = _draw_one(canvas, boat, kind, size, at, angle, rng=rng, shake=shake)
        seen = [mask, *(earlier & ~mask for earlier in seen)]
    return seen


def _heading(angle: float) -> Vector:
    return np.array([np.cos(angle), np.sin(angle)])


def _draw_one(
    canvas: Image, boat: Boat, kind: str, length: float, at: Vector, angle: float, *, rng: Rng, shake: Rng
) -> NDArray[np.bool_]:
    species, colors, alpha = draw_fish(kind, rng=rng)
    bend = rng.normal(0, 0.05) * species.bend
    squeeze, mirrored = rng.uniform(0.78, 1.0), bool(rng.random() < 0.5)
    colors, alpha = lay(
        colors,
        alpha,
        length_px=length * species.length,
        angle=angle + shake.normal(0, 0.06),
        bend=bend + shake.normal(0, 0.006),
        squeeze=squeeze,
        mirrored=mirrored,
    )
    at = at + shake.normal(0, 0.012, 2) * canvas.shape[1]
    _shadow(canvas, alpha, at + boat.shadow)
    return _paste(canvas, colors, alpha, at)


def _window(shape: tuple[int, ...], size: int, at: Vector) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a square patch centered `at` meets the canvas: slices of the canvas, and of the patch.

    Both are empty where they don't meet.
    """
    left, top = (round(float(value)) - size // 2 for value in at)
    (x0, x1), (y0, y1) = _overlap(left, size, shape[1]), _overlap(top, size, shape[0])
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _overlap(start: int, size: int, end: int) -> tuple[int, int]:
    low = max(start, 0)
    return low, max(low, min(start + size, end))


def _shadow(canvas: Image, alpha: Mask, at: Vector) -> None:
    there, here = _window(canvas.shape, alpha.shape[0], at)
    if not canvas[there].size:
        return
    light = cv2.merge([255 - cv2.blur(alpha, (11, 11))[here] // 2] * 3)
    canvas[there] = cv2.multiply(canvas[there], light, scale=1 / 255)


def _paste(canvas: Image, colors: Image, alpha: Mask, at: Vector) -> NDArray[np.bool_]:
    there, here = _window(canvas.shape, alpha.shape[0], at)
    seen = np.zeros(canvas.shape[:2], bool)
    if not canvas[there].size:
        return seen
    weight = cv2.merge([alpha[here]] * 3)
    below = cv2.multiply(canvas[there], 255 - weight, scale=1 / 255)
    canvas[there] = cv2.add(below, cv2.multiply(colors[here], weight, scale=1 / 255))
    seen[there] = alpha[here] > 127
    return seen


def _box(seen: NDArray[np.bool_]) -> Box | None:
    """Return a tight box in frame pixels, or None where hardly anything is seen."""
    if seen.sum() < 60 * SCALE**2:
        return None
    left, top, width, height = cv2.boundingRect(seen.astype(np.uint8))
    return left / SCALE, top / SCALE, width / SCALE, height / SCALE


def _draw_gear(canvas: Image, boat: Boat, *, rng: Rng, shake: Rng) -> None:
    """Draw a bucket, a crate, a coil of rope or a stain on the deck."""
    height, width = canvas.shape[:2]
    center = rng.uniform(0.05, 0.95, 2) * (width, height) + shake.normal(0, 1.0, 2)
    color, size, angle = pick(GEAR, rng=rng), rng.uniform(0.035, 0.075) * width, rng.uniform(0, np.pi)
    kind = int(rng.integers(4))
    if kind == 0:
        ellipse(canvas, center + boat.shadow, (size, 0.9 * size), 0, (40, 40, 40))
        for reach, factor in ((1.0, 0.75), (0.92, 1.0), (0.8, 0.4)):
            ellipse(canvas, center - (0, 0.1 * size), (reach * size, 0.85 * reach * size), 0, shade(color, factor))
    elif kind == 1:
        turn = np.stack([_heading(angle), _heading(angle + np.pi / 2)])
        corners = np.array([[-1.5, -0.9], [1.5, -0.9], [1.5, 0.9], [-1.5, 0.9]]) * size
        for reach, factor in ((1.0, 0.8), (0.88, 0.5)):
            fill(canvas, center + reach * corners @ turn, shade(color, factor))
    elif kind == 2:
        t = np.linspace(0, 8 * np.pi, 60)[:, None]
        coil = center + size * (0.5 + t / 50) * np.hstack([np.cos(t), 0.7 * np.sin(t)])
        stroke(canvas, coil, color, 4)
    else:
        for _ in range(4):
            blob = center + rng.normal(0, size, 2)
            ellipse(canvas, blob, (rng.uniform(0.2, 0.7) * size, 0.25 * size), angle, (112, 32, 30))


def _draw_person(canvas: Image, boat: Boat, spot: Vector, *, rng: Rng, shake: Rng) -> None:
    """Draw a fisherman at the frame's edge from above, his arms reaching towards the spot."""
    width = canvas.shape[1]
    size = rng.uniform(0.2, 0.28) * width
    angle = rng.uniform(0, 2 * np.pi)
    body = spot + rng.uniform(0.34, 0.48) * width * _heading(angle) * (1, 0.75) + shake.normal(0, 0.012, 2) * width
    facing = np.arctan2(*(spot - body)[::-1]) + shake.normal(0, 0.08)
    aside = _heading(facing + np.pi / 2)
    suit = boat.oilskin if rng.random() < 0.7 else pick(OILSKINS, rng=rng)
    boots = body - 0.1 * size * _heading(facing) + (0, 0.42 * size)
    for way in (-1, 1):
        stroke(canvas, [body, boots + way * 0.12 * size * aside], shade(suit, 0.6), 0.2 * size)
        _draw_arm(canvas, boat, body + way * 0.24 * size * aside, facing, size, suit, rng=rng, shake=shake)
    ellipse(canvas, body, (0.2 * size, 0.29 * size), facing, shade(suit, 0.85))
    ellipse(canvas, body - (0, 0.03 * size), (0.14 * size, 0.22 * size), facing, suit)
    head = body + 0.1 * size * _heading(facing) - (0, 0.08 * size)
    ellipse(canvas, head, (0.12 * size, 0.115 * size), 0, pick(GEAR + ((70, 50, 40),), rng=rng))


def _draw_arm(
    canvas: Image, boat: Boat, shoulder: Vector, facing: float, size: float, suit: Color, *, rng: Rng, shake: Rng
) -> None:
    reach = rng.uniform(0.35, 0.75) * size
    hand = shoulder + reach * _heading(facing + rng.normal(0, 0.4)) + shake.normal(0, 0.05, 2) * size
    elbow = (shoulder + hand) / 2 + rng.normal(0, 0.08, 2) * size
    stroke(canvas, [shoulder, elbow, hand], shade(suit, 0.75), 0.15 * size)
    stroke(canvas, [shoulder, elbow, hand], suit, 0.09 * size)
    ellipse(canvas, hand, (0.085 * size, 0.07 * size), facing, boat.glove)


def _draw_rope(canvas: Image, spot: Vector, *, rng: Rng, shake: Rng) -> None:
    height, width = canvas.shape[:2]
    t = np.linspace(0, 1, 40)[:, None]
    start = rng.uniform(0, 1, 2) * (width, height)
    end = 2 * spot + rng.normal(0, 0.2, 2) * width - start
    sway = np.sin(t * np.pi * rng.uniform(1, 3)) * (rng.normal(0, 0.05, 2) + shake.normal(0, 0.004, 2)) * width
    stroke(canvas, start + (end - start) * t + sway, pick(GEAR, rng=rng), rng.uniform(2, 5))


def _photograph(canvas: Image, boat: Boat, *, is_night: bool, rng: Rng, shake: Rng) -> Image:
    """Reduce the canvas to a frame, and add the camera's light, color, noise and wet lens."""
    image: Image = np.asarray(cv2.resize(canvas, (boat.width, boat.height), interpolation=cv2.INTER_AREA), np.uint8)
    if rng.random() < 0.15:
        image = _wet(image, rng=rng)
    gain = np.exp(rng.normal(0, 0.1) + shake.normal(0, 0.03))
    light = _lamp(image, boat, rng=rng) if is_night else image * (gain * boat.balance).astype(np.float32)
    noise = rng.uniform(6, 11) if is_night else rng.uniform(1.5, 4.5)
    light = light + np.float32(noise) * shake.standard_normal(image.shape, dtype=np.float32)
    return np.clip(light, 0, 255).astype(np.uint8)


def _lamp(image: Image, boat: Boat, *, rng: Rng) -> NDArray[np.float32]:
    """Light a frame by a lamp: no color but the tube's, and dark away from the middle."""
    gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    x = np.linspace(-1, 1, image.shape[1], dtype=np.float32)
    y = np.linspace(-1, 1, image.shape[0], dtype=np.float32)[:, None]
    lamp = np.exp(-(x**2 + y**2) * np.float32(rng.uniform(0.2, 0.7))) * np.float32(rng.uniform(0.7, 1.05))
    return (gray * lamp)[..., None] * boat.night.astype(np.float32)


def _wet(image: Image, *, rng: Rng) -> Image:
    blurred = cv2.GaussianBlur(image, (0, 0), 3.5)
    drops = np.zeros(image.shape[:2], np.uint8)
    for _ in range(int(rng.integers(2, 7))):
        center = rng.uniform(0, 1, 2) * image.shape[1::-1]
        radius = rng.uniform(0.02, 0.06) * image.shape[1]
        cv2.ellipse(drops, (int(center[0]), int(center[1])), (int(radius), int(0.9 * radius)), 0, 0, 360, (255,), -1)
    weight = cv2.blur(drops, (5, 5))[..., None].astype(np.float32) / 255
    return (image * (1 - weight) + blurred * weight).astype(np.uint8)
