"""Inside a network: the activations of any layer, the patterns that its filters like best, the first kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from fisheries.analysis.heat import as_grid
from fisheries.progress import track
from fisheries.schema import InputError, nearest

_SHIFT_PX = 4
_STEP = 8.0  # of 255
_GRAY = 110.0


def find_layer(net: nn.Module, name: str) -> nn.Module:
    """Return a module by its name.

    Raises:
        InputError: there is none of that name.
    """
    modules = {known: module for known, module in net.named_modules() if known}
    if name not in modules:
        whole = next((known for known in modules if name and known.endswith(f".{name}")), None)
        hint = f" (did you mean {whole!r}?)" if whole else nearest(name, modules)
        raise InputError(f"no layer {name!r}{hint}; the network has {len(modules)}, the last is {list(modules)[-1]!r}")
    return modules[name]


@torch.no_grad()
def layer_activations(net: nn.Module, image: Tensor, image_hw: Tensor, *, layer: str) -> NDArray[np.float32]:
    """Return what a layer makes of images.

    Args:
        net: such as `FishNet`; left in evaluation mode.
        image: (N, 3, H, W) with values 0 to 255.
        image_hw: (N, 2) standardized sizes.
        layer: the module's name, such as "backbone.network.stages.1".

    Returns:
        (N, C, h, w), a map for each channel.

    Raises:
        InputError: there is no such layer, or its output is no map.
    """
    return _maps(net.eval(), image, image_hw, layer=layer).cpu().numpy()


def best_patterns(
    net: nn.Module,
    layer: str,
    channels: Sequence[int],
    *,
    image_hw: tuple[int, int],
    seed: int,
    steps: int = 60,
    progress: bool = False,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Find a picture that excites each channel of a layer most, by gradient ascent from gray noise.

    The picture is shifted by some pixels before each step and blurred a little every fourth, or it would be noise that
    says nothing to us (Olah et al. 2017, "Feature Visualization").

    Args:
        net: such as `FishNet`; left in evaluation mode and without gradients.
        layer: the module's name.
        channels: of its output.
        image_hw: height and width of the pictures.
        seed: of the noise and the shifts.
        steps: of the ascent.
        progress: whether to draw a bar on standard error.

    Returns:
        (K, H, W, 3) pictures, and (2, K) the mean activation of their channels before and after.

    Raises:
        InputError: there is no such layer or channel, or its output is no map.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(net.parameters()).device
    sizes = torch.zeros(len(channels), 2, device=device)
    picture = (_GRAY + 12 * torch.randn(len(channels), 3, *image_hw, generator=generator)).to(device)
    _check_channels(net, picture, sizes, layer, channels)
    before = _excitement(net, picture, sizes, layer, channels).detach()
    console = Console(stderr=True)
    for step in track(range(steps), "Looking for patterns", console=console, disable=not progress):
        shift = torch.randint(-_SHIFT_PX, _SHIFT_PX + 1, (2,), generator=generator).tolist()
        picture = _ascend(net, picture.roll(shift, (2, 3)), sizes, layer, channels).roll([-s for s in shift], (2, 3))
        if step % 4 == 3 and step < steps - 1:
            picture = 0.5 * picture + 0.5 * avg_pool2d(picture, 3, stride=1, padding=1, count_include_pad=False)
    after = _excitement(net, picture, sizes, layer, channels).detach()
    return picture.byte().permute(0, 2, 3, 1).cpu().numpy(), torch.stack([before, after]).cpu().numpy()


def first_kernels(net: nn.Module) -> NDArray[np.float32]:
    """Return the kernels (K, h, w, 3) that look at the photograph itself, each stretched to 0 to 1.

    Raises:
        InputError: no convolution of the network has three input channels.
    """
    first = next((m for m in net.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None)
    if first is None:
        raise InputError("this network has no convolution with three input channels, whose kernels could be shown")
    kernels = first.weight.detach().permute(0, 2, 3, 1).cpu().numpy()
    low, high = kernels.min(axis=(1, 2, 3), keepdims=True), kernels.max(axis=(1, 2, 3), keepdims=True)
    return (kernels - low) / np.maximum(high - low, 1e-12)


def _maps(net: nn.Module, image: Tensor, image_hw: Tensor, *, layer: str) -> Tensor:
    kept: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            kept.append(output.clone())  # the next layer may write over it

    handle = find_layer(net, layer).register_forward_hook(hook)
    try:
        feature_map = net(image, image_hw)["feature_map"]
    finally:
        handle.remove()
    if not kept:
        raise InputError(f"layer {layer!r} gives no tensor of its own; expected one such as a stage or a convolution")
    return as_grid(kept[-1], grid_hw=(feature_map.shape[2], feature_map.shape[3]))


def _check_channels(net: nn.Module, picture: Tensor, sizes: Tensor, layer: str, channels: Sequence[int]) -> None:
    count = layer_activations(net, picture, sizes, layer=layer).shape[1]
    unknown = [channel for channel in channels if not 0 <= channel < count]
    if unknown:
        raise InputError(f"channel {unknown[0]} of layer {layer!r}: expected 0 to {count - 1}")


def _excitement(net: nn.Module, picture: Tensor, sizes: Tensor, layer: str, channels: Sequence[int]) -> Tensor:
    """Return the mean activation (K,) of each picture's own channel."""
    rows = torch.arange(len(channels), device=picture.device)
    return _maps(net, picture, sizes, layer=layer)[rows, list(channels)].mean(dim=(1, 2))


def _ascend(net: nn.Module, picture: Tensor, sizes: Tensor, layer: str, channels: Sequence[int]) -> Tensor:
    picture = picture.detach().requires_grad_()
    (slope,) = torch.autograd.grad(_excitement(net, picture, sizes, layer, channels).sum(), picture)
    length = slope.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
    return (picture.detach() + _STEP * slope / length).clamp(0, 255)
