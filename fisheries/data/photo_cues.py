"""Cues that take photographs: from the file, the whole picture, its edge, and what lies in and around the fish boxes."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import ExifTags, Image, JpegImagePlugin

from fisheries.data.images import read_bytes, read_small
from fisheries.progress import IMAGES, track
from fisheries.schema import KEY, USABLE, InputError, largest_boxes

FILE_CUES = ("file size", "JPEG coding", "EXIF")
PICTURE_CUES = ("color histogram", "8 x 8 thumbnail", "border")
BOX_CUES = ("frame without fish", "fish alone")

_READ_HW = (90, 160)  # pixels; a frame of 720 rows gives as many at a quarter of its size
_SMALL_HW = (18, 32)
_BORDER_PX = 2  # of the small picture: a sixteenth of the width on each side
_LEVELS = 4  # of the histogram, in each of three channels

Pixels = NDArray[np.uint8]
Values = NDArray[np.float32] | list[str]


def find_photographs(images: pd.DataFrame, folder: Path | None = None) -> pd.Series:
    """Find the photographs of some rows of a manifest.

    Args:
        images: the rows; their paths count if `folder` is not given.
        folder: where to search instead, at any depth: for the bare name of each `image_id`, and where several files
            have it, for the whole `image_id`.

    Returns:
        The paths of those found, by `image_id`; none if no row has a path and no folder is given.

    Raises:
        InputError: none is found where there should be some, `folder` is no folder, or a name fits several files or
            several images.
    """
    if folder is None:
        paths = images.loc[images["path"] != "", "path"]
        found = paths[[Path(path).is_file() for path in paths]]
        if len(paths) and found.empty:
            raise InputError(
                f"{paths.iloc[0]}: no such file, nor any of the {len(paths)} photographs of the manifest; "
                "give the folder in which they lie, or a table without the column path"
            )
        return found
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the one in which the photographs lie")
    known = _paths_by_name(folder, {PurePath(image_id).name for image_id in images.index})
    found = {image_id: _choose(image_id, known.get(PurePath(image_id).name, []), folder) for image_id in images.index}
    paths = pd.Series({image_id: path for image_id, path in found.items() if path}, dtype="str").rename_axis(KEY)
    if paths.empty:
        raise InputError(
            f"{folder}: none of the {len(images)} photographs lies in it, such as {images.index[0]!r}; "
            "expected the folder in which they lie"
        )
    if paths.duplicated().any():
        path = paths[paths.duplicated()].iloc[0]
        raise InputError(
            f"{path}: could be {' or '.join(map(repr, paths.index[paths == path]))}; expected files under their whole ids"
        )
    return paths


def photograph_cues(
    images: pd.DataFrame,
    paths: pd.Series,
    boxes: pd.DataFrame | None = None,
    *,
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, pd.DataFrame]:
    """Read the cues that take the photographs, decoding each once, at a small size.

    Args:
        images: rows of a manifest, with `width` and `height`, whose pixels the boxes are in.
        paths: of the photographs to read, by `image_id`, see `find_photographs`.
        boxes: a box table: all usable boxes of a frame are painted over, and the largest is the fish alone.
        workers: threads; None for up to one a core.
        progress: whether to draw a bar on standard error.

    Returns:
        Name -> a table by `image_id`, with all of `FILE_CUES` and `PICTURE_CUES`. Those of `BOX_CUES` have the images
        with a usable box only, since the lack of one tells that there is no fish; without such images they are absent.
        Pixels are RGB in [0, 255], row by row; the histogram holds the square roots of shares.

    Raises:
        InputError: a photograph is gone or damaged.
    """
    areas = {} if boxes is None else _areas(images, boxes)
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        read = pool.map(lambda image_id: _read(paths[image_id], areas.get(image_id)), paths.index)
        shown = track(
            read,
            "Reading photographs",
            total=len(paths),
            disable=not (progress and len(paths)),
            unit=IMAGES,
        )
        found = dict(zip(paths.index, shown, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)
    names = {name: None for values in found.values() for name in values}
    return {name: _table({key: values[name] for key, values in found.items() if name in values}) for name in names}


def _paths_by_name(folder: Path, wanted: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for parent, _, names in os.walk(folder):
        for name in wanted.intersection(names):
            found.setdefault(name, []).append(str(Path(parent) / name))
    return found


def _choose(image_id: str, paths: Sequence[str], folder: Path) -> str:
    """Return the path that an image has among those of its name, or "" if there is none."""
    if len(paths) > 1:
        parts = PurePath(image_id).parts
        paths = [path for path in paths if PurePath(path).parts[-len(parts) :] == parts] or paths
    if len(paths) > 1:
        raise InputError(
            f"{folder}: {image_id!r} could be {paths[0]} or {paths[1]}; expected a folder with one of them"
        )
    return paths[0] if paths else ""


def _areas(images: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return left, top, right, bottom (K, 4) of an image's usable boxes in the read picture, the largest box first."""
    sized = images[(images["width"] > 0) & (images["height"] > 0)]
    usable = boxes[boxes["status"].isin(USABLE) & boxes.index.isin(sized.index)]
    ordered = pd.concat([largest_boxes(usable), usable])
    scale = np.array(_READ_HW[::-1]) / sized.loc[ordered.index, ["width", "height"]].to_numpy(dtype=np.float64)
    left_top = ordered[["left", "top"]].to_numpy(dtype=np.float64)
    right_bottom = left_top + ordered[["box_width", "box_height"]].to_numpy(dtype=np.float64)
    first = np.clip(np.floor(left_top * scale), 0, np.array(_READ_HW[::-1]) - 1)  # at least a pixel of each is left
    last = np.clip(np.ceil(right_bottom * scale), first + 1, _READ_HW[::-1])
    areas = pd.DataFrame(np.concatenate([first, last], axis=1).astype(np.int64), index=ordered.index)
    return {str(image_id): rows.to_numpy() for image_id, rows in areas.groupby(level=0)}


