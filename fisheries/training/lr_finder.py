"""A search for the learning rate: raise it from step to step and see where the loss falls fastest (Smith 2015).

Lightning has one too. It leaves our callbacks out, so that closed layers would learn; it gives every group of layers
the same rate; and it suggests the steepest fall over the rate rather than over its logarithm, where noise wins.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import Callback

from fisheries.batch import Batch
from fisheries.schema import InputError
from fisheries.training.fitting import fit

RATES = np.geomspace(1e-6, 1.0, 100)
# steps rather than epochs end the search, and held-out images have no part in it
TRAINER: dict[str, Any] = {
    "max_epochs": -1,
    "max_steps": len(RATES),
    "limit_val_batches": 0,
    "enable_checkpointing": False,
}
_WINDOW = 11  # batches to average over, around each
_DIVERGED = 4  # times the lowest loss


class RisingRate(Callback):
    """Raise the learning rate from step to step, and note each batch's loss; stop where it has run away.

    Args:
        factor: of the rate that the head gets, as in a `Phase`.
        lr_decay: of the groups of layers from the head to the input, see `create_schedule`.
    """

    def __init__(self, *, factor: float, lr_decay: float) -> None:
        self.factor, self.lr_decay = factor, lr_decay
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, index: int) -> None:
        """Set the step's rate."""
        self.rates.append(float(RATES[trainer.global_step]))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rates[-1] * self.factor * self.lr_decay ** group.get("depth", 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Note the loss."""
        self.losses.append(float(outputs["loss"]))
        means = pd.Series(self.losses).rolling(_WINDOW, min_periods=1).mean()
        trainer.should_stop = not means.iloc[-1] <= _DIVERGED * means.min()  # what is no number has run away too


def search_lr(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    *,
    factor: float = 1.0,
    lr_decay: float = 1.0,
) -> pd.DataFrame:
    """Train for a hundred steps at rising learning rates, and put the weights back.

    Args:
        trainer: made with the arguments in `TRAINER`.
        module: to train.
        data: gives the training batches.
        factor: see `RisingRate`.
        lr_decay: likewise.

    Returns:
        For each batch the rate `lr`, its `loss`, and that `smoothed` over the batches around it.
    """
    before = deepcopy(module.state_dict())
    rising = RisingRate(factor=factor, lr_decay=lr_decay)
    trainer.callbacks.append(rising)  # type: ignore[attr-defined]  # Lightning sets it past its constructor
    fit(trainer, module, data)
    module.load_state_dict(before)
    table = pd.DataFrame({"lr": rising.rates, "loss": rising.losses})
    return table.assign(smoothed=table["loss"].rolling(_WINDOW, center=True, min_periods=1).mean())


def suggest_lr(table: pd.DataFrame) -> float:
    """Return the rate at which the smoothed loss falls fastest over the logarithm of the rate, before its lowest point.

    Args:
        table: from `search_lr`.

    Raises:
        InputError: the loss did not fall.
    """
    lowest = 0 if table["smoothed"].isna().all() else int(table["smoothed"].argmin())
    if lowest == 0:
        raise InputError(
            f"find_lr: the loss did not fall at {len(table)} learning rates from {RATES[0]:.0e}: "
            "try a larger data.batch_size, and see that model.weights are what they should be"
        )
    slope = np.gradient(table["smoothed"].to_numpy()[: lowest + 1], np.log(table["lr"].to_numpy()[: lowest + 1]))
    return float(table["lr"].iloc[int(slope.argmin())])


def plot_lr(table: pd.DataFrame, *, suggestion: float, title: str) -> Figure:
    """Draw the loss over the learning rate, with the suggested one marked."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(table["lr"], table["loss"], color="0.8", linewidth=1, label="loss of a batch")
    axes.plot(table["lr"], table["smoothed"], label=f"mean of {_WINDOW} batches")
    axes.axvline(suggestion, color="C3", linewidth=1, label=f"falls fastest: {suggestion:.1e}")
    top = float(table["smoothed"].iloc[:_WINDOW].max())
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(0, 2 * top))
    axes.set_title(title, fontsize="medium", parse_math=False)
    axes.legend(fontsize="small")
    return figure
