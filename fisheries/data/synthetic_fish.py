"""Draw fish: seven labels by body shape, fins, pattern and color, on a patch that can be laid on a deck."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fisheries.data.synthetic_species import SPECIES, Color, Fin, Point, Species, curve

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Mask = NDArray[np.uint8]  # (H, W), 0 to 255
Rng = np.random.Generator

PATCH_PX = 320  # side of the square patch
LENGTH_PX = 284  # a fish from snout to tail
SHIFT = 4  # cv2's fixed-point bits, for polygons at fractions of a pixel


def draw_fish(label: str, *, rng: Rng) -> tuple[Species, Image, Mask]:
    """Draw one fish of a class, its snout to the left and its back up.

    Args:
        label: a class of `SPECIES`.
        rng: decides the kind of fish within the class, its proportions, its colors and where its spots are.

    Returns:
        What was drawn, its colors (P, P, 3) and its coverage (P, P); the fish is `LENGTH_PX` long.
    """
    kinds = SPECIES[label]
    species = _individual(kinds[int(rng.integers(len(kinds)))], rng=rng)
    colors = np.full((PATCH_PX, PATCH_PX, 3), species.flank, np.uint8)
    alpha = np.zeros((PATCH_PX, PATCH_PX), np.uint8)
    for part in species.fins:
        if not part.over:
            _fill_fin(colors, alpha, part)
    if species.finlets:
        _draw_finlets(colors, alpha, species)
    _draw_body(colors, alpha, species, rng=rng)
    _draw_head(colors, species)
    for part in species.fins:
        if part.over:
            _fill_fin(colors, alpha, part)
    return species, _tint(colors, rng=rng), alpha


def _individual(species: Species, *, rng: Rng) -> Species:
    """Return a fish a little deeper or slimmer, with longer or shorter fins, than its kind's mean."""
    depth, reach = rng.uniform(0.92, 1.08), rng.uniform(0.88, 1.1)
    fins = tuple(replace(part, outline=_stretch(part, depth=depth, reach=reach)) for part in species.fins)
    upper = tuple((x, y * depth) for x, y in species.upper)
    lower = tuple((x, y * depth) for x, y in species.lower)
    return replace(species, upper=upper, lower=lower, fins=fins)


def _stretch(part: Fin, *, depth: float, reach: float) -> tuple[Point, ...]:
    x0, y0 = part.outline[0]
    return tuple((x0 + (x - x0) * (0.5 + reach / 2), (y0 + (y - y0) * reach) * depth) for x, y in part.outline)


def _px(points: NDArray[np.float64]) -> NDArray[np.int32]:
    margin = (PATCH_PX - LENGTH_PX) / 2
    pixels = points * [LENGTH_PX, -LENGTH_PX] + [margin, PATCH_PX / 2]
    return np.round(pixels * 2**SHIFT).astype(np.int32)


def _fill_fin(colors: Image, alpha: Mask, part: Fin) -> None:
    points = _px(np.array(part.outline))
    edge = tuple(int(0.7 * value) for value in part.color)
    cv2.fillPoly(colors, [points], part.color, cv2.LINE_AA, SHIFT)
    cv2.polylines(colors, [points], True, edge, 2, cv2.LINE_AA, SHIFT)
    cv2.fillPoly(alpha, [points], (255,), cv2.LINE_AA, SHIFT)


def _draw_finlets(colors: Image, alpha: Mask, species: Species) -> None:
    assert species.finlets is not None
    for x in np.arange(0.65, 0.87, 0.035):
        for edge, out in ((species.upper, 1), (species.lower, -1)):
            y = float(_edge(edge, np.array([x]))[0])
            triangle = ((x - 0.014, y), (x + 0.018, y + out * 0.03), (x + 0.014, y))
            _fill_fin(colors, alpha, Fin(outline=triangle, color=species.finlets))


