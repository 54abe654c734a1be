"""Building blocks of our own networks, written from scratch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """A convolution without bias, and batch normalization: (N, in, H, W) -> (N, out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_channels))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes (He et al. 2015, figure 5 left)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, stride=stride)
        self.second = ConvNorm(out_channels, out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else ConvNorm(in_channels, out_channels, kernel=1, stride=stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, H / stride, W / stride)."""
        return self.act(self.second(self.act(self.first(x))) + self.shortcut(x))


class ResidualNet(nn.Module):
    """A small residual network; each stage after the first halves height and width.

    It has the part of timm's interface that `Backbone` uses: `forward_features`, `forward_head`, `head_hidden_size`.

    Args:
        widths: channels of each stage.
        depths: residual blocks in each stage.
    """

    def __init__(self, *, widths: Sequence[int] = (16, 32, 64, 128), depths: Sequence[int] = (1, 1, 1, 1)) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, widths[0], stride=2), nn.ReLU(inplace=True))
        stages, channels = [], widths[0]
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            strides = [1 if index == 0 else 2] + [1] * (depth - 1)
            inputs = [channels] + [width] * (depth - 1)
            stages.append(
                nn.Sequential(*(ResidualBlock(i, width, stride=s) for i, s in zip(inputs, strides, strict=True)))
            )
            channels = width
        self.stages = nn.Sequential(*stages)
        self.head_hidden_size = 2 * channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to a feature map (N, C, H / 16, W / 16) for four stages."""
        return self.stages(self.stem(x))

    def forward_head(self, feature_map: Tensor, *, pre_logits: bool = True) -> Tensor:
        """Take the mean and the highest value of a feature map (N, C, h, w) over its positions: (N, 2 C).

        The mean says what fills the picture, the highest value what is in it at all, such as a small fish.
        """
        return torch.cat([feature_map.mean(dim=(2, 3)), feature_map.amax(dim=(2, 3))], dim=1)
