"""Turn a photograph taken by day into one by night, as the competition's winner did to learn about more boats."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fisheries.data.nights import looks_like_night

# Measured on the competition's frames: 228 under a green lamp, 78 under a white one, 789 by day.
_RED = (0.45, 0.85)  # of the green light's strength; the lamp is between yellow and blue green
_RED_AND_BLUE = (1.1, 1.3)
_GREEN_LEFT = (10, 40)  # green level where a green lamp leaves nothing else
_GREEN_COLOR = (0.3, 0.8)  # share left of what the colors differ by
_BEYOND = (0.05, 0.3)  # share of the picture that a white lamp does not reach
_GLARE = (0.01, 0.06)  # share that it overexposes
_GAMMA = (0.9, 1.3)
_WHITE_COLOR = (0.0, 0.6)
_FADE = (0.0, 0.3)  # how fast the light falls off to the sides
_STRIDE = 4  # quantiles need no more pixels than this leaves

Floats = NDArray[np.float32]


def night_view(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a photograph as a lamp would show it, green or white at even chances.

    Its histogram is stretched to that of real nights. A green lamp leaves the brightness and dims red and blue; a white
    one leaves part of the picture black and part too bright, with some color or none.

    Args:
        image: (H, W, 3) RGB; one that is by night already comes back as it is.
        rng: draws lamp and exposure.
    """
    if looks_like_night(image):
        return image
    lit = image * _lamp(image.shape[:2], rng)[..., None]
    view = _green(lit, rng) if rng.random() < 0.5 else _white(lit, rng)
    return (view.clip(0, 1) * 255).round().astype(np.uint8)


def _lamp(image_hw: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return the light (H, W) of a lamp somewhere above the picture, 1 below it."""
    height, width = image_hw
    fade = np.float32(rng.uniform(*_FADE))
    top, left = rng.uniform(-0.7, 0.7, 2).astype(np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32) - top
    x = np.linspace(-1, 1, width, dtype=np.float32) - left
    return np.exp(-fade * y**2)[:, None] * np.exp(-fade * x**2)


def _green(lit: Floats, rng: np.random.Generator) -> Floats:
    left, red = rng.uniform(*_GREEN_LEFT) / 255, rng.uniform(*_RED)
    faded = _faded(lit, rng.uniform(*_GREEN_COLOR))
    # each channel by itself, so that no color cast is left
    light = np.concatenate([_stretch(faded[..., k : k + 1], 0.01, 0.97) for k in range(3)], axis=2).clip(0, None)
    gain = np.array([red, 1 - left, rng.uniform(*_RED_AND_BLUE) - red], np.float32)
    return light * gain + np.array([0, left, 0], np.float32)


def _white(lit: Floats, rng: np.random.Generator) -> Floats:
    light = _stretch(_faded(lit, rng.uniform(*_WHITE_COLOR)), rng.uniform(*_BEYOND), 1 - rng.uniform(*_GLARE))
    return light.clip(0, 1) ** np.float32(rng.uniform(*_GAMMA))


def _faded(lit: Floats, color: float) -> Floats:
    """Keep a share of what the colors (H, W, 3) differ by."""
    to_gray = np.full((3, 3), 1 / 3)
    return np.asarray(cv2.transform(lit, color * np.eye(3) + (1 - color) * to_gray), np.float32)


def _stretch(light: Floats, low: float, high: float) -> Floats:
    """Move two quantiles of the brightness to 0 and 1; light is (H, W, channels)."""
    black, white = np.quantile(light[::_STRIDE, ::_STRIDE].mean(axis=2), [low, high]).astype(np.float32)
    return (light - black) / max(white - black, np.float32(1))
