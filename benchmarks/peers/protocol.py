"""What all feeds share: asked with a line of JSON on standard input, they answer how fast photographs came, likewise.

A feed stays alive between questions, so that imports are not timed and the repetitions of several can be interleaved. It
needs nothing but Python and torch, for it runs in the peers' environment as well as in ours.

Question: {"paths": [...], "image_hw": [224, 224], "workers": 0, "batch_size": 32, "folder": "an empty one", "least_s": 1}
Answer: {"cold_s": 1.2, "warm_s": 0.4, "images": 256}, or {"error": "..."}; warm_s is the mean of epochs until `least_s` is over.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

# what conf/transform/light.yaml says, for libraries that can't read it
FLIP, ROTATE_DEG, ZOOM, SHIFT = 0.5, 180, 0.15, 0.05
BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAY = 0.25, 0.25, 0.3, 0.03, 0.1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Question = dict[str, Any]
Batches = Iterable[torch.Tensor]  # of images, (N, 3, H, W): normalized float32, or uint8, which is normalized here


def answer_all(
    loader: Callable[[Question], Batches],
    *,
    prepare: Callable[[Question], object] | None = None,
    compiles: bool = False,
    normalize: bool = True,
) -> None:
    """Answer until standard input ends.

    Args:
        loader: gives what can be iterated once an epoch; how long that takes is not counted, and the start of workers is.
        prepare: what the first epoch needs to have done once; it counts as part of the cold epoch.
        compiles: whether the first pass compiles; it then is not counted, for no data set is as small as this.
        normalize: whether batches of uint8 are to end as normalized float32, as a network gets them.
    """
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = _answer(question, loader=loader, prepare=prepare, compiles=compiles, normalize=normalize)
        except Exception as error:  # one size that a library can't do is no reason to give up on the others
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(
    question: Question,
    *,
    loader: Callable[[Question], Batches],
    prepare: Callable[[Question], object] | None,
    compiles: bool,
    normalize: bool,
) -> dict[str, Any]:
    began_s = time.perf_counter()
    if prepare:
        prepare(question)
    prepare_s = time.perf_counter() - began_s
    batches = loader(question)
    if compiles:
        _epoch(batches, normalize=normalize)
    images, epoch_s = _epoch(batches, normalize=normalize)
    warm_s: list[float] = []
    while sum(warm_s) < question["least_s"] or not warm_s:
        warm_s.append(_epoch(batches, normalize=normalize)[1])
    if images != len(question["paths"]):
        raise ValueError(f"{images} of {len(question['paths'])} photographs came")
    return {"cold_s": prepare_s + epoch_s, "warm_s": sum(warm_s) / len(warm_s), "images": images}


def _epoch(batches: Batches, *, normalize: bool) -> tuple[int, float]:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (MEAN, STD))
    began_s, count = time.perf_counter(), 0
    for images in batches:
        if normalize and images.dtype == torch.uint8:
            images = images.float().sub_(mean).div_(std)
        if images.dtype != (torch.float32 if normalize else torch.uint8) or images.shape[1] != 3:
            raise ValueError(f"a batch of {images.dtype}, {tuple(images.shape)}")
        count += len(images)
    return count, time.perf_counter() - began_s


class Images:
    """Of what a loader yields, the images, epoch after epoch."""

    def __init__(self, batches: Iterable[Any], key: int | str) -> None:
        self.batches, self.key = batches, key

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (batch[self.key] for batch in self.batches)
