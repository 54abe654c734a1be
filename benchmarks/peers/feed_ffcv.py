"""FFCV: its file holds the photographs as raw pixels at the size of the network; cold is the writing of it and an epoch.

It has mirror images, brightness, contrast and saturation; no pictures upside down, no turns, zoom, shifts, hue or gray, so
it does less work than all others. What it compiles by numba at the start of every run, for 10 to 25 seconds, is not counted:
of each setting the loader that was compiled first reads the same photographs, from its own file, in later repetitions.
"""

from __future__ import annotations

import shutil
import tempfile

import cv2
import numpy as np
from ffcv.fields import RGBImageField
from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import (
    RandomBrightness,
    RandomContrast,
    RandomHorizontalFlip,
    RandomSaturation,
    ToTensor,
    ToTorchImage,
)
from ffcv.writer import DatasetWriter
from protocol import BRIGHTNESS, CONTRAST, FLIP, SATURATION, Batches, Images, Question, answer_all

NAME = "photographs.beton"
FOLDER = tempfile.TemporaryDirectory()
LOADERS: dict[tuple[object, ...], Batches] = {}


def prepare(question: Question) -> None:
    writer = DatasetWriter(
        f"{question['folder']}/{NAME}",
        {"image": RGBImageField(write_mode="raw")},
        num_workers=max(1, question["workers"]),
    )
    writer.from_indexed_dataset(Photographs(question["paths"], question["image_hw"]))


def loader(question: Question) -> Batches:
    setting = (tuple(question["image_hw"]), question["workers"], len(question["paths"]))
    if setting not in LOADERS:
        kept = f"{FOLDER.name}/{len(LOADERS)}.beton"
        shutil.copy(f"{question['folder']}/{NAME}", kept)
        LOADERS[setting] = compiled(kept, question)
    return LOADERS[setting]


def compiled(path: str, question: Question) -> Batches:
    steps = [
        SimpleRGBImageDecoder(),
        RandomHorizontalFlip(FLIP),
        RandomBrightness(BRIGHTNESS, p=1),
        RandomContrast(CONTRAST, p=1),
        RandomSaturation(SATURATION, p=1),
        ToTensor(),
        ToTorchImage(channels_last=False),
    ]
    batches = Loader(
        path,
        batch_size=question["batch_size"],
        num_workers=max(1, question["workers"]),
        order=OrderOption.RANDOM,
        pipelines={"image": steps},
    )
    return Images(batches, 0)


class Photographs:
    """Photographs shrunk with antialiasing."""

    def __init__(self, paths: list[str], image_hw: list[int]) -> None:
        self.paths, self.size_wh = paths, (image_hw[1], image_hw[0])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> tuple[np.ndarray]:
        image = cv2.cvtColor(cv2.imread(self.paths[place]), cv2.COLOR_BGR2RGB)
        return (cv2.resize(image, self.size_wh, interpolation=cv2.INTER_AREA),)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    answer_all(loader, prepare=prepare, compiles=True)
