"""NVIDIA's DALI on the CPU: a pipeline in native code, with as many threads as others have workers, and at least one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, pipeline_def, types
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


def loader(question: Question) -> Batches:
    return Epochs(question)


class Epochs:
    """A pipeline's batches, epoch after epoch."""

    def __init__(self, question: Question) -> None:
        size, threads = question["batch_size"], max(1, question["workers"])
        self.batches = len(question["paths"]) // size
        self.pipeline: Pipeline = photographs(
            question["paths"],
            question["image_hw"],
            batch_size=size,
            num_threads=threads,
            device_id=None,
            prefetch_queue_depth=2,
        )
        self.pipeline.build()

    def __iter__(self) -> Iterator[torch.Tensor]:
        for _ in range(self.batches):
            (images,) = self.pipeline.run()
            yield torch.from_numpy(np.asarray(images.as_tensor()))


@pipeline_def
def photographs(paths: list[str], image_hw: list[int]):
    height, width = image_hw
    encoded, _ = fn.readers.file(files=paths, random_shuffle=True, name="photographs")
    images = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
    images = fn.resize(images, size=image_hw, interp_type=types.INTERP_LINEAR, antialias=True)
    images = fn.flip(
        images, horizontal=fn.random.coin_flip(probability=FLIP), vertical=fn.random.coin_flip(probability=FLIP)
    )
    zoom = fn.random.uniform(range=(1 - ZOOM, 1 + ZOOM))
    center = (width / 2, height / 2)
    matrix = fn.transforms.scale(scale=fn.stack(zoom, zoom), center=center)
    matrix = fn.transforms.rotation(matrix, angle=fn.random.uniform(range=(-ROTATE_DEG, ROTATE_DEG)), center=center)
    shift_x, shift_y = (fn.random.uniform(range=(-SHIFT * side, SHIFT * side)) for side in (width, height))
    matrix = fn.transforms.translation(matrix, offset=fn.stack(shift_x, shift_y))
    images = fn.warp_affine(images, matrix=matrix, interp_type=types.INTERP_LINEAR, fill_value=0)
    colored = fn.random.coin_flip(probability=1 - GRAY)
    images = fn.color_twist(
        images,
        brightness=fn.random.uniform(range=(1 - BRIGHTNESS, 1 + BRIGHTNESS)),
        contrast=fn.random.uniform(range=(1 - CONTRAST, 1 + CONTRAST)),
        saturation=fn.random.uniform(range=(1 - SATURATION, 1 + SATURATION)) * colored,
        hue=fn.random.uniform(range=(-360 * HUE, 360 * HUE)),
    )
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))
    return fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", mean=mean, std=std)


if __name__ == "__main__":
    answer_all(loader)
