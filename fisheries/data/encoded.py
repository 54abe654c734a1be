"""Training on what a frozen backbone made of photographs: no photograph is read, and an epoch takes seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fisheries.batch import Batch
from fisheries.boxes import xyxy_to_cxcywh
from fisheries.data.dataset import Key, Rows, epoch_and_position
from fisheries.data.feature_store import PLAIN, FeatureStore, image_keys, missing_keys, view_seed
from fisheries.data.shrinking import read_shrunk
from fisheries.data.transforms import Transform
from fisheries.schema import InputError

IN_MEMORY = 512 << 20  # bytes: features that take no more are read once, since a step on them is short


class EncodedDataset(Dataset[Batch]):
    """Batches with `encoded` in place of `image`, fetched whole since a sample by itself costs more than its step.

    Args:
        rows: the images.
        store: has each image's views.
        views: names of views that the store has of each image; epochs take them in turn.

    Raises:
        InputError: the store lacks one.
    """

    def __init__(self, rows: Rows, *, store: FeatureStore, views: Sequence[str] = (PLAIN,)) -> None:
        images = rows.images
        lacking = missing_keys(store, [key for view in views for key in image_keys(images, view)])
        if lacking:
            raise InputError(f"{len(lacking)} of {len(images)} images have no stored features; expected some of each")
        has_box = ~np.isnan(rows.boxes_xyxy[:, :1])  # (N, 1)
        box_cxcywh = np.where(has_box, xyxy_to_cxcywh(rows.boxes_xyxy), 0)
        self.image_ids = images.index.tolist()
        self.places = np.stack([store.locate(image_keys(images, view)) for view in views])  # (V, N, 2)
        self.targets = rows.targets
        self.target, self.weight = torch.from_numpy(rows.targets), torch.from_numpy(rows.weights)
        self.image_hw = torch.from_numpy(rows.image_hw)
        self.box_cxcywh = torch.from_numpy(box_cxcywh.astype(np.float32))
        self.has_box = torch.from_numpy(has_box[:, 0].astype(np.float32))
        self.store = store
        fits = 2 * self.places.size * math.prod(store.shape) <= IN_MEMORY
        self.kept = self._read(self.places.reshape(-1, 2)) if fits else None  # (V * N, ...)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return the batch of samples at `keys` = (epoch, position)."""
        epochs, positions = np.array([epoch_and_position(key) for key in keys]).T
        rows = torch.from_numpy(positions)
        views = epochs % len(self.places)
        return {
            "encoded": self._read(self.places[views, positions])
            if self.kept is None
            else self.kept.index_select(0, torch.from_numpy(views * len(self) + positions)),  # half as long as by []
            "image_hw": self.image_hw[rows],
            "target": self.target[rows],
            "weight": self.weight[rows],
            "box_cxcywh": self.box_cxcywh[rows],
            "has_box": self.has_box[rows],
            "image_id": [self.image_ids[position] for position in positions.tolist()],
        }

    def _read(self, places: NDArray[np.int64]) -> Tensor:
        """Return the features (M, ...) at places (M, 2)."""
        return torch.from_numpy(self.store.take(places)).float()  # NumPy widens a number at a time


class ViewDataset(Dataset[tuple[str, Tensor]]):
    """One view of each photograph, with its key in a `FeatureStore`.

    Args:
        images: rows of a manifest.
        transform: makes the view.
        view: its name.
    """

    def __init__(self, images: pd.DataFrame, *, transform: Transform, view: str) -> None:
        self.paths, self.sha256 = images["path"].tolist(), images["sha256"].tolist()
        self.keys = image_keys(images, view)
        self.transform = transform
        self.view = view

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> tuple[str, Tensor]:
        """Return the key and the picture (3, H, W) uint8."""
        sha256 = self.sha256[position]
        photograph = read_shrunk(self.paths[position], self.transform.image_hw, sha256=sha256)
        picture = self.transform(photograph, None, view_seed(sha256, self.view)).image
        return self.keys[position], torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
