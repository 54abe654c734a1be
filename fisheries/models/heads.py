"""What stands between a backbone and the outputs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fisheries.models.blocks import ConvNorm, InceptionBlock

MAP_HEADS = ("dense_map", "fcn", "inception")  # take the feature map; the others take pooled features
CLASS_MAP_HEADS = ("fcn", "inception")  # give a map for each class, whose mean is its logit


def create_trunk(
    kind: str, inputs: int, *, classes: int, dropout: float, options: Mapping[str, Any] | None = None
) -> tuple[nn.Module, int]:
    """Create the layers between a backbone and the last, linear layer; `CLASS_MAP_HEADS` need no further layer.

    Args:
        kind: "linear", "dense", "dense_map", "fcn" or "inception": see the function of that name in this file.
        inputs: width of the features, or channels of the feature map.
        classes: how many there are (C).
        dropout: before the last layer.
        options: further arguments of that function.

    Returns:
        The layers, and the width that they give.

    Raises:
        ValueError: `kind` is unknown, or `options` do not fit it.
    """
    makers: dict[str, Callable[..., tuple[nn.Module, int]]]
    makers = {"linear": linear, "dense": dense, "dense_map": dense_map, "fcn": fcn, "inception": inception}
    if kind not in makers:
        raise ValueError(f"model.head={kind!r}: expected {', '.join(makers)}")
    given = {"classes": classes} if kind in CLASS_MAP_HEADS else {}
    try:
        return makers[kind](inputs, dropout=dropout, **given, **dict(options or {}))
    except (TypeError, ValueError) as error:
        known = set(inspect.signature(makers[kind]).parameters) - {"inputs", "dropout", "classes"}
        expected = f"which takes {', '.join(sorted(known))}" if known else "which takes none"
        message = f"model.head_options={dict(options or {})} does not fit model.head={kind}, {expected}: {error}"
        raise ValueError(message) from error


def linear(inputs: int, *, dropout: float) -> tuple[nn.Module, int]:
    """Pass the features (N, inputs) on."""
    return nn.Dropout(dropout), inputs


def dense(inputs: int, *, dropout: float, width: int = 512) -> tuple[nn.Module, int]:
    """Create lesson 7's two dense layers with batch normalization, for features (N, inputs).

    They drop a quarter of `dropout`, all of it and half of it at their three places: for 0.6 the lesson's 0.15, 0.6
    and 0.3.
    """
    _check_counts(width=width)
    layers = [nn.BatchNorm1d(inputs), nn.Dropout(dropout / 4), *_two_dense(inputs, width, dropout=dropout)]
    return nn.Sequential(*layers), width


def dense_map(inputs: int, *, dropout: float, width: int = 512, grid: int = 7) -> tuple[nn.Module, int]:
    """Create lesson 7's dense layers on a feature map (N, inputs, h, w), which know where in the picture something is.

    The map is max-pooled to `grid` x `grid`, which for the lesson's 14x14 are its 2x2 windows; dropout as in `dense`.
    """
    _check_counts(width=width, grid=grid)
    flat = inputs * grid * grid
    layers = [
        AtLeast(grid, grid),
        nn.AdaptiveMaxPool2d(grid),
        nn.BatchNorm2d(inputs),
        nn.Dropout(dropout / 4),
        nn.Flatten(),
        *_two_dense(flat, width, dropout=dropout),
    ]
    return nn.Sequential(*layers), width


def fcn(
    inputs: int,
    *,
    classes: int,
    dropout: float,
    width: int = 128,
    pools: Sequence[Sequence[int]] | None = ((2, 2), (2, 2), (1, 2)),
) -> tuple[nn.Module, int]:
    """Create lesson 7's fully convolutional head: (N, inputs, h, w) -> class maps (N, C, h', w').

    Args:
        inputs: channels of the feature map.
        classes: how many there are (C).
        dropout: on the class maps, as in the lesson.
        width: channels of each 3x3 convolution.
        pools: (height, width) of the max-pooling after each convolution; None for three convolutions without, whose
            class maps are as fine as the feature map.
    """
    _check_counts(width=width)
    windows = _windows(pools)
    layers: list[nn.Module] = [AtLeast(*(math.prod(side) for side in zip(*windows, strict=True)))]
    layers.append(nn.BatchNorm2d(inputs))
    for index, window in enumerate(windows):
        layers += [ConvNorm(width if index else inputs, width), nn.ReLU(inplace=True)]
        if window != (1, 1):
            layers.append(nn.MaxPool2d(window))
    return nn.Sequential(*layers, nn.Conv2d(width, classes, 3, padding=1), nn.Dropout(dropout)), classes


def inception(inputs: int, *, classes: int, dropout: float, blocks: int = 3) -> tuple[nn.Module, int]:
    """Create lesson 7's all-convolutional inception network: (N, inputs, h, w) -> class maps (N, C, h', w').

    Each block halves height and width, rounded up, so any map is large enough.
    """
    _check_counts(blocks=blocks)
    widths = [inputs] + [InceptionBlock.width] * blocks
    layers = [nn.BatchNorm2d(inputs), *(InceptionBlock(width) for width in widths[:-1]), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], classes, 3, padding=1)), classes


def _windows(pools: Sequence[Sequence[int]] | None) -> list[tuple[int, int]]:
    windows = [(1, 1)] * 3 if pools is None else [(height, width) for height, width in pools]
    for height, width in windows:
        _check_counts(height=height, width=width)
    if not windows:
        raise ValueError("pools=[]: expected at least one, or null for three convolutions without")
    return windows


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}={count!r}: expected a whole number of at least 1")


def _two_dense(inputs: int, width: int, *, dropout: float) -> list[nn.Module]:
    return [*_dense(inputs, width, dropout=dropout), *_dense(width, width, dropout=dropout / 2)]


def _dense(inputs: int, outputs: int, *, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(), nn.BatchNorm1d(outputs), nn.Dropout(dropout)]


class AtLeast(nn.Module):
    """Pass feature maps on that are large enough for what follows.

    Raises:
        ValueError: from `forward`, where a map is smaller.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return (N, C, h, w) as it is."""
        height, width = feature_map.shape[2:]
        if height < self.height or width < self.width:
            raise ValueError(
                f"the feature map is {height}x{width}, the head needs at least {self.height}x{self.width}: "
                "larger pictures (data.image_hw), a smaller model.stride or other model.head_options"
            )
        return feature_map


class SizeInput(nn.Module):
    """The photograph's size as further features, batch-normalized (lesson 7's multi-input).

    Args:
        kind: "standardized", height and width; "onehot", one feature for each size of the training fold, all 0 for
            a size that is not among them.
        known_hw: (K, 2) standardized sizes of the training fold.
    """

    known_hw: Tensor

    def __init__(self, kind: str, *, known_hw: Tensor) -> None:
        super().__init__()
        if kind not in ("standardized", "onehot"):
            raise ValueError(f"model.metadata={kind!r}: expected none, standardized or onehot")
        self.onehot = kind == "onehot"
        self.width = len(known_hw) if self.onehot else 2
        self.norm = nn.BatchNorm1d(self.width)
        self.register_buffer("known_hw", known_hw.float())

    def forward(self, image_hw: Tensor) -> Tensor:
        """Map standardized sizes (N, 2) to features (N, width)."""
        if self.onehot:
            distance = (image_hw[:, None] - self.known_hw[None]).abs().amax(dim=2)  # (N, K)
            return self.norm((distance < 1e-4).float())
        return self.norm(image_hw)
