"""Blocks of a network: what each takes and gives, and what their shortcuts do to the gradient."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fisheries.analysis.layers import find_layer
from fisheries.schema import InputError

SHORTCUT = "shortcut"  # what a residual block calls the way around its convolutions


@torch.no_grad()
def block_table(net: nn.Module, image: Tensor, image_hw: Tensor, layers: Sequence[str]) -> pd.DataFrame:
    """Return what some layers of a network give, in the order in which they are asked.

    Args:
        net: such as `FishNet`; left in evaluation mode.
        image: (N, 3, H, W) with values 0 to 255.
        image_hw: (N, 2) standardized sizes.
        layers: names of modules.

    Returns:
        By layer: kind (the class's name), channels, height, width of its output, and parameters, its own and those of
        all within it.

    Raises:
        InputError: there is no such layer, or it gives no map.
    """
    modules = {name: find_layer(net, name) for name in layers}
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, name=name: shapes.update({name: tuple(output.shape)}))
        for name, module in modules.items()
    ]
    try:
        net.eval()(image, image_hw)
    finally:
        for handle in handles:
            handle.remove()
    rows = {name: _row(name, modules[name], shape) for name, shape in shapes.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")


def without_shortcuts(net: nn.Module) -> nn.Module:
    """Return a copy of a network whose residual blocks are plain ones: nothing goes around their convolutions.

    Raises:
        InputError: none of its modules has a shortcut.
    """
    plain = copy.deepcopy(net)
    blocks = [module for module in plain.modules() if isinstance(getattr(module, SHORTCUT, None), nn.Module)]
    if not blocks:
        raise InputError("this network has no residual block, whose shortcut could be taken away")
    for block in blocks:
        setattr(block, SHORTCUT, _Nothing())
    return plain


def block_gradients(net: nn.Module, image: Tensor, image_hw: Tensor, labels: Sequence[int]) -> pd.Series:
    """Return how large the gradient of the cross-entropy is in each residual block's convolutions, input to output.

    Args:
        net: of residual blocks, in training mode, as it is while it learns.
        image: (N, 3, H, W) with values 0 to 255.
        image_hw: (N, 2) standardized sizes.
        labels: the index of the true class of each image.

    Returns:
        Root mean square over the weights of its convolutions but the shortcut's, by the block's name.

    Raises:
        InputError: none of its modules is a residual block.
    """
    blocks = {name: module for name, module in net.named_modules() if hasattr(module, SHORTCUT)}
    if not blocks:
        raise InputError("this network has no residual block, whose gradient could be measured")
    loss = cross_entropy(net.train()(image, image_hw)["logits"], torch.tensor(list(labels), device=image.device))
    weights = {name: _kernels(block) for name, block in blocks.items()}
    slopes = iter(torch.autograd.grad(loss, [kernel for own in weights.values() for kernel in own]))
    sizes = {name: _root_mean_square([next(slopes) for _ in own]) for name, own in weights.items()}
    return pd.Series(sizes).rename_axis("block")


def plot_gradients(gradients: Mapping[str, pd.Series]) -> Figure:
    """Draw the gradients of `block_gradients` over the blocks, a line for each network by its name."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, values in gradients.items():
        axes.semilogy(range(1, len(values) + 1), values.to_numpy(), "o-", markersize=4, label=name)
    axes.set(xlabel="block, from the photograph to the answer", ylabel="gradient (root mean square)")
    axes.legend(fontsize="small")
    return figure


class _Nothing(nn.Module):
    """A shortcut that adds nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


def _row(name: str, module: nn.Module, shape: tuple[int, ...]) -> dict[str, object]:
    if len(shape) != 4:
        raise InputError(f"layer {name!r} gives {shape}; expected a map (N, C, h, w), such as a block's")
    parameters = sum(weight.numel() for weight in module.parameters())
    _, channels, height, width = shape
    return {
        "kind": type(module).__name__,
        "channels": channels,
        "height": height,
        "width": width,
        "parameters": parameters,
    }


def _kernels(block: nn.Module) -> list[Tensor]:
    """Return the weights of a block's convolutions, its shortcut's left out."""
    named = block.named_parameters()
    return [weight for name, weight in named if weight.ndim == 4 and not name.startswith(SHORTCUT)]


def _root_mean_square(values: Sequence[Tensor]) -> float:
    squares = sum(float(one.square().sum()) for one in values)
    return (squares / sum(one.numel() for one in values)) ** 0.5
