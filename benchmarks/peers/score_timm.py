"""The recipe of timm's train.py, of timm's own pieces, on photographs in files, telling the held-out log loss of each epoch.

Asked by benchmarks/time_to_score.py. Optimizer, schedule and learning rate are those of the others; that script's own are
for ImageNet.
"""

from __future__ import annotations

import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
import torch
from feed_timm import augmentations
from started import Settings, network, settings_and_tell
from timm.data import ImageDataset, create_loader
from timm.data.transforms import ToNumpy
from torch import nn
from torch.nn import functional
from torchvision import transforms
from torchvision.transforms import InterpolationMode


def main() -> None:
    settings, tell = settings_and_tell()
    hw = settings["image_hw"]
    plain = transforms.Compose([transforms.Resize(hw, InterpolationMode.BILINEAR), ToNumpy()])
    train = loader(settings, "train", augmentations(hw))
    val = loader(settings, "val", plain)
    net = network(settings)
    optimizer = timm.optim.create_optimizer_v2(
        net, opt="adamw", lr=settings["lr"], weight_decay=settings["weight_decay"]
    )
    scheduler, epochs = timm.scheduler.create_scheduler_v2(
        optimizer, num_epochs=settings["epochs"], warmup_epochs=1, updates_per_epoch=len(train)
    )
    loss_fn = timm.loss.LabelSmoothingCrossEntropy(smoothing=0.1)
    for epoch in range(epochs):
        train_epoch(net, train, optimizer, loss_fn)
        log_loss = validate(net, val)
        scheduler.step(epoch + 1, log_loss)
        tell(log_loss)


def loader(settings: Settings, side: str, transform: transforms.Compose):
    classes = settings["classes"]
    dataset = ImageDataset("", reader=[(path, classes.index(label)) for path, label in settings[side]])
    batches = create_loader(
        dataset,
        input_size=(3, *settings["image_hw"]),
        batch_size=settings["batch_size"],
        is_training=side == "train",
        mean=settings["mean"],
        std=settings["std"],
        num_workers=settings["workers"],
        persistent_workers=settings["workers"] > 0,
        device=torch.device("cpu"),
    )
    dataset.transform = transform  # create_loader has put one of its own there
    return batches


def train_epoch(net: nn.Module, batches, optimizer, loss_fn) -> None:
    net.train()
    losses = timm.utils.AverageMeter()
    for images, labels in batches:
        loss = loss_fn(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), images.size(0))
        optimizer.zero_grad()


@torch.inference_mode()
def validate(net: nn.Module, batches) -> float:
    net.eval()
    losses = timm.utils.AverageMeter()
    for images, labels in batches:
        losses.update(functional.cross_entropy(net(images), labels).item(), images.size(0))
    return losses.avg


if __name__ == "__main__":
    main()
