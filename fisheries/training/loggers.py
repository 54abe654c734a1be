"""Loggers of what is measured in training: CSV, TensorBoard, wandb, or several of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from rich.console import Console

from fisheries.schema import InputError
from fisheries.training.wandb_runs import check_mode, first_line

if TYPE_CHECKING:
    import wandb


def check_loggers(names: Collection[str]) -> None:
    """Check that what the loggers need is there.

    Raises:
        InputError: TensorBoard is not installed; as `check_mode`.
    """
    if "tensorboard" in names and find_spec("tensorboard") is None:
        raise InputError("logger=tensorboard: it is not installed; pip install -e '.[tensorboard]'")
    if "wandb" in names:
        check_mode()


def create_loggers(
    names: Collection[str], *, folder: Path, wandb_run: wandb.Run | None, console: Console
) -> list[Logger]:
    """Make Lightning's loggers.

    Args:
        names: "csv" and "tensorboard" of them, as far as they are there.
        folder: of the fold; their files are written there.
        wandb_run: see `wandb_runs`; None for no such logger.
        console: where to say that wandb fails.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="logs")] if "csv" in names else []
    if "tensorboard" in names:
        loggers.append(TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False))
    if wandb_run is not None:
        loggers.append(SteadyWandbLogger(wandb_run, console=console))
    return loggers


class SteadyWandbLogger(WandbLogger):
    """Lightning's logger for wandb, which goes silent where wandb fails, and says so, rather than end the training."""

    def __init__(self, run: wandb.Run, *, console: Console) -> None:
        super().__init__(experiment=run)
        self.console = console
        self.failed = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send metrics, unless that has failed before."""
        if self.failed:
            return
        try:
            super().log_metrics(dict(metrics), step)
        except Exception as error:
            self.failed = True
            self.console.print(f"  wandb fails ({first_line(error)}): it gets no more of this training", markup=False)
