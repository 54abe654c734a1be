"""Photographs as the page shows them: small ones made on the fly, and a placeholder for what can't be read."""

from __future__ import annotations

import io
import os
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fisheries.data.images import read_image, read_small
from fisheries.data.manifest import STATUSES
from fisheries.schema import OK

THUMBNAIL_PX, LARGE_PX = 320, 1600  # the longer side
_GONE = "gone or damaged since it was scanned"
_GRAY, _WHITE = (48, 54, 64), (200, 206, 214)
_readers = threading.BoundedSemaphore(os.cpu_count() or 1)  # a page asks for fifty at once


def thumbnail(row: pd.Series) -> bytes:
    """Return a small JPEG of a photograph, or a placeholder where the manifest says that it can't be used.

    Args:
        row: of a manifest.

    Raises:
        InputError: it can't be read, though the manifest says so.
    """
    refused = refusal(row)
    return placeholder(refused) if refused else _thumbnail(row["path"], int(row["height"]), int(row["width"]))


def large(row: pd.Series) -> bytes:
    """As `thumbnail`, for the large view."""
    return placeholder(refusal(row)) if refusal(row) else jpeg(large_pixels(row))


def large_pixels(row: pd.Series) -> NDArray[np.uint8]:
    """Return a photograph (H, W, 3) in the size of the large view; raises as `thumbnail`."""
    return _read(row["path"], int(row["height"]), int(row["width"]), LARGE_PX)


def refusal(row: pd.Series) -> str:
    """Return why there is no photograph to show, or "" if there is one."""
    if not row["path"]:
        return "no photograph: features alone"
    shown = row["status"] in (OK, "duplicate", "conflict")
    return "" if shown else f"{row['status']}: {STATUSES.get(row['status'], 'can not be used')}"


@lru_cache(maxsize=64)
def placeholder(reason: str = _GONE) -> bytes:
    """Return a gray JPEG that says why there is no picture."""
    picture = Image.new("RGB", (THUMBNAIL_PX, THUMBNAIL_PX * 9 // 16), _GRAY)
    words, lines = reason.split(), [""]
    for word in words:
        lines = [*lines, word] if len(lines[-1] + word) > 30 else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    middle = (picture.width // 2, picture.height // 2)
    pen.multiline_text(middle, "\n".join(lines), fill=_WHITE, font=font, anchor="mm", align="center", spacing=6)
    return jpeg(np.asarray(picture))


def jpeg(pixels: NDArray[np.uint8], *, quality: int = 85) -> bytes:
    """Return pixels (H, W, 3) as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=quality)
    return file.getvalue()


@lru_cache(maxsize=4096)  # of some 15 kB each
def _thumbnail(path: str, height: int, width: int) -> bytes:
    return jpeg(_read(path, height, width, THUMBNAIL_PX), quality=75)


def _read(path: str, height: int, width: int, side_px: int) -> NDArray[np.uint8]:
    with _readers:
        if not (height and width):  # a table made by hand need not say them
            height, width = read_image(path).shape[:2]
        scale = min(1.0, side_px / max(height, width))
        return read_small(Path(path), image_hw=(max(1, round(height * scale)), max(1, round(width * scale))))
