from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from fisheries.analysis.transform_sheet import box_of, example, sheet_rows, transform_sheet
from fisheries.cli import app
from fisheries.data.transforms import train_transform
from fisheries.launch import transform_choices
from fisheries.schema import InputError, largest_boxes, write_table

ROWS = {"hflip": {"hflip": 1.0}, "shift 0.3": {"shift": 0.3}, "transform=none": {"hflip": 0.0, "shift": 0.0}}


@pytest.fixture(scope="module")
def frame() -> tuple[np.ndarray, np.ndarray]:
    return example(0)


def drawn(figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_the_example_has_a_fish_in_its_box(frame):
    image, box = frame
    assert image.shape == (360, 640, 3)
    assert ((box >= 0) & (box <= 1)).all()
    assert (box[2:] - box[:2] > 0.1).all()
    assert not np.array_equal(example(1)[0], image)


def test_a_row_is_a_step_at_its_largest_or_a_choice_as_it_is():
    light, heavy = (
        {"hflip": 0.5, "zoom": 0.2, "blur": 0.0, "hue": 0.0},
        {"hflip": 0.5, "zoom": 0.3, "blur": 0.3, "hue": 0.0},
    )
    assert sheet_rows({"light": light, "heavy": heavy}) == {
        "hflip": {"hflip": 1.0},
        "zoom 0.3": {"zoom": 0.3},
        "blur": {"blur": 1.0},
        "transform=light": light,
        "transform=heavy": heavy,
    }


def test_each_view_is_what_training_would_see_with_that_seed(frame):
    image, box = frame
    sheet = drawn(transform_sheet(image, box, ROWS, views=3, seed=5))
    shift = train_transform(image_hw=(128, 228), shift=0.3)
    for column in range(3):
        left = column * (228 + 4)
        assert np.array_equal(sheet[2 * 132 : 2 * 132 + 128, left : left + 228], shift(image, box, 5 + column).image)


def test_titles_stand_beside_their_rows_and_boxes_over_their_views(frame):
    image, box = frame
    axes = transform_sheet(image, box, ROWS, views=3).axes[0]
    assert [text.get_text() for text in axes.texts] == ["as it is", *ROWS]
    assert [int(text.get_position()[1]) // 132 for text in axes.texts] == [0, 1, 2, 3]
    # one view where there is no chance, three where there is
    assert len(axes.patches) == 1 + 3 + 3 + 1
    mirrored = axes.patches[1].get_bbox()
    np.testing.assert_allclose([mirrored.x0, mirrored.x1], 228 * (1 - box[[2, 0]]) - 0.5, atol=1e-3)
    np.testing.assert_allclose([mirrored.y0 - 132, mirrored.y1 - 132], 128 * box[[1, 3]] - 0.5, atol=1e-3)


def test_a_picture_without_a_box_has_none_drawn(frame):
    assert not transform_sheet(frame[0], None, ROWS, views=2).axes[0].patches


def test_the_groups_choices_come_whole_and_each_changes_more_than_the_one_before():
    choices = transform_choices()
    assert list(choices) == ["none", "light", "heavy", "night"]
    assert all(set(values) == set(choices["none"]) for values in choices.values())
    assert {**choices["night"], "night": 0.0} == choices["heavy"]
    assert not any(choices["none"].values())


def test_the_box_of_an_image_is_its_largest_one(tables: tuple[pd.DataFrame, pd.DataFrame]):
    manifest, boxes = tables
    largest = largest_boxes(boxes)
    image_id = largest.index[0]
    height, width = manifest.loc[image_id, ["height", "width"]]
    box = box_of(image_id, boxes, image_hw=(height, width), source="boxes.csv") * [width, height, width, height]
    row = largest.loc[image_id]
    np.testing.assert_allclose(box[:2], row[["left", "top"]].astype(float))
    np.testing.assert_allclose(box[2:] - box[:2], row[["box_width", "box_height"]].astype(float))
    with pytest.raises(InputError, match=rf"boxes.csv: no usable box of '{image_id}x' \(did you mean '{image_id}'\?\)"):
        box_of(f"{image_id}x", boxes, image_hw=(height, width), source="boxes.csv")


def test_the_command_draws_a_photograph_with_its_box(tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path):
    manifest, boxes = tables
    image_id = largest_boxes(boxes).index[0]
    write_table(boxes, tmp_path / "boxes.csv")
    arguments = ["show", "transforms", manifest.loc[image_id, "path"], "--boxes", tmp_path / "boxes.csv"]
    answer = CliRunner().invoke(
        app,
        [*map(str, arguments), "--transform", "light", "--views", "2", "--out", str(tmp_path / "a.png")],
        catch_exceptions=False,
    )
    assert answer.exit_code == 0, answer.output
    sheet = np.asarray(Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())).convert("RGB")).astype(int)
    red = (sheet[..., 0] > 180) & (sheet[..., 1:].max(axis=2) < 60)
    assert red.sum() > 500
    steps = sum(value != 0 for value in transform_choices()["light"].values())
    assert sheet.shape[0] == pytest.approx((1 + steps + 1) * 132 * 1.1, abs=3)


def test_a_choice_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(
        InputError, match=r"--transform hevy: no such choice \(did you mean 'heavy'\?\); there are none, "
    ):
        CliRunner().invoke(app, ["show", "transforms", "--transform", "hevy"], catch_exceptions=False)
