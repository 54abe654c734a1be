"""One image at a time: read, transformed, with its target and its box."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from fisheries.boxes import xywh_px_to_xyxy, xyxy_to_cxcywh
from fisheries.data.cropping import REGION, read_crop
from fisheries.data.image_cache import ImageCache
from fisheries.data.metadata import SizeStatistics
from fisheries.data.shrinking import read_shrunk
from fisheries.data.transforms import Transform
from fisheries.data.warp import Change, backwards
from fisheries.schema import InputError, largest_boxes, nearest

Key = tuple[int, int] | int


@dataclass(frozen=True)
class Rows:
    """What a batch says of images besides what they show; N rows of a manifest, in its order."""

    images: pd.DataFrame  # by `image_id`
    targets: NDArray[np.float32]  # (N, C) distributions, zeros where the class is not known
    weights: NDArray[np.float32]  # (N,) in the loss
    image_hw: NDArray[np.float32]  # (N, 2) standardized
    boxes_xyxy: NDArray[np.float64]  # (N, 4) the largest usable box in [0, 1], NaN without one


def make_rows(
    images: pd.DataFrame,
    *,
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    boxes: pd.DataFrame,
    sizes: SizeStatistics,
) -> Rows:
    """Join what is known of images, see `Rows`.

    Args:
        images: rows of a manifest, indexed by `image_id`; their sizes may be 0, unknown, if they have no boxes.
        targets: see `Rows`.
        weights: see `Rows`.
        boxes: a box table.
        sizes: statistics that standardize `image_hw`.
    """
    hw = images[["height", "width"]].to_numpy(dtype=np.float64)
    boxes_xyxy = xywh_px_to_xyxy(_boxes_xywh_px(boxes, images.index), np.maximum(hw, 1))
    return Rows(images, targets, weights, sizes.standardize(hw), boxes_xyxy)


class FishDataset(Dataset[dict[str, Any]]):
    """Samples of a `Batch`, without its first dimension.

    Args:
        rows: the images; of crops, such as `crop_table` returns, only these are read.
        transform: makes a view of a photograph.
        seed: the view of an image depends on (seed, epoch, position) alone, whatever the number of workers.
        epoch_transforms: make the views of epochs that have one of their own, by the epoch's number.
        cache: has the photographs at the size of `transform`'s views, or takes them as they are read.
        draw_only: whether pictures come as they are, with what is to be done to them, see `Batch`.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        transform: Transform,
        seed: int,
        epoch_transforms: Mapping[int, Transform] | None = None,
        cache: ImageCache | None = None,
        draw_only: bool = False,
    ) -> None:
        images = rows.images
        self.image_ids = images.index.tolist()
        self.paths, self.sha256 = images["path"].tolist(), images["sha256"].tolist()
        self.regions = images[list(REGION)].to_numpy(dtype=np.int64) if REGION[0] in images else None  # (N, 4)
        self.targets, self.weights = rows.targets, rows.weights
        self.image_hw, self.boxes_xyxy = rows.image_hw, rows.boxes_xyxy
        self.transform, self.epoch_transforms = transform, epoch_transforms or {}
        self.seed, self.cache, self.draw_only = seed, cache, draw_only

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """Return the sample at `key` = (epoch, position)."""
        epoch, position = epoch_and_position(key)
        box = self.boxes_xyxy[position]
        transform = self.epoch_transforms.get(epoch, self.transform)
        seed = int(np.random.SeedSequence([self.seed, epoch, position]).generate_state(1)[0])
        given = self._read(position), None if np.isnan(box).any() else box, seed
        view, change = transform.draw(*given) if self.draw_only else (transform(*given), None)
        has_box = view.box_xyxy is not None
        return {
            "image": torch.from_numpy(np.ascontiguousarray(view.image.transpose(2, 0, 1))),
            **({} if change is None else _change_tensors(change)),
            "image_hw": torch.from_numpy(self.image_hw[position]),
            "target": torch.from_numpy(self.targets[position]),
            "weight": torch.tensor(self.weights[position]),
            "box_cxcywh": _to_cxcywh(view.box_xyxy),
            "has_box": torch.tensor(float(has_box)),
            "image_id": self.image_ids[position],
        }

    def _read(self, position: int) -> NDArray[np.uint8]:
        path, sha256 = self.paths[position], self.sha256[position]
        if self.regions is not None:
            return read_crop(path, self.regions[position])
        if self.cache is None:
            return read_shrunk(path, self.transform.image_hw)
        return self.cache.get(sha256, lambda: read_shrunk(path, self.transform.image_hw, sha256=sha256))


