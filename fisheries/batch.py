"""The batch: what the data gives, and what networks and losses take."""

from __future__ import annotations

from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn


class Batch(TypedDict):
    """N images with everything known of them; shapes as stated.

    `target` is always a distribution: one-hot for a label, soft for pseudo-labels and mixed images, zeros where the
    class is not known (test images).
    """

    image: NotRequired[Tensor]  # (N, 3, H, W) uint8, RGB; the network normalizes
    places: NotRequired[Tensor]  # (N, 2, 3) with `colors`, how the pictures are yet to be changed, see `warping`
    colors: NotRequired[Tensor]  # (N, 3, 4)
    encoded: NotRequired[Tensor]  # (N, ...) in its place, what a frozen backbone made of it
    image_hw: Tensor  # (N, 2) height and width of the photograph, standardized on the training fold
    target: Tensor  # (N, C)
    weight: Tensor  # (N,) of the image in the loss
    box_cxcywh: Tensor  # (N, 4) largest fish, in [0, 1] of the transformed image
    has_box: Tensor  # (N,) 1 where there is a box, else 0
    image_id: list[str]


def run_net(net: nn.Module, batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Return a network's outputs by name: of a batch's images, or of what its frozen backbone made of them."""
    image_hw = batch["image_hw"].to(device)
    if "encoded" in batch:
        return net.decode(batch["encoded"].to(device), image_hw)  # type: ignore[operator]
    return net(batch["image"].to(device, non_blocking=True), image_hw)
