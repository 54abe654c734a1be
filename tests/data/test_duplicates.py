"""Files of the same content."""

from pathlib import Path

from tests.data.test_manifest import lay_out, scanned


def test_same_content_under_two_labels_puts_all_of_them_out(tmp_path: Path) -> None:
    files = {"train/ALB/a": 1, "train/YFT/b": 1, "train/ALB/c": 1, "train/ALB/d": 2}
    table = scanned(lay_out(tmp_path, files))
    assert table["status"].to_dict() == {"a": "conflict", "b": "conflict", "c": "conflict", "d": "ok"}


def test_of_the_same_content_under_one_label_the_first_id_stays(tmp_path: Path) -> None:
    table = scanned(lay_out(tmp_path, {"train/ALB/c": 1, "train/ALB/a": 1, "train/ALB/b": 1, "train/ALB/d": 2}))
    assert table["status"].to_dict() == {"a": "ok", "b": "duplicate", "c": "duplicate", "d": "ok"}


def test_first_means_first_by_id_not_by_path(tmp_path: Path) -> None:
    table = scanned(lay_out(tmp_path, {"train/ALB/a/x.jpg": 1, "train/ALB/a-b/x.jpg": 1}))
    assert table["status"].to_dict() == {"a-b/x.jpg": "ok", "a/x.jpg": "duplicate"}


def test_same_content_in_test_is_noted_and_stays_usable(tmp_path: Path) -> None:
    files = {"train/ALB/a": 1, "test_stg1/b": 1, "test_stg1/c": 2, "test_stg2/d": 2, "test_stg1/e": 3}
    table = scanned(lay_out(tmp_path, files))
    assert set(table["status"]) == {"ok"}
    same = {"a": "same_as_test", "b": "same_as_train", "c": "same_as_test", "test_stg2/d": "same_as_test", "e": ""}
    assert table["notes"].to_dict() == same


def test_damaged_files_of_the_same_content_keep_their_reason(tmp_path: Path) -> None:
    table = scanned(lay_out(tmp_path, {"train/ALB/a": b"", "train/YFT/b": b"", "test/c": b""}))
    assert table["status"].tolist() == ["empty"] * 3
    assert table["notes"].tolist() == [""] * 3
