"""What loggers are told of each step: learning rate, throughput, memory, and a loss that a person can read."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from fisheries.batch import Batch

DECAY = 0.95  # of the smoothed loss: it remembers about 20 steps


class Pace(Callback):
    """Tell the loggers, every so many steps and at the end of an epoch, how training goes.

    `train/lr` is the first parameter group's, `train/images_per_s` counts all processes and no validation,
    `train/loss_smooth` is the exponential moving average of the steps' losses, corrected for its start as Adam's are, and
    `gpu/memory_gib` the most that tensors took so far.
    """

    def __init__(self, *, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self.steps, self.lr = 0, 0.0
        self.average: torch.Tensor | float = 0.0
        self._restart()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock anew, so that validation does not count."""
        self._restart()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, index: int) -> None:
        """Keep the learning rate of this step; at its end it is the next one's."""
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Count the step, and tell the loggers if it is time."""
        self.images += len(batch["image_id"]) * trainer.world_size
        self.steps += 1
        loss = outputs["loss"].detach() * trainer.accumulate_grad_batches  # Lightning has divided it
        self.average = DECAY * self.average + (1 - DECAY) * loss
        if (index + 1) % self.every_n_steps and not trainer.is_last_batch:
            return  # asking a GPU for the loss would make each step wait
        told = {
            "train/lr": self.lr,
            "train/loss_smooth": float(self.average / (1 - DECAY**self.steps)),
            "train/images_per_s": self.images / (time.perf_counter() - self.started_s),
        }
        device = trainer.strategy.root_device
        if device.type == "cuda":
            told["gpu/memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        for logger in trainer.loggers:
            logger.log_metrics(told, step=trainer.global_step - 1)  # as Lightning counts
        self._restart()

    def _restart(self) -> None:
        self.images, self.started_s = 0, time.perf_counter()
