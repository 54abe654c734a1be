"""What a frozen backbone makes of views of photographs, computed once and kept in shards that are written whole."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.data.image_cache import FREE_BYTES
from fisheries.schema import InputError, write_atomic

ABOUT = "about.json"
PLAIN = ""  # the view of which nothing is left to chance
# Rounding to float16 is lossless enough if it adds less than this to a feature's spread over images.
_ROUNDING = 1e-3
_ANEW = "remove its folder and compute the features, or import them, anew"


@dataclass(frozen=True)
class FeatureStore:
    """Arrays of one shape by key, memory-mapped; see `view_key` for the keys.

    Args:
        shards: arrays (n, ...) float16 or float32.
        places: key -> number of the shard, and row in it.
    """

    shards: list[NDArray[Any]]
    places: Mapping[str, tuple[int, int]]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one array."""
        return tuple(self.shards[0].shape[1:])

    def locate(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Return where the arrays of `keys` are, (N, 2), for `take`."""
        return np.array([self.places[key] for key in keys], dtype=np.int64).reshape(-1, 2)

    def take(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the arrays (N, ...) at places (N, 2), in their order, in the precision that they are stored in."""
        shards = np.unique(places[:, 0])
        if len(shards) == 1:
            return self.shards[shards[0]][places[:, 1]]
        taken = np.empty((len(places), *self.shape), dtype=np.result_type(*self.shards))
        for shard in shards:
            own = places[:, 0] == shard
            taken[own] = self.shards[shard][places[own, 1]]
        return taken


def view_key(sha256: str, view: str) -> str:
    """Return the key of a view of an image by its content: of the plain view, or of an augmented one by its name."""
    return f"{sha256}/{view}" if view else sha256


def view_seed(sha256: str, view: str) -> int:
    """Return the seed of an image's view: of its content and the view's name alone."""
    return int.from_bytes(hashlib.sha256(view_key(sha256, view).encode()).digest()[:4])


def store_dir(base: Path, about: Mapping[str, Any]) -> Path:
    """Return the folder below `base` for features made as `about` says, and write that down in it.

    Args:
        base: where all such folders are.
        about: everything that features depend on besides the photograph: the network and its weights' hash, the size
            of its input, the transform.

    Raises:
        InputError: the folder can't be written.
    """
    text = json.dumps(about, sort_keys=True, indent=2)
    folder = base / f"features-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    try:
        write_atomic(folder / ABOUT, text.encode())
    except OSError as error:
        raise InputError(f"{folder}: can't be written ({error.strerror}); give another tables_dir") from error
    return folder


def open_store(folder: Path) -> FeatureStore:
    """Open the whole shards in a folder; one that was being written when its process ended is not there.

    Raises:
        InputError: a shard is damaged, or was not written by `write_shard`.
    """
    shards: list[NDArray[Any]] = []
    places: dict[str, tuple[int, int]] = {}
    for keys_file in sorted(folder.glob("*.keys")):
        keys = keys_file.read_text().splitlines()
        shards.append(_open_shard(keys_file.with_suffix(".npy"), rows=len(keys)))
        places |= {key: (len(shards) - 1, row) for row, key in enumerate(keys)}
    return FeatureStore(shards, places)


def _open_shard(path: Path, *, rows: int) -> NDArray[Any]:
    try:
        # as a plain array, since a row of np.memmap costs more than the bytes in it
        shard = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # what a broken header makes NumPy stumble over has any type
        raise InputError(f"{path}: damaged or no shard of features ({_first_line(error)}); {_ANEW}") from error
    if shard.ndim < 2 or len(shard) != rows or shard.dtype not in (np.float16, np.float32):
        raise InputError(
            f"{path}: holds {shard.dtype} {shard.shape}; expected {rows} rows of float16 or float32; {_ANEW}"
        )
    return shard


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:120] or type(error).__name__


def write_shard(folder: Path, keys: Sequence[str], values: NDArray[np.float32]) -> str:
    """Add arrays (N, ...) to a store; a shard counts once its keys are there, and these are written last.

    Returns:
        The shard's name. It follows from its keys, so that processes that compute the same photographs do not disturb
        one another.

    Raises:
        InputError: the folder can't be written.
    """
    text = "\n".join(keys)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        if not (folder / f"{name}.keys").is_file():
            write_atomic(folder / f"{name}.npy", _npy_bytes(narrowed(values)))
            write_atomic(folder / f"{name}.keys", text.encode())
    except OSError as error:
        raise InputError(
            f"{folder}: can't be written ({error.strerror}); make room there, or give another folder"
        ) from error
    return name


def keep_shards(folder: Path, names: Collection[str]) -> None:
    """Remove all shards but those of these names."""
    for file in [*folder.glob("*.keys"), *folder.glob("*.npy")]:  # the keys first: without them a shard is none
        if file.stem not in names:
            file.unlink()


def narrowed(values: NDArray[np.float32]) -> NDArray[Any]:
    """Return values (N, F, ...) as float16 if rounding is small beside each feature's spread, else as float32.

    The spread is that over the images at hand and, of a map, over its positions; with fewer than eight images it says
    little, and float32 stays. A feature that varies less than a hundredth of what features do on average is measured by
    that hundredth.
    """
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if len(values) < 8 or not np.isfinite(half).all():
        return values
    over = (0, *range(2, values.ndim))
    rounding, spread = (half.astype(np.float32) - values).std(axis=over), values.std(axis=over)
    return half if (rounding <= _ROUNDING * np.maximum(spread, 0.01 * spread.mean())).all() else values


def check_space(folder: Path, *, arrays: int, shape: tuple[int, ...]) -> None:
    """Check that the disk has room for so many arrays in float32 at worst, before hours go into them.

    Raises:
        InputError: it has not.
    """
    needed, free = 4 * arrays * int(np.prod(shape)), shutil.disk_usage(folder).free
    if needed > free - FREE_BYTES:
        raise InputError(
            f"{folder}: {arrays} feature arrays {shape} need up to {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free, "
            "of which 1 GB is left to others; give another tables_dir, smaller pictures or a head on pooled features (model.head=linear)"
        )


def missing_keys(store: FeatureStore, keys: Iterable[str]) -> list[str]:
    """Return the keys that a store lacks, each once, in their order."""
    return [key for key in dict.fromkeys(keys) if key not in store.places]


def image_keys(images: pd.DataFrame, view: str = PLAIN) -> list[str]:
    """Return the keys of rows of a manifest."""
    return [view_key(sha256, view) for sha256 in images["sha256"]]


def _npy_bytes(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
