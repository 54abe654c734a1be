"""Backbones by name: any network of timm, or our own small one; with their weights and their normalization."""

from __future__ import annotations

import difflib
import os
import pickle
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from fisheries.models.blocks import ResidualNet

OWN = "small_residual"
_PREFIXES = ("module.", "net.", "backbone.", "network.")  # what checkpoints put before a backbone's own names


class BackboneError(ValueError):
    """A backbone or its weights can't be had: one line with the value, what was expected and the remedy."""


class Backbone(nn.Module):
    """A network without its classifier, fed with raw pixels.

    Args:
        network: has timm's `forward_features`, `forward_head(..., pre_logits=True)` and `head_hidden_size`.
        mean: of the pixels in [0, 1], by channel, as in the network's own pretraining.
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.width = int(network.head_hidden_size)  # type: ignore[arg-type]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (N, 3, H, W) with values 0 to 255 to a feature map (N, C, h, w) and features (N, F).

        The feature map of a transformer is (N, tokens, C).
        """
        normalized = (image - self.mean) / self.std
        feature_map = self.network.forward_features(normalized)  # type: ignore[operator]
        return feature_map, self.network.forward_head(feature_map, pre_logits=True)  # type: ignore[operator]


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


def create_backbone(
    name: str,
    *,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """Create a backbone by its name in timm, or our own `small_residual`.

    Args:
        name: such as "resnet50" or "resnet50.a1_in1k".
        pretrained: whether to fetch ImageNet weights (from the local cache where they are there already).
        mean: pixel mean in [0, 1]; by default what the network was pretrained with.
        std: likewise.
        options: further arguments of the network's constructor, such as {"pad_type": "same"}.

    Raises:
        BackboneError: the name is unknown, there are no pretrained weights under it, or they can't be fetched.
    """
    check_backbone(name, pretrained=pretrained)
    try:
        if name == OWN:
            own = ResidualNet(**dict(options or {}))
            return Backbone(own, mean=mean or (0.4, 0.4, 0.4), std=std or (0.2, 0.2, 0.2))
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **dict(options or {}))
    except (TypeError, ValueError) as error:
        raise BackboneError(f"model.options does not fit {name!r}: {error}") from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise _no_weights(name) from error
    config: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return Backbone(network, mean=mean or config["mean"], std=std or config["std"])


def load_weights(backbone: Backbone, path: Path | str) -> LoadReport:
    """Fill a backbone from a .pth or .safetensors file, without running any code from it.

    Names may carry a prefix such as `module.` or `net.backbone.network.`; a checkpoint's `state_dict` is found.

    Returns:
        What was loaded, what the network has and the file lacks, and what only the file has.

    Raises:
        BackboneError: the file is missing or no plain file of tensors, a tensor's shape differs, or no name fits.
    """
    state = {_bare(name): tensor for name, tensor in _read_tensors(Path(path)).items()}
    own = backbone.network.state_dict()
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
    backbone.network.load_state_dict({name: state[name] for name in loaded}, strict=False)
    missing = [name for name in needed if name not in state]
    return LoadReport(loaded=loaded, missing=missing, left_over=[name for name in state if name not in own])


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BackboneError(f"{path}: no such file; model.weights takes a .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
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


def check_backbone(name: str, *, pretrained: bool) -> None:
    """Check, without building it, that a backbone exists and that its weights can be had.

    Raises:
        BackboneError: as `create_backbone`.
    """
    if name == OWN:
        if pretrained:
            raise BackboneError(f"there are no pretrained weights for {OWN!r}: use model.pretrained=false")
        return
    _check_name(name)
    if pretrained:
        _check_weights_can_be_had(name)


def _check_name(name: str) -> None:
    known = timm.list_models(include_tags=True) + timm.list_models() + [OWN]
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; the nearest are {', '.join(close)}" if close else ""
        raise BackboneError(f"no network {name!r} in timm {timm.__version__}{hint}")


def _no_weights(name: str) -> BackboneError:
    return BackboneError(
        f"the pretrained weights of {name!r} can't be fetched (no network?): "
        "give a file with model.weights=FILE, or start from noise with model.pretrained=false"
    )


def _check_weights_can_be_had(name: str) -> None:
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None or not config.has_weights:
        raise BackboneError(
            f"timm has no pretrained weights for {name!r}: "
            "give a file with model.weights=FILE, or start from noise with model.pretrained=false"
        )
    # Without a network the download retries for most of a minute; a plain connection tells in seconds.
    from huggingface_hub import constants, is_offline_mode, try_to_load_from_cache

    if config.hf_hub_id:
        cached = [try_to_load_from_cache(config.hf_hub_id, file) for file in ("model.safetensors", "pytorch_model.bin")]
        reachable = not is_offline_mode() and _reachable(constants.ENDPOINT)
    else:
        url = str(config.url)
        file = Path(urllib.parse.urlsplit(url).path).name
        cached = [p for p in [Path(torch.hub.get_dir(), "checkpoints", file)] if p.is_file()]
        reachable = _reachable(url)
    if not reachable:
        if not any(isinstance(hit, str | os.PathLike) for hit in cached):
            raise _no_weights(name)
        constants.HF_HUB_OFFLINE = True


def _reachable(url: str) -> bool:
    """Whether a connection to the host of `url`, or to the proxy in front of it, opens within five seconds."""
    address = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        address = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
    except OSError:
        return False
    return True
