"""What to train and predict on."""

from __future__ import annotations

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


def choose_device(gpus: int | str) -> torch.device:
    """Return the device to predict on, see `choose_devices`."""
    choice = choose_devices(gpus, accelerator=None, devices=None)
    if choice["accelerator"] == "cpu":
        return torch.device("cpu")
    return torch.device("cuda" if torch.cuda.is_available() else "mps")


def _counts(gpus: Any) -> bool:
    numbers = gpus if isinstance(gpus, list) else [gpus]
    return all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
