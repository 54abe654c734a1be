"""Which precision and memory layout a network trains fastest in on this machine: measured, never assumed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fisheries.batch import Batch, run_net
from fisheries.schema import write_atomic

FLOAT32, BFLOAT16 = "32-true", "bf16-mixed"  # Lightning's words
PRECISIONS = "precision.json"
WORTH_MEASURING = 1_000_000  # parameters; a smaller network trains in float32 as it is
_PICTURES, _MOST_PICTURES = 8, 32  # of a measured step: with few, small networks are as slow in every layout
_STEP_S = 2.0  # a step that is measured should not take longer in float32
# short steps are measured more often, since noise is as long as they are
_LEAST_ROUNDS, _MOST_ROUNDS, _ENOUGH_S = 2, 10, 10
_GAIN_LAYOUT, _GAIN_BFLOAT16 = 1.1, 1.2  # by how much faster one must be, so that noise does not choose
_HOPELESS = 2.0  # times as slow as float32 in its first step


class Way(NamedTuple):
    """How a network is trained."""

    precision: str = FLOAT32
    channels_last: bool = False


def fastest_way(seconds: Mapping[Way, float]) -> Way:
    """Choose from the seconds of a step; the plain way unless another is clearly faster."""
    whole = {way: taken for way, taken in seconds.items() if way.precision == FLOAT32}
    best = min(whole, key=lambda way: whole[way])
    if best != Way() and whole[Way()] < _GAIN_LAYOUT * whole[best]:
        best = Way()
    half = {way: taken for way, taken in seconds.items() if way.precision == BFLOAT16}
    if half and _GAIN_BFLOAT16 * min(half.values()) <= seconds[best]:
        return min(half, key=lambda way: half[way])
    return best


def measure_ways(net: nn.Module, *, image_hw: tuple[int, int], device: torch.device) -> dict[Way, float]:
    """Return the seconds of a training step, forwards and backwards, in each way that the device has.

    Steps have 32 pictures if that is quickly done, and no less than 8.

    Args:
        net: a `FishNet` that nobody needs afterwards: its statistics are those of noise.
        image_hw: height and width of its pictures.
        device: to train on.
    """
    net.to(device).train()
    ways = possible_ways(net, device)
    taken_s = _step_s(net, _noise(_PICTURES, image_hw, device), Way(), device)
    batch = _noise(min(_MOST_PICTURES, max(_PICTURES, int(_PICTURES * _STEP_S / taken_s))), image_hw, device)
    first = {way: _step_s(net, batch, way, device) for way in ways}  # compiles kernels, too
    ways = [way for way in ways if way == Way() or first[way] < _HOPELESS * first[Way()]]
    rounds: list[dict[Way, float]] = []
    began_s = time.perf_counter()
    while len(rounds) < _LEAST_ROUNDS or (len(rounds) < _MOST_ROUNDS and time.perf_counter() - began_s < _ENOUGH_S):
        rounds.append({way: _step_s(net, batch, way, device) for way in ways})
    return {way: min(taken[way] for taken in rounds) for way in ways}


def machine_of(device: torch.device) -> str:
    """Return what a measurement holds for: the device, the processor, its threads and PyTorch."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return f"{device.type}, {name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def way_name(way: Way) -> str:
    """Return a way in the words of the configuration."""
    return f"{way.precision}{', channels_last' if way.channels_last else ''}"


def read_way(path: Path, about: Mapping[str, Any]) -> Way | None:
    """Return what was found for a network and machine, see `write_way`; None if that is not known."""
    found = _read(path).get(_key(about))
    return None if found is None else Way(str(found["precision"]), bool(found["channels_last"]))


def write_way(path: Path, about: Mapping[str, Any], way: Way) -> None:
    """Note what was found, so that the same run takes the same way again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {**_read(path), _key(about): {**way._asdict(), "about": about}}
    write_atomic(path, json.dumps(known, indent=2).encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):  # not there, or damaged: it is measured anew
        return {}


def _key(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _processor() -> str:
    features = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {features}, {os.cpu_count()} cores"


def possible_ways(net: nn.Module, device: torch.device) -> list[Way]:
    """Return the ways to train a network on a device, the plain one first."""
    layouts = [False, True] if takes_channels_last(net, device) else [False]
    halves = [BFLOAT16] if device.type != "cuda" or torch.cuda.is_bf16_supported() else []
    return [Way(precision, layout) for precision in (FLOAT32, *halves) for layout in layouts]


def takes_channels_last(net: nn.Module, device: torch.device) -> bool:
    """Whether a network can be trained with its channels last.

    On the CPU, PyTorch 2.15 writes past the end of the gradients of 1x1 convolutions with a stride if the number of their
    channels is no multiple of 16.
    """
    if device.type != "cpu":
        return True
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    return not any(
        conv.kernel_size == (1, 1) and conv.stride != (1, 1) and (conv.in_channels % 16 or conv.out_channels % 16)
        for conv in convolutions
    )


def _noise(pictures: int, image_hw: tuple[int, int], device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (pictures, 3, *image_hw), dtype=torch.uint8, generator=generator)
    return {"image": image.to(device), "image_hw": torch.zeros(pictures, 2, device=device)}  # type: ignore[typeddict-item]


def _step_s(net: nn.Module, batch: Batch, way: Way, device: torch.device) -> float:
    net.backbone.lay_out(channels_last=way.channels_last)  # type: ignore[operator,union-attr]
    net.zero_grad(set_to_none=True)
    _wait(device)
    began_s = time.perf_counter()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=way.precision == BFLOAT16):
        logits: Tensor = run_net(net, batch, device)["logits"]
    logits.float().square().mean().backward()  # type: ignore[no-untyped-call]
    _wait(device)
    return time.perf_counter() - began_s


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
