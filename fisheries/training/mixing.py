"""Mixup and cutmix: pictures made of two, with targets, weights and boxes that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_convert

from fisheries.batch import Batch
from fisheries.schema import InputError

MIN_VISIBLE = 0.3  # as in the transforms: with less of it left, a box no longer says where the fish is


@dataclass(frozen=True)
class Mixing:
    """Mix each image of a training batch with the one before it.

    Mixup (Zhang et al. 2018) lays the other picture over the whole of it, cutmix (Yun et al. 2019) a rectangle cut from
    it; with both, a batch gets one or the other at even chances. Not timm's Mixup: that makes its targets from labels,
    while ours are distributions already, and it knows neither weights nor boxes.

    Args:
        mixup: both parameters of the beta distribution that shares are drawn from; 0 is off.
        cutmix: likewise.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __call__(self, batch: Batch) -> Batch:
        """Return the mixed batch, drawn from torch's generator, which `StepSeed` seeds before every step.

        Stored features (a batch with `encoded`) can be mixed up, but nothing can be cut out of them.

        Raises:
            InputError: cutmix of stored features.
        """
        if not self.mixup and not self.cutmix:
            return batch
        if self.cutmix and "encoded" in batch:
            raise InputError(
                f"mix.cutmix={self.cutmix:g}: stored features have no pixels to cut; give mix.cutmix=0, or mix.mixup instead"
            )
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        cut = bool(self.cutmix) and (not self.mixup or rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        drawn = rng.beta(alpha, alpha, size=len(batch["target"]))
        # the image that keeps its name, size and box is the one with more of it to be seen
        share = torch.from_numpy(np.maximum(drawn, 1 - drawn)).to(batch["target"])
        if not cut:
            return mixup(batch, share)
        centers_xy = torch.from_numpy(rng.random((len(share), 2))).to(share)
        return cutmix(batch, patches_xyxy(centers_xy, 1 - share))


def mixup(batch: Batch, share: Tensor) -> Batch:
    """Blend every image, or its stored features, with the one before it.

    The box stays the image's own, and `has_box` 0 or 1: a mask says where a box is, not how well its fish is seen.

    Args:
        batch: N images.
        share: (N,) of each image in its blend.
    """
    key = "encoded" if "encoded" in batch else "image"
    pixels = cast(Tensor, batch[key])  # type: ignore[literal-required]
    blend = torch.lerp(pixels.roll(1, 0).float(), pixels.float(), share.float().view(-1, *[1] * (pixels.ndim - 1)))
    blend = blend if pixels.is_floating_point() else blend.round()
    return cast(Batch, {**batch, key: blend.to(pixels.dtype), **_mixed_targets(batch, share)})


def cutmix(batch: Batch, patch_xyxy: Tensor) -> Batch:
    """Paste a patch of the image before it onto every image, in the same place.

    Targets are mixed by area. The box is the one of which more is to be seen: the image's own, cut where the patch hides
    an end of it, or the other's, as far as it is in the patch. One of which less than `MIN_VISIBLE` is left is gone.

    Args:
        batch: N images (N, 3, H, W).
        patch_xyxy: (N, 4) corners in [0, 1]; a pixel is pasted if its center is inside.
    """
    image = batch["image"]
    pasted = _inside(patch_xyxy, image.shape[-2:])  # (N, H, W)
    image = torch.where(pasted[:, None], image.roll(1, 0), image)
    share = 1 - pasted.float().mean(dim=(1, 2)).to(batch["target"])
    box_cxcywh, has_box = _boxes(batch, patch_xyxy)
    targets = _mixed_targets(batch, share)
    return cast(Batch, {**batch, "image": image, **targets, "box_cxcywh": box_cxcywh, "has_box": has_box})


def patches_xyxy(centers_xy: Tensor, area: Tensor) -> Tensor:
    """Return patches (N, 4) of the picture's own shape around centers (N, 2), cut at its edges; `area` (N,) before that."""
    half = area.sqrt()[:, None] / 2
    return torch.cat([centers_xy - half, centers_xy + half], dim=1).clamp(0, 1)


def _mixed_targets(batch: Batch, share: Tensor) -> dict[str, Tensor]:
    """Mix targets by share and weight, so that the loss is what the two images' own losses would add up to."""
    own, other = share * batch["weight"], (1 - share) * batch["weight"].roll(1, 0)  # (N,)
    weight = own + other
    target = own[:, None] * batch["target"] + other[:, None] * batch["target"].roll(1, 0)
    mixed = target / weight.clamp(min=torch.finfo(weight.dtype).tiny)[:, None]
    return {"target": torch.where(weight[:, None] > 0, mixed, batch["target"]), "weight": weight}


def _inside(patch_xyxy: Tensor, image_hw: tuple[int, ...]) -> Tensor:
    """Say of every pixel (N, H, W) whether its center is in the patch."""
    height, width = image_hw
    left, top, right, bottom = patch_xyxy[:, :, None].unbind(dim=1)  # (N, 1) each
    y = (torch.arange(height, device=patch_xyxy.device) + 0.5) / height
    x = (torch.arange(width, device=patch_xyxy.device) + 0.5) / width
    return ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None]


def _boxes(batch: Batch, patch_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the boxes (N, 4) after pasting, and whether there is one (N,)."""
    own = box_convert(batch["box_cxcywh"], "cxcywh", "xyxy")
    other = own.roll(1, 0)
    in_patch = _intersection(other, patch_xyxy)
    own_seen = (_area(own) - _area(_intersection(own, patch_xyxy))) * batch["has_box"]  # (N,)
    other_seen = _area(in_patch) * batch["has_box"].roll(1, 0)
    own_seen = torch.where(own_seen >= MIN_VISIBLE * _area(own), own_seen, 0)
    other_seen = torch.where(other_seen >= MIN_VISIBLE * _area(other), other_seen, 0)
    box_xyxy = torch.where((other_seen > own_seen)[:, None], in_patch, _cut(own, patch_xyxy))
    has_box = (torch.maximum(own_seen, other_seen) > 0).to(batch["has_box"])
    return box_convert(box_xyxy, "xyxy", "cxcywh") * has_box[:, None], has_box


def _cut(box_xyxy: Tensor, patch_xyxy: Tensor) -> Tensor:
    """Return the boxes (N, 4) of what patches leave to be seen of them; one that hides a corner or the middle changes none."""
    left, top, right, bottom = box_xyxy.unbind(dim=1)
    patch_left, patch_top, patch_right, patch_bottom = patch_xyxy.unbind(dim=1)
    across_x, across_y = (patch_left <= left) & (patch_right >= right), (patch_top <= top) & (patch_bottom >= bottom)
    return torch.stack(
        [
            torch.where(across_y & (patch_left <= left), left.maximum(patch_right), left),
            torch.where(across_x & (patch_top <= top), top.maximum(patch_bottom), top),
            torch.where(across_y & (patch_right >= right), right.minimum(patch_left), right),
            torch.where(across_x & (patch_bottom >= bottom), bottom.minimum(patch_top), bottom),
        ],
        dim=1,
    )


def _intersection(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    corner = torch.maximum(first_xyxy[:, :2], second_xyxy[:, :2])
    return torch.cat([corner, torch.minimum(first_xyxy[:, 2:], second_xyxy[:, 2:]).maximum(corner)], dim=1)


def _area(box_xyxy: Tensor) -> Tensor:
    return (box_xyxy[:, 2:] - box_xyxy[:, :2]).prod(dim=1)
