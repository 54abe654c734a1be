"""Where a network looks: the maps of a fully convolutional head, and Grad-CAM of any backbone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fisheries.schema import InputError

Floats = NDArray[np.float32]


def class_map_heat(class_maps: Floats, label: int, *, image_hw: tuple[int, int]) -> Floats:
    """Return where a fully convolutional network sees more of a class than of the others (fast.ai's lesson 7).

    A number added to all classes at one position changes no probability, so their mean there is taken away first.

    Args:
        class_maps: (C, h, w) of one image.
        label: the class's index.
        image_hw: height and width of the result.

    Returns:
        (H, W) from 0 to 1, or 0 throughout where no position speaks for the class.
    """
    evidence = np.maximum(class_maps[label] - class_maps.mean(axis=0), 0)
    return scale_cam_image(evidence[None], image_hw[::-1])[0]


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay heat (h, w) from 0 to 1 over a photograph (H, W, 3), which shines through where it is cold."""
    stretched = cv2.resize(heat, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colors = colormaps["turbo"](stretched)[..., :3] * 255
    share = 0.7 * stretched[..., None]
    mixed: NDArray[np.uint8] = (pixels * (1 - share) + colors * share).astype(np.uint8)
    return mixed


def grad_cam(
    net: nn.Module, image: Tensor, image_hw: Tensor, labels: Sequence[int], *, layer: str
) -> NDArray[np.float32]:
    """Return Grad-CAM's heat (Selvaraju et al. 2017) of a class in each image.

    Args:
        net: such as `FishNet`; left in evaluation mode and without gradients.
        image: (N, 3, H, W) with values 0 to 255.
        image_hw: (N, 2) standardized sizes.
        labels: the index of a class for each image.
        layer: name of a module whose output is a map, see `cam_layer`.

    Returns:
        (N, H, W) from 0 to 1, or 0 throughout where nothing speaks for the class.
    """
    grid_hw = _grid_hw(net, image, image_hw)
    method = GradCAM(_Logits(net, image_hw), [net.get_submodule(layer)], partial(as_grid, grid_hw=grid_hw))
    try:
        # a backbone that is frozen has gradients only if its input has
        return method(image.float().requires_grad_(), [ClassifierOutputTarget(label) for label in labels])
    finally:
        method.activations_and_grads.release()
        net.zero_grad()


def cam_layer(net: nn.Module, image: Tensor, image_hw: Tensor) -> str:
    """Return the name of the last layer of a backbone that has the feature map's shape and moves the logits.

    In most networks it is the one that gives the feature map. Of transformers that are read at their class token it
    is the last whose other tokens still have a say.

    Args:
        net: such as `FishNet`, its backbone called so.
        image: (N, 3, H, W) of any images.
        image_hw: (N, 2) standardized sizes.

    Raises:
        InputError: there is none.
    """
    outputs: list[tuple[str, Tensor]] = []
    channels, *grid_hw = _feature_map(net, image, image_hw).shape[1:]
    handles = [_keep(module, name, outputs) for name, module in net.named_modules() if name.startswith("backbone.")]
    try:
        net(image.float().requires_grad_(), image_hw)["logits"][:, 0].sum().backward()
    finally:
        for handle in handles:
            handle.remove()
        net.zero_grad()
    for name, output in reversed(outputs):
        grid = None if output.grad is None else as_grid(output.grad, grid_hw=(grid_hw[0], grid_hw[1]))
        if grid is not None and grid.shape[1:] == (channels, *grid_hw) and grid.abs().amax() > 0:
            return name
    raise InputError("no layer of this network is a map that its answer hangs on: Grad-CAM can't be drawn")


def as_grid(output: Tensor, *, grid_hw: tuple[int, int]) -> Tensor:
    """Lay a layer's output out as maps (N, C, h, w).

    Args:
        output: (N, C, h, w) as it is; (N, h, w, C), or (N, tokens, C) with the grid's tokens last, of transformers.
        grid_hw: height and width of the network's feature map, by which transformers' outputs are known.

    Raises:
        InputError: it is no map.
    """
    height, width = grid_hw
    if output.ndim == 4:
        channels_last = output.shape[1:3] == (height, width) != output.shape[2:]
        return output.permute(0, 3, 1, 2) if channels_last else output
    if output.ndim == 3 and output.shape[1] >= height * width:
        tokens = output[:, output.shape[1] - height * width :]  # those before it, such as a class token, have no place
        return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
    raise InputError(f"a layer that gives {tuple(output.shape)} has no map; expected (N, C, h, w), such as a stage's")


class _Logits(nn.Module):
    """Image to logits: what the library asks for."""

    def __init__(self, net: nn.Module, image_hw: Tensor) -> None:
        super().__init__()
        self.net = net
        self.image_hw = image_hw

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image, self.image_hw)["logits"]


def _keep(module: nn.Module, name: str, outputs: list[tuple[str, Tensor]]) -> RemovableHandle:
    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4) and output.requires_grad:
            output.retain_grad()
            outputs.append((name, output))

    return module.register_forward_hook(hook)


@torch.no_grad()
def _feature_map(net: nn.Module, image: Tensor, image_hw: Tensor) -> Tensor:
    return net.eval()(image[:1], image_hw[:1])["feature_map"]


def _grid_hw(net: nn.Module, image: Tensor, image_hw: Tensor) -> tuple[int, int]:
    height, width = _feature_map(net, image, image_hw).shape[2:]
    return height, width
