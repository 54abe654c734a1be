"""A folder's manifest and boxes, written, reused and given their boats."""

from pathlib import Path

import pandas as pd
import pytest

from fisheries import schema
from fisheries.data import images
from fisheries.data.tables import attach_boats
from fisheries.schema import InputError
from tests.data.test_manifest import KAGGLE, lay_out, loaded, rectangles, scanned, snapshot


def test_nothing_in_the_photographs_folder_is_touched(tmp_path: Path) -> None:
    files = KAGGLE | {
        "annotations/alb_labels.json": rectangles("img_1.jpg"),
        "boats.csv": b"image_id,boat\nimg_1.jpg,7",
    }
    root = lay_out(tmp_path / "data", files)
    before = snapshot(root)
    loaded(root, tmp_path / "tables")
    loaded(root, tmp_path / "tables")
    assert snapshot(root) == before


@pytest.mark.parametrize("inside", ["data", "data/tables", "data/train/ALB", "link/tables", "other/../data/tables"])
def test_tables_are_not_written_among_the_photographs(tmp_path: Path, inside: str) -> None:
    root = lay_out(tmp_path / "data", KAGGLE)
    (tmp_path / "link").symlink_to(root)
    before = snapshot(root)
    with pytest.raises(InputError, match="lies in the folder of the photographs, where nothing is written"):
        loaded(root, tmp_path / inside)
    assert snapshot(root) == before


def test_tables_folder_that_cannot_be_made_is_refused_before_the_scan(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/tables: can't be made"):
        loaded(lay_out(tmp_path / "data", KAGGLE), tmp_path / "file/tables")


def test_tables_are_written_and_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay_out(tmp_path / "data", KAGGLE | {"alb_labels.json": rectangles("img_1.jpg", "img_2.jpg")})
    table, boxes = loaded(root, tmp_path / "tables")
    assert boxes["status"].to_dict() == {"img_1.jpg": "ok", "img_2.jpg": "not_fish"}
    pd.testing.assert_frame_equal(schema.read_table(tmp_path / "tables/manifest.csv", schema.MANIFEST), table)
    boxes_file = tmp_path / "tables/boxes.csv"
    pd.testing.assert_frame_equal(schema.read_table(boxes_file, schema.BOXES, unique=False), boxes)
    monkeypatch.setattr(images, "inspect_bytes", lambda *_, **__: pytest.fail("decoded"))
    pd.testing.assert_frame_equal(loaded(root, tmp_path / "tables")[0], table)


@pytest.mark.parametrize("fault", ["garbage", "column", "status", "binary"])
def test_tables_of_another_version_are_made_anew_with_one_line(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out(tmp_path / "data", KAGGLE)
    table, _ = loaded(root, tmp_path / "tables")
    old = tmp_path / "tables/manifest.csv"
    changed = {
        "garbage": b"{}",
        "column": table.drop(columns="mtime_ns").to_csv().encode(),
        "status": table.assign(status="fine").to_csv().encode(),
        "binary": bytes(range(256)),
    }
    old.write_bytes(changed[fault])
    caplog.clear()
    again, _ = loaded(root, tmp_path / "tables")
    pd.testing.assert_frame_equal(again, table)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "all files are read anew" in caplog.text


def test_annotations_are_found_in_their_folder_first_and_given_ones_win(tmp_path: Path) -> None:
    files = {
        "annotations/x.json": rectangles("img_1.jpg"),
        "annotations/._x.json": b"\0",
        "alb_labels.json": rectangles("img_2.jpg"),
        "mine.json": rectangles("img_3.jpg"),
    }
    root, tables = lay_out(tmp_path / "data", KAGGLE | files), tmp_path / "tables"
    assert loaded(root, tables)[1]["source"].tolist() == ["x.json"]
    assert loaded(root, tables, annotations=[root / "mine.json"])[1]["source"].tolist() == ["mine.json"]
    assert loaded(root, tables, annotations=[])[1].empty
    (root / "annotations/x.json").unlink()
    (root / "annotations/._x.json").unlink()
    assert loaded(root, tables)[1]["source"].tolist() == ["alb_labels.json"]


def test_boats_come_from_the_file_and_are_else_found(tmp_path: Path) -> None:
    root, tables = lay_out(tmp_path / "data", KAGGLE | {"train/ALB/cut.jpg": b""}), tmp_path / "tables"
    unreadable, *others = loaded(root, tables)[0]["boat"]
    assert unreadable == ""
    assert all(boat.startswith("cam_") for boat in others)
    (root / "boats.csv").write_text("image_id,boat\nimg_1.jpg,7\nimg_2.jpg,-1\nimg_3.jpg,\ngone.jpg,8\n")
    assert loaded(root, tables)[0]["boat"].tolist() == ["", "7", "", "", ""]
    (tmp_path / "mine.csv").write_text("image_id,boat\nimg_2.jpg,NA\ntest_stg2/image_1.jpg,x\n")
    assert loaded(root, tables, boats=tmp_path / "mine.csv")[0]["boat"].tolist() == ["", "", "NA", "", "x"]


def test_photographs_that_are_all_damaged_are_listed_though_no_boat_can_be_found(tmp_path: Path) -> None:
    table, _ = loaded(lay_out(tmp_path / "data", {"train/ALB/a.jpg": b"", "test_stg1/b.jpg": b""}), tmp_path / "tables")
    assert table["status"].tolist() == ["empty", "empty"]
    assert table["boat"].tolist() == ["", ""]


def test_photographs_that_came_get_a_boat_and_the_others_keep_theirs(tmp_path: Path) -> None:
    root, tables = lay_out(tmp_path / "data", KAGGLE), tmp_path / "tables"
    before = loaded(root, tables)[0]["boat"]
    lay_out(root, {"train/ALB/img_9.jpg": 9})
    after = loaded(root, tables)[0]["boat"]
    assert after["img_9.jpg"] != ""
    pd.testing.assert_series_equal(after.loc[before.index], before)


def test_photographs_that_were_taken_out_do_not_stop_the_next_scan(tmp_path: Path) -> None:
    root, tables = lay_out(tmp_path / "data", KAGGLE), tmp_path / "tables"
    loaded(root, tables)
    (root / "train/ALB/img_1.jpg").unlink()
    lay_out(root, {"train/ALB/img_9.jpg": 9})
    assert "img_1.jpg" not in loaded(root, tables)[0].index


@pytest.mark.parametrize("rows", ["gone.jpg,1\n", ""])
def test_boats_of_no_image_at_all_are_refused(tmp_path: Path, rows: str) -> None:
    table = scanned(lay_out(tmp_path, KAGGLE))
    (tmp_path / "boats.csv").write_text("image_id,boat\n" + rows)
    with pytest.raises(
        InputError, match=r"boats\.csv: none of its . ids.* is in the manifest; expected ids such as 'i"
    ):
        attach_boats(table, tmp_path / "boats.csv")


def test_strange_boat_ids_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    table = scanned(lay_out(tmp_path, KAGGLE))
    (tmp_path / "boats.csv").write_text("image_id,boat\nimg_1.jpg,1\ngone_1.jpg,1\ngone_2.jpg,1\n")
    attach_boats(table, tmp_path / "boats.csv")
    assert "2 ids are not in the manifest" in caplog.text
