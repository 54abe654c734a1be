from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.analysis.occlusion import box_mask, boxes_beside, choose_decks, heat_share, paint_out, paste
from fisheries.boxes import iou_xyxy

BOX = np.array([[0.25, 0.25, 0.5, 0.75]])
edges = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(edges, edges)
def test_a_box_covers_its_area_to_the_part_of_a_pixel(across, down):
    mask = box_mask(np.array([[across[0], down[0], across[1], down[1]]]), (7, 11))
    assert mask.mean() == pytest.approx((across[1] - across[0]) * (down[1] - down[0]), abs=1e-9)
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_boxes_that_overlap_count_once():
    assert box_mask(np.repeat(BOX, 2, axis=0), (8, 8)).mean() == pytest.approx(1 / 8)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(0, 1000))
def test_the_shares_of_two_halves_sum_to_one(edge, seed):
    heat = np.random.default_rng(seed).random((9, 13))
    left, right = np.array([[0, 0, edge, 1]]), np.array([[edge, 0, 1, 1]])
    assert heat_share(heat, left) + heat_share(heat, right) == pytest.approx(1)


def test_even_heat_has_the_box_s_share_and_no_heat_has_none():
    assert heat_share(np.full((8, 8), 0.3), BOX) == pytest.approx(1 / 8)
    assert np.isnan(heat_share(np.zeros((8, 8)), BOX))


def test_painting_out_changes_the_box_only_and_takes_the_fish_away():
    deck = np.full((24, 32, 3), 120, dtype=np.uint8)
    deck[:, :, 1] += np.arange(32, dtype=np.uint8)
    fish = deck.copy()
    fish[8:16, 10:14] = [250, 10, 10]
    painted = paint_out(fish, BOX)
    inside = box_mask(BOX, (24, 32)) > 0
    assert np.array_equal(painted[~inside], fish[~inside])
    assert np.abs(painted[inside].astype(int) - deck[inside]).max() < 8


def test_painting_out_leaves_the_photograph_given_as_it_was():
    pixels = noise(0)
    paint_out(pixels, BOX)
    assert np.array_equal(pixels, noise(0))


def test_what_is_painted_out_beside_is_as_large_and_touches_no_fish():
    boxes = np.array([[0.1, 0.1, 0.4, 0.5], [0.6, 0.6, 0.8, 0.9]])
    for seed in range(10):
        beside = boxes_beside(boxes, np.random.default_rng(seed))
        assert np.allclose(beside[:, 2:] - beside[:, :2], boxes[:, 2:] - boxes[:, :2])
        assert beside.min() >= 0
        assert beside.max() <= 1
        for one in [*boxes, beside[1]]:
            assert not iou_xyxy(beside[:1], one[None]).any()
        assert not iou_xyxy(beside[1:], boxes[:1]).any()


def test_a_fish_that_fills_the_picture_has_nothing_beside_it():
    assert boxes_beside(np.array([[0.1, 0.1, 0.9, 0.9]]), np.random.default_rng(0)) is None


def test_a_pasted_fish_keeps_the_deck_around_it_and_the_fish_in_it():
    fish, deck = noise(0), noise(1)
    pasted = paste(fish, BOX[0], deck)
    inside = box_mask(BOX, (24, 32)) > 0
    assert np.array_equal(pasted[~inside], deck[~inside])
    assert np.array_equal(pasted[9:15, 10:14], fish[9:15, 10:14])
    fading = paste(np.full((24, 32, 3), 200, np.uint8), BOX[0], np.zeros((24, 32, 3), np.uint8), feather=0.5)[12, :, 0]
    assert (np.diff(fading[8:12].astype(int)) > 0).all()
    assert 0 < fading[8] < 100


def test_pictures_of_two_sizes_can_not_be_put_together():
    with pytest.raises(ValueError, match="expected the same size"):
        paste(noise(0), BOX[0], noise(1)[:-1])


def test_a_deck_is_of_another_boat_and_follows_from_seed_and_name():
    boats = ["a", "b", "c", "", "a"]
    images = pd.DataFrame({"boat": boats}, index=[f"img_{number}.jpg" for number in range(5)])
    decks = pd.DataFrame({"boat": ["a", "b", "b", ""]}, index=["d0", "d1", "d2", "d3"])
    chosen = choose_decks(images, decks, seed=0)
    assert chosen["img_3.jpg"] == ""
    assert chosen["img_1.jpg"] == "d0"
    assert set(chosen[["img_0.jpg", "img_4.jpg"]]) <= {"d1", "d2"}
    assert chosen["img_2.jpg"] in {"d0", "d1", "d2"}
    pd.testing.assert_series_equal(choose_decks(images[::-1], decks[::-1], seed=0)[images.index], chosen)
    many = pd.concat([images.loc[["img_2.jpg"]]] * 30).set_axis([f"{number}" for number in range(30)])
    assert set(choose_decks(many, decks, seed=0)) == {"d0", "d1", "d2"}
    assert list(choose_decks(many, decks, seed=0)) != list(choose_decks(many, decks, seed=1))
    assert set(choose_decks(images, decks[decks["boat"] == "a"], seed=0)[["img_0.jpg", "img_4.jpg"]]) == {""}
