"""Batches for training, validation and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from fisheries.batch import Batch
from fisheries.data.dataset import EpochSampler, FishDataset, InOrder, make_rows, one_hot
from fisheries.data.encoded import EncodedDataset
from fisheries.data.feature_store import PLAIN, FeatureStore
from fisheries.data.image_cache import ImageCache
from fisheries.data.metadata import SizeStatistics, fit_sizes
from fisheries.data.mixed_sampler import MixedSampler
from fisheries.data.pseudo_rows import why_left_out
from fisheries.data.transforms import Transform
from fisheries.data.watch import Watched
from fisheries.schema import InputError

# A worker that has said nothing for this long hangs, and the run ends.
WORKER_TIMEOUT_S = 100


class FisheriesDataModule(pl.LightningDataModule):
    """Feed one fold: its training part, and its held-out part.

    Args:
        train: rows of a manifest to train on, indexed by `image_id`.
        val: rows held out.
        boxes: box table of all of them.
        classes: names, in the order of the targets' columns.
        train_transform: makes a training view.
        eval_transform: makes a view for validation and prediction.
        batch_size: images in a batch, for each process.
        workers: processes that read and transform, 0 for none.
        seed: of orders and views.
        epoch_transforms: make the training views of epochs that have one of their own, by the epoch's number.
        balanced: whether each class is drawn as often as any other, with replacement.
        extra: further rows to train on, such as pseudo-labels: a manifest with a `weight` and, for each class, a
            column with its share of the target. An epoch is one pass over `train` all the same.
        extra_share: of extra rows in each batch, see `MixedSampler`.
        store: what a frozen backbone makes of all these images; then no photograph is read.
        views: names of the training images' views in the store, taken in turn by epochs.
        cache: has the photographs at the size of the views, or takes them as they are read.
        draw_only: whether training pictures are changed on the device, see `FishDataset`.

    Raises:
        InputError: no rows, an image on both sides, an unknown label, or an extra row that is held out, or of a boat or
            burst that is, or that might be; see `why_left_out`.
    """

    def __init__(
        self,
        *,
        train: pd.DataFrame,
        val: pd.DataFrame,
        boxes: pd.DataFrame,
        classes: Sequence[str],
        train_transform: Transform,
        eval_transform: Transform,
        batch_size: int,
        workers: int,
        seed: int,
        epoch_transforms: Mapping[int, Transform] | None = None,
        balanced: bool = False,
        extra: pd.DataFrame | None = None,
        extra_share: float = 0.25,
        store: FeatureStore | None = None,
        views: Sequence[str] = (PLAIN,),
        cache: ImageCache | None = None,
        draw_only: bool = False,
    ) -> None:
        super().__init__()
        _check_apart(train, val, extra)
        self.classes = list(classes)
        self.boxes = boxes
        self.train, self.val = train, val
        self.sizes: SizeStatistics = fit_sizes(train)
        self.eval_transform = eval_transform
        self.batch_size, self.seed, self.balanced, self.store = batch_size, seed, balanced, store
        self.workers, self.extra_share, self.cache = workers, extra_share, cache
        targets, weights = one_hot(train["label"], self.classes), np.ones(len(train), dtype=np.float32)
        self.class_counts = targets.sum(axis=0)  # (C,)
        if extra is not None:
            train = pd.concat([train, extra])
            targets = np.concatenate([targets, extra[self.classes].to_numpy(dtype=np.float32)])
            weights = np.concatenate([weights, extra["weight"].to_numpy(dtype=np.float32)])
        rows = make_rows(train, targets=targets, weights=weights, boxes=boxes, sizes=self.sizes)
        self.train_set: FishDataset | EncodedDataset
        if store is None:
            self.train_set = FishDataset(
                rows,
                transform=train_transform,
                seed=seed,
                epoch_transforms=epoch_transforms,
                cache=cache,
                draw_only=draw_only,
            )
        else:
            self.train_set = EncodedDataset(rows, store=store, views=views)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training batches; the order and views of an epoch depend on the seed and its number alone."""
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("train_dataloader needs a trainer: it tells the epoch")
        sampler = self._sampler(trainer)
        # a last batch of one image has no deviation for batch normalization
        leftover = len(sampler) % self.batch_size == 1 and len(sampler) > 1
        # to fetch what is there already, a process costs more than it saves
        workers = self.workers if self.store is None else 0
        return _loader(self.train_set, sampler, batch_size=self.batch_size, workers=workers, drop_last=leftover)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the held-out batches; with several processes each sees all of them, so that scores are exact."""
        return self.predict_loader(self.val)

    def predict_loader(self, images: pd.DataFrame, *, photographs: bool = False) -> DataLoader[Batch]:
        """Return batches of any rows of a manifest, prepared as for validation, see `predict_loader`.

        Args:
            images: the rows.
            photographs: whether to read these even if there is a store.
        """
        return predict_loader(
            images,
            boxes=self.boxes,
            classes=self.classes,
            sizes=self.sizes,
            transform=self.eval_transform,
            batch_size=self.batch_size,
            workers=self.workers,
            store=None if photographs else self.store,
            cache=self.cache,
        )

    def _sampler(self, trainer: pl.Trainer) -> EpochSampler | MixedSampler:
        images = EpochSampler(
            lambda: trainer.current_epoch,
            size=len(self.train),
            seed=self.seed,
            weights=self._chances() if self.balanced else None,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        extra = len(self.train_set) - len(self.train)
        if not extra:
            return images
        return MixedSampler(images, extra=extra, share=self.extra_share, batch_size=self.batch_size)

    def _chances(self) -> NDArray[np.float64]:
        targets = self.train_set.targets[: len(self.train)].astype(np.float64)
        return targets @ (1 / np.maximum(self.class_counts, 1e-12))


def predict_loader(
    images: pd.DataFrame,
    *,
    boxes: pd.DataFrame,
    classes: Sequence[str],
    sizes: SizeStatistics,
    transform: Transform,
    batch_size: int,
    workers: int,
    store: FeatureStore | None = None,
    cache: ImageCache | None = None,
) -> DataLoader[Batch]:
    """Return batches of rows of a manifest, each once and in order; a row with the label "" has the target 0.

    With a `store` they hold what is there of each image's plain view, and no photograph is read.
    """
    weights = np.ones(len(images), dtype=np.float32)
    rows = make_rows(images, targets=one_hot(images["label"], classes), weights=weights, boxes=boxes, sizes=sizes)
    order = InOrder(len(images))
    if store is not None:
        return _loader(EncodedDataset(rows, store=store), order, batch_size=batch_size, workers=0)
    dataset = FishDataset(rows, transform=transform, seed=0, cache=cache)  # such a transform leaves nothing to chance
    return _loader(dataset, order, batch_size=batch_size, workers=workers)


def _whole(batch: Any) -> Any:
    return batch


def _loader(
    dataset: FishDataset | EncodedDataset,
    sampler: Sampler[tuple[int, int]],
    *,
    batch_size: int,
    workers: int,
    drop_last: bool = False,
) -> DataLoader[Batch]:
    return DataLoader(
        Watched(dataset, dataset.paths) if workers and isinstance(dataset, FishDataset) else dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_whole if isinstance(dataset, EncodedDataset) else None,
        num_workers=workers,
        drop_last=drop_last,
        persistent_workers=workers > 0,
        timeout=WORKER_TIMEOUT_S if workers else 0,
        # then a GPU is in use, and copies to it go on beside its work
        pin_memory=torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]
    )


def _check_apart(train: pd.DataFrame, val: pd.DataFrame, extra: pd.DataFrame | None) -> None:
    if train.empty or val.empty:
        raise InputError(f"{len(train)} images to train on and {len(val)} held out: both parts need some")
    for name, rows in (("training", train), ("extra", extra)):
        shared = val.index.intersection(rows.index) if rows is not None else []
        if len(shared):
            raise InputError(f"{shared[0]!r} is held out and among the {name} rows; {len(shared)} such images")
    if extra is not None:
        why = why_left_out(extra, trained=train, held_out=val)
        why = why[why != ""]
        if len(why):
            raise InputError(f"{why.index[0]!r} is of a {why.iloc[0]} and among the extra rows; {len(why)} such images")
