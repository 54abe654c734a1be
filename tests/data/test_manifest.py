import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from fisheries import schema
from fisheries.analysis.summary import summary
from fisheries.data import images
from fisheries.data import manifest as manifest_file
from fisheries.data.images import read_image
from fisheries.data.manifest import NOTES, STATUSES, scan, size_as_boat
from fisheries.data.tables import load_or_scan
from fisheries.schema import InputError


def jpeg(seed: int, *, height: int = 24, width: int = 32, **options: object) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def lay_out(root: Path, files: dict[str, bytes | int]) -> Path:
    """Write files by relative path; a number stands for a JPEG of its own."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(data) if isinstance(data, int) else data)
    return root


def scanned(root: Path, previous: pd.DataFrame | None = None, workers: int = 2) -> pd.DataFrame:
    return scan(root, previous=previous, workers=workers, progress=False)


def loaded(root: Path, tables_dir: Path, **options: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    given = {"annotations": None, "boats": None, "no_fish": "NoF", "progress": False, **options}
    return load_or_scan(root, tables_dir=tables_dir, **given)


def printed(table: pd.DataFrame, boxes: pd.DataFrame | None = None) -> str:
    if boxes is None:
        boxes = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in schema.BOXES.items()})
    console = Console(file=io.StringIO(), width=200)
    console.print(summary(table, boxes))
    return console.file.getvalue()


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in [root, *root.rglob("*")]
    }


def rectangles(*names: str) -> bytes:
    box = {"class": "rect", "x": 1, "y": 2, "width": 3, "height": 4}
    return json.dumps([{"class": "image", "filename": name, "annotations": [box]} for name in names]).encode()


KAGGLE = {
    "train/ALB/img_1.jpg": 1,
    "train/NoF/img_2.jpg": 2,
    "test_stg1/img_3.jpg": 3,
    "test_stg2/image_1.jpg": 4,
}


def test_kaggle_download_gets_the_ids_of_its_submission(tmp_path: Path) -> None:
    table = scanned(lay_out(tmp_path, KAGGLE))
    assert table.index.tolist() == ["img_1.jpg", "img_2.jpg", "img_3.jpg", "test_stg2/image_1.jpg"]
    assert table["subset"].tolist() == ["train", "train", "test_stg1", "test_stg2"]
    assert table["label"].tolist() == ["ALB", "NoF", "", ""]
    assert list(table.columns) == list(schema.MANIFEST)
    assert set(table["status"]) == {"ok"}
    assert set(table["boat"]) == {""}
    assert set(table["height"]) == {24}
    assert set(table["width"]) == {32}
    assert all(Path(path).is_file() for path in table["path"])
    assert table["size_bytes"].tolist() == [Path(path).stat().st_size for path in table["path"]]


def test_table_comes_back_the_same_from_disk(tmp_path: Path) -> None:
    names = ["NA.jpg", "None", "null", "two words\n.jpg", "a\rb.jpg", " épée 魚.jpg ", 'a"b,c.jpg', "[red].jpg", "-1"]
    files = {f"train/{label}/{label} {name}": jpeg(1) for label in ("NA", "None", " x ") for name in names}
    table = scanned(lay_out(tmp_path / "data", files))
    assert len(table) == len(files)
    assert set(table["label"]) == {"NA", "None", " x "}
    path = schema.write_table(table, tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(schema.read_table(path, schema.MANIFEST), table)


def test_files_in_deeper_folders_have_their_relative_path_for_a_name(tmp_path: Path) -> None:
    files = {"train/ALB/x/y/a.jpg": 1, "test/x/b.jpg": 2, "test_stg1/x/c.jpg": 3, "test_stg2/x/d.jpg": 4}
    assert scanned(lay_out(tmp_path, files)).index.tolist() == ["x/y/a.jpg", "x/b.jpg", "x/c.jpg", "test_stg2/x/d.jpg"]


def test_train_gives_way_where_ids_clash(tmp_path: Path) -> None:
    files = {
        "train/ALB/a.jpg": 1,
        "train/YFT/a.jpg": 2,
        "train/ALB/b.jpg": 3,
        "test_stg1/b.jpg": 4,
        "train/ALB/c.jpg": 5,
        "test_stg2/c.jpg": 6,
    }
    ids = ["ALB/a.jpg", "ALB/b.jpg", "YFT/a.jpg", "c.jpg", "b.jpg", "test_stg2/c.jpg"]
    assert scanned(lay_out(tmp_path, files)).index.tolist() == ids


def test_ids_are_unique_where_the_second_choice_clashes_too(tmp_path: Path) -> None:
    files = {"train/ALB/B/x": 1, "train/B/x": 2, "train/C/x": 3, "test/B/x": 4, "test/x": 5, "test_stg1/x": 6}
    files |= {"test_stg2/x": 7, "train/ALB/test_stg2/x": 8}
    table = scanned(lay_out(tmp_path, files))
    assert table.index.is_unique
    assert {"B/x", "C/x", "test/x", "test_stg1/x", "test_stg2/x", "train/B/x"} <= set(table.index)


@settings(deadline=None, max_examples=50)
@given(
    st.sets(
        st.tuples(
            st.sampled_from(["train", "test", "test_stg1", "test_stg2"]),
            st.lists(st.sampled_from(["a", "b", "train", "test", "\udcff", "\\xff"]), min_size=1, max_size=3),
        ).map(lambda parts: (parts[0], *parts[1]))
    )
)
def test_ids_are_unique_whatever_the_names(paths: set[tuple[str, ...]]) -> None:
    files = [manifest_file._File(Path(*parts), parts, 0, 0) for parts in sorted(paths)]
    ids = manifest_file._image_ids(files)
    assert len(ids) == len(files)
    assert len(set(ids)) == len(ids)


def test_train_alone_and_test_alone_are_enough(tmp_path: Path) -> None:
    assert len(scanned(lay_out(tmp_path / "1", {"train/ALB/a.jpg": 1}))) == 1
    assert len(scanned(lay_out(tmp_path / "2", {"test_stg1/a.jpg": 1}))) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"Train/ALB/a.jpg": 1}, r"no folder train/<class>/ or test\*/ \(did you mean 'Train'\?\); expected"),
        ({"Test_stg1/a.jpg": 1}, r"no folder train/<class>/ or test\*/ \(did you mean 'Test_stg1'\?\)"),
        ({"ALB/a.jpg": 1}, r"no folder train/<class>/ or test\*/; expected"),
        ({"train/a.jpg": 1}, r"no folder train/<class>/ or test\*/; expected"),
        ({"test.csv": b""}, r"no folder train/<class>/ or test\*/; expected"),
        ({"train/ALB/.DS_Store": b""}, r"no files in train/<class>/ or test\*/"),
    ],
)
def test_folder_without_photographs_is_refused(tmp_path: Path, files: dict[str, bytes | int], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        scanned(lay_out(tmp_path, files))
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_missing_folder_and_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: no such folder; expected a folder that holds train"):
        scanned(tmp_path / "none")
    with pytest.raises(InputError, match=r"workers=0: expected at least 1"):
        scanned(lay_out(tmp_path, KAGGLE), workers=0)


def test_class_without_photographs_is_counted_and_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(tmp_path, KAGGLE | {"train/LAG/.DS_Store": b"x"})
    table = scanned(tmp_path)
    assert table.attrs["empty_classes"] == ["LAG"]
    assert "class 'LAG' has no photographs" in caplog.text
    assert [line.split()[1:5:2] for line in printed(size_as_boat(table)).splitlines() if "LAG" in line] == [
        ["train", "LAG"]
    ]


def test_hidden_files_are_skipped_and_counted(tmp_path: Path) -> None:
    hidden = [".DS_Store", "._a.jpg", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/a.jpg", "__MACOSX/a.jpg"]
    table = scanned(lay_out(tmp_path, KAGGLE | {f"train/ALB/{name}": b"x" for name in hidden}))
    assert len(table) == len(KAGGLE)
    assert table.attrs["skipped"] == len(hidden)
    assert f"{len(hidden)} hidden files were skipped" in printed(table)


def test_every_other_file_gets_a_row_that_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    files = {
        "train/ALB/empty.jpg": b"",
        "train/ALB/cut.jpg": jpeg(1)[:-50],
        "train/ALB/text.jpg": b"hello " * 100,
        "train/ALB/bomb.png": bomb,
        "train/ALB/big.jpg": b"\0" * 20_000,
        "train/ALB/good.jpg": 2,
        "train/loose.jpg": 3,
    }
    lay_out(tmp_path, files)
    (tmp_path / "train/ALB/broken_link.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "train/ALB/pipe.jpg")
    monkeypatch.setattr(images, "MAX_BYTES", 15_000)
    table = scanned(tmp_path)
    assert table["status"].to_dict() == {
        "empty.jpg": "empty",
        "cut.jpg": "truncated",
        "text.jpg": "not_an_image",
        "bomb.png": "too_large",
        "big.jpg": "too_large",
        "good.jpg": "ok",
        "loose.jpg": "no_label",
        "broken_link.jpg": "unreadable",
        "pipe.jpg": "unreadable",
    }
    assert set(table["status"]) <= set(STATUSES)
    bad = table[table["status"] != "ok"]
    assert (bad[["height", "width"]] == 0).all(axis=None)
    hashed = bad.loc[["empty.jpg", "cut.jpg", "text.jpg", "bomb.png", "big.jpg"], "sha256"]
    assert hashed.str.len().tolist() == [64] * 5


def test_file_without_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, whom nothing is forbidden.
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    lay_out(tmp_path, KAGGLE)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert set(scanned(tmp_path)["status"]) == {"unreadable"}


def test_name_that_is_not_utf8_gets_an_escaped_id_and_no_use(tmp_path: Path) -> None:
    lay_out(tmp_path / "data", KAGGLE | {"train/ALB/\\xff.jpg": 9})
    with open(os.fsencode(tmp_path) + b"/data/train/ALB/\xff.jpg", "wb") as file:  # noqa: PTH123
        file.write(jpeg(5))
    table, _ = loaded(tmp_path / "data", tmp_path / "tables")
    assert len(table) == len(KAGGLE) + 2
    bad = table[table["status"] == "bad_name"]
    assert bad["path"].tolist() == [f"{tmp_path}/data/train/ALB/\\xff.jpg"]
    assert bad["label"].tolist() == ["ALB"]
    again, _ = loaded(tmp_path / "data", tmp_path / "tables")
    pd.testing.assert_frame_equal(again, table)


def test_odd_but_usable_files_are_noted(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train/ALB/a.jpg": 1, "train/ALB/turned.jpg": b""})
    png = io.BytesIO()
    Image.new("L", (5, 4)).save(png, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    lay_out(tmp_path, {"train/ALB/png.jpg": png.getvalue(), "train/ALB/turned.jpg": jpeg(2, exif=exif)})
    table = scanned(tmp_path)
    assert table["notes"].to_dict() == {"a.jpg": "", "png.jpg": "grey is_png", "turned.jpg": "exif_rotated"}
    assert set(" ".join(table["notes"]).split()) <= set(NOTES)


def test_boxes_refer_to_the_frame_as_exif_turns_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[40:56, 8:24] = 255  # of the file; turned clockwise, its top left corner comes to (60 - 56, 8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif, quality=95)
    box = {"class": "rect", "x": 4, "y": 8, "width": 16, "height": 16}
    tall = {"class": "rect", "x": 50, "y": 70, "width": 10, "height": 10}  # within 60 x 80 only
    entry = {"class": "image", "filename": "a.jpg", "annotations": [box, tall]}
    lay_out(tmp_path / "data", {"train/ALB/a.jpg": file.getvalue(), "alb_labels.json": json.dumps([entry]).encode()})
    table, boxes = loaded(tmp_path / "data", tmp_path / "tables")
    image, first = read_image(table.loc["a.jpg", "path"]), boxes.iloc[0]
    left, top, width, height = (int(first[name]) for name in ("left", "top", "box_width", "box_height"))
    assert (table.loc["a.jpg", "height"], table.loc["a.jpg", "width"]) == image.shape[:2] == (80, 60)
    assert boxes["status"].tolist() == ["ok", "ok"]
    assert image[top : top + height, left : left + width].min() > 200
    assert (image > 127).all(axis=2).sum() == pytest.approx(256, abs=20)


def test_second_scan_reads_no_unchanged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = KAGGLE | {"train/ALB/cut.jpg": jpeg(7)[:-9], "train/ALB/twin.jpg": 1, "test/x.jpg": 2}
    first = scanned(lay_out(tmp_path, files))
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"read {path}"))
    pd.testing.assert_frame_equal(scanned(tmp_path, previous=first), first)


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    first = scanned(lay_out(tmp_path, KAGGLE))
    path = tmp_path / "train/ALB/img_1.jpg"
    path.write_bytes(jpeg(1, height=8))
    os.utime(path, ns=(5, 5))
    assert scanned(tmp_path, previous=first).loc["img_1.jpg", "height"] == 8


def test_content_statuses_are_worked_out_again_over_all_files(tmp_path: Path) -> None:
    files = {"train/ALB/a": 1, "train/ALB/b": 1, "train/YFT/c": 2, "train/ALB/d": 2, "test/e": 1}
    first = scanned(lay_out(tmp_path, files))
    assert first["status"].tolist() == ["ok", "duplicate", "conflict", "conflict", "ok"]
    for name in ("train/ALB/a", "train/YFT/c", "test/e"):
        (tmp_path / name).unlink()
    second = scanned(tmp_path, previous=first)
    assert second["status"].to_dict() == {"b": "ok", "d": "ok"}
    assert second["notes"].tolist() == ["", ""]


def test_unreadable_file_is_tried_again(tmp_path: Path) -> None:
    first = scanned(lay_out(tmp_path, KAGGLE))
    first.loc["img_1.jpg", ["status", "sha256"]] = ["unreadable", ""]
    assert scanned(tmp_path, previous=first).loc["img_1.jpg", "status"] == "ok"


def test_table_depends_neither_on_workers_nor_on_the_order_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"train/{label}/{number}.jpg": number % 7 for label in ("B", "A") for number in range(12)}
    lay_out(tmp_path, files | {"test_stg1/z.jpg": 1, "test/a.jpg": 2})
    first = scanned(tmp_path, workers=1)
    entries = manifest_file._entries
    monkeypatch.setattr(manifest_file, "_entries", lambda folder: entries(folder)[::-1])
    pd.testing.assert_frame_equal(scanned(tmp_path, workers=5), first)
    assert first["subset"].unique().tolist() == ["train", "test", "test_stg1"]
    for _, part in first.groupby("subset"):
        assert part.index.is_monotonic_increasing


def test_linked_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    lay_out(tmp_path, {"elsewhere/a.jpg": 1, "train/ALB/x/b.jpg": 2})
    (tmp_path / "train/YFT").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train/ALB/x/circle").symlink_to(tmp_path / "train/ALB")
    assert scanned(tmp_path)["label"].to_dict() == {"x/b.jpg": "ALB", "a.jpg": "YFT"}