def _read(path: str, areas: NDArray[np.int64] | None) -> dict[str, Values]:
    """Return what one photograph tells: cue -> values (F,)."""
    pixels = read_small(path, image_hw=_READ_HW)
    small = _shrink(pixels, _SMALL_HW)
    cues: dict[str, Values] = {
        **_file_cues(read_bytes(path)),
        "color histogram": _histogram(pixels),
        "8 x 8 thumbnail": _flat(_shrink(pixels, (8, 8))),
        "border": _flat(small[_border_mask()]),
    }
    if areas is not None:
        left, top, right, bottom = areas[0]
        cues["frame without fish"] = _flat(_shrink(_paint_over(pixels, areas), _SMALL_HW))
        cues["fish alone"] = _flat(_shrink(pixels[top:bottom, left:right], _SMALL_HW))
    return cues


def _file_cues(data: bytes) -> dict[str, Values]:
    with Image.open(io.BytesIO(data)) as image:
        tables = sorted(getattr(image, "quantization", {}).items())
        digest = hashlib.sha256(repr(tables).encode()).hexdigest()[:8] if tables else ""
        sampling = JpegImagePlugin.get_sampling(image) if tables else -1
        return {
            "file size": np.array([len(data), len(data) / (image.width * image.height)], np.float32),
            "JPEG coding": [str(image.format), digest, str(sampling)],
            "EXIF": _exif(image),
        }


def _exif(image: Image.Image) -> list[str]:
    try:
        exif = image.getexif()
    except Exception:  # whatever broken EXIF makes PIL stumble over; that it is broken is a cue, too
        return ["broken", "", "", ""]
    tags = (ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software)
    return ["present" if exif else "absent", *(str(exif.get(tag, "")) for tag in tags)]


def _histogram(pixels: Pixels) -> NDArray[np.float32]:
    levels = pixels.reshape(-1, 3).astype(np.int64) * _LEVELS // 256  # (H W, 3)
    counts = np.bincount(levels @ np.array([_LEVELS**2, _LEVELS, 1]), minlength=_LEVELS**3)
    return np.sqrt(counts / counts.sum()).astype(np.float32)  # the roots' differences weigh rare colors, too


def _paint_over(pixels: Pixels, areas: NDArray[np.int64]) -> Pixels:
    """Fill boxes from around them, so that neither fish nor, as far as that goes, box is left to be seen."""
    mask = np.zeros(pixels.shape[:2], np.uint8)
    for left, top, right, bottom in areas:
        mask[top:bottom, left:right] = 1
    return np.asarray(cv2.inpaint(pixels, mask, 3, cv2.INPAINT_TELEA), np.uint8)


def _border_mask() -> NDArray[np.bool_]:
    mask = np.ones(_SMALL_HW, bool)
    mask[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = False
    return mask


def _shrink(pixels: Pixels, image_hw: tuple[int, int]) -> Pixels:
    return np.asarray(cv2.resize(pixels, image_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _flat(pixels: Pixels) -> NDArray[np.float32]:
    return pixels.reshape(-1).astype(np.float32)


def _table(rows: Mapping[str, Values]) -> pd.DataFrame:
    return pd.DataFrame(np.array(list(rows.values())), index=pd.Index(list(rows), name=KEY, dtype="str"))
