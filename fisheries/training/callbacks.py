"""What happens at the edges of epochs and steps."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from rich.console import Console
from rich.progress import Progress
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from fisheries.batch import Batch
from fisheries.progress import IMAGES, progress_bar
from fisheries.schema import InputError, write_atomic
from fisheries.training.finetune import Phase, phase_index

BEST = "best.ckpt"
LAST = "last.ckpt"
EPOCHS = "epochs.csv"
MONITOR = "val/log_loss"
SHOWN_EVERY_S = 0.2  # a bar's step; drawing it takes half a millisecond
_NAMED = 8  # images in a message
Report = Callable[[int, float], str | None]  # of an epoch's number and held-out log loss; answers why to stop, or None


class StepSeed(Callback):
    """Seed every generator from (seed, epoch, step, rank), so that a resumed run drops out what the other would have."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begin the epoch that a resumed run goes on with; workers have begun epoch 0, before that was known."""
        if trainer.current_epoch:
            iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, index: int) -> None:
        """Seed torch, NumPy and random before the step."""
        key = [self.seed, trainer.current_epoch, index, trainer.global_rank]
        state = int(np.random.SeedSequence(key).generate_state(1)[0])
        _seed_torch(state)
        np.random.seed(state)  # noqa: NPY002 - others' code may use it
        random.seed(state)


class EpochMeans(Callback):
    """Log what was measured in an epoch's steps; comes before the callbacks that read it."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Log the means over the epoch."""
        module.log_means("train")  # type: ignore[operator]


