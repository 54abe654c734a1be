"""Backbones by name: any network of timm, or our own; with their normalization."""

from __future__ import annotations

import difflib
import math
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from fisheries.models.blocks import OWN_NETWORKS, ResidualNet, pool_map
from fisheries.models.weights import BackboneError, load_weights

OWN = "own"  # the network's own way from its feature map to features
# Learned on 1,600 photographs of 80 boats of another world than the embedded one, by benchmarks/pretrain.py.
OWN_WEIGHTS = {"small_residual": Path(__file__).with_name("small_residual.safetensors")}
_PIXELS = {"mean": (0.4, 0.4, 0.4), "std": (0.2, 0.2, 0.2)}  # of our own networks


class Backbone(nn.Module):
    """A network without its classifier, fed with raw pixels.

    Args:
        network: has timm's `forward_features`, `forward_head(..., pre_logits=True)`, `num_features`,
            `head_hidden_size`, `feature_info` and `group_matcher`.
        mean: of the pixels in [0, 1], by channel, as in the network's own pretraining.
        std: likewise.
        stride: by how much the feature map is smaller than the picture; by default as the whole network says.
        pool: from the feature map to features: "own", by `forward_head`, or see `pool_map`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        stride: int | None = None,
        pool: str = OWN,
    ) -> None:
        super().__init__()
        self.network = network
        self.pool = pool
        self.stride = stride or _strides(network)[-1]
        self.channels = int(network.num_features)  # type: ignore[arg-type]
        own = int(network.head_hidden_size)  # type: ignore[arg-type]
        self.width = own if pool == OWN else self.channels * (2 if pool == "avgmax" else 1)
        self.channels_last = False
        self._channels_come_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (N, 3, H, W) with values 0 to 255 to a feature map (N, C, h, w) and features (N, F).

        Raises:
            BackboneError: the network gives no map of the picture.
        """
        pixels = (image - self.mean) / self.std
        if self.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        encoded = self.network.forward_features(pixels)  # type: ignore[operator]
        feature_map = self._as_map(encoded, image_hw=(image.shape[2], image.shape[3]))
        if self.pool == OWN:
            return feature_map, self.network.forward_head(encoded, pre_logits=True)  # type: ignore[operator]
        return feature_map, pool_map(feature_map, self.pool)

    def lay_out(self, *, channels_last: bool) -> None:
        """Lay weights and pictures out with their channels last in memory, which most processors are faster with, or first."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network.to(memory_format=layout)
        self.channels_last = channels_last

    def depth_groups(self) -> list[list[str]]:
        """Return the names of the parameters in groups from the input to the output; a normalization is in its layer's."""
        parameters = dict(self.network.named_parameters())
        by_depth = group_parameters(self.network, self.network.group_matcher(coarse=True))  # type: ignore[operator]
        groups: list[list[str]] = []
        for depth in sorted(by_depth):
            if not groups or any(parameters[name].ndim > 1 for name in by_depth[depth]):
                groups.append([])
            groups[-1] += [f"network.{name}" for name in by_depth[depth]]
        return groups

    def _as_map(self, encoded: Tensor | list[Tensor], *, image_hw: tuple[int, int]) -> Tensor:
        """Lay what a network of timm returns out as (N, C, h, w); the tokens that are no part of the picture go."""
        height, width = (math.ceil(side / self.stride) for side in image_hw)
        if not isinstance(encoded, Tensor) or (encoded.ndim == 3 and encoded.shape[1] < height * width):
            raise BackboneError(f"{type(self.network).__name__} gives no single feature map: choose another backbone")
        if encoded.ndim == 4:
            return encoded.permute(0, 3, 1, 2) if self._channels_come_last else encoded
        tokens = encoded[:, encoded.shape[1] - height * width :]  # (N, h * w, C)
        return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)


