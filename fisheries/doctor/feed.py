"""How fast photographs come: each piece of the work alone, and the loader with its workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

import pytorch_lightning as pl
from rich.console import Console
from torch.utils.data import DataLoader

from fisheries import compose
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.image_cache import ImageCache
from fisheries.data.images import read_bytes
from fisheries.data.shrinking import read_shrunk
from fisheries.doctor.sample import Sample
from fisheries.nets import image_hw_of

SILENT = Console(quiet=True)
PIECE_S = 2.0  # to measure one thing for, at most
BATCH = 8  # images: small, so that all workers get some of a few photographs
BATCHES = 8  # to put together, for their time
CACHE_GB = 8  # of a temporary cache: room for all of them
_T = TypeVar("_T")


@dataclass(frozen=True)
class FeedTimes:
    """Seconds a photograph, of one core where nothing else is said.

    Attributes:
        read_s: between photographs from the disk, with as many readers as there are workers.
        decode_s: to decode and shrink it.
        kept_s: to read it from the cache.
        augment_s: to make a training view.
        plain_s: to make a view for validation.
        batch_s: to put it into a batch.
        cold_s: between photographs from the loader, where no cache has them and the disk is asked.
        warm_s: likewise in the next epoch.
        start_s: until the workers are at work, in all.
        file_bytes: of a photograph's file, in the mean.
    """

    read_s: float
    decode_s: float
    kept_s: float
    augment_s: float
    plain_s: float
    batch_s: float
    cold_s: float
    warm_s: float
    start_s: float
    file_bytes: float


def time_feed(config: Any, sample: Sample, folder: Path, trainer: pl.Trainer) -> FeedTimes:
    """Measure the feed of a run.

    Args:
        config: of the run.
        sample: of its photographs.
        folder: an empty one, for caches.
        trainer: tells loaders the epoch.

    Raises:
        InputError: a photograph can't be read.
    """
    rows = sample.material.manifest.loc[sample.train_ids]
    paths, keys = rows["path"].tolist(), rows["sha256"].tolist()
    file_bytes = mean(Path(path).stat().st_size for path in paths)
    workers, image_hw = config.data.workers, image_hw_of(config)
    forget(paths)
    read_s = _disk_s(paths, readers=max(1, workers))
    cache = sample_cache(config, sample, folder / "pieces", kind="disk")
    assert cache is not None
    decode_s, pictures = timed(lambda place: read_shrunk(paths[place], image_hw), len(paths))
    for place, picture in enumerate(pictures):
        cache.get(keys[place], lambda picture=picture: picture)  # type: ignore[misc]
    kept_s, _ = timed(lambda place: cache.get(keys[place], _never), len(pictures))
    data = _datamodule(config, sample, cache, trainer)
    plain = data.predict_loader(data.train)
    view_s, samples = timed(lambda place: data.train_set[1, place], len(pictures))
    plain_s, _ = timed(lambda place: plain.dataset[0, place], len(pictures))
    batch_s, _ = timed(lambda _: plain.collate_fn(samples), BATCHES)
    again = _datamodule(
        config, sample, sample_cache(config, sample, folder / "loader", kind=config.data.cache), trainer
    )
    cold_s, warm_s, start_s = _loader_s(again, paths)
    return FeedTimes(
        read_s=read_s,
        decode_s=decode_s,
        kept_s=kept_s,
        augment_s=max(0.0, view_s - kept_s),
        plain_s=max(0.0, plain_s - kept_s),
        batch_s=batch_s / len(samples),
        cold_s=cold_s,
        warm_s=warm_s,
        start_s=start_s,
        file_bytes=file_bytes,
    )


def timed(work: Callable[[int], _T], count: int) -> tuple[float, list[_T]]:
    """Do `work` for 0, 1, … until all `count` are done, or it took long enough.

    Returns:
        The seconds that each took, and what came of it. What the first call of all sets up is not counted.
    """
    work(0)
    results: list[_T] = []
    began_s = time.perf_counter()
    while len(results) < count and (not results or time.perf_counter() - began_s < PIECE_S):
        results.append(work(len(results)))
    return (time.perf_counter() - began_s) / len(results), results


def forget(paths: Sequence[str]) -> None:
    """Ask the system to drop what it keeps of files in memory, so that the next to read them asks the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def _disk_s(paths: Sequence[str], *, readers: int) -> float:
    began_s = time.perf_counter()
    with ThreadPoolExecutor(readers) as pool:
        list(pool.map(read_bytes, paths))
    return (time.perf_counter() - began_s) / len(paths)


def sample_cache(config: Any, sample: Sample, folder: Path, *, kind: str) -> ImageCache | None:
    """Return a cache with room for the sample's photographs, below `folder`; None for "none"."""
    config = deepcopy(config)
    config.data.cache, config.data.cache_gb, config.tables_dir = kind, CACHE_GB, str(folder)
    config.model.backbone_frozen = False  # whose run has no cache, since it reads each photograph once
    return compose.image_cache(config, sample.material, console=SILENT)


def _datamodule(config: Any, sample: Sample, cache: ImageCache | None, trainer: pl.Trainer) -> FisheriesDataModule:
    config = deepcopy(config)
    config.data.batch_size = BATCH
    data = compose.create_datamodule(config, sample.material, sample.folds, fold=0, cache=cache)
    data.trainer = trainer
    return data


def _loader_s(data: FisheriesDataModule, paths: Sequence[str]) -> tuple[float, float, float]:
    """Return seconds a photograph in a first and in a later epoch, and those until workers are at work."""
    loader = data.train_dataloader()
    forget(paths)
    whole_s, _ = _epoch_s(loader)
    warm_s, ready_s = _epoch_s(loader)
    _, started_s = _epoch_s(data.train_dataloader())
    start_s = max(0.0, started_s - ready_s) if data.workers else 0.0
    return max(whole_s - start_s, 1e-9) / len(paths), warm_s / len(paths), start_s


def _epoch_s(loader: DataLoader[Any]) -> tuple[float, float]:
    """Return the seconds that all batches took, and the first one."""
    began_s, first_s = time.perf_counter(), 0.0
    for number, _ in enumerate(loader):
        first_s = first_s if number else time.perf_counter() - began_s
    return time.perf_counter() - began_s, first_s


def _never() -> Any:
    raise RuntimeError("a picture that was put into the cache is not there")
