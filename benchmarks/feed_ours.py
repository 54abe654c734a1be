"""Our feed as training uses it: `FisheriesDataModule` with a cache on disk, which the first epoch fills.

Asked by benchmarks/input.py, see benchmarks/peers/protocol.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import pandas as pd
import torch
from protocol import Batches, Question, answer_all

from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.image_cache import ImageCache, disk_cache
from fisheries.data.transforms import eval_transform, train_transform
from fisheries.launch import transform_choices
from fisheries.memory import keep_large_blocks
from fisheries.schema import BOXES, KEY, MANIFEST, read_table

LIGHT = transform_choices()["light"]


class Epochs:
    """The training batches' images, each time of the next epoch."""

    def __init__(self, data: FisheriesDataModule) -> None:
        self.data, self.trainer = data, SimpleNamespace(current_epoch=-1, global_rank=0, world_size=1)
        data.trainer = self.trainer  # type: ignore[assignment]
        self.batches = data.train_dataloader()

    def __iter__(self) -> Iterator[torch.Tensor]:
        self.trainer.current_epoch += 1
        return (batch["image"] for batch in self.batches)


def open_cache(question: Question) -> ImageCache:
    keys, folder = photographs_of(question)["sha256"].tolist(), Path(question["folder"])
    return disk_cache(folder, keys, image_hw=tuple(question["image_hw"]), about={}, limit_bytes=1 << 40)


def photographs_of(question: Question) -> pd.DataFrame:
    images = read_table(Path(question["manifest"]), MANIFEST)
    return images[images["path"].isin(question["paths"])]


def loader(question: Question) -> Batches:
    images, image_hw = photographs_of(question), tuple(question["image_hw"])
    data = FisheriesDataModule(
        train=images,
        val=images.iloc[:1].set_axis(["held out"]),
        boxes=pd.DataFrame(columns=list(BOXES)).rename_axis(KEY),
        classes=sorted(set(images["label"])),
        train_transform=train_transform(image_hw=image_hw, **LIGHT),
        eval_transform=eval_transform(image_hw=image_hw),
        batch_size=question["batch_size"],
        workers=question["workers"],
        seed=0,
        cache=open_cache(question),
    )
    return Epochs(data)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    keep_large_blocks()  # as a run does
    answer_all(loader, prepare=open_cache)
