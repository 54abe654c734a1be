"""Batches of training images and of extra rows, such as pseudo-labels, in fixed shares."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from fisheries.data.dataset import EpochSampler


def extra_count(batch_size: int, share: float) -> int:
    """Return how many of a batch's images are extra rows."""
    return round(batch_size * share)


class MixedSampler(Sampler[tuple[int, int]]):
    """An epoch of training images, with extra rows among them: the same number in each batch, which it is cut into.

    An epoch is one pass over the training images, however many extra rows there are: these are drawn anew each epoch,
    and again once all were. The last batch may be smaller, with as near the share as whole images allow. Order and
    choice depend on (seed, epoch) alone.

    Args:
        images: the training images' positions; extra rows have those behind them.
        extra: how many extra rows there are.
        share: of extra rows in a batch.
        batch_size: images in a batch.
    """

    def __init__(self, images: EpochSampler, *, extra: int, share: float, batch_size: int) -> None:
        self.images = images
        self.extra = extra
        self.per_batch = extra_count(batch_size, share)
        self.images_per_batch = batch_size - self.per_batch

    def __len__(self) -> int:
        return len(self.images) + self._extra_needed()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        images = list(self.images)
        epoch = images[0][0]
        rng = np.random.default_rng([self.images.seed, epoch, 1])
        extra = self._draw(rng)
        keys: list[tuple[int, int]] = []
        for number, start in enumerate(range(0, len(images), self.images_per_batch)):
            real = [position for _, position in images[start : start + self.images_per_batch]]
            own = extra[number * self.per_batch : (number + 1) * self.per_batch]
            # mixed, since mixup blends an image with the one before it
            keys += [(epoch, int(position)) for position in rng.permutation([*real, *own])]
        return iter(keys)

    def _extra_needed(self) -> int:
        whole, left = divmod(len(self.images), self.images_per_batch)
        return whole * self.per_batch + round(left * self.per_batch / self.images_per_batch)

    def _draw(self, rng: np.random.Generator) -> list[int]:
        """Return the positions of this process's extra rows."""
        needed, world = self._extra_needed(), self.images.world
        rounds = -(-needed * world // self.extra)
        drawn = [int(row) for _ in range(rounds) for row in rng.permutation(self.extra)][: needed * world]
        return [self.images.size + row for row in drawn[self.images.rank :: world]]
