from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.data.shrinking import shrink
from fisheries.data.transforms import MIN_VISIBLE, PROBABILITIES, eval_transform, train_transform

EVERYTHING = {
    "hflip": 0.5, "vflip": 0.5, "rotate_deg": 180, "zoom": 0.2, "shift": 0.1, "shear_deg": 8, "brightness": 0.3,
    "contrast": 0.3, "saturation": 0.3, "hue": 0.05, "gray": 0.2, "blur": 0.3, "noise": 0.3, "erase": 0.3,
    "night": 0.3, "jpeg": 0.3,
}  # fmt: skip
MOVES = {"hflip": 1.0, "vflip": 1.0, "rotate_deg": 180, "zoom": 0.3, "shift": 0.3, "shear_deg": 20, "erase": 1.0}


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


def boxes_xyxy() -> st.SearchStrategy[np.ndarray]:
    """Boxes of 16 to 80 by 9 to 45 pixels of a frame of 90 x 160, on its grid."""
    sides = st.tuples(st.integers(16, 80), st.integers(9, 45))
    corner = st.tuples(st.floats(0, 1), st.floats(0, 1))
    return st.tuples(sides, corner).map(lambda drawn: _box(*drawn))


def _box(sides_px: tuple[int, int], corner: tuple[float, float]) -> np.ndarray:
    left, top = round(corner[0] * (160 - sides_px[0])), round(corner[1] * (90 - sides_px[1]))
    return np.array([left / 160, top / 90, (left + sides_px[0]) / 160, (top + sides_px[1]) / 90])


@pytest.mark.parametrize("moves", [*({name: MOVES[name]} for name in MOVES), MOVES], ids=[*MOVES, "all"])
@given(boxes_xyxy(), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_a_box_is_around_its_fish_after_every_step(moves: dict[str, float], box: np.ndarray, seed: int):
    transform = train_transform(image_hw=(90, 160), **moves)
    moved = transform(frame_with_a_fish(box), box, seed).box_xyxy
    transform.border = cv2.BORDER_CONSTANT  # else what is white may be a mirror image of the fish
    image = transform(frame_with_a_fish(box), box, seed).image
    left_white = (image > 127).mean() / (frame_with_a_fish(box) > 127).mean()
    if moved is None:
        grown = (1 + MOVES["zoom"]) ** 2 * (1 + np.tan(np.radians(MOVES["shear_deg"])) ** 2)
        assert left_white < MIN_VISIBLE * grown + 0.1  # the box is around a slanted fish, and less of it may be left
        return
    pixel = 1.5 * np.array([1 / 160, 1 / 90])  # interpolation blurs the edge
    seen = bounds_of_white(image)
    assert (moved[:2] <= seen[:2] + pixel).all()
    assert (moved[2:] >= seen[2:] - pixel).all()
    is_inside = (moved > 0.02).all() and (moved < 0.98).all()
    if is_inside and "erase" not in moves:
        np.testing.assert_allclose(moved, seen, atol=2 / 90)


def test_the_box_stays_with_the_fish_and_not_with_its_mirror_image():
    box = np.array([0.8, 0.3, 1.0, 0.7])
    transform = train_transform(image_hw=(90, 160), shift=0.4)
    views = [transform(frame_with_a_fish(box), box, seed) for seed in range(60)]
    gone = [view for view in views if view.box_xyxy is None]
    assert gone
    kept = np.array([view.box_xyxy for view in views if view.box_xyxy is not None])
    moved_left = kept[kept[:, 2] < 0.99]
    assert len(moved_left) > 10
    # its mirror image beyond the border would make it up to twice as wide
    np.testing.assert_allclose(moved_left[:, 2] - moved_left[:, 0], 0.2, atol=1e-5)


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
    amount = 1.0 if name in PROBABILITIES else EVERYTHING[name]
    changed = train_transform(image_hw=(90, 160), **{name: amount})(image, None, 1).image
    assert not np.array_equal(plain, changed)


def test_without_changes_a_training_view_is_the_plain_one():
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    plain = eval_transform(image_hw=(45, 80))(image, None, 0).image
    assert np.array_equal(train_transform(image_hw=(45, 80))(image, None, 7).image, plain)


@pytest.mark.parametrize("image_hw", [(50, 70), (96, 160), (300, 260), (100, 300), (120, 200)])
def test_a_view_of_a_photograph_that_was_shrunk_before_is_the_same(image_hw: tuple[int, int]):
    photograph = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    transform, box = (
        train_transform(image_hw=image_hw, hflip=0.5, rotate_deg=90, night=0.5),
        np.array([0.1, 0.2, 0.6, 0.7]),
    )
    whole, shrunk = transform(photograph, box, 3), transform(shrink(photograph, image_hw), box, 3)
    assert (whole.image == shrunk.image).all()
    assert whole.box_xyxy == pytest.approx(shrunk.box_xyxy)
