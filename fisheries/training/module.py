"""The Lightning module: one body for training and validation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fisheries.batch import Batch, run_net
from fisheries.training.losses import FishLoss
from fisheries.training.metrics import RunningMeans, step_metrics
from fisheries.training.warping import warp_batch


class FishModule(pl.LightningModule):
    """Train `net` on batches.

    Args:
        net: maps `image` and `image_hw` of a batch to outputs by name, such as `FishNet`.
        loss: maps outputs and a batch to losses by name, of which `loss` is minimized.
        optimizer: makes the optimizer of a network.
        schedule: makes the schedule of an optimizer and a number of steps.
        provenance: texts kept in every checkpoint, such as the hash of the folds.
        mix: makes training batches into others, such as `Mixing`; what is measured in training is then of those.
        unmixed_epochs: in which it does not.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: FishLoss,
        *,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Callable[[Optimizer, float], LRScheduler],
        provenance: Mapping[str, str],
        mix: Callable[[Batch], Batch] | None = None,
        unmixed_epochs: Collection[int] = (),
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.create_optimizer = optimizer
        self.create_schedule = schedule
        self.provenance = dict(provenance)
        self.mix, self.unmixed_epochs = mix, unmixed_epochs
        self.means = {"train": RunningMeans(), "val": RunningMeans()}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of a training batch."""
        batch = warp_batch(batch)
        if self.mix and self.current_epoch not in self.unmixed_epochs:
            batch = self.mix(batch)
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of a held-out batch."""
        return self._step(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Log what was measured on the held-out batches."""
        self.log_means("val")

    def log_means(self, stage: str) -> None:
        """Log the means over the epoch; Lightning's way, which takes in each step's values, costs more than a small step."""
        means = self.means[stage].take(lambda pair: self.trainer.strategy.reduce(pair, reduce_op="sum"))
        for name, value in means.items():
            self.log(f"{stage}/{name}", value)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the tensors; Lightning would look at each image's name, too."""
        moved = {
            name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
        return moved  # type: ignore[return-value]

    def _step(self, batch: Batch, stage: str) -> Tensor:
        outputs = run_net(self.net, batch, self.device)
        losses = self.loss(outputs, batch)
        images = len(batch["image_id"])
        self.means[stage].add({name: (value, images) for name, value in losses.items() if name != "box_mse"})
        if "box_mse" in losses:
            # a mean over the images that have a box, of which a batch may have none
            self.means[stage].add({"box_mse": (losses["box_mse"], batch["has_box"].sum())})
        self.means[stage].add(step_metrics(outputs, batch))
        return losses["loss"]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimizer and its schedule, stepped after every batch."""
        optimizer = self.create_optimizer(self.net)
        schedule = self.create_schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep with the weights what they were trained on."""
        checkpoint["fisheries"] = self.provenance
