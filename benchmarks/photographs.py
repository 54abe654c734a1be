"""Photographs for benchmarks: real ones of a manifest, or embedded boats drawn as large as real ones, and with as large files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fisheries.console import make_console
from fisheries.data.manifest import scan_paths
from fisheries.data.synthetic_deck import draw_boat
from fisheries.data.synthetic_plan import CLASS_COUNTS
from fisheries.data.synthetic_scene import draw_frame
from fisheries.progress import track
from fisheries.schema import MANIFEST, OK, InputError, read_table, write_table

SIZE_WH = (1280, 720)  # of most real ones
JPEG_QUALITY = 95  # files of 250 kB in the median; real ones have 219, and 291 if they are of this size
PER_BOAT = 16
NIGHTS = 5  # every so many-th boat works by night


def photographs(manifest: Path | None, *, most: int, folder: Path) -> tuple[pd.DataFrame, Path]:
    """Return rows of a manifest, each of another photograph, and the file that has them.

    Args:
        manifest: of real photographs; without one they are drawn.
        most: how many.
        folder: where drawn ones are kept from one run to the next.

    Raises:
        InputError: the manifest has fewer than `most`.
    """
    path = manifest or folder / f"photographs-{most}" / "manifest.csv"
    if manifest is None and not path.is_file():
        _draw(path.parent, most)
    images = read_table(path, MANIFEST)
    images = images[images["status"] == OK].drop_duplicates("sha256").iloc[:most]
    if len(images) < most:
        raise InputError(f"{path}: {len(images)} photographs; expected {most}: give --most {len(images)}")
    return images, path


def _draw(folder: Path, count: int) -> None:
    (folder / "test").mkdir(parents=True, exist_ok=True)
    console, boat = make_console(), None
    width, height = SIZE_WH
    for number in track(range(count), "Drawing", console=console, disable=not console.is_terminal):
        if number % PER_BOAT == 0:
            boat = draw_boat(width=width, height=height, rng=np.random.default_rng([0, number]))
        label = list(CLASS_COUNTS)[number % len(CLASS_COUNTS)]
        image, _ = draw_frame(
            boat,
            label=label,
            is_night=number // PER_BOAT % NIGHTS == NIGHTS - 1,
            companion="ALB",
            scene=(1, number),
            frame=(2, number),
        )
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (folder / "test" / f"img_{number:05}.jpg").write_bytes(data.tobytes())
    write_table(scan_paths([folder], progress=False), folder / "manifest.csv")
