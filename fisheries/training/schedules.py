"""Learning rates over a run, one step a batch."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from fisheries.schema import InputError


def create_schedule(optimizer: Optimizer, *, name: str, warmup: float, total_steps: float) -> LambdaLR:
    """Create a schedule: a linear warm-up, then "constant", or "cosine" down to 0.

    Args:
        optimizer: whose learning rates are the highest ones.
        name: "constant" or "cosine".
        warmup: share of the steps in which the rate rises from 0.
        total_steps: of the whole run; infinite only for "constant" without warm-up.

    Raises:
        ValueError: `name` is unknown.
        InputError: the run has no end to fall towards.
    """
    if name not in ("constant", "cosine"):
        raise ValueError(f"schedule.name={name!r}: expected constant or cosine")
    if math.isinf(total_steps) and (name != "constant" or warmup):
        raise InputError(f"schedule.name={name} needs an end: give trainer.max_epochs, or schedule=constant")
    warmup_steps = 1 if math.isinf(total_steps) else max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 1.0 if name == "constant" else 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)
