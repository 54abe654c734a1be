"""Small pictures of all photographs, read once and kept, from which bursts and boats are found."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.data.images import read_small
from fisheries.progress import IMAGES, track
from fisheries.schema import OK, InputError, new_file

THUMBNAIL_HW = (54, 96)  # height and width in pixels, whatever the photograph's shape
_LOG = logging.getLogger(__name__)


def load_thumbnails(
    manifest: pd.DataFrame, cache: Path | None = None, *, workers: int | None = None, progress: bool = False
) -> NDArray[np.uint8]:
    """Return a thumbnail of every readable photograph of a manifest.

    Args:
        manifest: with `path`, `sha256` and `status`.
        cache: an .npz beside the manifest with those read before, by content; written anew when photographs came.
        workers: threads; None for up to one a core.
        progress: whether to draw a bar on standard error.

    Returns:
        (N, H, W, 3) RGB in the manifest's order, H and W as in `THUMBNAIL_HW`; black where the status is not "ok".

    Raises:
        InputError: a photograph that the manifest calls "ok" is gone or damaged.
    """
    readable = np.flatnonzero(manifest["status"] == OK)
    sha256 = manifest["sha256"].to_numpy()
    stored_sha256, stored = _read_cache(cache)
    if len(readable) == len(manifest) and np.array_equal(stored_sha256, sha256):
        return stored  # a second array would be as large
    pixels = np.zeros((len(manifest), *THUMBNAIL_HW, 3), np.uint8)
    known = dict(zip(stored_sha256.tolist(), stored, strict=True))
    for row in readable:
        if sha256[row] in known:
            pixels[row] = known[sha256[row]]
    fresh = [row for row in readable if sha256[row] not in known]
    paths = manifest["path"].to_numpy()
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        small = pool.map(lambda row: read_small(paths[row], image_hw=THUMBNAIL_HW), fresh)
        shown = track(
            small,
            "Reading thumbnails",
            total=len(fresh),
            disable=not (progress and fresh),
            unit=IMAGES,
        )
        for row, picture in zip(fresh, shown, strict=True):
            pixels[row] = picture
    finally:
        pool.shutdown(cancel_futures=True)
    if cache is not None and fresh:
        known_rows = readable[sha256[readable] != ""]
        _write_cache(cache, sha256[known_rows], pixels if len(known_rows) == len(pixels) else pixels[known_rows])
    return pixels


def _read_cache(cache: Path | None) -> tuple[NDArray[np.str_], NDArray[np.uint8]]:
    nothing = np.empty(0, "U64"), np.empty((0, *THUMBNAIL_HW, 3), np.uint8)
    if cache is None or not cache.is_file():
        return nothing
    try:
        with np.load(cache, allow_pickle=False) as stored:
            pixels, sha256 = stored["pixels"], stored["sha256"]
        if pixels.shape != (len(sha256), *THUMBNAIL_HW, 3) or pixels.dtype != np.uint8:
            raise ValueError(f"pixels of shape {pixels.shape}")
    except Exception as error:  # whatever a damaged or foreign file makes NumPy stumble over
        _LOG.warning("%s can't be used again, so all photographs are read anew (%s)", cache, error)
        return nothing
    return sha256, pixels


def _write_cache(cache: Path, sha256: NDArray[np.str_], pixels: NDArray[np.uint8]) -> None:
    try:
        with new_file(cache) as file:  # not by way of memory: of 100,000 photographs it is 1.6 GB
            np.savez(file, sha256=sha256.astype("U64"), pixels=pixels)
    except OSError as error:
        raise InputError(
            f"{cache}: can't be written ({error.strerror}); expected room and a writable folder"
        ) from error
