"""Weights of a backbone from a file, without running any code from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

_PREFIXES = ("module.", "net.", "backbone.", "network.")  # what checkpoints put before a backbone's own names


class BackboneError(ValueError):
    """A backbone or its weights can't be had: one line with the value, what was expected and the remedy."""


@dataclass(frozen=True)
class LoadReport:
    """Which tensors a weights file filled, by name."""

    loaded: list[str]
    missing: list[str]
    left_over: list[str]

    def __str__(self) -> str:
        """Return one line for a person."""
        return (
            f"loaded {len(self.loaded)} tensors; missing: {_short(self.missing)}; left over: {_short(self.left_over)}"
        )


def load_weights(network: nn.Module, path: Path | str) -> LoadReport:
    """Fill a network from a .pth or .safetensors file, without running any code from it.

    Names may carry a prefix such as `module.` or `net.network.`; a checkpoint's `state_dict` is found.

    Returns:
        What was loaded, what the network has and the file lacks, and what only the file has.

    Raises:
        BackboneError: the file is missing or no plain file of tensors, a tensor's shape differs, or no name fits.
    """
    state = {_bare(name): tensor for name, tensor in _read_tensors(Path(path)).items()}
    own = network.state_dict()
    loaded = [name for name in own if name in state]
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    if not set(loaded) & set(needed):
        raise BackboneError(
            f"{path}: none of its {len(state)} tensors fits the network: has {_short(list(state))}, needs {_short(needed)}"
        )
    for name in loaded:
        if state[name].shape != own[name].shape:
            raise BackboneError(
                f"{path}: {name!r} is {tuple(state[name].shape)}, the network has {tuple(own[name].shape)}: another architecture"
            )
    network.load_state_dict({name: state[name] for name in loaded}, strict=False)
    missing = [name for name in needed if name not in state]
    return LoadReport(loaded=loaded, missing=missing, left_over=[name for name in state if name not in own])


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BackboneError(f"{path}: no such file; model.weights takes a .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a broken file makes a reader stumble over has any type
        raise BackboneError(
            f"{path}: not a plain file of tensors ({type(error).__name__}: {str(error)[:80]!r})"
        ) from error
    for wrapper in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise BackboneError(f"{path}: holds a {type(state).__name__}, not tensors by name")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _bare(name: str) -> str:
    while prefix := next((p for p in _PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return name


def _short(names: list[str]) -> str:
    return (", ".join(names[:20]) + (f", … ({len(names)})" if len(names) > 20 else "")) or "none"
