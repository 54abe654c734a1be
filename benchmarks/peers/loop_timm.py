"""The loop of timm's train.py, which is not in its package, of timm's own pieces and with that script's defaults.

Asked by benchmarks/loop.py, see benchmarks/stored.py.
"""

from __future__ import annotations

import logging
import time

import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
from stored import LR, WEIGHT_DECAY, Stored, answer_all
from torch import nn

LOG_INTERVAL = 50


def train(net: nn.Module, batches: Stored) -> None:
    net.train()
    optimizer = timm.optim.create_optimizer_v2(net, opt="adamw", lr=LR, weight_decay=WEIGHT_DECAY)
    scheduler, _ = timm.scheduler.create_scheduler_v2(
        optimizer, num_epochs=10, updates_per_epoch=len(batches), step_on_epochs=False
    )
    loss_fn = timm.loss.LabelSmoothingCrossEntropy(smoothing=0.1)
    losses, update_time, data_time = (timm.utils.AverageMeter() for _ in range(3))
    data_start_s = update_start_s = time.time()
    optimizer.zero_grad()
    for index, (images, labels) in enumerate(batches):
        data_time.update(time.time() - data_start_s)
        loss = loss_fn(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), images.size(0))
        optimizer.zero_grad()
        now_s = time.time()
        update_time.update(now_s - update_start_s)
        update_start_s = now_s
        if index % LOG_INTERVAL == 0:
            lr = sum(group["lr"] for group in optimizer.param_groups) / len(optimizer.param_groups)
            logging.getLogger("train").info("Train: [%d/%d] Loss: %.3g LR: %.3e", index, len(batches), losses.avg, lr)
        scheduler.step_update(num_updates=index + 1, metric=losses.avg)
        data_start_s = time.time()


if __name__ == "__main__":
    answer_all(train)
