"""Learning rates over a run, one step a batch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from fisheries.schema import InputError
from fisheries.training.finetune import Phase


def create_schedule(
    optimizer: Optimizer,
    *,
    name: str,
    warmup: float,
    total_steps: float,
    phases: Sequence[Phase] = (Phase(),),
    lr_decay: float = 1.0,
) -> LambdaLR:
    """Create a schedule: in each phase a linear warm-up, then "constant", or "cosine" down to 0.

    Args:
        optimizer: whose learning rates are the highest ones; its groups may tell their `depth` from the head, see
            `parameter_groups`.
        name: "constant" or "cosine".
        warmup: share of a phase's steps in which the rate rises from 0.
        total_steps: of the whole run; infinite only for "constant" without warm-up.
        phases: in order; a group that a phase does not open has rate 0.
        lr_decay: a group's rate as a share of that of the group one nearer to the head.

    Raises:
        ValueError: `name` is unknown.
        InputError: the run has no end to fall towards.
    """
    if name not in ("constant", "cosine"):
        raise ValueError(f"schedule.name={name!r}: expected constant or cosine")
    if math.isinf(total_steps) and (name != "constant" or warmup):
        raise InputError(f"schedule.name={name} needs an end: give trainer.max_epochs, or schedule=constant")
    starts = [round(total_steps * phase.start / phases[-1].end) if phase.start else 0 for phase in phases]
    ends = [*starts[1:], total_steps]

    def rate(depth: int) -> Callable[[int], float]:
        def factor(step: int) -> float:
            index = bisect_right(starts, step) - 1
            phase, start, end = phases[index], starts[index], ends[index]
            if depth >= phase.open:
                return 0.0
            return phase.lr * lr_decay**depth * rise_and_fall(step - start, name=name, warmup=warmup, steps=end - start)

        return factor

    return LambdaLR(optimizer, [rate(group.get("depth", 0)) for group in optimizer.param_groups])


def rise_and_fall(step: int, *, name: str, warmup: float, steps: float) -> float:
    """Return the share of the highest rate that step number `step` of `steps` has, see `create_schedule`."""
    warmup_steps = 1 if math.isinf(steps) else max(1, round(warmup * steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 1.0 if name == "constant" else 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
