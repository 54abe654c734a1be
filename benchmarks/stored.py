"""Loops over a batch that is in memory, in our environment or the peers': how long is a step?

A process answers a question in a line of JSON on standard input with one on standard output, and stays, so that imports are not
timed and several libraries take turns. Question: {"way": "loop" or "bare", "network": "resnet18", "side": 224, "batch": 32,
"steps": 6, "skip": 2}. Answer: {"step_s": 1.2}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 8
LR, WEIGHT_DECAY = 3e-4, 0.05
Question = dict[str, Any]


class Stored:
    """One batch again and again; notes when each was asked for, which is what a step took, whoever runs the loop."""

    def __init__(self, batch: Any, steps: int) -> None:
        self.batch, self.steps = batch, steps
        self.asked_s: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.steps):
            self.asked_s.append(time.perf_counter())
            yield self.batch

    def step_s(self, *, skip: int) -> float:
        """Return the seconds of a step, without the first ones and the last."""
        asked_s = self.asked_s[skip:]
        return (asked_s[-1] - asked_s[0]) / (len(asked_s) - 1)


def images_and_labels(size: int, image_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return a batch of noise as loaders give it: normalized float32 (N, 3, H, W), and classes (N,)."""
    return torch.randn(size, 3, *image_hw, generator=torch.Generator().manual_seed(0)), torch.arange(size) % CLASSES


def train_plainly(net: nn.Module, batches: Stored) -> None:
    """Train as the tutorials of PyTorch do."""
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    for images, labels in batches:
        optimizer.zero_grad()
        functional.cross_entropy(net(images), labels).backward()
        optimizer.step()


def answer_all(train: Callable[[nn.Module, Stored], None]) -> None:
    """Answer until standard input ends; `train` is the library's own way."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    networks: dict[str, nn.Module] = {}
    for line in sys.stdin:
        question = json.loads(line)
        name = question["network"]
        if name not in networks:
            torch.manual_seed(0)
            networks[name] = timm.create_model(name, num_classes=CLASSES)
        batches = Stored(images_and_labels(question["batch"], (question["side"],) * 2), question["steps"])
        (train if question["way"] == "loop" else train_plainly)(networks[name], batches)
        print(json.dumps({"step_s": batches.step_s(skip=question["skip"])}), file=answers, flush=True)
