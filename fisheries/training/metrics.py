"""What is measured while a network learns; the scores that count are made from prediction tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_convert, box_iou

from fisheries.batch import Batch

Mean = tuple[Tensor, Tensor | int]  # of a batch, and how many images it is the mean of


class RunningMeans:
    """Means over an epoch by name; they stay on the device, so that no step waits for a number."""

    def __init__(self) -> None:
        self.totals: dict[str, tuple[Tensor, Tensor | int]] = {}  # sums, and counts

    def add(self, means: Mapping[str, Mean]) -> None:
        """Take in the means of a batch."""
        for name, (mean, count) in means.items():
            total, images = self.totals.get(name, (0.0, 0))
            self.totals[name] = total + mean.detach() * count, images + count

    def take(self, add_up: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the means of those that had images, and begin anew.

        Args:
            add_up: adds a tensor up over processes.
        """
        pairs = {
            name: torch.stack([total, torch.as_tensor(count).to(total)]) for name, (total, count) in self.totals.items()
        }
        self.totals = {}
        sums = {name: add_up(pair).tolist() for name, pair in pairs.items()}
        return {name: total / count for name, (total, count) in sums.items() if count}


@torch.no_grad()
def step_metrics(outputs: dict[str, Tensor], batch: Batch) -> dict[str, Mean]:
    """Return, by name, a metric's mean over the batch and how many images it is the mean of.

    `log_loss` is the competition's (no smoothing, no weights); `box_iou` is over the images that have a box.
    """
    logits, target = outputs["logits"].float(), batch["target"]
    metrics: dict[str, Mean] = {
        "log_loss": (functional.cross_entropy(logits, target), len(logits)),
        "accuracy": ((logits.argmax(dim=1) == target.argmax(dim=1)).float().mean(), len(logits)),
    }
    if "box_cxcywh" in outputs:
        has_box = batch["has_box"]
        overlaps = paired_iou(outputs["box_cxcywh"].float(), batch["box_cxcywh"]) * has_box
        metrics["box_iou"] = (overlaps.sum() / has_box.sum().clamp(min=1), has_box.sum())
    return metrics


def paired_iou(first_cxcywh: Tensor, second_cxcywh: Tensor) -> Tensor:
    """Intersection over union (N,) of boxes paired row by row (N, 4); a box with a negative side overlaps nothing."""
    first, second = (box_convert(boxes, "cxcywh", "xyxy") for boxes in (first_cxcywh, second_cxcywh))
    valid = (first_cxcywh[:, 2:] > 0).all(dim=1)
    return torch.where(valid, box_iou(first, second).diagonal(), torch.zeros_like(valid, dtype=first.dtype))