class FiniteLoss(Callback):
    """Stop before a loss that is not a number reaches the weights.

    Whether it is one is on its way from the device while the gradients are computed, so that no step waits for it.
    """

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []  # since the optimizer's last step
        self.image_ids: list[str] = []
        self.arrived: torch.cuda.Event | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, index: int) -> None:
        """Note whose loss it will be."""
        self.image_ids += batch["image_id"]

    def on_before_backward(self, trainer: pl.Trainer, module: pl.LightningModule, loss: torch.Tensor) -> None:
        """Send for the loss."""
        self.losses.append(loss.detach().to("cpu", non_blocking=True))
        if loss.is_cuda:
            self.arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.arrived.record()

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Any) -> None:
        """Check the losses since the last step.

        Raises:
            InputError: one is not finite; names step, learning rate and images.
        """
        if self.arrived is not None:
            self.arrived.synchronize()
        losses, image_ids = self.losses, self.image_ids
        self.losses, self.image_ids = [], []
        for loss in losses:
            if not torch.isfinite(loss):
                lr = trainer.optimizers[0].param_groups[0]["lr"]
                named = ", ".join(image_ids[:_NAMED]) + (" …" if len(image_ids) > _NAMED else "")
                raise InputError(
                    f"the loss is {float(loss)} in epoch {trainer.current_epoch}, step {trainer.global_step}, at learning "
                    f"rate {lr:.2g}, of {named}: try a lower optimizer.lr, or trainer.precision=32-true; {LAST} is the "
                    "last good state"
                )

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Check what the epoch's last step made of the weights, before they are saved.

        Raises:
            InputError: a weight is not finite.
        """
        for name, weight in module.named_parameters():
            if not torch.isfinite(weight).all():
                raise InputError(
                    f"{name} is no number any more after epoch {trainer.current_epoch}: try a lower optimizer.lr, or "
                    f"trainer.precision=32-true; {LAST} is the last good state"
                )


class AveragedWeights(Callback):
    """Keep an exponential moving average of the weights, which stands in for them wherever they are judged or saved.

    From a validation or the end of an epoch until training goes on the network holds the averaged weights, so scores
    and the `state_dict` of every checkpoint are theirs; the others wait here. Lightning's own callback saves the
    weights that are not averaged where a checkpoint is of weights only, as our best one is.

    Args:
        decay: of the average in each step; it rises to that as in timm, so that short runs do not stay with noise.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.step = 0
        self.shown = False  # whether the average is in the network, and its weights are here
        self.average: ModelEmaV3 | None = None
        self.waiting: dict[str, torch.Tensor] | None = None

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start from the network's weights, or from those of an earlier process."""
        assert isinstance(module.net, nn.Module)
        self.average = ModelEmaV3(module.net, decay=self.decay, use_warmup=True)
        if self.waiting is not None:
            self.average.module.load_state_dict(self.waiting)

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, index: int) -> None:
        """Go on from the weights themselves."""
        self._show(module, average=False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Take in what the optimizer's step made, if it took one."""
        if trainer.global_step > self.step:
            self.step = trainer.global_step
            assert self.average is not None
            self.average.update(module.net, step=self.step)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Judge the average."""
        self._show(module, average=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the average; checkpoints are written after this."""
        self._show(module, average=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the network."""
        assert self.average is not None
        return {"step": self.step, "shown": self.shown, "weights": self.average.module.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of an earlier process."""
        self.step, self.shown, self.waiting = state_dict["step"], state_dict["shown"], state_dict["weights"]

    @torch.no_grad()
    def _show(self, module: pl.LightningModule, *, average: bool) -> None:
        if self.shown == average:
            return
        assert self.average is not None
        assert isinstance(module.net, nn.Module)
        tensors = zip(module.net.state_dict().values(), self.average.module.state_dict().values(), strict=True)
        for inside, here in tensors:
            kept = inside.clone()
            inside.copy_(here)
            here.copy_(kept)
        self.shown = average


class EpochTable(Callback):
    """Append an epoch's metrics to a CSV, and say them in a line; with several phases also which one it was."""

    def __init__(self, path: Path, *, console: Console, phases: Sequence[Phase] = (Phase(),)) -> None:
        self.path = path
        self.console = console
        self.phases = phases
        self.started_s = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started_s = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the row; rows that a resumed run repeats are replaced.

        Raises:
            InputError: the fold's folder is gone.
        """
        if not trainer.is_global_zero:
            return
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        seconds = time.perf_counter() - self.started_s
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        phase = phase_index(self.phases, trainer.current_epoch) + 1
        said = {"phase": phase} if len(self.phases) > 1 else {}
        row = pd.DataFrame(
            [{"epoch": trainer.current_epoch, **said, "seconds": round(seconds, 2), "lr": lr, **metrics}]
        )
        if self.path.is_file():
            earlier = pd.read_csv(self.path)
            row = pd.concat([earlier[earlier["epoch"] < trainer.current_epoch], row])
        _write_there(self.path, row.to_csv(index=False).encode())
        of = f"  phase {phase}/{len(self.phases)}" if said else ""
        self.console.print(_line(trainer, metrics, seconds, phase=of))


class EpochBar(Callback):
    """Show how far an epoch is, with its images a second and the time left; one that ends at once shows nothing."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.done, self.shown_s = 0, 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock."""
        self.done, self.shown_s = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Count the step."""
        self._advance(trainer, batch)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, index: int, part: int = 0
    ) -> None:
        """Count the batch; held-out images are part of the epoch."""
        self._advance(trainer, batch)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Make room for the epoch's line."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _advance(self, trainer: pl.Trainer, batch: Batch) -> None:
        self.done += 1
        now_s = time.perf_counter()
        if now_s - self.shown_s < SHOWN_EVERY_S or not trainer.is_global_zero or trainer.sanity_checking:
            return
        self.shown_s = now_s
        if self.bar is None:
            self.bar = progress_bar(self.console, transient=True, auto_refresh=False)
            self.bar.start()
            self.task = self.bar.add_task(
                f"  epoch {trainer.current_epoch + 1}",
                total=trainer.num_training_batches + sum(trainer.num_val_batches),
                unit=IMAGES,
                per_step=len(batch["image_id"]) * trainer.world_size,
            )
        self.bar.update(self.task, completed=self.done, refresh=True)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class Pruned(Exception):  # noqa: N818 - not an error
    """A search has seen enough of a run; says after which epoch, and why."""


class EpochReport(Callback):
    """Report the held-out log loss of each epoch, and stop with `Pruned` where the answer is a reason to."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Report, unless nothing is held out; the last epoch is too late to stop.

        Raises:
            Pruned: there is a reason to stop.
        """
        if MONITOR not in trainer.callback_metrics:
            return
        reason = self.report(trainer.current_epoch, float(trainer.callback_metrics[MONITOR]))
        if reason is not None and trainer.current_epoch + 1 != trainer.max_epochs:
            raise Pruned(reason)


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint whole or not at all; Lightning's own way is a copy where /tmp is another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path`.

        Raises:
            InputError: the folder is gone.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        _write_there(Path(path), buffer.getvalue())


class Keeper(ModelCheckpoint):
    """A checkpoint callback that still knows its best score when its run was moved or renamed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of an earlier process, with the paths that its files have now."""
        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: self._here(state_dict[name]) for name in names if name in state_dict}
        kept = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": kept, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath), Path(path).name)) if path else path


def checkpoints(folder: Path, *, monitor: bool) -> list[ModelCheckpoint]:
    """Return callbacks that keep the last epoch's state and, if `monitor`, the weights with the best held-out log loss.

    Two of them, since one that monitors does not refresh its last checkpoint unless the score improves. The last state
    is written after the best one, or a resumed run would not know what was best.
    """
    last = Keeper(folder, filename=Path(LAST).stem, enable_version_counter=False, save_on_train_epoch_end=True)
    if not monitor:
        return [last]
    best = Keeper(
        folder,
        filename=Path(BEST).stem,
        monitor=MONITOR,
        mode="min",
        save_weights_only=True,
        enable_version_counter=False,
    )
    return [best, last]


def _write_there(path: Path, data: bytes) -> None:
    """Write a file in a fold's folder, which is not made again: what the run needs to go on was in it."""
    try:
        write_atomic(path, data, make_folder=False)
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent}: is gone; bring back the disk or share that it is on, then go on with resume=RUN_DIR"
        ) from error


def _line(trainer: pl.Trainer, metrics: dict[str, float], seconds: float, *, phase: str) -> str:
    names = {"train/loss": "loss", MONITOR: "held-out log loss", "val/accuracy": "accuracy", "val/box_iou": "box IoU"}
    values = [f"{text} {metrics[name]:.3f}" for name, text in names.items() if name in metrics]
    of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"  epoch {trainer.current_epoch + 1}{of}{phase}  {'  '.join(values)}  {seconds:.1f} s"


def _seed_torch(seed: int) -> None:
    """Seed torch's generators; its own function asks each kind of device, there or not, in half a millisecond."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
