"""Labels and boxes"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fisheries.schema import BOXES, FOLDS, MANIFEST, read_table
from tests.faults.conftest import Spoiled, refusal
from tests.processes import FISHERIES, TRAIN, call


@pytest.mark.parametrize("label", ["nan", "NA", "SALMON"])
def test_label_that_is_nan_or_unknown(tmp_path: Path, world: Path, label: str):
    """One line names the image, the label and the known classes; the words nan and NA are labels like any other."""
    name = next((world / "train" / "ALB").iterdir()).name
    (tmp_path / "labels.csv").write_text(f"image_id,label\n{name},{label}\n")
    options = ["data=folder", f"data.root={world}", "data.labels=labels.csv"]
    line = refusal(call(TRAIN, *options, cwd=tmp_path, check=False))
    assert line.startswith(f"labels.csv: {name!r} has the label {label!r}")
    assert "expected one of ALB, BET, DOL" in line


def test_the_text_na_as_a_name(spoiled: Spoiled):
    """A boat or class called NA is a name like any other, not a missing one."""
    manifest = read_table(spoiled.run / "manifest.csv", MANIFEST)
    assert (manifest["boat"] == "NA").sum() > 3
    folds = read_table(spoiled.run / "folds.csv", FOLDS)
    assert folds.loc[folds.index.intersection(manifest.index[manifest["boat"] == "NA"]), "fold"].nunique() == 1


def test_duplicate_image(spoiled: Spoiled):
    """One of them is used; the others are listed as duplicates."""
    assert spoiled.manifest("copy")["status"] == "duplicate"
    assert spoiled.manifest("original")["status"] == "ok"
    assert not spoiled.trained_on("copy")


def test_one_image_in_two_classes(spoiled: Spoiled):
    """Neither is used, since nobody knows which label is right; both are listed as a conflict."""
    for side in ("one side", "other side"):
        assert spoiled.manifest(side)["status"] == "conflict"
        assert not spoiled.trained_on(side)


def test_duplicate_rows_in_a_table(tmp_path: Path, world: Path):
    """One line names the file and the image that occurs twice."""
    boats = (world / "boats.csv").read_text()
    (tmp_path / "boats.csv").write_text(boats + boats.splitlines()[1] + "\n")
    options = ["data=folder", f"data.root={world}", "data.boats=boats.csv"]
    line = refusal(call(TRAIN, *options, cwd=tmp_path, check=False))
    assert line == f"boats.csv: {boats.splitlines()[1].split(',')[0]!r} occurs more than once; 1 such rows"


def test_boxes_negative_or_outside_or_zero_or_nan(tmp_path: Path, world: Path):
    """They are listed with what is wrong with them and not used; a box that leaves its frame is cut at the edge."""
    name = next((world / "train" / "ALB").iterdir()).name
    boxes = {
        "ok": (10, 10, 20, 20),
        "negative": (10, 10, -5, 20),
        "outside": (-90, -90, 20, 20),
        "empty": (10, 10, 0, 20),
        "nan": (10, float("nan"), 20, 20),
        "clipped": (-5, -5, 20, 20),
    }
    rectangles = [
        dict(zip(("x", "y", "width", "height"), box, strict=True), **{"class": "rect"}) for box in boxes.values()
    ]
    file = tmp_path / "alb_labels.json"
    file.write_text(json.dumps([{"class": "image", "filename": name, "annotations": rectangles}]))
    call(FISHERIES, "manifest", world, "--annotations", file, "--out", "tables", cwd=tmp_path)
    (path,) = tmp_path.rglob("boxes.csv")
    table = read_table(path, BOXES, unique=False)
    assert sorted(table["status"]) == sorted(boxes)
    cut = table[table["status"] == "clipped"]
    pd.testing.assert_frame_equal(
        cut[["left", "top", "box_width", "box_height"]].reset_index(drop=True),
        pd.DataFrame({"left": [0.0], "top": [0.0], "box_width": [15.0], "box_height": [15.0]}),
    )
