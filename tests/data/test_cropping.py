from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fisheries.data import cropping
from fisheries.data.cropping import (
    REGION,
    CropRule,
    check_rule,
    crop_regions,
    crop_table,
    cut,
    fish_boxes,
    read_boxes,
    read_crop,
    read_rule,
)
from fisheries.schema import KEY, InputError, write_table

RULES = st.builds(CropRule, context=st.floats(1, 4), square=st.booleans())
SIDES = st.floats(1, 300)
PLACES = st.floats(-50, 500)


def boxes(*rows: tuple) -> pd.DataFrame:
    """Rows of (image_id, left, top, width, height, status, score)."""
    columns = [KEY, "left", "top", "box_width", "box_height", "status", "score"]
    return pd.DataFrame(list(rows), columns=columns).set_index(KEY).assign(source="hand")


def images(**hw: tuple[int, int]) -> pd.DataFrame:
    index = pd.Index([f"{name}.jpg" for name in hw], name=KEY)
    table = pd.DataFrame(list(hw.values()), index, columns=["height", "width"])
    return table.assign(path="/frames/" + index, status="ok", subset="train", label="ALB", boat="b", burst=index)


@given(PLACES, PLACES, SIDES, SIDES, RULES)
def test_a_region_holds_its_box_and_as_much_around_it_as_asked_for(left, top, width, height, rule):
    (region,) = crop_regions(np.array([[left, top, width, height]]), rule)
    wanted = np.array([width, height]) * rule.context
    wanted = np.full(2, wanted.max()) if rule.square else wanted
    assert (region[:2] <= [left + 1e-6, top + 1e-6]).all()
    assert (region[:2] + region[2:] >= [left + width - 1e-6, top + height - 1e-6]).all()
    assert (region[2:] >= wanted - 1e-6).all()
    assert (region[2:] < wanted + 3).all()
    np.testing.assert_allclose(region[:2] + region[2:] / 2, [left + width / 2, top + height / 2], atol=2)
    assert not rule.square or region[2] == region[3]


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.tuples(st.integers(-40, 20), st.integers(-40, 20), st.integers(1, 60), st.integers(1, 60)),
    st.integers(0, 99),
)
def test_what_leaves_the_frame_is_reflected_however_far_it_goes(height, width, region, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    margin = 100
    padded = np.pad(image, [(margin, margin), (margin, margin), (0, 0)], mode="reflect")
    left, top, wide, high = region
    expected = padded[margin + top :][:high, margin + left :][:, :wide]
    np.testing.assert_array_equal(cut(image, np.array(region)), expected)


def test_inside_the_frame_a_crop_is_just_those_pixels():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(cut(image, np.array([2, 1, 4, 3])), image[1:4, 2:6])


def test_boxes_of_no_use_are_left_out():
    frames = images(a=(60, 80), b=(60, 80), c=(60, 80))
    frames.loc["c.jpg", "status"] = "truncated"
    table = boxes(
        ("a.jpg", 10, 10, 20, 20, "ok", 1.0),
        ("a.jpg", 30, 10, 20, 20, "duplicate", 1.0),
        ("a.jpg", 70, 10, 20, 20, "clipped", 0.5),
        ("a.jpg", 10, 10, 20, 20, "ok", 0.0),
        ("b.jpg", 90, 10, 20, 20, "ok", 1.0),
        ("b.jpg", 10, 10, 0.4, 20, "ok", 1.0),
        ("b.jpg", np.nan, 10, 20, 20, "ok", 1.0),
        ("c.jpg", 10, 10, 20, 20, "ok", 1.0),
        ("elsewhere.jpg", 10, 10, 20, 20, "ok", 1.0),
    )
    found = fish_boxes([table], frames)
    assert list(found.index) == ["a.jpg", "a.jpg"]
    assert found[["left", "box_width"]].to_numpy().tolist() == [[10, 20], [70, 10]]


def test_an_image_takes_the_boxes_of_the_first_table_that_has_a_usable_one():
    frames = images(a=(60, 80), b=(60, 80), c=(60, 80))
    hand = boxes(
        ("b.jpg", 1, 1, 9, 9, "ok", 1.0), ("b.jpg", 2, 1, 9, 9, "ok", 1.0), ("c.jpg", 3, 1, 0, 9, "empty", 1.0)
    )
    model = boxes(*((f"{name}.jpg", 40, 1, 9, 9, "ok", 1.0) for name in "cba")).assign(source="model")
    found = fish_boxes([hand, model], frames)
    assert list(found.index) == ["a.jpg", "b.jpg", "b.jpg", "c.jpg"]
    assert list(found["source"]) == ["model", "hand", "hand", "model"]


def test_crops_are_rows_of_a_manifest_with_their_own_size_and_their_frames_boat():
    frames = images(a=(60, 80), b=(50, 90)).assign(boat=["one", "two"])
    found = boxes(
        ("a.jpg", 10, 10, 20, 10, "ok", 1.0), ("b.jpg", 5, 5, 10, 10, "ok", 0.3), ("b.jpg", 6, 5, 10, 10, "ok", 0.7)
    )
    table = crop_table(found, frames, CropRule(context=2.0, square=True))
    assert list(table.index) == ["a.jpg#1", "b.jpg#1", "b.jpg#2"]
    assert table["boat"].tolist() == ["one", "two", "two"]
    assert table[list(REGION)].to_numpy().tolist() == [[0, -5, 40, 40], [0, 0, 20, 20], [1, 0, 20, 20]]
    assert table["score"].tolist() == [1.0, 0.3, 0.7]


def test_a_crop_that_is_too_large_to_be_read_again_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cropping, "MAX_PIXELS", 1000)
    found = boxes(("a.jpg", 10, 10, 40, 10, "ok", 1.0))
    with pytest.raises(InputError, match=r"a.jpg: its crop has 160 x 160 pixels, more than .*smaller --context"):
        crop_table(found, images(a=(60, 80)), CropRule(context=4, square=True))


