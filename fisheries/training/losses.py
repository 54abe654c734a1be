"""The losses, by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fisheries.batch import Batch


class FishLoss(nn.Module):
    """Cross-entropy, and a scaled squared error of the box where there is one (lesson 7's multi-output).

    Args:
        class_weights: (C,) factors of the classes in the cross-entropy; None for 1 each.
        label_smoothing: share of each target spread evenly over the classes.
        box_weight: of the box's part; the lesson's is 0.001.
        box_unit_px: side of the image in whose pixels the squared error is measured; the lesson's is 224.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        box_weight: float = 0.001,
        box_unit_px: float = 224.0,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.label_smoothing = label_smoothing
        self.box_weight = box_weight
        self.box_unit_px = box_unit_px

    def forward(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, and its parts: `cross_entropy`, and `box_mse` in squared pixels if there is a box head."""
        parts = {"cross_entropy": self._cross_entropy(outputs["logits"], batch)}
        loss = parts["cross_entropy"]
        if "box_cxcywh" in outputs:
            parts["box_mse"] = box_mse(outputs["box_cxcywh"], batch, unit_px=self.box_unit_px)
            loss = loss + self.box_weight * parts["box_mse"]
        return {"loss": loss, **parts}

    def _cross_entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        target, weight = batch["target"], batch["weight"]
        if self.class_weights is not None:
            weight = weight * (target @ self.class_weights)
        losses = functional.cross_entropy(logits, target, reduction="none", label_smoothing=self.label_smoothing)
        return (losses * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def box_mse(box_cxcywh: Tensor, batch: Batch, *, unit_px: float) -> Tensor:
    """Mean squared error of the boxes (N, 4), in pixels of an image `unit_px` wide and high, over images with a box."""
    squared = ((box_cxcywh - batch["box_cxcywh"]) * unit_px).square().mean(dim=1)  # (N,)
    return (squared * batch["has_box"]).sum() / batch["has_box"].sum().clamp(min=1)