def _edge(points: tuple[Point, ...], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outline's height at `x`: a Hermite curve, with slopes from both neighbors."""
    xs, ys = np.array(points).T
    slopes = np.gradient(ys, xs)
    slopes[0] = 1.5 * (ys[1] - ys[0]) / (xs[1] - xs[0])
    i = np.clip(np.searchsorted(xs, x, side="right") - 1, 0, len(xs) - 2)
    step = xs[i + 1] - xs[i]
    t = np.clip((x - xs[i]) / step, 0, 1)
    value = (1 + 2 * t) * (1 - t) ** 2 * ys[i] + t * (1 - t) ** 2 * step * slopes[i]
    return value + t**2 * (3 - 2 * t) * ys[i + 1] + t**2 * (t - 1) * step * slopes[i + 1]


def _draw_body(colors: Image, alpha: Mask, species: Species, *, rng: Rng) -> None:
    x = np.linspace(0, species.upper[-1][0], 60)
    top, bottom = _edge(species.upper, x), _edge(species.lower, x)
    outline = np.concatenate([np.stack([x, top], 1), np.stack([x, bottom], 1)[::-1]])
    body = np.zeros_like(alpha)
    cv2.fillPoly(body, [_px(outline)], (255,), cv2.LINE_AA, SHIFT)
    np.maximum(alpha, body, out=alpha)
    skin = _skin(species, rng=rng)
    if species.spots:
        _draw_spots(skin, species, rng=rng)
    inside = body > 127  # the fins behind it are antialiased, and the outline is by `alpha`
    cv2.copyTo(skin, inside.astype(np.uint8), colors)


def _skin(species: Species, *, rng: Rng) -> Image:
    """Color the whole patch as flank: from back to belly, with shading, gloss, blotches and bars."""
    x = (np.arange(PATCH_PX) - (PATCH_PX - LENGTH_PX) / 2) / LENGTH_PX
    top, bottom = _edge(species.upper, x), _edge(species.lower, x)
    y = (PATCH_PX / 2 - np.arange(PATCH_PX, dtype=np.float32)) / LENGTH_PX
    middle, half = ((top + bottom) / 2).astype(np.float32), np.maximum((top - bottom) / 2, 0.004).astype(np.float32)
    height = (y[:, None] - middle) / half  # 1 on the back, -1 on the belly
    skin = np.take(_ramp(species, gloss=rng.uniform(0.0, 0.4)), _level(height), axis=0)
    light = 1 + 0.08 * blotches(rng=rng, width=PATCH_PX, height=PATCH_PX, cells=9)
    if species.bars:
        bars = np.sin(2 * np.pi * (x[None] * species.bars + 0.25 * height)) > 0.25
        light = np.where(bars & (height > -0.55), light * np.float32(0.5), light)
    return _uint8(cv2.multiply(skin, cv2.merge([light, light, light]), dtype=cv2.CV_8U))


def _level(height: NDArray[np.floating]) -> Mask:
    return _uint8(cv2.convertScaleAbs(np.clip(height, -1, 1) + np.float32(1), alpha=127.5))


def _ramp(species: Species, *, gloss: float) -> Image:
    """Return the flank's 256 colors from belly to back, lit from above, with a gloss at one height."""
    height = np.linspace(-1, 1, 256)
    anchors = np.array([species.belly, species.belly, species.flank, species.back, species.back], float)
    at = np.array([-1.0, -0.45, 0.1, 0.5, 1.0])
    ramp = np.stack([np.interp(height, at, anchors[:, i]) for i in range(3)], axis=-1)
    light = 1.04 - 0.3 * height**4 + 0.16 * np.exp(-(((height - gloss) / 0.16) ** 2))
    return np.clip(ramp * light[:, None], 0, 255).astype(np.uint8)


def _uint8(image: Any) -> NDArray[np.uint8]:
    return np.asarray(image, np.uint8)


def blotches(*, rng: Rng, width: int, height: int, cells: int) -> NDArray[np.float32]:
    """Return smooth noise (height, width) of about unit size, `cells` cells across."""
    rows = max(2, round(cells * height / width))
    coarse = rng.standard_normal((rows, cells), dtype=np.float32)
    smooth: NDArray[np.float32] = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return smooth


def _draw_spots(skin: Image, species: Species, *, rng: Rng) -> None:
    assert species.spots is not None
    count, radius, color = species.spots
    x = rng.uniform(0.12, 0.8, count)
    top, bottom = _edge(species.upper, x), _edge(species.lower, x)
    y = bottom + (top - bottom) * rng.uniform(0.1, 0.9, count)
    sizes = radius * rng.uniform(0.7, 1.3, count) * LENGTH_PX * 2**SHIFT
    for center, size in zip(_px(np.stack([x, y], 1)), sizes, strict=True):
        cv2.circle(skin, (int(center[0]), int(center[1])), int(size), color, -1, cv2.LINE_AA, SHIFT)


def _draw_head(colors: Image, species: Species) -> None:
    """Draw gill slits, an eye and a mouth."""
    x, y, radius = species.eye
    dark = tuple(int(0.55 * value) for value in species.flank)
    for slit in range(species.gills):
        at = x + 2.2 * radius + 0.075 + 0.016 * slit
        reach = 0.55 if species.gills == 1 else 0.4
        top, bottom = (float(_edge(edge, np.array([at]))[0]) * reach for edge in (species.upper, species.lower))
        arc = _px(np.array(curve((at, top), (at + 0.25 * (top - bottom), (top + bottom) / 2), (at, bottom))))
        cv2.polylines(colors, [arc], False, dark, 2, cv2.LINE_AA, SHIFT)
    _disc(colors, (x, y), radius, (226, 222, 196))
    _disc(colors, (x, y), 0.68 * radius, (14, 14, 18))
    mouth = _px(np.array([(0.008, -0.012), (x * 0.8, y - 1.6 * radius)]))
    if x < 0.2:  # a bill is drawn by the outline alone
        cv2.polylines(colors, [mouth], False, dark, 2, cv2.LINE_AA, SHIFT)


def _disc(colors: Image, at: Point, radius: float, color: Color) -> None:
    center = _px(np.array([at]))[0]
    size = round(radius * LENGTH_PX * 2**SHIFT)
    cv2.circle(colors, (int(center[0]), int(center[1])), size, color, -1, cv2.LINE_AA, SHIFT)


def _tint(colors: Image, *, rng: Rng) -> Image:
    """Vary a fish's colors: fresh or faded, lighter or darker, a little off in hue."""
    fade, gain = rng.uniform(0.0, 0.35), rng.uniform(0.85, 1.12)
    faded = (1 - fade) * np.eye(3) + fade * np.array([0.299, 0.587, 0.114])
    return _uint8(cv2.transform(colors, faded * gain * rng.uniform(0.94, 1.06, (3, 1))))


def lay(
    colors: Image, alpha: Mask, *, length_px: float, angle: float, bend: float, squeeze: float, mirrored: bool
) -> tuple[Image, Mask]:
    """Scale, bend, foreshorten and turn a drawn fish.

    Args:
        colors: the patch (P, P, 3).
        alpha: its coverage (P, P).
        length_px: the fish's length on the canvas, before foreshortening.
        angle: radians.
        bend: how far the ends leave the middle line, as a share of the length.
        squeeze: how much of its depth is seen, up to 1.
        mirrored: whether it shows the other flank.

    Returns:
        Colors (S, S, 3) and coverage (S, S), the fish in their middle.
    """
    side = max(8, round(PATCH_PX * length_px / LENGTH_PX))
    patch = cv2.resize(np.dstack([colors, alpha]), (side, side), interpolation=cv2.INTER_AREA)
    if mirrored:
        patch = patch[:, ::-1]
    extent = round(side * 1.15)
    across = np.arange(extent, dtype=np.float32) - (extent - 1) / 2
    x, y = across[None], across[:, None]
    along = (np.cos(angle) * x + np.sin(angle) * y).astype(np.float32)
    aside = ((np.cos(angle) * y - np.sin(angle) * x) / squeeze).astype(np.float32)
    aside = aside - np.float32(4 * bend) * (along**2 / np.float32(length_px) - np.float32(length_px / 12))
    middle = np.float32((side - 1) / 2)
    laid = cv2.remap(np.ascontiguousarray(patch), along + middle, aside + middle, cv2.INTER_LINEAR, borderValue=0)
    return np.asarray(laid[..., :3], np.uint8), np.asarray(laid[..., 3], np.uint8)