def create_backbone(
    name: str,
    *,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
    stride: int | None = None,
    pool: str = OWN,
) -> Backbone:
    """Create a backbone by its name in timm, or one of our own (`OWN_NETWORKS`).

    Args:
        name: such as "resnet50" or "resnet50.a1_in1k".
        pretrained: whether to fetch ImageNet weights (from the local cache where they are there already), or for
            `small_residual` to take those in this folder, see `OWN_WEIGHTS`.
        mean: pixel mean in [0, 1]; by default what the network was pretrained with.
        std: likewise.
        options: further arguments of the network's constructor, such as {"pad_type": "same"}.
        stride: cut the network behind its last feature map that is so much smaller than the picture.
        pool: how features are made of the feature map, see `Backbone`; a network cut short has no own way.

    Raises:
        BackboneError: the name is unknown, there are no pretrained weights under it, or they can't be fetched; the
            network has no such stride, or is cut short and told to pool in its own way.
    """
    check_backbone(name, pretrained=pretrained)
    if stride is not None and pool == OWN:
        raise BackboneError(f"model.stride={stride} cuts the network's own pooling off: model.pool=avg, max or avgmax")
    network = _create_network(name, pretrained=pretrained, options=options or {})
    if stride is not None:
        _cut(network, name=name, stride=stride)
    elif pool != OWN:
        _behead(network)
    config: Mapping[str, Any] = getattr(network, "pretrained_cfg", _PIXELS)
    return Backbone(network, mean=mean or config["mean"], std=std or config["std"], stride=stride, pool=pool)


def _create_network(name: str, *, pretrained: bool, options: Mapping[str, Any]) -> nn.Module:
    try:
        if name in OWN_NETWORKS:
            own = ResidualNet(**{**OWN_NETWORKS[name], **options})
            return _with_own_weights(own, name) if pretrained else own
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except (TypeError, ValueError) as error:
        raise BackboneError(f"model.options does not fit {name!r}: {error}") from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise _no_weights(name) from error


def _with_own_weights(network: ResidualNet, name: str) -> ResidualNet:
    report = load_weights(network, OWN_WEIGHTS[name])
    if report.missing or report.left_over:
        raise BackboneError(
            f"model.options changes {name!r}, so that its weights do not fit ({report}): use model.pretrained=false"
        )
    return network


def _cut(network: nn.Module, *, name: str, stride: int) -> None:
    strides = _strides(network)
    if stride not in strides:
        known = ", ".join(str(known) for known in sorted(set(strides)))
        raise BackboneError(
            f"model.stride={stride}: the feature maps of {name} have the strides {known}; null keeps all"
        )
    last = max(index for index, known in enumerate(strides) if known == stride)
    network.prune_intermediate_layers([last])  # type: ignore[operator]


def _behead(network: nn.Module) -> None:
    """Drop layers behind the feature map that nothing will use, such as VGG's two of 4096."""
    stages: Any = network.feature_info
    if stages[-1]["num_chs"] == network.num_features:  # else its last map is not the one that it gives
        network.prune_intermediate_layers([len(stages) - 1])  # type: ignore[operator]


def _strides(network: nn.Module) -> list[int]:
    """Return by how much each of a network's feature maps is smaller than the picture, from input to output."""
    stages: Any = network.feature_info
    return [int(stage["reduction"]) for stage in stages]


def check_backbone(name: str, *, pretrained: bool) -> None:
    """Check, without building it, that a backbone exists and that its weights can be had.

    Raises:
        BackboneError: as `create_backbone`.
    """
    if name in OWN_NETWORKS:
        if pretrained and name not in OWN_WEIGHTS:
            raise BackboneError(f"there are no pretrained weights for {name!r}: use model.pretrained=false")
        return
    _check_name(name)
    if pretrained:
        _check_weights_can_be_had(name)


def _check_name(name: str) -> None:
    known = timm.list_models(include_tags=True) + timm.list_models() + list(OWN_NETWORKS)
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
