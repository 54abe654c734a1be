"""Building blocks of our own networks, written from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

UNITS = ("two_layer", "bottleneck", "separable")
STEMS = ("small", "large")
POOLS = ("avg", "max", "avgmax")
_RESNET: dict[str, Any] = {"depths": (3, 4, 6, 3), "stem": "large", "pool": "avg"}
# our networks by name, as arguments of `ResidualNet`; the last two as in He et al. 2015, table 1
OWN_NETWORKS: dict[str, dict[str, Any]] = {
    "small_residual": {},
    "own_resnet34": {"widths": (64, 128, 256, 512), **_RESNET},
    "own_resnet50": {"widths": (256, 512, 1024, 2048), "unit": "bottleneck", **_RESNET},
}


class ConvNorm(nn.Sequential):
    """A convolution without bias, and batch normalization: (N, in, H, W) -> (N, out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_channels))


class SeparableConvNorm(nn.Sequential):
    """A 3x3 convolution of each channel by itself, then a 1x1 across channels (Chollet 2017); shapes as `ConvNorm`."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        depthwise = nn.Conv2d(in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False)
        super().__init__(depthwise, *ConvNorm(in_channels, out_channels, kernel=1))


class SqueezeExcitation(nn.Module):
    """Weight each channel by what the whole map holds (Hu et al. 2018): (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        squeezed = max(channels // reduction, 4)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        mean = x.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
        return x * self.expand(self.act(self.reduce(mean))).sigmoid()


class ResidualBlock(nn.Module):
    """Convolutions and a shortcut: the identity block, or the convolutional block where the shape changes.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        stride: by how much the output is smaller.
        unit: "two_layer", two 3x3 convolutions (He et al. 2015, figure 5 left); "bottleneck", 1x1, 3x3 and 1x1 with a
            quarter of the channels between (figure 5 right), the stride in the 3x3 as all have it today; "separable",
            two depthwise-separable ones (Chollet 2017).
        squeeze: whether channels are weighted before the shortcut is added.

    Raises:
        ValueError: `unit` is unknown.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, unit: str = "two_layer", squeeze: bool = False
    ) -> None:
        super().__init__()
        self.third: nn.Module | None = None
        if unit == "two_layer":
            self.first: nn.Module = ConvNorm(in_channels, out_channels, stride=stride)
            self.second: nn.Module = ConvNorm(out_channels, out_channels)
        elif unit == "separable":
            self.first = SeparableConvNorm(in_channels, out_channels, stride=stride)
            self.second = SeparableConvNorm(out_channels, out_channels)
        elif unit == "bottleneck":
            self.first = ConvNorm(in_channels, out_channels // 4, kernel=1)
            self.second = ConvNorm(out_channels // 4, out_channels // 4, stride=stride)
            self.third = ConvNorm(out_channels // 4, out_channels, kernel=1)
        else:
            raise ValueError(f"unit={unit!r}: expected {', '.join(UNITS)}")
        self.squeeze = SqueezeExcitation(out_channels) if squeeze else nn.Identity()
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else ConvNorm(in_channels, out_channels, kernel=1, stride=stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, H / stride, W / stride)."""
        hidden = self.second(self.act(self.first(x)))
        if self.third is not None:
            hidden = self.third(self.act(hidden))
        return self.act(self.squeeze(hidden) + self.shortcut(x))


class InceptionBlock(nn.Module):
    """Lesson 7's inception block: four views of a map, each at half its size, side by side."""

    width = 128  # channels it gives

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.one = _conv(in_channels, 32, kernel=1, stride=2)
        self.five = nn.Sequential(_conv(in_channels, 24, kernel=1), _conv(24, 32, kernel=5, stride=2))
        self.double_three = nn.Sequential(
            _conv(in_channels, 32, kernel=1), _conv(32, 48, kernel=3), _conv(48, 48, kernel=3, stride=2)
        )
        mean = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.pool = nn.Sequential(mean, _conv(in_channels, 16, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, 128, H / 2, W / 2), rounded up."""
        return torch.cat([self.one(x), self.five(x), self.double_three(x), self.pool(x)], dim=1)


def _conv(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(ConvNorm(in_channels, out_channels, kernel=kernel, stride=stride), nn.ReLU(inplace=True))


def pool_map(feature_map: Tensor, kind: str) -> Tensor:
    """Pool a feature map (N, C, h, w) over its positions: (N, C), or (N, 2 C) for "avgmax".

    The mean ("avg") says what fills the picture, the highest value ("max") what is in it at all, such as a small fish.
    """
    pooled = []
    if "avg" in kind:
        pooled.append(feature_map.mean(dim=(2, 3)))
    if "max" in kind:
        pooled.append(feature_map.amax(dim=(2, 3)))
    return torch.cat(pooled, dim=1)


class ResidualNet(nn.Module):
    """A residual network in stages; each stage after the first halves height and width.

    It has the part of timm's interface that `Backbone` uses, by timm's names.

    Args:
        widths: channels that each stage gives.
        depths: residual blocks in each stage.
        unit: see `ResidualBlock`.
        squeeze: see `ResidualBlock`.
        stem: "small", a 3x3 convolution with stride 2; "large", the paper's 7x7 convolution to 64 channels and
            max-pooling, with stride 4 in all.
        pool: how `forward_head` pools, see `pool_map`.

    Raises:
        ValueError: a name is unknown, or `widths` and `depths` differ in length.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        depths: Sequence[int] = (1, 1, 1, 1),
        unit: str = "two_layer",
        squeeze: bool = False,
        stem: str = "small",
        pool: str = "avgmax",
    ) -> None:
        super().__init__()
        for name, value, known in (("stem", stem, STEMS), ("pool", pool, POOLS)):
            if value not in known:
                raise ValueError(f"{name}={value!r}: expected {', '.join(known)}")
        channels = 64 if stem == "large" else widths[0]
        self.stem = _stem(channels, large=stem == "large")
        stages = []
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stride = 1 if index == 0 else 2
            stages.append(_stage(channels, width, depth, stride=stride, unit=unit, squeeze=squeeze))
            channels = width
        self.stages = nn.Sequential(*stages)
        smallest = 4 if stem == "large" else 2
        self.feature_info = [{"num_chs": width, "reduction": smallest << i} for i, width in enumerate(widths)]
        self.pool = pool
        self.num_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def head_hidden_size(self) -> int:
        """Width of what `forward_head` returns."""
        return self.num_features * (2 if self.pool == "avgmax" else 1)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to a feature map (N, C, h, w); `feature_info` says how much smaller it is."""
        return self.stages(self.stem(x))

    def forward_head(self, feature_map: Tensor, *, pre_logits: bool = True) -> Tensor:
        """Pool a feature map (N, C, h, w) over its positions."""
        return pool_map(feature_map, self.pool)

    def prune_intermediate_layers(self, indices: Sequence[int]) -> None:
        """Drop the stages after the last of `indices`."""
        self.stages = self.stages[: max(indices) + 1]
        self.num_features = self.feature_info[max(indices)]["num_chs"]

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Tell timm's `group_parameters` how deep each parameter lies."""
        return {"stem": r"^stem", "stages": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}


def _stem(channels: int, *, large: bool) -> nn.Sequential:
    stem = nn.Sequential(ConvNorm(3, channels, kernel=7 if large else 3, stride=2), nn.ReLU(inplace=True))
    return stem.append(nn.MaxPool2d(3, stride=2, padding=1)) if large else stem


def _stage(channels: int, width: int, depth: int, *, stride: int, unit: str, squeeze: bool) -> nn.Sequential:
    first = ResidualBlock(channels, width, stride=stride, unit=unit, squeeze=squeeze)
    rest = (ResidualBlock(width, width, unit=unit, squeeze=squeeze) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)
