from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from fisheries.data.labels import attach_labels, read_labels
from fisheries.data.tables import load_or_scan
from fisheries.schema import OK, InputError

MANIFEST = pd.DataFrame(
    {"subset": ["train", "train", "test_stg1"], "label": ["ALB", "YFT", ""], "notes": ["grey", "", ""]},
    pd.Index(["a.jpg", "b.jpg", "c.jpg"], name="image_id"),
)


def labels_csv(folder: Path, *rows: str, header: str = "image_id,label,note") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_corrected_label_counts_and_a_doubted_one_stays(tmp_path: Path):
    given = attach_labels(MANIFEST, labels_csv(tmp_path, "a.jpg, YFT ,looks wrong", "b.jpg,,blurred"))
    assert list(given["label"]) == ["YFT", "YFT", ""]
    assert list(given["notes"]) == ["grey relabeled", "", ""]


def test_a_table_without_notes_will_do(tmp_path: Path):
    assert read_labels(labels_csv(tmp_path, "a.jpg,YFT", header="image_id,label")).loc["a.jpg"].tolist() == ["YFT", ""]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x.jpg,ALB,", r"labels\.csv: 'x\.jpg' is not in the manifest.*; correct or delete its row \(1 such rows\)"),
        ("x.jpg,,doubted", r"'x\.jpg' is not in the manifest"),
        ("c.jpg,ALB,", r"'c\.jpg' is a test image; labels are of training images, so delete its row"),
        ("a.jpg,YTF,", r"'a\.jpg' has the label 'YTF' \(did you mean 'YFT'\?\); expected one of ALB, YFT"),
    ],
)
def test_a_row_that_can_not_count_is_refused(tmp_path: Path, row: str, message: str):
    with pytest.raises(InputError, match=message):
        attach_labels(MANIFEST, labels_csv(tmp_path, row))


def test_a_corrected_label_ends_the_conflict_of_two_copies_and_stays_correct(tmp_path: Path, world: Path):
    photo = sorted(world.glob("train/ALB/*"))[0]
    copies = [tmp_path / "data" / "train" / label / f"{label}.jpg" for label in ("ALB", "YFT")]
    for copy in copies:
        copy.parent.mkdir(parents=True)
        shutil.copy(photo, copy)

    def scan() -> pd.DataFrame:
        options = {"annotations": None, "boats": None, "no_fish": "", "tables_dir": tmp_path / "t", "progress": False}
        return load_or_scan(tmp_path / "data", **options)[0].sort_index()

    assert set(scan()["status"]) == {"conflict"}
    labels_csv(tmp_path / "t", "YFT.jpg,ALB,twin of ALB.jpg")
    for _ in range(2):  # the second time from the table that the first one wrote
        rows = scan()
        assert list(rows["label"]) == ["ALB", "ALB"]
        assert list(rows["status"]) == [OK, "duplicate"]
        assert list(rows["notes"]) == ["", "relabeled"]
    (tmp_path / "t" / "labels.csv").unlink()
    assert list(scan()["label"]) == ["ALB", "YFT"]
