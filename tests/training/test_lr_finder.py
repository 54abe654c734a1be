from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from fisheries.schema import InputError
from fisheries.training.lr_finder import RATES, TRAINER, plot_lr, search_lr, suggest_lr


class Line(pl.LightningModule):
    """Learn y = 2 x with plain gradient descent; its two groups tell their depth."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(1, 1)
        self.rates: list[list[float]] = []

    def training_step(self, batch, index: int) -> torch.Tensor:
        (x,) = batch
        self.rates.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])
        return (self.net(x) - 2 * x).square().mean()

    def configure_optimizers(self):
        groups = [{"params": [self.net.bias], "depth": 0}, {"params": [self.net.weight], "depth": 2}]
        optimizer = torch.optim.SGD(groups, lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)  # that must not get in the way
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Points(pl.LightningDataModule):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.x = scale * torch.linspace(-1, 1, 30).unsqueeze(1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.utils.data.TensorDataset(self.x), batch_size=10)


def searched(scale: float = 1.0, **options: float) -> tuple[Line, pd.DataFrame]:
    module = Line()
    trainer = pl.Trainer(
        **TRAINER, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    return module, search_lr(trainer, module, Points(scale), **options)


def test_the_weights_are_put_back_and_the_rates_rise_whatever_the_schedule():
    module, table = searched(factor=0.5, lr_decay=0.5)
    assert {name: tensor.tolist() for name, tensor in module.net.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in Line().net.state_dict().items()
    }
    np.testing.assert_allclose(table["lr"], RATES)
    np.testing.assert_allclose(np.array(module.rates), np.outer(RATES, [0.5, 0.125]))
    assert table["smoothed"].iloc[-1] < table["loss"].iloc[0] / 3


def test_the_search_stops_where_the_loss_runs_away():
    _, table = searched(scale=30.0)
    assert len(table) < 100
    assert table["loss"].iloc[-1] > 4 * table["loss"].min()


def fall_at(lr: float, *, noise: float = 0.02) -> pd.DataFrame:
    """Losses that fall by half of their height around a rate, as a sigmoid of its logarithm, and rise at the end."""
    steps = np.log10(RATES / lr)
    losses = 2 - 1 / (1 + np.exp(-4 * steps)) + np.maximum(0, RATES / lr - 100) / 50
    losses += noise * np.random.default_rng(0).standard_normal(100)
    table = pd.DataFrame({"lr": RATES, "loss": losses})
    return table.assign(smoothed=table["loss"].rolling(11, center=True, min_periods=1).mean())


@pytest.mark.parametrize("lr", [1e-4, 1e-3, 1e-2])
def test_the_steepest_fall_over_the_logarithm_is_suggested(lr: float):
    assert abs(math.log10(suggest_lr(fall_at(lr)) / lr)) < 0.35


def test_a_loss_that_only_rises_is_one_line():
    table = fall_at(1e-3).assign(smoothed=np.arange(100.0))
    with pytest.raises(
        InputError, match=r"find_lr: the loss did not fall at 100 learning rates from 1e-06: try a larger"
    ):
        suggest_lr(table)


def test_the_drawing_marks_the_suggestion():
    (axes,) = plot_lr(fall_at(1e-3), suggestion=1e-3, title="resnet18, adamw").axes
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()][-1] == "falls fastest: 1.0e-03"
