from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.callbacks import Callback
from timm.optim import create_optimizer_v2
from torch import nn
from torch.utils.data import DataLoader

from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.schema import InputError
from fisheries.training.callbacks import StepSeed
from fisheries.training.finetune import (
    OpenGroups,
    Phase,
    check_phases,
    closed_names,
    names_by_depth,
    parameter_groups,
    phase_index,
    plain_epochs,
    plan_phases,
    set_modes,
)
from fisheries.training.losses import FishLoss
from fisheries.training.module import FishModule
from fisheries.training.schedules import create_schedule

HEAD_THEN_STAGE_THEN_ALL = [Phase(0, 1, open=1), Phase(1, 2, open=2), Phase(2, 3)]
LR_DECAY = 0.5


def parts(*shares: float, opens: Sequence[object] = (1, 2, "all", "all", "all")) -> list[dict]:
    return [{"share": share, "open": count, "lr": 1.0} for share, count in zip(shares, opens, strict=False)]


def small_net(*, backbone: str = "small_residual", head: str = "dense") -> FishNet:
    torch.manual_seed(0)
    options = {"widths": (4, 8), "depths": (1, 1)} if backbone == "small_residual" else None
    return FishNet(create_backbone(backbone, options=options), classes=3, head=head, dropout=0.2)


def batches(*, count: int = 2, images: int = 4, seed: int = 0) -> DataLoader:
    generator = torch.Generator().manual_seed(seed)
    made = [
        {
            "image": torch.randint(0, 256, (images, 3, 32, 48), dtype=torch.uint8, generator=generator),
            "image_hw": torch.zeros(images, 2),
            "target": torch.eye(3)[torch.arange(images) % 3],
            "weight": torch.ones(images),
            "box_cxcywh": torch.zeros(images, 4),
            "has_box": torch.zeros(images),
            "image_id": [str(number) for number in range(images)],
        }
        for _ in range(count)
    ]
    return DataLoader(made, batch_size=None)


