"""Averaged weights through a training that is stopped and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from fisheries.models.fishnet import FishNet
from fisheries.training.callbacks import AveragedWeights, StepSeed, checkpoints
from fisheries.training.finetune import OpenGroups
from fisheries.training.module import FishModule
from tests.training.test_finetune import (
    HEAD_THEN_STAGE_THEN_ALL,
    batches,
    module_of,
    moved,
    small_net,
)


class Stop(Callback):
    """Die in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: pl.Trainer, module: FishModule, outputs, batch, index: int) -> None:
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("killed")


def averaged(folder: Path, *callbacks: Callback, resume: bool = False, monitor: bool = True) -> FishNet:
    """Train in three phases with averaged weights, keeping checkpoints in a folder, or go on with those."""
    net = small_net()
    trainer = pl.Trainer(
        max_epochs=3,
        callbacks=[
            StepSeed(0),
            OpenGroups(HEAD_THEN_STAGE_THEN_ALL, frozen_batch_norm=False),
            AveragedWeights(0.6),
            *callbacks,
            *checkpoints(folder, monitor=monitor),
        ],
        limit_val_batches=None if monitor else 0,
        num_sanity_val_steps=0,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = module_of(net, HEAD_THEN_STAGE_THEN_ALL)
    path = folder / "last.ckpt" if resume else None
    trainer.fit(module, batches(), batches(seed=1), ckpt_path=path, weights_only=True)
    return net


class Average(Callback):
    """Average by hand, and compare with what is judged."""

    def __init__(self) -> None:
        self.mean: dict[str, torch.Tensor] = {}
        self.apart: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: FishModule, outputs, batch, index: int) -> None:
        step = trainer.global_step
        share = 1 - min(0.6, 1 - step ** (-2 / 3))  # timm's warm-up: at first all of it is new
        for name, tensor in module.net.state_dict().items():
            old = self.mean.get(name, tensor).double()
            new = tensor.double()
            self.mean[name] = old + share * (new - old) if tensor.is_floating_point() else new
        self.inside = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}

    def on_validation_batch_start(
        self, trainer, module: FishModule, batch, index: int, dataloader_idx: int = 0
    ) -> None:
        state = module.net.state_dict()
        for name, tensor in state.items():
            torch.testing.assert_close(tensor.double(), self.mean[name], rtol=1e-4, atol=1e-6)
        self.apart.append(max(float((state[name] - self.inside[name]).abs().max()) for name in state))


def test_the_averaged_weights_are_scored_and_kept(tmp_path: Path):
    by_hand = Average()
    net = averaged(tmp_path, by_hand)
    assert len(by_hand.apart) == 6
    assert by_hand.apart[-1] > 1e-3
    for file in ("best.ckpt", "last.ckpt"):
        states = torch.load(tmp_path / file, weights_only=True)["state_dict"]
        assert {name.removeprefix("net.") for name in states} == set(net.state_dict())
    assert not moved(net.state_dict(), {name: states[f"net.{name}"] for name in net.state_dict()})
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor.double(), by_hand.mean[name], rtol=1e-4, atol=1e-6)


def test_the_best_checkpoint_gives_the_score_that_it_was_chosen_for(tmp_path: Path):
    averaged(tmp_path)
    scores = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    (best,) = [float(state["best_model_score"]) for name, state in scores.items() if "val/log_loss" in name]
    net = small_net()
    state = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in state.items()})
    net.eval()
    losses = [
        float(nn.functional.cross_entropy(net(batch["image"], batch["image_hw"])["logits"].detach(), batch["target"]))
        for batch in batches(seed=1)
    ]
    assert sum(losses) / len(losses) == pytest.approx(best, rel=1e-5)


def test_without_held_out_batches_the_averaged_weights_are_kept_too(tmp_path: Path):
    by_hand = Average()
    net = averaged(tmp_path, by_hand, monitor=False)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor.double(), by_hand.mean[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("epoch", [1, 2])
def test_killed_in_any_phase_and_resumed_it_ends_as_the_uninterrupted_run(tmp_path: Path, epoch: int):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    expected = averaged(whole).state_dict()
    with pytest.raises(RuntimeError, match="killed"):
        averaged(halves, Stop(epoch))
    assert moved(averaged(halves, resume=True).state_dict(), expected) == set()
    first, second = (torch.load(folder / "last.ckpt", weights_only=True) for folder in (whole, halves))
    torch.testing.assert_close(first["optimizer_states"], second["optimizer_states"], rtol=0, atol=0)
    torch.testing.assert_close(
        first["callbacks"]["AveragedWeights"], second["callbacks"]["AveragedWeights"], rtol=0, atol=0
    )
