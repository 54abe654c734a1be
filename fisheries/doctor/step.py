"""How long a step takes: forward, backward and optimizer by the trainer that a run has, on a batch in memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from torch.utils.data import DataLoader

from fisheries import compose
from fisheries.batch import Batch
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.models.fishnet import FishNet

SILENT = Console(quiet=True)
STEP_S = 3.0  # to measure steps for; one is not cut short
STEPS = 40  # at most
WARM = 1  # of them before the clock starts: memory is asked for, and the fastest ways to compute are chosen
VALIDATED = 4  # batches, the first of which is not timed


@dataclass(frozen=True)
class StepTimes:
    """Seconds an image of a training step and of a validation step, and the most memory that a step took in bytes."""

    train_s: float
    val_s: float
    peak_bytes: int


class Again:
    """A loader that has one batch, and gives it again and again."""

    def __init__(self, batch: Batch, times: int) -> None:
        self.batch, self.times = batch, times

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.times):
            yield self.batch


class Clock(Callback):
    """Time steps; end the epoch when they took long enough.

    A GPU is waited for at both ends only, and the mean is that of a run. On a CPU, which others may use, the median of
    single steps says more.
    """

    def __init__(self) -> None:
        self.train_s = self.val_s = 0.0
        self.times: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Note the time, and stop if it is time."""
        self._note(module.device, index)
        if index >= WARM and self.times[-1] - self.times[WARM - 1] > STEP_S:
            trainer.should_stop = True

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note what the steps took."""
        self.train_s, self.times = self._seconds(module.device), []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note the time, and at the end what the batches took."""
        self._note(module.device, index)
        if index + 1 == VALIDATED:
            self.val_s = self._seconds(module.device)

    def _note(self, device: torch.device, index: int) -> None:
        self.times.append(now_s(device) if index + 1 == WARM else time.perf_counter())

    def _seconds(self, device: torch.device) -> float:
        times = self.times[WARM - 1 :]
        if device.type == "cuda":
            return (now_s(device) - times[0]) / (len(times) - 1)
        return median(end - begin for begin, end in pairwise(times))


def time_steps(config: Any, net: FishNet, data: FisheriesDataModule, batch: Batch, folder: Path) -> StepTimes:
    """Train and validate on one batch, and measure.

    Args:
        config: of the run.
        net: is trained.
        data: tells the loss how many images there are of each class.
        batch: on the CPU.
        folder: an empty one, for what a trainer writes.

    Raises:
        InputError: as `compose.create_trainer`; the loss is no number.
    """
    config = one_process(config)
    config.trainer.fast_dev_run = STEPS
    trainer = compose.create_trainer(config, folder, loggers=[], console=SILENT)
    module = compose.create_module(config, net, data, provenance={})
    on_gpu = trainer.strategy.root_device.type == "cuda"
    clock = Clock()
    trainer.callbacks.append(clock)  # type: ignore[attr-defined]  # Lightning sets it past its constructor
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)
    trainer.fit(module, train_dataloaders=Again(batch, STEPS), val_dataloaders=Again(batch, VALIDATED))
    if trainer.interrupted:
        raise KeyboardInterrupt
    peak = torch.cuda.max_memory_allocated(trainer.strategy.root_device) if on_gpu else process_bytes()
    images = len(batch["image_id"])
    return StepTimes(clock.train_s / images, clock.val_s / images, peak)


def one_process(config: Any) -> Any:
    """Return the configuration for one of the processes that train together, without an early end or a profile."""
    config = deepcopy(config)
    trainer = config.trainer
    if compose.process_count(config) > 1:
        trainer.gpus, trainer.devices = (1, None) if trainer.gpus is not None else (None, 1)
        trainer.num_nodes, trainer.strategy, trainer.sync_batchnorm = 1, "auto", False
    trainer.enable_progress_bar, trainer.profiler, trainer.max_time = False, None, None
    trainer.min_epochs, trainer.min_steps, trainer.overfit_batches = None, None, 0.0
    phases = config.finetune.phases
    config.finetune.phases = [{**phases[-1], "share": 1, "augment": True}]  # the last phase opens most
    config.find_lr = False
    return config


def batch_of(data: FisheriesDataModule, images: int) -> Batch:
    """Return a training batch of so many images, some of them again and again if there are fewer, as loaders give it."""
    loader = data.train_dataloader()
    keys = [(0, number % len(data.train_set)) for number in range(images)]
    again: DataLoader[Batch] = DataLoader(
        loader.dataset,
        batch_size=images,
        sampler=keys,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
    )
    return next(iter(again))


def move_s(batch: Batch, device: torch.device) -> float:
    """Return the seconds that an image takes to the device."""
    tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
    for _ in range(2):  # the first time sets up more than it moves
        began_s = now_s(device)
        for tensor in tensors:
            tensor.to(device)
        took_s = now_s(device) - began_s
    return took_s / len(batch["image_id"])


def now_s(device: torch.device) -> float:
    """Return the time when a device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def process_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
