from __future__ import annotations

import io
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from rich.console import Console

from fisheries.schema import InputError
from fisheries.training.callbacks import EpochTable, FiniteLoss, StepSeed
from fisheries.training.finetune import Phase


def trainer_at(epoch: int, *, rank: int = 0, **metrics: float) -> SimpleNamespace:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    return SimpleNamespace(
        current_epoch=epoch,
        global_step=epoch * 10,
        global_rank=rank,
        is_global_zero=rank == 0,
        max_epochs=3,
        optimizers=[optimizer],
        callback_metrics={name.replace("__", "/"): torch.tensor(value) for name, value in metrics.items()},
    )


def draws(seed: int, epoch: int, step: int, rank: int = 0) -> list[float]:
    StepSeed(seed).on_train_batch_start(trainer_at(epoch, rank=rank), None, None, step)
    return torch.rand(3).tolist()


def test_chance_in_a_step_depends_on_seed_epoch_step_and_process_alone():
    first = draws(0, 1, 2)
    torch.rand(100)
    assert draws(0, 1, 2) == first
    assert len({tuple(draws(*key)) for key in [(0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3), (0, 1, 2, 1)]}) == 5


def step_of(callback: FiniteLoss, value: float, images: list[str]) -> None:
    callback.on_train_batch_start(trainer_at(2), None, {"image_id": images}, 0)
    callback.on_before_backward(trainer_at(2), None, torch.tensor(value))
    callback.on_before_optimizer_step(trainer_at(2), None, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_the_weights_change(value: float):
    check = FiniteLoss()
    step_of(check, 1.0, ["good.jpg"])
    message = (
        r"the loss is (nan|inf) in epoch 2, step 20, at learning rate 0.5, of a.jpg, b.jpg: try a lower optimizer.lr"
    )
    with pytest.raises(InputError, match=message):
        step_of(check, value, ["a.jpg", "b.jpg"])


def test_every_loss_that_went_into_a_step_is_checked():
    check = FiniteLoss()
    for value in (float("nan"), 1.0):
        check.on_train_batch_start(trainer_at(0), None, {"image_id": [f"{value}.jpg"]}, 0)
        check.on_before_backward(trainer_at(0), None, torch.tensor(value))
    with pytest.raises(InputError, match=r"of nan.jpg, 1.0.jpg"):
        check.on_before_optimizer_step(trainer_at(0), None, None)


def test_weights_that_the_last_step_spoiled_are_not_saved():
    net = torch.nn.Linear(2, 1)
    FiniteLoss().on_train_epoch_end(trainer_at(1), net)
    net.bias.data.fill_(float("inf"))
    with pytest.raises(InputError, match=r"bias is no number any more after epoch 1: try a lower optimizer.lr"):
        FiniteLoss().on_train_epoch_end(trainer_at(1), net)


def test_an_epoch_that_is_repeated_after_a_stop_has_one_row(tmp_path):
    said = io.StringIO()
    table = EpochTable(tmp_path / "epochs.csv", console=Console(file=said))
    for epoch, loss in [(0, 2.0), (1, 1.5), (2, 1.2), (1, 1.4)]:
        table.on_train_epoch_end(trainer_at(epoch, train__loss=1.0, val__log_loss=loss), None)
    rows = pd.read_csv(tmp_path / "epochs.csv")
    assert list(rows["epoch"]) == [0, 1]
    assert rows["val/log_loss"].round(3).tolist() == [2.0, 1.4]
    assert "epoch 2/3  loss 1.000  held-out log loss 1.500" in said.getvalue()


def test_the_epochs_line_and_row_say_the_phase_where_there_are_several(tmp_path):
    said = io.StringIO()
    table = EpochTable(tmp_path / "epochs.csv", console=Console(file=said), phases=[Phase(0, 2, open=1), Phase(2, 3)])
    for epoch in range(3):
        table.on_train_epoch_end(trainer_at(epoch, train__loss=1.0), None)
    assert list(pd.read_csv(tmp_path / "epochs.csv")["phase"]) == [1, 1, 2]
    assert "epoch 2/3  phase 1/2  loss" in said.getvalue()
    assert "epoch 3/3  phase 2/2  loss" in said.getvalue()


def test_only_the_first_process_writes(tmp_path):
    table = EpochTable(tmp_path / "epochs.csv", console=Console(quiet=True))
    table.on_train_epoch_end(trainer_at(0, rank=1, train__loss=1.0), None)
    assert not (tmp_path / "epochs.csv").exists()
