"""The batch: what the data gives, and what networks and losses take."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor


class Batch(TypedDict):
    """N images with everything known of them; shapes as stated.

    `target` is always a distribution: one-hot for a label, soft for pseudo-labels and mixed images, zeros where the
    class is not known (test images).
    """

    image: Tensor  # (N, 3, H, W) uint8, RGB; the network normalizes
    image_hw: Tensor  # (N, 2) height and width of the photograph, standardized on the training fold
    target: Tensor  # (N, C)
    weight: Tensor  # (N,) of the image in the loss
    box_cxcywh: Tensor  # (N, 4) largest fish, in [0, 1] of the transformed image
    has_box: Tensor  # (N,) 1 where there is a box, else 0
    image_id: list[str]
