"""Classical filter banks, to compare with what a network has learned."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_TURNS_DEG = (0, 45, 90, 135)


def sobel_bank() -> dict[str, Floats]:
    """Return Sobel's two edge filters, each (3, 3), by name; a step of 1 gives 1."""
    rising = np.outer([1, 2, 1], [-1, 0, 1]) / 4
    return {"Sobel, upright edges": rising.astype(np.float32), "Sobel, level edges": rising.T.astype(np.float32)}


def gabor_bank(*, wavelengths_px: tuple[float, ...] = (4.0, 8.0)) -> dict[str, Floats]:
    """Return Gabor filters in four directions, by name: stripes under a bell, as the first layer of many networks has.

    Args:
        wavelengths_px: from stripe to stripe.

    Returns:
        (K, K) each, of which the sum is 0 and the sum of magnitudes 1, so that even areas answer with 0.
    """
    return {f"Gabor, {length:g} px, {turn}°": _gabor(length, turn) for length in wavelengths_px for turn in _TURNS_DEG}


def filter_responses(pixels: NDArray[np.uint8], bank: dict[str, Floats]) -> dict[str, Floats]:
    """Return how strongly each filter answers at each pixel (H, W), by name.

    Args:
        pixels: (H, W, 3) RGB, of which the lightness is taken.
        bank: filters by name.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return {
        name: np.abs(cv2.filter2D(gray, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101))
        for name, kernel in bank.items()
    }


def _gabor(wavelength_px: float, turn_deg: float) -> Floats:
    side = 2 * round(wavelength_px) + 1
    kernel = cv2.getGaborKernel((side, side), wavelength_px / 2, np.deg2rad(turn_deg), wavelength_px, 0.7, 0.0)
    kernel = kernel - kernel.mean()
    return (kernel / np.abs(kernel).sum()).astype(np.float32)
