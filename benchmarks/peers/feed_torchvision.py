"""torchvision's decoder and its transforms v2 in torch's DataLoader: uint8 tensors, as its documentation advises."""

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
    Question,
    answer_all,
)
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2


def loader(question: Question) -> Batches:
    return DataLoader(
        Photographs(question["paths"], question["image_hw"]),
        batch_size=question["batch_size"],
        shuffle=True,
        num_workers=question["workers"],
        persistent_workers=question["workers"] > 0,
    )


class Photographs(Dataset):
    """Photographs as a network gets them."""

    def __init__(self, paths: list[str], image_hw: list[int]) -> None:
        self.paths = paths
        self.transform = v2.Compose(
            [
                v2.Resize(image_hw, antialias=True),
                v2.RandomHorizontalFlip(FLIP),
                v2.RandomVerticalFlip(FLIP),
                v2.RandomAffine(
                    degrees=ROTATE_DEG,
                    translate=(SHIFT, SHIFT),
                    scale=(1 - ZOOM, 1 + ZOOM),
                    interpolation=v2.InterpolationMode.BILINEAR,
                ),
                v2.ColorJitter(BRIGHTNESS, CONTRAST, SATURATION, HUE),
                v2.RandomGrayscale(GRAY),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.transform(decode_image(self.paths[place], ImageReadMode.RGB))


if __name__ == "__main__":
    answer_all(loader)
