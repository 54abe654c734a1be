"""What is measured while a network learns; the scores that count are made from prediction tables."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_convert, box_iou

from fisheries.batch import Batch


def step_metrics(outputs: dict[str, Tensor], batch: Batch) -> dict[str, tuple[Tensor, int]]:
    """Return, by name, a metric's mean over the batch and how many images it is the mean of.

    `log_loss` is the competition's (no smoothing, no weights); `box_iou` is over the images that have a box.
    """
    logits, target = outputs["logits"].float(), batch["target"]
    metrics = {
        "log_loss": (functional.cross_entropy(logits, target), len(logits)),
        "accuracy": ((logits.argmax(dim=1) == target.argmax(dim=1)).float().mean(), len(logits)),
    }
    has_box = batch["has_box"].bool()
    if "box_cxcywh" in outputs and has_box.any():
        overlaps = paired_iou(outputs["box_cxcywh"][has_box].float(), batch["box_cxcywh"][has_box])
        metrics["box_iou"] = (overlaps.mean(), int(has_box.sum()))
    return metrics


def paired_iou(first_cxcywh: Tensor, second_cxcywh: Tensor) -> Tensor:
    """Intersection over union (N,) of boxes paired row by row (N, 4); a box with a negative side overlaps nothing."""
    first, second = (box_convert(boxes, "cxcywh", "xyxy") for boxes in (first_cxcywh, second_cxcywh))
    valid = (first_cxcywh[:, 2:] > 0).all(dim=1)
    return torch.where(valid, box_iou(first, second).diagonal(), torch.zeros_like(valid, dtype=first.dtype))