def test_a_crop_read_from_its_frame_is_cut_after_exif_rotation(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    turned = np.rot90(pixels, -1)
    np.testing.assert_array_equal(read_crop(tmp_path / "a.png", np.array([3, 4, 9, 8])), turned[4:12, 3:12])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"context": 0.5, "square": False}, r"context=0.5, square=False; expected a context from 1 to 4"),
        ({"context": 5, "square": True}, r"context=5"),
        ({"context": True, "square": True}, r"context=True"),
        ({"context": float("nan"), "square": True}, r"context=nan"),
        ({"context": 1.2, "square": "no"}, r"square='no'"),
        ({"context": 1.2}, r"does not say how crops are cut"),
        ([1.2], r"does not say how crops are cut"),
    ],
)
def test_a_rule_that_can_not_be_is_one_line(values: object, message: str):
    with pytest.raises(InputError, match=message):
        check_rule(values, "here")


def test_a_folder_says_how_its_crops_were_cut(tmp_path: Path):
    assert read_rule(tmp_path) is None
    (tmp_path / "crops.json").write_text(json.dumps({"context": 2, "square": True}))
    assert read_rule(tmp_path) == CropRule(2.0, True)
    (tmp_path / "crops.json").write_text("{")
    with pytest.raises(InputError, match=r"crops.json: not JSON .*cut the crops again"):
        read_rule(tmp_path)


def test_a_detectors_boxes_need_neither_status_nor_source_and_may_have_a_score(tmp_path: Path):
    path = tmp_path / "detector.csv"
    path.write_text("image_id,left,top,box_width,box_height,score\na.jpg,1,2,3,4,0.25\na.jpg,1,2,5,4,0.5\n")
    (table,) = read_boxes([path])
    assert table["score"].tolist() == [0.25, 0.5]
    assert set(table["source"]) == {"detector.csv"}
    assert len(fish_boxes([table], images(a=(60, 80)))) == 2


@pytest.mark.parametrize("score", ["-1", "inf", ""])
def test_a_score_that_is_none_is_refused_by_name(score: str, tmp_path: Path):
    path = tmp_path / "detector.csv"
    path.write_text(f"image_id,left,top,box_width,box_height,score\na.jpg,1,2,3,4,0.25\nb.jpg,1,2,5,4,{score}\n")
    with pytest.raises(InputError, match=r"detector.csv: score of 'b.jpg' is \S+; expected 0 or more"):
        read_boxes([path])


def test_of_a_run_held_out_boxes_are_taken_and_those_of_test_averaged_over_folds(tmp_path: Path):
    def wrote(name: str, *rows: tuple) -> None:
        write_table(boxes(*((*row, "ok", 1.0) for row in rows)).drop(columns="score"), tmp_path / name)

    wrote("fold-0/oof_boxes.csv", ("a.jpg", 1, 1, 9, 9))
    wrote("fold-1/oof_boxes.csv", ("b.jpg", 2, 1, 9, 9))
    wrote("fold-0/test_boxes.csv", ("t.jpg", 10, 20, 30, 40))
    wrote("fold-1/test_boxes.csv", ("t.jpg", 20, 20, 40, 40))
    wrote("fold-1/seen_boxes.csv", ("a.jpg", 7, 1, 9, 9))
    (table,) = read_boxes([tmp_path])
    assert list(table.index) == ["a.jpg", "b.jpg", "t.jpg"]
    assert table.loc["t.jpg", ["left", "top", "box_width", "box_height"]].tolist() == [15, 20, 35, 40]
    assert table.loc["a.jpg", "left"] == 1


def test_a_folder_without_boxes_of_a_run_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"no fold-\*/oof_boxes.csv in it; expected a run of model.predict_box=true"):
        read_boxes([tmp_path])
