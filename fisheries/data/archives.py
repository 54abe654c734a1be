"""Zip archives from elsewhere, unpacked so that nothing leaves the folder, fills the disk, or is there in half."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from fisheries.progress import track
from fisheries.schema import InputError

MOST_BYTES = 100 * 2**30  # of all files in an archive; the competition's are a twentieth of that
MOST_RATIO = 100  # of what comes out to the archive itself; photographs hardly shrink, tables by a tenth to a fiftieth
# up to which the ratio does not matter: a table that repeats one row shrinks a thousandfold
FREE_RATIO_BYTES = 64 * 2**20
CHUNK_BYTES = 2**20


def unpack_zip(
    path: Path, folder: Path, *, most_bytes: int = MOST_BYTES, most_ratio: float = MOST_RATIO, progress: bool = False
) -> int:
    """Unpack a zip archive into a folder; a file that is there whole is not unpacked again.

    All names and sizes are checked before anything is written. Each file is written beside its place, checked by size
    and CRC-32, and renamed, so that an interruption leaves whole files only.

    Args:
        path: of the archive.
        folder: to unpack into; made if it is not there.
        most_bytes: that all files together may have.
        most_ratio: of their size to the archive's, where they have more than 64 MiB.
        progress: whether to show it.

    Returns:
        How many files were written.

    Raises:
        InputError: no such file or no zip archive; a member outside the folder, with an absolute path, a link, twice, or
            encrypted; too large, or larger than what is free; truncated or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            if not all(member.filename for member in archive.infolist()):
                raise zipfile.BadZipFile("a member without a name")
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_names(path, archive.infolist(), folder)
            _check_sizes(path, members, folder, most_bytes=most_bytes, most_ratio=most_ratio)
            shown = track(members, f"  {path.name}", disable=not progress)
            return sum([_unpack(archive, member, folder / member.filename) for member in shown])
    except InputError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        LookupError,
        ValueError,
        RuntimeError,
    ) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); delete it and download it again") from error
    except OSError as error:
        raise InputError(f"{path}: can't be unpacked into {folder} ({error})") from error


def _check_names(path: Path, members: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    times = Counter(member.filename for member in members)
    files = {PurePosixPath(member.filename) for member in members if not member.is_dir()}
    for member in members:
        problem = _name_problem(member, folder)
        if times[member.filename] > 1:
            problem = "occurs twice"
        elif files.intersection(PurePosixPath(member.filename).parents):
            problem = "lies below another file"
        if problem:
            raise InputError(
                f"{path}: {member.filename!r} {problem}; nothing is unpacked: use another copy of the archive"
            )


def _name_problem(member: zipfile.ZipInfo, folder: Path) -> str:
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "\\" in name:
        return "is an absolute or a Windows path"
    if ".." in PurePosixPath(name).parts or not (folder / name).resolve().is_relative_to(folder.resolve()):
        return f"lies outside {folder}"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, no file"
    return "is encrypted" if member.flag_bits & 1 else ""


def _check_sizes(
    path: Path, members: Sequence[zipfile.ZipInfo], folder: Path, *, most_bytes: int, most_ratio: float
) -> None:
    total, packed = sum(member.file_size for member in members), path.stat().st_size
    if total > most_bytes:
        raise InputError(
            f"{path}: {_gib(total)} unpacked, more than {_gib(most_bytes)}: nothing is unpacked, it may be a bomb"
        )
    if total > max(FREE_RATIO_BYTES, most_ratio * packed):
        raise InputError(
            f"{path}: unpacks to {total / packed:.0f} times its size, more than {most_ratio:g}: nothing is unpacked, it may "
            "be a bomb"
        )
    place = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.is_dir())
    missing = sum(member.file_size for member in members if not (folder / member.filename).is_file())
    free = shutil.disk_usage(place).free
    if missing > free:
        raise InputError(
            f"{path}: needs {_gib(missing)} in {folder}, {_gib(free)} are free; make room, or use another folder"
        )


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> bool:
    """Write a member unless it is there whole; return whether it was written."""
    if target.is_file() and target.stat().st_size == member.file_size and _crc(target) == member.CRC:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:50]}.")
    try:
        with os.fdopen(handle, "wb") as file, archive.open(member) as packed:
            shutil.copyfileobj(packed, file, CHUNK_BYTES)  # stops at the size declared, and checks the CRC there
            if file.tell() != member.file_size:
                raise zipfile.BadZipFile(f"{member.filename!r} has {file.tell()} bytes, {member.file_size} declared")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            value = zlib.crc32(chunk, value)
    return value


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
