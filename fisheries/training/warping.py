"""Changes of pictures drawn by the workers and made on the device, where the workers can't keep up."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fisheries.batch import Batch


def warp_batch(batch: Batch) -> Batch:
    """Return a batch whose pictures are changed as it says; one that says nothing as it is.

    Boxes have moved along already.
    """
    if "places" not in batch:
        return batch
    return {**batch, "image": warp_images(batch["image"], batch["places"], batch["colors"])}


def warp_images(image: Tensor, places: Tensor, colors: Tensor) -> Tensor:
    """Change pictures as OpenCV does, but for its rounding.

    Args:
        image: (N, 3, H, W) with values 0 to 255.
        places: (N, 2, 3) where pixels come from, with the first one's center at (0, 0), see `warp.backwards`.
        colors: (N, 3, 4) what a color (R, G, B, 1) becomes.

    Returns:
        (N, 3, H, W) float32, 0 to 255; the mirror image fills what was outside.
    """
    grid = functional.affine_grid(_normalized(places, image.shape[2:]), list(image.shape), align_corners=True)
    moved = functional.grid_sample(image.float(), grid, padding_mode="reflection", align_corners=True)
    mixed = torch.einsum("nij,njhw->nihw", colors[:, :, :3], moved) + colors[:, :, 3, None, None]
    return mixed.clamp(0, 255)


def _normalized(places: Tensor, image_hw: torch.Size) -> Tensor:
    """Turn matrices (N, 2, 3) between pixels into those between -1 and 1, from the first pixel's center to the last's."""
    half = torch.tensor([image_hw[1] - 1, image_hw[0] - 1], dtype=places.dtype, device=places.device) / 2  # x, y
    linear = places[:, :, :2] * half[None, None, :] / half[None, :, None]
    offset = (places[:, :, :2] @ half + places[:, :, 2]) / half - 1
    return torch.cat([linear, offset[:, :, None]], dim=2)
