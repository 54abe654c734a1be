"""fastai's Learner with its default callbacks, optimizer and one-cycle policy.

Asked by benchmarks/loop.py, see benchmarks/stored.py.
"""

from __future__ import annotations

from fastai.vision.all import CrossEntropyLossFlat, DataLoaders, Learner
from stored import LR, WEIGHT_DECAY, Stored, answer_all
from torch import nn


def train(net: nn.Module, batches: Stored) -> None:
    held_out = Stored(batches.batch, 1)
    learner = Learner(DataLoaders(batches, held_out), net, loss_func=CrossEntropyLossFlat())
    learner.fit_one_cycle(1, LR, wd=WEIGHT_DECAY)


if __name__ == "__main__":
    answer_all(train)
