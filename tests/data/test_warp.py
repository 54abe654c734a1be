from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.data.warp import LUMA, MIN_VISIBLE, Amounts, Change, apply_change, draw_change, move_box

HW = (60, 100)
GRAY = np.full(3, 100.0)
PICTURE = cv2.resize(np.random.default_rng(0).integers(60, 190, (6, 10, 3), dtype=np.uint8), (100, 60))


def change(seed: int = 0, mean_rgb: np.ndarray = GRAY, **amounts: float) -> Change:
    return draw_change(Amounts(**amounts), image_hw=HW, mean_rgb=mean_rgb, rng=np.random.default_rng(seed))


def test_nothing_asked_for_changes_nothing():
    assert change() == Change(None, None)
    assert apply_change(PICTURE, change()) is PICTURE


@pytest.mark.parametrize(
    ("flips", "axes"), [({"hflip": 1.0}, 1), ({"vflip": 1.0}, 0), ({"hflip": 1, "vflip": 1}, (0, 1))]
)
def test_a_mirror_image_has_the_pictures_own_pixels(flips: dict[str, float], axes: int):
    assert (apply_change(PICTURE, change(**flips)) == np.flip(PICTURE, axes)).all()


def test_a_mirror_image_is_as_probable_as_asked():
    mirrored = sum(change(seed, hflip=0.3).places is not None for seed in range(2000))
    assert 540 < mirrored < 660


@given(st.integers(0, 2**31))
@settings(deadline=None)
def test_all_moves_in_one_step_are_what_they_are_one_after_the_other(seed: int):
    amounts = {"rotate_deg": 180.0, "zoom": 0.3, "shift": 0.2, "shear_deg": 15.0, "hflip": 0.5, "vflip": 0.5}
    whole = change(seed, **amounts).places
    linear, offset = np.eye(2), np.zeros(2)
    for name in ("hflip", "vflip", "shear_deg", "zoom", "rotate_deg", "shift"):
        alone = change(seed, **{name: amounts[name]}).places
        if alone is not None:
            linear, offset = alone[:, :2] @ linear, alone[:, :2] @ offset + alone[:, 2]
    np.testing.assert_allclose(whole, np.column_stack([linear, offset]), atol=1e-9)


def test_a_turn_by_180_degrees_is_both_mirror_images():
    half = np.array([[-1.0, 0.0, 100.0], [0.0, -1.0, 60.0]])
    assert (apply_change(PICTURE, Change(half, None)) == PICTURE[::-1, ::-1]).all()


def test_a_move_by_whole_pixels_fills_up_with_the_mirror_image():
    moved = apply_change(PICTURE, Change(np.array([[1.0, 0.0, 7.0], [0.0, 1.0, 0.0]]), None))
    assert (moved[:, 7:] == PICTURE[:, :-7]).all()
    assert (moved[:, :7] == PICTURE[:, 7:0:-1]).all()


@given(st.integers(0, 2**31))
@settings(deadline=None)
def test_a_turned_hue_keeps_brightness_and_gray(seed: int):
    colors = change(seed, hue=0.5).colors
    np.testing.assert_allclose(LUMA @ colors[:, :3], LUMA, atol=1e-5)
    np.testing.assert_allclose(colors[:, :3] @ np.ones(3), np.ones(3), atol=1e-5)


@given(st.integers(0, 2**31))
@settings(deadline=None)
def test_contrast_keeps_the_mean_brightness_and_saturation_that_of_each_pixel(seed: int):
    mean = np.array([90.0, 120.0, 60.0])
    stretched = change(seed, mean_rgb=mean, contrast=0.9).colors
    assert LUMA @ (stretched @ [*mean, 1]) == pytest.approx(LUMA @ mean)
    faded = change(seed, mean_rgb=mean, saturation=0.9).colors
    assert LUMA @ (faded @ [10.0, 200.0, 30.0, 1.0]) == pytest.approx(LUMA @ [10, 200, 30])


def test_without_color_all_channels_are_the_brightness():
    gray = apply_change(PICTURE, change(gray=1.0))
    assert (gray == gray[..., :1]).all()
    assert np.abs(gray[..., 0] - PICTURE @ LUMA).max() <= 0.6  # OpenCV computes in fixed point


def test_colors_are_rounded_once_and_clipped():
    bright = apply_change(PICTURE, Change(None, np.column_stack([1.7 * np.eye(3), np.zeros(3)])))
    assert np.abs(bright - np.minimum(PICTURE * 1.7, 255)).max() <= 0.6
    assert bright.max() == 255


@given(st.integers(0, 2**31), st.floats(0, 0.7), st.floats(0, 0.7))
@settings(deadline=None)
def test_a_moved_box_holds_every_point_of_it_that_is_still_in_the_picture(seed: int, left: float, top: float):
    box = np.array([left, top, left + 0.3, top + 0.25])
    places = change(seed, rotate_deg=180, zoom=0.3, shift=0.3, shear_deg=15).places
    points = np.random.default_rng(seed).uniform(box[:2], box[2:], (200, 2)) * HW[::-1]
    moved = (points @ places[:, :2].T + places[:, 2]) / HW[::-1]
    inside = moved[((moved >= 0) & (moved <= 1)).all(axis=1)]
    answer = move_box(box, places, image_hw=HW)
    if answer is None:
        assert len(inside) < 200 * (MIN_VISIBLE + 0.5)  # the rectangle around a turned one has empty corners
        return
    assert (answer[:2] <= inside + 1e-9).all()
    assert (inside <= answer[2:] + 1e-9).all()
    assert ((answer >= 0) & (answer <= 1)).all()
