from __future__ import annotations

import numpy as np
import pytest

from fisheries.analysis.filters import filter_responses, gabor_bank, sobel_bank


def stripes(wavelength_px: float, turn_deg: float) -> np.ndarray:
    rows, columns = np.mgrid[:48, :48]
    across = columns * np.cos(np.deg2rad(turn_deg)) + rows * np.sin(np.deg2rad(turn_deg))
    gray = 128 + 100 * np.cos(2 * np.pi * across / wavelength_px)
    return np.repeat(gray[..., None], 3, axis=2).astype(np.uint8)


def test_sobel_answers_to_edges_of_its_own_direction():
    pixels = np.zeros((20, 20, 3), dtype=np.uint8)
    pixels[:, 10:] = 100
    responses = filter_responses(pixels, sobel_bank())
    assert responses["Sobel, upright edges"][5:15, 9:11] == pytest.approx(100)
    assert not responses["Sobel, upright edges"][:, :9].any()
    assert not responses["Sobel, level edges"].any()


def test_gabor_filters_are_silent_on_even_areas():
    bank = gabor_bank()
    assert len(bank) == 8
    for kernel in bank.values():
        assert kernel.sum() == pytest.approx(0, abs=1e-5)
        assert np.abs(kernel).sum() == pytest.approx(1, abs=1e-5)
    even = np.full((30, 30, 3), 170, dtype=np.uint8)
    assert all(one.max() < 0.01 for one in filter_responses(even, bank).values())


@pytest.mark.parametrize("wavelength_px", [4, 8])
@pytest.mark.parametrize("turn_deg", [0, 45, 90, 135])
def test_stripes_excite_the_gabor_filter_of_their_direction_and_width_most(wavelength_px, turn_deg):
    responses = filter_responses(stripes(wavelength_px, turn_deg), gabor_bank())
    strengths = {name: one[12:-12, 12:-12].max() for name, one in responses.items()}
    assert max(strengths, key=strengths.__getitem__) == f"Gabor, {wavelength_px} px, {turn_deg}°"
