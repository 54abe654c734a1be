"""What to train and predict on."""

from __future__ import annotations

import os
from typing import Any

import torch

from fisheries.schema import InputError


def choose_devices(gpus: int | str | list[int] | None, *, accelerator: str | None, devices: Any) -> dict[str, Any]:
    """Turn `trainer.gpus` into Lightning's accelerator and devices.

    Args:
        gpus: 0 for the CPU, a count, a list of numbers, "auto" for what is there, None for the other two arguments.
        accelerator: Lightning's argument.
        devices: Lightning's argument.

    Raises:
        InputError: both are given, there are fewer GPUs, or `gpus` is none of these.
    """
    if gpus is None:
        if accelerator is None and devices is None:
            return {"accelerator": "cpu", "devices": 1}
        return {"accelerator": accelerator or "auto", "devices": "auto" if devices is None else devices}
    if accelerator is not None or devices is not None:
        raise InputError(
            f"trainer.gpus={gpus} together with trainer.accelerator or trainer.devices: give one or the other"
        )
    there = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    wanted = there if gpus == "auto" else gpus
    if not _counts(wanted):
        raise InputError(f"trainer.gpus={gpus!r}: expected a count, 0 for the CPU, a list such as [0,1], or auto")
    highest = max([number + 1 for number in wanted], default=0) if isinstance(wanted, list) else int(wanted)
    if highest > there:
        raise InputError(
            f"trainer.gpus={gpus}: this machine has {there or 'no'} GPU{'s' if there != 1 else ''}; trainer.gpus=0 trains on the CPU"
        )
    return {"accelerator": "gpu", "devices": wanted} if wanted else {"accelerator": "cpu", "devices": 1}


def choose_device(
    gpus: int | str | list[int] | None, *, accelerator: str | None = None, devices: Any = None
) -> torch.device:
    """Return the device of this process, the first of those chosen unless a launcher started several processes.

    Args:
        gpus: as in `choose_devices`, or such a count as text.
        accelerator: as in `choose_devices`.
        devices: likewise.

    Raises:
        InputError: as `choose_devices`.
    """
    wanted = int(gpus) if isinstance(gpus, str) and gpus.isdigit() else gpus
    choice = choose_devices(wanted, accelerator=accelerator, devices=devices)
    rank = int(os.environ.get("LOCAL_RANK", 0))
    if choice["accelerator"] != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", choice["devices"][rank] if isinstance(choice["devices"], list) else rank)
    return torch.device("mps" if choice["accelerator"] in ("gpu", "mps") else "cpu")


def hide_missing_gpus() -> None:
    """Tell this process and its children that there is no GPU, if so.

    PyTorch's optimizers ask for one at each step. Since Lightning makes it ask the driver, that takes 0.1 ms, where the step
    of a head on stored features takes 3.
    """
    if not torch.cuda.device_count():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _counts(gpus: Any) -> bool:
    numbers = gpus if isinstance(gpus, list) else [gpus]
    return all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