class Snapshots(Callback):
    """Keep the network's state as it is at the start of training and at each epoch's end, and the rates of each step."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []
        self.rates: list[dict[int, float]] = []

    def on_train_start(self, trainer: pl.Trainer, module: FishModule) -> None:
        self._keep(module)

    def on_train_batch_start(self, trainer: pl.Trainer, module: FishModule, batch, index: int) -> None:
        self.rates.append({group.get("depth", 0): group["lr"] for group in trainer.optimizers[0].param_groups})

    def on_train_epoch_end(self, trainer: pl.Trainer, module: FishModule) -> None:
        self._keep(module)

    def _keep(self, module: FishModule) -> None:
        self.states.append({name: tensor.clone() for name, tensor in module.net.state_dict().items()})


def module_of(net: nn.Module, phases: Sequence[Phase], *, opt: str = "adamw") -> FishModule:
    return FishModule(
        net,
        FishLoss(),
        optimizer=lambda net: create_optimizer_v2(
            parameter_groups(net, weight_decay=0.5), opt=opt, lr=0.01, weight_decay=0.5
        ),
        schedule=lambda optimizer, steps: create_schedule(
            optimizer, name="cosine", warmup=0.5, total_steps=steps, phases=phases, lr_decay=LR_DECAY
        ),
        provenance={},
    )


def trained(
    net: FishNet, phases: Sequence[Phase], *callbacks: Callback, opt: str = "adamw", frozen_batch_norm: bool = False
) -> Snapshots:
    seen = Snapshots()
    gate = OpenGroups(phases, frozen_batch_norm=frozen_batch_norm)
    trainer = pl.Trainer(
        max_epochs=int(phases[-1].end),
        callbacks=[StepSeed(0), gate, *callbacks, seen],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module_of(net, phases, opt=opt), batches(), batches(seed=1))
    return seen


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def belonging(net: nn.Module, names: set[str]) -> set[str]:
    """The tensors, batch statistics among them, of the modules that parameters of these names belong to."""
    modules = {name.rpartition(".")[0] for name in names}
    return {name for name in net.state_dict() if name.rpartition(".")[0] in modules}


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_what_is_closed_moves_by_no_bit_and_what_is_opened_does(opt: str):
    net = small_net()
    states = trained(net, HEAD_THEN_STAGE_THEN_ALL, opt=opt).states
    for epoch, phase in enumerate(HEAD_THEN_STAGE_THEN_ALL):
        closed = belonging(net, closed_names(net, phase.open))
        changed = moved(states[epoch], states[epoch + 1])
        assert not changed & closed
        assert changed >= {name for name in net.state_dict() if name not in closed and "running" in name}
        assert {"classifier.weight", "classifier.bias"} <= changed
    assert any("running_var" in name for name in belonging(net, closed_names(net, 1)))
    assert moved(states[2], states[3]) == set(net.state_dict())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_frozen_backbone_is_not_held_by_the_optimizer_and_stays(processes: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pl.Trainer, "world_size", property(lambda trainer: processes))
    net = small_net()
    phases = [Phase(open=1, end=2)]
    states = trained(net, phases).states
    assert all(name.startswith(("trunk", "classifier")) for name in moved(states[0], states[-1]))
    held = {id(p) for group in parameter_groups(net, weight_decay=0.5) for p in group["params"]}
    assert held == {id(p) for name, p in net.named_parameters() if not name.startswith("backbone.")}
    assert not any(p.requires_grad for p in net.backbone.parameters())


def test_open_batch_norms_of_the_backbone_keep_their_statistics_if_wanted_and_the_heads_never_do():
    net = small_net()
    states = trained(net, [Phase(0, 1)], frozen_batch_norm=True).states
    changed = moved(states[0], states[-1])
    assert not {name for name in changed if name.startswith("backbone") and "running" in name}
    assert "backbone.network.stem.0.1.weight" in changed
    assert {name for name in changed if name.startswith("trunk") and "running" in name}


def test_drop_path_of_closed_blocks_is_off_and_of_open_ones_on():
    net = FishNet(create_backbone("convnext_atto", options={"drop_path_rate": 0.5}), classes=3, dropout=0.5)
    drops = {name: module for name, module in net.named_modules() if type(module).__name__ == "DropPath"}
    assert len(drops) > 5
    set_modes(net, closed_names(net, 1), frozen_batch_norm=False)
    assert not any(module.training for module in drops.values())
    assert net.trunk.training
    last = [depth for depth, names in enumerate(names_by_depth(net)) if any(".stages.3." in name for name in names)]
    set_modes(net, closed_names(net, max(last) + 1), frozen_batch_norm=False)
    assert {name for name, module in drops.items() if module.training} == {n for n in drops if ".stages.3." in n}
    set_modes(net, closed_names(net, math.inf), frozen_batch_norm=False)
    assert all(module.training for module in net.modules())


def test_learning_rates_fall_towards_the_input_and_are_0_where_closed():
    net = small_net()
    rates = trained(net, HEAD_THEN_STAGE_THEN_ALL).rates
    groups = len(net.depth_groups())
    assert groups >= 4
    assert [rate for depth, rate in rates[0].items() if depth] == [0.0] * (groups - 1)
    assert rates[2][1] == pytest.approx(LR_DECAY * rates[2][0])
    assert all(rates[2][depth] == 0 for depth in range(2, groups))
    assert [rates[4][depth] for depth in range(groups)] == pytest.approx(
        [rates[4][0] * LR_DECAY**depth for depth in range(groups)]
    )
    assert rates[0][0] == rates[2][0] == rates[4][0] > 0  # each phase begins anew


def test_every_parameter_is_in_one_group_and_vectors_are_not_decayed():
    net = small_net()
    groups = parameter_groups(net, weight_decay=0.1)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())
    assert {group["weight_decay"] for group in groups if all(p.ndim <= 1 for p in group["params"])} == {0.0}
    assert {group["weight_decay"] for group in groups if any(p.ndim > 1 for p in group["params"])} == {0.1}
    assert [group["depth"] for group in groups] == sorted(group["depth"] for group in groups)
    assert id(net.classifier.weight) in [id(p) for p in groups[0]["params"]]


def test_what_never_learns_by_design_is_not_opened():
    net = small_net()
    net.backbone.network.stem[0][0].weight.requires_grad_(False)
    states = trained(net, HEAD_THEN_STAGE_THEN_ALL).states
    assert "backbone.network.stem.0.0.weight" not in moved(states[0], states[-1])
    assert "backbone.network.stem.0.1.weight" in moved(states[0], states[-1])


def test_processes_that_train_together_exchange_all_gradients_and_drop_the_closed_ones(monkeypatch: pytest.MonkeyPatch):
    alone, together = small_net(), small_net()
    expected = trained(alone, HEAD_THEN_STAGE_THEN_ALL).states
    wanted = []

    class Asked(Callback):
        def on_before_backward(self, trainer: pl.Trainer, module: FishModule, loss: torch.Tensor) -> None:
            wanted.append(all(p.requires_grad for p in module.net.parameters()))

    monkeypatch.setattr(pl.Trainer, "world_size", property(lambda trainer: 2))
    states = trained(together, HEAD_THEN_STAGE_THEN_ALL, Asked()).states
    assert wanted == [True] * 6
    assert not moved(expected[-1], states[-1])


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.integers(1, 300))
def test_phases_fill_the_run_in_order_and_in_proportion(shares: list[float], max_epochs: int):
    try:
        phases = plan_phases(parts(*shares), max_epochs=max_epochs)
    except InputError:
        assert any(share / sum(shares) * max_epochs < 1.001 for share in shares)
        return
    if len(shares) == 1:
        assert phases == [Phase(open=1)]
        return
    assert [phase.start for phase in phases] == [0, *(phase.end for phase in phases[:-1])]
    assert phases[-1].end == max_epochs
    for phase, share in zip(phases, shares, strict=True):
        assert abs((phase.end - phase.start) - share / sum(shares) * max_epochs) <= 1
    of = [phase_index(phases, epoch) for epoch in range(max_epochs)]
    assert of == sorted(of)
    assert set(of) == set(range(len(phases)))
    assert phase_index(phases, max_epochs + 5) == len(phases) - 1


def test_phases_say_in_which_epochs_pictures_are_shown_as_they_are():
    augment = [{"augment": False}, {}, {"augment": False}]
    phases = plan_phases([part | flag for part, flag in zip(parts(4, 6, 2), augment, strict=True)], max_epochs=12)
    assert plain_epochs(phases) == {0, 1, 2, 3, 10, 11}
    assert plain_epochs(plan_phases(parts(1), max_epochs=None)) == set()
    assert plain_epochs(plan_phases([parts(1)[0] | {"augment": False}], max_epochs=3)) == {0, 1, 2}


def test_shares_that_are_numbers_of_epochs_are_these():
    phases = plan_phases(parts(4, 6, 10), max_epochs=20)
    assert [(phase.start, phase.end, phase.open) for phase in phases] == [(0, 4, 1), (4, 10, 2), (10, 20, math.inf)]


@pytest.mark.parametrize(
    ("shares", "max_epochs", "message"),
    [
        ((1, 1, 8), 4, "share 1 of 10 leaves phase 1 of 3 no epoch: give more than trainer.max_epochs=4"),
        ((1, 1), -1, "finetune.phases: 2 phases need an end: give trainer.max_epochs"),
        ((1, 1), None, "2 phases need an end"),
    ],
)
def test_phases_that_do_not_fit_the_epochs_are_one_line(shares, max_epochs, message: str):
    with pytest.raises(InputError, match=message):
        plan_phases(parts(*shares), max_epochs=max_epochs)


def test_more_open_groups_than_there_are_is_one_line():
    check_phases([Phase(open=4), Phase()], groups=4)
    with pytest.raises(InputError, match=r"open=5 of the network's 4 groups of layers: give 1 to 4, or all"):
        check_phases([Phase(open=5), Phase()], groups=4)