class EpochSampler(Sampler[tuple[int, int]]):
    """Positions in the order of an epoch, each with its epoch's number.

    The order depends on (seed, epoch) alone, so that a resumed run sees what the uninterrupted one would have seen.

    Args:
        epoch: tells the number of the epoch that begins.
        size: how many positions there are.
        seed: of the order.
        weights: (size,) chances of being drawn, with replacement; without them each position is drawn once.
        rank: which of `world` processes this is; each takes every `world`-th position, padded to equal counts.
        world: how many processes there are.
    """

    class Epoch(Protocol):
        """Tells the number of the epoch that begins."""

        def __call__(self) -> int: ...  # noqa: D102

    def __init__(
        self,
        epoch: Epoch,
        *,
        size: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.epoch = epoch
        self.size = size
        self.seed = seed
        self.chances = None if weights is None else weights / weights.sum()
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return -(-self.size // self.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch()
        generator = np.random.default_rng([self.seed, epoch])
        drawn = self.chances is not None
        order = generator.choice(self.size, self.size, p=self.chances) if drawn else generator.permutation(self.size)
        padded = np.resize(order, len(self) * self.world)
        return iter([(epoch, int(position)) for position in padded[self.rank :: self.world]])


class InOrder(Sampler[tuple[int, int]]):
    """Every position once, in order, as epoch 0."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(0, position) for position in range(self.size)])


def epoch_and_position(key: Key) -> tuple[int, int]:
    """Return what a sampler's key says; trainer.overfit_batches brings a sampler of its own, without epochs."""
    return key if isinstance(key, tuple) else (0, key)


def one_hot(labels: pd.Series, classes: Sequence[str]) -> NDArray[np.float32]:
    """Return the targets (N, C) of class names; "" gives zeros.

    Raises:
        InputError: a label that is not among `classes`, by name.
    """
    unknown = sorted(set(labels) - set(classes) - {""})
    if unknown:
        image_id = labels.index[labels == unknown[0]][0]
        raise InputError(
            f"{image_id!r} is labeled {unknown[0]!r}{nearest(unknown[0], classes)}; the classes are {', '.join(classes)}"
        )
    return (labels.to_numpy()[:, None] == np.array(classes, dtype=object)[None]).astype(np.float32)


def _boxes_xywh_px(boxes: pd.DataFrame, image_ids: pd.Index) -> NDArray[np.float64]:
    # an image without a box is the rule here, not a mistake, so this join may leave gaps
    return (
        largest_boxes(boxes).reindex(image_ids)[["left", "top", "box_width", "box_height"]].to_numpy(dtype=np.float64)
    )


def _change_tensors(change: Change) -> dict[str, torch.Tensor]:
    colors = np.eye(3, 4) if change.colors is None else change.colors
    return {"places": torch.from_numpy(backwards(change.places)).float(), "colors": torch.from_numpy(colors).float()}


def _to_cxcywh(box_xyxy: NDArray[np.float64] | None) -> torch.Tensor:
    if box_xyxy is None:
        return torch.zeros(4)
    return torch.from_numpy(xyxy_to_cxcywh(box_xyxy[None])[0].astype(np.float32))
