from __future__ import annotations

import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from fisheries.data.archives import unpack_zip
from fisheries.schema import InputError

FILES = {"train/ALB/img_00003.jpg": b"a" * 3000, "train/BET/img_00007.jpg": b"b" * 70_000, "empty.csv": b""}


def zip_of(path: Path, members: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name)
            member.filename = name  # as it is: ZipInfo mends some
            member.external_attr = attributes.get("external_attr", 0)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return zip_of(tmp_path / "good.zip", FILES)


def refused(path: Path, folder: Path, message: str, **limits: float) -> None:
    with pytest.raises(InputError, match=rf"{path.name}: {message}"):
        unpack_zip(path, folder, **limits)
    assert not folder.exists() or not contents(folder)


def test_everything_is_unpacked_and_readable(good: Path, tmp_path: Path):
    assert unpack_zip(good, tmp_path / "out") == 3
    assert contents(tmp_path / "out") == FILES
    assert stat.S_IMODE((tmp_path / "out" / "empty.csv").stat().st_mode) == 0o644


def test_what_is_there_whole_is_not_unpacked_again_and_the_rest_is(good: Path, tmp_path: Path):
    out = tmp_path / "out"
    unpack_zip(good, out)
    kept, cut, changed = (out / name for name in FILES)
    cut.write_bytes(cut.read_bytes()[:-1])
    changed.unlink()
    before = kept.stat().st_mtime_ns
    assert unpack_zip(good, out) == 2
    assert contents(out) == FILES
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(b"x" * 3000)
    assert unpack_zip(good, out) == 1
    assert contents(out) == FILES


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../evil.txt", "lies outside"),
        ("train/../../evil.txt", "lies outside"),
        ("/evil.txt", "is an absolute or a Windows path"),
        ("C:/evil.txt", "is an absolute or a Windows path"),
        ("..\\evil.txt", "is an absolute or a Windows path"),
    ],
)
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_written(tmp_path: Path, name: str, problem: str):
    path = zip_of(tmp_path / "bad.zip", {"good.txt": b"1", name: b"2"})
    refused(path, tmp_path / "out", f".*{problem}.*; nothing is unpacked: use another copy")
    assert not (tmp_path / "evil.txt").exists()


def test_a_symbolic_link_is_refused(tmp_path: Path):
    path = zip_of(tmp_path / "link.zip", {"train": b"/etc"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    refused(path, tmp_path / "out", "'train' is a link or a device, no file")


def test_nothing_is_written_through_a_link_that_is_there_already(tmp_path: Path, good: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train").symlink_to(tmp_path / "elsewhere")
    refused(good, tmp_path / "out", "'train/ALB/img_00003.jpg' lies outside")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_names_that_can_not_be_together_are_refused(tmp_path: Path):
    refused(zip_of(tmp_path / "a.zip", {"a": b"1", "a/b": b"2"}), tmp_path / "out", "'a/b' lies below another file")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    refused(tmp_path / "b.zip", tmp_path / "out", "'a' occurs twice")


def test_a_bomb_is_refused_by_its_ratio_its_size_and_the_room_there_is(tmp_path: Path, monkeypatch):
    bomb = zip_of(tmp_path / "bomb.zip", {f"{number}.txt": bytes(2**23) for number in range(9)})
    assert bomb.stat().st_size < 100_000
    refused(
        bomb, tmp_path / "out", r"unpacks to \d+ times its size, more than 100: nothing is unpacked, it may be a bomb"
    )
    refused(bomb, tmp_path / "out", r"0\.1 GiB unpacked, more than 0\.0 GiB", most_bytes=2**20)
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    refused(bomb, tmp_path / "out", r"needs 0\.1 GiB in .*out, 0\.0 GiB are free; make room", most_ratio=10_000)


def test_a_table_that_repeats_a_row_is_no_bomb(tmp_path: Path):
    rows = b"img_00005.jpg,0.455,0.053,0.031,0.018,0.123,0.079,0.047,0.194\n" * 13_153
    path = zip_of(tmp_path / "sample.zip", {"sample.csv": rows})
    assert path.stat().st_size * 100 < len(rows)
    assert unpack_zip(path, tmp_path / "out") == 1


@pytest.mark.parametrize("declared", [10, 5000])
def test_a_size_that_is_not_the_one_declared_is_refused_and_leaves_nothing(tmp_path: Path, declared: int):
    path = zip_of(tmp_path / "lie.zip", {"a.txt": b"a" * 3000})
    data = path.read_bytes()
    real, said = struct.pack("<L", 3000), struct.pack("<L", declared)
    assert data.count(real) == 2  # beside the file, and in the directory at the end
    path.write_bytes(data.replace(real, said))
    refused(path, tmp_path / "out", r"truncated or damaged \(.*\); delete it and download it again")


def test_a_truncated_a_damaged_and_no_archive_are_one_line(tmp_path: Path, good: Path):
    cut = tmp_path / "cut.zip"
    cut.write_bytes(good.read_bytes()[:-30])
    refused(cut, tmp_path / "out", r"truncated or damaged \(File is not a zip file\)")
    damaged = tmp_path / "damaged.zip"
    data = bytearray(good.read_bytes())
    data[60] ^= 0xFF
    damaged.write_bytes(data)
    refused(damaged, tmp_path / "out", "truncated or damaged")
    refused(tmp_path / "none.zip", tmp_path / "out", "no such file")


def test_an_encrypted_archive_is_told(tmp_path: Path, good: Path):
    data = bytearray(good.read_bytes())
    where = data.index(b"PK\x01\x02")  # the directory at the end
    data[where + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(data)
    refused(tmp_path / "secret.zip", tmp_path / "out", "'train/ALB/img_00003.jpg' is encrypted")


def test_a_folder_in_the_place_of_a_file_is_one_line(tmp_path: Path, good: Path):
    (tmp_path / "out" / "empty.csv" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match=r"good\.zip: can't be unpacked into .*out"):
        unpack_zip(good, tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".*"))
