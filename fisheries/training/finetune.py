"""Fine-tuning in phases: which groups of the network learn in which epoch, and how fast.

All of it follows from the epoch's number alone, so a run that was killed goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from fisheries.schema import InputError

ALL = "all"


@dataclass(frozen=True)
class Phase:
    """Epochs in which the last `open` depth groups of a network learn; 1 is the head, infinite is all of it.

    Attributes:
        start: its first epoch.
        end: the first epoch after it; infinite where a run has no end.
        open: how many groups.
        lr: factor of the learning rate.
        augment: whether pictures are augmented and mixed, or shown as they are.
    """

    start: int = 0
    end: float = math.inf
    open: float = math.inf
    lr: float = 1.0
    augment: bool = True


def plan_phases(parts: Sequence[Mapping[str, Any]], *, max_epochs: int | None) -> list[Phase]:
    """Lay phases over a run, each as long as its share of all shares.

    Args:
        parts: for each phase `share`, `open` (a number of groups, or "all"), `lr`, and maybe `augment`.
        max_epochs: of the run; None or -1 for one without an end, which has room for one phase only.

    Raises:
        InputError: a phase would have no epoch, or there are several and no end.
    """
    opens = [math.inf if part["open"] == ALL else part["open"] for part in parts]
    if len(parts) == 1 and parts[0].get("augment", True):
        return [Phase(open=opens[0], lr=parts[0]["lr"])]
    if max_epochs is None or max_epochs < 1:
        raise InputError(f"finetune.phases: {len(parts)} phases need an end: give trainer.max_epochs")
    shares = [part["share"] for part in parts]
    ends = [round(sum(shares[: index + 1]) / sum(shares) * max_epochs) for index in range(len(parts))]
    starts = [0, *ends[:-1]]
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            raise InputError(
                f"finetune.phases: share {shares[index]:g} of {sum(shares):g} leaves phase {index + 1} of {len(parts)} no epoch: "
                f"give more than trainer.max_epochs={max_epochs}, a larger share, or finetune=none"
            )
    augment = [part.get("augment", True) for part in parts]
    return [Phase(s, e, o, p["lr"], a) for s, e, o, p, a in zip(starts, ends, opens, parts, augment, strict=True)]


def check_phases(phases: Sequence[Phase], *, groups: int) -> None:
    """Check that no phase opens more groups of layers than a network has, its head among them.

    Raises:
        InputError: one does.
    """
    most = max((int(phase.open) for phase in phases if math.isfinite(phase.open)), default=1)
    if most > groups:
        raise InputError(
            f"finetune.phases: open={most} of the network's {groups} groups of layers: give 1 to {groups}, or all"
        )


def plain_epochs(phases: Sequence[Phase]) -> frozenset[int]:
    """Return the epochs of the phases that show pictures as they are."""
    return frozenset(epoch for phase in phases if not phase.augment for epoch in range(phase.start, int(phase.end)))


def opens_all(phases: Sequence[Phase]) -> bool:
    """Whether every phase opens the whole network."""
    return all(math.isinf(phase.open) for phase in phases)


def phase_index(phases: Sequence[Phase], epoch: int) -> int:
    """Return the number, from 0, of the phase that an epoch belongs to; epochs after the end to the last one."""
    return next((index for index, phase in enumerate(phases) if epoch < phase.end), len(phases) - 1)


def names_by_depth(net: nn.Module) -> list[list[str]]:
    """Return the names of a network's parameters from the head, depth 0, to the input."""
    return list(reversed(net.depth_groups()))  # type: ignore[operator]


def parameter_groups(net: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Return an optimizer's parameter groups by depth, the head's first.

    Biases and the vectors of normalizations are in groups of their own, without weight decay, as timm does it.

    Args:
        net: has `depth_groups`.
        weight_decay: of everything else.
    """
    parameters = dict(net.named_parameters())
    groups = []
    for depth, names in enumerate(names_by_depth(net)):
        learnable = [name for name in names if parameters[name].requires_grad]
        plain = [name for name in learnable if parameters[name].ndim <= 1 or name.endswith(".bias")]
        decayed = [name for name in learnable if name not in plain]
        for members, decay in ((decayed, weight_decay), (plain, 0.0)):
            if members:
                params = [parameters[name] for name in members]
                groups.append({"params": params, "depth": depth, "weight_decay": decay})
    return groups


class OpenGroups(Callback):
    """Let only the groups learn that the epoch's phase opens; what is closed changes by no bit.

    A closed parameter gets no gradient, so neither momentum nor weight decay moves it; a closed module is in evaluation
    mode, without dropout and with its batch statistics left as they are. Where several processes train together,
    they agree before the first step on the gradients to exchange: there a parameter that some phase opens gets its
    gradient always, and a closed one's is dropped before the optimizer's step.

    Args:
        phases: see `plan_phases`.
        frozen_batch_norm: whether open batch normalizations of the backbone keep their statistics too; the head's,
            which are new, never do.
    """

    def __init__(self, phases: Sequence[Phase], *, frozen_batch_norm: bool) -> None:
        self.phases = list(phases)
        self.frozen_batch_norm = frozen_batch_norm
        self.learnable: set[str] = set()
        self.closed: set[str] = set()

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Note what can learn at all, and close for good what no phase opens."""
        net = _net(module)
        self.learnable = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
        self.closed = closed_names(net, max(phase.open for phase in self.phases))
        self._set_gradients(net)
        set_modes(net, self.closed, frozen_batch_norm=self.frozen_batch_norm)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Open what the epoch's phase opens, and close the rest."""
        net, phase = _net(module), self.phases[phase_index(self.phases, trainer.current_epoch)]
        self.closed = closed_names(net, phase.open)
        if trainer.world_size == 1:
            self._set_gradients(net)
        set_modes(net, self.closed, frozen_batch_norm=self.frozen_batch_norm)

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Optimizer) -> None:
        """Drop the gradients of what is closed."""
        for name, parameter in _net(module).named_parameters():
            if name in self.closed:
                parameter.grad = None

    def _set_gradients(self, net: nn.Module) -> None:
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in self.learnable and name not in self.closed)


def closed_names(net: nn.Module, open_groups: float) -> set[str]:
    """Return the names of the parameters that are not among the last `open_groups` depth groups."""
    return {name for depth, names in enumerate(names_by_depth(net)) if depth >= open_groups for name in names}


def set_modes(net: nn.Module, closed: Collection[str], *, frozen_batch_norm: bool) -> None:
    """Put what is closed into evaluation mode and the rest into training mode.

    A module without parameters, such as a dropout, goes with the smallest module around it that has some.

    Args:
        net: has its backbone under `backbone`.
        closed: names of the parameters that are.
        frozen_batch_norm: whether the backbone's batch normalizations are in evaluation mode in any case.
    """
    _set_modes(net, {id(parameter) for name, parameter in net.named_parameters() if name in closed})
    if frozen_batch_norm:
        for module in net.backbone.modules():  # type: ignore[union-attr]
            if isinstance(module, _BatchNorm):
                module.eval()


def _set_modes(module: nn.Module, closed: set[int]) -> None:
    own = [id(parameter) for parameter in module.parameters()]
    if own and closed.issuperset(own):
        module.eval()
        return
    module.training = True
    for child in module.children():
        _set_modes(child, closed)


def _net(module: pl.LightningModule) -> nn.Module:
    net = module.net
    assert isinstance(net, nn.Module)
    return net
