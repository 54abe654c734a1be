"""Shrunk photographs: each is decoded once, and then read from disk or memory by any number of processes.

A picture is written before its checksum, and one that the checksum does not confirm is made again. So what a killed
process or a full disk left behind is never shown, and no process waits for another: two that fill one place write the
same bytes there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fisheries.schema import InputError, write_atomic

ABOUT, KEYS, PIXELS, SUMS, LOCK = "about.json", "keys.txt", "pixels.bin", "sums.bin", "lock"
_SUM_BYTES = 4
FREE_BYTES = 1 << 30  # left to others on the disk

Picture = NDArray[np.uint8]


class ImageCache:
    """Pictures of one size by key, filled as they are asked for.

    Files are read and written at their place rather than mapped into memory: on a full disk or a share that is gone,
    that is an error that can be met, where a map would end the process.

    Args:
        image_hw: height and width of each picture.
        places: key -> number; a key that is not there is made each time.
        folder: where they are kept; None for memory, which ends with this process and those that it forks.
    """

    def __init__(self, *, image_hw: tuple[int, int], places: Mapping[str, int], folder: Path | None) -> None:
        self.image_hw, self.places, self.folder = image_hw, places, folder
        self._open()

    def get(self, key: str, make: Callable[[], Picture]) -> Picture:
        """Return the picture (H, W, 3) of `key`, from `make` if it is not there yet."""
        place = self.places.get(key)
        picture = None if place is None else self._read(place)
        if picture is None:
            picture = make()
            if place is not None and self._writable:
                self._write(place, picture)
        return picture

    def missing(self, keys: Collection[str]) -> list[str]:
        """Return the keys that have a place and no picture yet."""
        return [key for key in keys if key in self.places and self._sum(self.places[key]) == bytes(_SUM_BYTES)]

    def _open(self) -> None:
        self._writable = self.folder is None or os.access(self.folder / PIXELS, os.W_OK)
        self._pixels, self._sums = (self._file(name) for name in (PIXELS, SUMS))

    def _file(self, name: str) -> int:
        if self.folder is not None:
            return os.open(self.folder / name, os.O_RDWR if self._writable else os.O_RDONLY)
        if hasattr(os, "memfd_create"):
            return os.memfd_create(name)
        with tempfile.TemporaryFile() as file:  # a system without memory files
            return os.dup(file.fileno())

    def _sum(self, place: int) -> bytes:
        return os.pread(self._sums, _SUM_BYTES, place * _SUM_BYTES).ljust(_SUM_BYTES, b"\0")

    def _read(self, place: int) -> Picture | None:
        told = self._sum(place)
        if told == bytes(_SUM_BYTES):
            return None
        picture = np.empty((*self.image_hw, 3), dtype=np.uint8)
        try:
            whole = os.preadv(self._pixels, [picture.data], place * picture.nbytes) == picture.nbytes
        except OSError:  # a bad sector: the photograph itself is still there
            return None
        return picture if whole and checksum(picture) == told else None

    def _write(self, place: int, picture: Picture) -> None:
        picture = np.ascontiguousarray(picture)
        try:
            written = os.pwrite(self._pixels, picture.data, place * picture.nbytes)
            if written == picture.nbytes:
                os.pwrite(self._sums, checksum(picture), place * _SUM_BYTES)
        except OSError:  # a full disk: what is there already is still worth reading
            self._writable = False

    def __getstate__(self) -> dict[str, Any]:
        if self.folder is None:
            raise InputError(
                "data.cache=memory: this system starts workers anew; expected data.cache=disk or data.workers=0"
            )
        return {"image_hw": self.image_hw, "places": self.places, "folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __del__(self) -> None:
        for name in ("_pixels", "_sums"):
            if name in self.__dict__:
                os.close(self.__dict__.pop(name))


def checksum(picture: Picture) -> bytes:
    """Return what confirms a picture; never zeros, which say that there is none."""
    return (zlib.crc32(picture.data) or 1).to_bytes(_SUM_BYTES, "little")


def disk_cache(
    base: Path, keys: Sequence[str], *, image_hw: tuple[int, int], about: Mapping[str, Any], limit_bytes: int
) -> ImageCache:
    """Open the cache for pictures of a kind, giving a place to each of `keys` as far as there is room.

    Args:
        base: where caches are, each in a folder of its own.
        keys: of the pictures wanted; those that other runs have put there stay.
        image_hw: height and width.
        about: what a picture depends on besides its key, such as how it was shrunk.
        limit_bytes: the most that the cache may take. On the disk a gigabyte is left to others.

    Raises:
        OSError: the folder can't be written, and has no cache yet.
    """
    text = json.dumps({**about, "image_hw": list(image_hw)}, sort_keys=True, indent=2)
    folder = base / f"images-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not _is_whole(folder, keys):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            _make_room(folder, keys, picture_bytes=3 * image_hw[0] * image_hw[1], limit_bytes=limit_bytes)
        write_atomic(folder / ABOUT, text.encode())
    return ImageCache(image_hw=image_hw, places=_places(folder), folder=folder)


def memory_cache(keys: Sequence[str], *, image_hw: tuple[int, int], limit_bytes: int) -> ImageCache:
    """Return a cache that lasts as long as this process, with a place for as many of `keys` as `limit_bytes` allows."""
    room = limit_bytes // (3 * image_hw[0] * image_hw[1])
    places = {key: place for place, key in enumerate(list(dict.fromkeys(keys))[:room])}
    return ImageCache(image_hw=image_hw, places=places, folder=None)


def _is_whole(folder: Path, keys: Sequence[str]) -> bool:
    return (folder / KEYS).is_file() and (folder / SUMS).is_file() and set(keys) <= set(_places(folder))


def _places(folder: Path) -> dict[str, int]:
    text = (folder / KEYS).read_text(encoding="utf-8") if (folder / KEYS).is_file() else ""
    return {key: place for place, key in enumerate(text.splitlines())}


def _make_room(folder: Path, keys: Sequence[str], *, picture_bytes: int, limit_bytes: int) -> None:
    there = _places(folder)
    new = [key for key in dict.fromkeys(keys) if key not in there]
    promised = len(there) * picture_bytes
    free = shutil.disk_usage(folder).free - FREE_BYTES - (promised - _taken_bytes(folder / PIXELS))
    free = min(free, limit_bytes - promised)
    known = [*there, *new[: max(0, free // picture_bytes)]]
    for name, size in ((PIXELS, picture_bytes), (SUMS, _SUM_BYTES)):
        with (folder / name).open("ab") as file:
            file.truncate(max(file.tell(), len(known) * size))  # takes no room until it is filled
    write_atomic(folder / KEYS, "\n".join(known).encode())


def _taken_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.is_file() else 0
