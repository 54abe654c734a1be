"""timm's `create_loader` on its `ImageDataset`, with its prefetcher; of its transforms those of PIL, spelled out."""

from __future__ import annotations

import torch
from protocol import (
    BRIGHTNESS,
    CONTRAST,
    FLIP,
    GRAY,
    HUE,
    MEAN,
    ROTATE_DEG,
    SATURATION,
    SHIFT,
    STD,
    ZOOM,
    Batches,
    Images,
    Question,
    answer_all,
)
from timm.data import ImageDataset, create_loader
from timm.data.transforms import ToNumpy
from torchvision import transforms
from torchvision.transforms import InterpolationMode


def loader(question: Question) -> Batches:
    dataset = ImageDataset("", reader=[(path, 0) for path in question["paths"]])
    batches = create_loader(
        dataset,
        input_size=(3, *question["image_hw"]),
        batch_size=question["batch_size"],
        is_training=True,
        mean=MEAN,
        std=STD,
        num_workers=question["workers"],
        persistent_workers=question["workers"] > 0,
        device=torch.device("cpu"),
    )
    dataset.transform = augmentations(question["image_hw"])  # create_loader has put one of its own there
    return Images(batches, 0)


def augmentations(image_hw: list[int]) -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.Resize(image_hw, InterpolationMode.BILINEAR),
            transforms.RandomHorizontalFlip(FLIP),
            transforms.RandomVerticalFlip(FLIP),
            transforms.RandomAffine(
                degrees=ROTATE_DEG,
                translate=(SHIFT, SHIFT),
                scale=(1 - ZOOM, 1 + ZOOM),
                interpolation=InterpolationMode.BILINEAR,
            ),
            transforms.ColorJitter(BRIGHTNESS, CONTRAST, SATURATION, HUE),
            transforms.RandomGrayscale(GRAY),
            ToNumpy(),
        ]
    )


if __name__ == "__main__":
    answer_all(loader)
