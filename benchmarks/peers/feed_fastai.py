"""fastai's DataBlock: photographs are squished one by one, everything else is done on batches, as its lessons do.

`aug_transforms` has zoom around a random point in place of shifts, and no pictures without color. Saturation and hue are
transforms of its own, which take most of the time at 360 x 640; with the argument `light` they are left out.
"""

from __future__ import annotations

import sys

from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    Hue,
    ImageBlock,
    Normalize,
    Resize,
    ResizeMethod,
    Saturation,
    aug_transforms,
)
from protocol import BRIGHTNESS, HUE, MEAN, ROTATE_DEG, SATURATION, STD, ZOOM, Batches, Images, Question, answer_all

LIGHT = sys.argv[1:] == ["light"]


def loader(question: Question) -> Batches:
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=["fish"])),
        get_items=lambda _: question["paths"],
        get_y=lambda _: "fish",
        splitter=lambda paths: (list(range(len(paths))), [0]),
        item_tfms=Resize(tuple(question["image_hw"]), method=ResizeMethod.Squish),
        batch_tfms=[
            *aug_transforms(
                flip_vert=True,
                max_rotate=ROTATE_DEG,
                min_zoom=1 - ZOOM,
                max_zoom=1 + ZOOM,
                max_lighting=BRIGHTNESS,
                max_warp=0,
                p_affine=1,
                p_lighting=1,
                xtra_tfms=[] if LIGHT else [Saturation(SATURATION, p=1), Hue(HUE, p=1)],
            ),
            Normalize.from_stats(MEAN, STD, cuda=False),
        ],
    )
    batches = block.dataloaders(None, bs=question["batch_size"], num_workers=question["workers"], device="cpu")
    return Images(batches.train, 0)


if __name__ == "__main__":
    answer_all(loader)
