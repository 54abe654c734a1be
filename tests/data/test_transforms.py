from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fisheries.data.transforms import MIN_VISIBLE, eval_transform, train_transform

EVERYTHING = {
    "hflip": 0.5, "vflip": 0.5, "rotate_deg": 180, "zoom": 0.2, "shift": 0.1, "shear_deg": 8, "brightness": 0.3,
    "contrast": 0.3, "saturation": 0.3, "hue": 0.05, "gray": 0.2, "blur": 0.3, "noise": 0.3, "erase": 0.3,
}  # fmt: skip


def frame_with_a_fish(box_xyxy: np.ndarray, *, height: int = 90, width: int = 160) -> np.ndarray:
    """A black frame with a white rectangle for a fish."""
    image = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = (box_xyxy * [width, height, width, height]).round().astype(int)
    image[top:bottom, left:right] = 255
    return image


def bounds_of_white(image: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(image.max(axis=2) > 127)
    height, width = image.shape[:2]
    return np.array(
        [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height]
    )


def test_a_rectangular_size_is_height_then_width():
    image = np.zeros((90, 160, 3), np.uint8)
    assert eval_transform(image_hw=(32, 48))(image, None, 0).image.shape == (32, 48, 3)
    assert train_transform(image_hw=(32, 48), **EVERYTHING)(image, None, 0).image.shape == (32, 48, 3)


def test_shrinking_is_antialiased_as_pils():
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    ours = eval_transform(image_hw=(24, 40))(image, None, 0).image
    pils = np.asarray(Image.fromarray(image).resize((40, 24), Image.Resampling.BOX))
    assert np.abs(ours.astype(int) - pils).max() <= 1


def test_a_box_stays_where_it_is_when_the_frame_shrinks():
    box = np.array([0.25, 0.5, 0.75, 0.8])
    view = eval_transform(image_hw=(32, 48))(frame_with_a_fish(box), box, 0)
    np.testing.assert_allclose(view.box_xyxy, box, atol=1e-6)


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_a_box_moves_with_its_fish(seed: int):
    box = np.array([0.4, 0.4, 0.6, 0.65])
    moves = {"hflip": 0.5, "vflip": 0.5, "zoom": 0.2, "shift": 0.1, "brightness": 0.1}
    view = train_transform(image_hw=(90, 160), **moves)(frame_with_a_fish(box), box, seed)
    np.testing.assert_allclose(view.box_xyxy, bounds_of_white(view.image), atol=0.02)


def test_a_turned_box_holds_the_whole_fish_and_not_a_mirror_image_at_the_border():
    box = np.array([0.44, 0.42, 0.55, 0.55])
    area = np.prod(box[2:] - box[:2])
    transform = train_transform(image_hw=(90, 160), rotate_deg=180, zoom=0.25)
    for seed in range(30):
        view = transform(frame_with_a_fish(box), box, seed)
        left, top, right, bottom = (view.box_xyxy * [160, 90, 160, 90]).round().astype(int)
        inside = (view.image[top:bottom, left:right].max(axis=2) > 127).mean()
        assert inside > 0.35
        assert np.prod(view.box_xyxy[2:] - view.box_xyxy[:2]) > 0.5 * area


def test_a_box_that_is_cropped_away_is_gone():
    corner = np.array([0.0, 0.0, 0.08, 0.1])
    transform = train_transform(image_hw=(90, 160), shift=0.4)
    views = [transform(frame_with_a_fish(corner), corner, seed) for seed in range(40)]
    kept = [view.box_xyxy is not None for view in views]
    assert 0 < sum(kept) < 40
    for view in views:
        if view.box_xyxy is not None:
            area = np.prod(view.box_xyxy[2:] - view.box_xyxy[:2])
            assert area >= MIN_VISIBLE * np.prod(corner[2:] - corner[:2]) * 0.99


def test_one_seed_gives_one_view_and_another_seed_another():
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    transform = train_transform(image_hw=(45, 80), **EVERYTHING)
    first, other, again = (transform(image, None, seed).image for seed in (1, 2, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_worker_can_be_handed_a_transform():
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    transform = train_transform(image_hw=(45, 80), **EVERYTHING)
    copied = pickle.loads(pickle.dumps(transform))
    assert np.array_equal(transform(image, None, 5).image, copied(image, None, 5).image)


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_every_change_changes_something(name: str):
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8), (160, 90))
    plain = eval_transform(image_hw=(90, 160))(image, None, 0).image
    amount = 1.0 if name in ("hflip", "vflip", "gray", "blur", "noise", "erase") else EVERYTHING[name]
    changed = train_transform(image_hw=(90, 160), **{name: amount})(image, None, 1).image
    assert not np.array_equal(plain, changed)


def test_without_changes_a_training_view_is_the_plain_one():
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    plain = eval_transform(image_hw=(45, 80))(image, None, 0).image
    assert np.array_equal(train_transform(image_hw=(45, 80))(image, None, 7).image, plain)
