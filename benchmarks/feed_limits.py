"""What no feed can be faster than: decoding photographs whole and nothing else, or copying pixels from a file.

    python benchmarks/feed_limits.py cv2|pil|memcpy

Asked by benchmarks/input.py, see benchmarks/peers/protocol.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from protocol import Batches, Question, answer_all
from torch.utils.data import DataLoader, Dataset

Read = Callable[[Question, int], torch.Tensor]
PIXEL = torch.zeros(3, 1, 1, dtype=torch.uint8)  # what stands for a photograph that was decoded


class Reads(Dataset[torch.Tensor]):
    """Photographs by a function of the question and their place in it."""

    def __init__(self, read: Read, question: Question) -> None:
        self.read, self.question = read, question

    def __len__(self) -> int:
        return len(self.question["paths"])

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.read(self.question, place)


def with_cv2(question: Question, place: int) -> torch.Tensor:
    cv2.imdecode(np.fromfile(question["paths"][place], dtype=np.uint8), cv2.IMREAD_COLOR)
    return PIXEL


def with_pil(question: Question, place: int) -> torch.Tensor:
    Image.open(question["paths"][place]).load()
    return PIXEL


def with_memcpy(question: Question, place: int) -> torch.Tensor:
    shape = len(question["paths"]), 3, *question["image_hw"]
    pixels = np.memmap(pixels_of(question), dtype=np.uint8, mode="r", shape=shape)
    return torch.from_numpy(np.array(pixels[place]))


def pixels_of(question: Question) -> Path:
    return Path(question["folder"]) / "pixels.bin"


def write_pixels(question: Question) -> None:
    height, width = question["image_hw"]
    picture = np.random.default_rng(0).integers(0, 256, 3 * height * width, dtype=np.uint8).tobytes()
    pixels_of(question).write_bytes(picture * len(question["paths"]))


def loader(question: Question, *, read: Read) -> Batches:
    workers = question["workers"]
    return DataLoader(
        Reads(read, question),
        batch_size=question["batch_size"],
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


if __name__ == "__main__":
    cv2.setNumThreads(1)
    name = sys.argv[1]
    read = {"cv2": with_cv2, "pil": with_pil, "memcpy": with_memcpy}[name]
    prepare = write_pixels if name == "memcpy" else None
    answer_all(partial(loader, read=read), prepare=prepare, normalize=False)
