"""A search for the batch size: real training steps with batches twice as large each time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fisheries.batch import Batch
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.doctor.step import StepTimes, time_steps
from fisheries.models.fishnet import FishNet
from fisheries.nets import device_of
from fisheries.schema import InputError
from fisheries.training.fitting import OutOfMemoryError, memory_told

_FIRST = 2  # images: batch normalization needs two
_DRAWN = 16  # different images in a batch at most; of a larger one they are repeated
_GAIN = 1.05  # where two doublings on the CPU gain less than this, it has levelled off


@dataclass(frozen=True)
class Tried:
    """A batch size, the images/s that training came to with it, and the most memory that was in use."""

    batch_size: int
    images_per_s: float
    peak_bytes: int


def find_batch_size(config: Any, net: FishNet, data: FisheriesDataModule, *, console: Console) -> None:
    """Try batch sizes, and say which to take: on a GPU the largest that fits, on the CPU the fastest.

    Args:
        config: of the run.
        net: stays as it is.
        data: gives the training batches.
        console: where to say it.

    Raises:
        InputError: not even the smallest batch fits; as `time_steps`.
    """
    on_gpu = device_of(config).type == "cuda"
    drawn = next(iter(data.predict_loader(data.train.head(_DRAWN))))

    def measure(size: int) -> StepTimes:
        if on_gpu:  # what the last batch took must not be in the way
            gc.collect()
            torch.cuda.empty_cache()
        with TemporaryDirectory() as folder, memory_told(size, accumulated=1):
            return time_steps(config, deepcopy(net), data, repeated(drawn, size), Path(folder))

    tried = try_sizes(measure, most=len(data.train), to_the_limit=on_gpu)
    console.print(sizes_view(tried))
    best = tried[-1] if on_gpu else max(tried, key=lambda each: each.images_per_s)
    why = "the largest that was tried and fits" if on_gpu else "the fastest"
    console.print(
        f"Batch size: {why} is data.batch_size={best.batch_size} (now {data.batch_size}); a larger batch wants a higher "
        "optimizer.lr, which find_lr=true finds; nothing is trained"
    )


def try_sizes(measure: Callable[[int], StepTimes], *, most: int, to_the_limit: bool) -> list[Tried]:
    """Double the batch until memory or images are short, or, unless `to_the_limit`, it gets hardly faster.

    Args:
        measure: trains with a batch size, or raises `OutOfMemoryError`.
        most: images in a batch.
        to_the_limit: see above.

    Raises:
        InputError: not even the smallest batch fits, or there are fewer images.
    """
    tried: list[Tried] = []
    size = _FIRST
    while size <= most:
        try:
            times = measure(size)
        except OutOfMemoryError:
            break
        tried.append(Tried(size, 1 / times.train_s, times.peak_bytes))
        if not to_the_limit and _levels_off([each.images_per_s for each in tried]):
            break
        size *= 2
    if not tried:
        raise InputError(
            f"find_batch_size: no batch of {_FIRST} of the {most} images to train on could be tried for want of "
            f"{'images' if most < _FIRST else 'memory: give smaller pictures (data.image_hw) or a smaller network'}"
        )
    return tried


def _levels_off(rates: list[float]) -> bool:
    """Whether two doublings gained little: a single one may have been disturbed."""
    return len(rates) > 2 and max(rates[-2:]) < _GAIN * max(rates[:-2])


def repeated(batch: Batch, size: int) -> Batch:
    """Return a batch of `size` images, which are those of `batch` again and again."""
    places = torch.arange(size) % len(batch["image_id"])
    ids = [batch["image_id"][place] for place in places.tolist()]
    tensors = {name: value[places] for name, value in batch.items() if isinstance(value, Tensor)}
    return {**tensors, "image_id": ids}  # type: ignore[typeddict-item]  # the same keys


def sizes_view(tried: list[Tried]) -> Table:
    """Show a row a batch size."""
    table = Table("batch size", "images/s", "memory")
    for each in tried:
        table.add_row(str(each.batch_size), f"{each.images_per_s:.0f}", f"{each.peak_bytes / 1e9:.2f} GB")
    return table
