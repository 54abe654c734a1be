"""What `fisheries manifest` prints of a folder."""

from pathlib import Path

from fisheries.data.manifest import NOTES, STATUSES
from tests.data.test_manifest import lay_out, loaded, printed, rectangles, scanned


def test_summary_counts_classes_sizes_statuses_notes_and_boxes(tmp_path: Path) -> None:
    files = {"train/ALB/a.jpg": 1, "train/ALB/b.jpg": 2, "train/[red]/c.jpg": b"", "test_stg1/d.jpg": 1}
    labels = {"alb_labels.json": rectangles("a.jpg", "a.jpg", "gone.jpg")}
    table, boxes = loaded(lay_out(tmp_path / "data", files | labels), tmp_path / "tables")
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed(table, boxes).splitlines()]
    assert ["train", "ALB", "2", "2", "1"] in [line[:5] for line in lines]
    assert ["train", "[red]", "1", "0", "0", "0"] in lines
    assert ["32x24", "3"] in lines
    assert ["empty", "1", STATUSES["empty"]] in lines
    assert ["same_as_test", "1", NOTES["same_as_test"]] in lines
    assert [line[:2] for line in lines if line[:1] == ["duplicate"]] == [["duplicate", "1"]]
    assert [line[:2] for line in lines if line[:1] == ["no_image"]] == [["no_image", "1"]]


def test_summary_lists_unusable_files_but_not_without_end(tmp_path: Path) -> None:
    table = scanned(lay_out(tmp_path, {f"train/ALB/{number:02}\n.jpg": b"" for number in range(23)}))
    text = printed(table)
    assert text.count("ALB/") == 20
    assert r"ALB/00\n.jpg': the file has no bytes" in text
    assert "... and 3 more, see manifest.csv" in text
