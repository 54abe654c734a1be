"""How fast photographs come, a single process: decoded in every epoch, in the epoch that fills the cache, and after it.

python benchmarks/feed.py MANIFEST.csv [--image-hw 224,384] [--most 300] [--repetitions 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd

from fisheries.data.dataset import FishDataset, make_rows
from fisheries.data.image_cache import ImageCache, disk_cache
from fisheries.data.images import read_image
from fisheries.data.metadata import fit_sizes
from fisheries.data.transforms import Transform, train_transform
from fisheries.launch import transform_choices
from fisheries.schema import BOXES, KEY, MANIFEST, OK, read_table


def main() -> None:
    """Print images a second, and each way's ratio to reading every photograph anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--image-hw", default="224,384")
    parser.add_argument("--most", type=int, default=300)
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    images = read_table(given.manifest, MANIFEST)
    images = images[images["status"] == OK].drop_duplicates("sha256").iloc[: given.most]
    height, width = (int(side) for side in given.image_hw.split(","))
    transform = train_transform(image_hw=(height, width), **transform_choices()["light"])
    rates = [_rates(images, transform) for _ in range(given.repetitions)]
    print(f"{len(images)} photographs, {height} x {width}, transform=light, medians of {given.repetitions} repetitions")
    for name in rates[0]:
        ratio = median(rate[name] / rate["data.cache=none"] for rate in rates)
        print(f"{name:28} {median(rate[name] for rate in rates):7.0f} images/s {ratio:6.2f} x")


def _rates(images: pd.DataFrame, transform: Transform) -> dict[str, float]:
    def epoch(number: int, cache: ImageCache | None) -> float:
        data = _dataset(images, transform, cache)
        return _rate(len(images), lambda place: data[number, place])

    paths = images["path"].tolist()
    with TemporaryDirectory() as folder:
        keys = images["sha256"].tolist()
        cache = disk_cache(Path(folder), keys, image_hw=transform.image_hw, about={}, limit_bytes=1 << 40)
        return {
            "decoding alone, whole": _rate(len(paths), lambda place: read_image(paths[place])),
            "data.cache=none": epoch(0, None),
            "data.cache=disk, first epoch": epoch(0, cache),
            "data.cache=disk, later ones": epoch(1, cache),
        }


def _rate(count: int, read: Callable[[int], object]) -> float:
    began_s = time.perf_counter()
    for place in range(count):
        read(place)
    return count / (time.perf_counter() - began_s)


def _dataset(images: pd.DataFrame, transform: Transform, cache: ImageCache | None) -> FishDataset:
    ones = np.ones(len(images), dtype=np.float32)
    boxes = pd.DataFrame(columns=list(BOXES)).rename_axis(KEY)
    rows = make_rows(images, targets=ones[:, None], weights=ones, boxes=boxes, sizes=fit_sizes(images))
    return FishDataset(rows, transform=transform, seed=0, cache=cache)


if __name__ == "__main__":
    main()
