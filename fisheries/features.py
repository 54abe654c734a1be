"""Frozen features: what a backbone makes of photographs, computed once, stored, and used by every run after that."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from fisheries.data.datamodule import WORKER_TIMEOUT_S
from fisheries.data.encoded import ViewDataset
from fisheries.data.feature_store import (
    FeatureStore,
    check_space,
    image_keys,
    missing_keys,
    open_store,
    store_dir,
    write_shard,
)
from fisheries.data.transforms import Transform
from fisheries.data.watch import Watched
from fisheries.models.fishnet import FishNet
from fisheries.progress import IMAGES, progress_bar
from fisheries.schema import InputError

_SHARD_BYTES = 64 << 20  # what an interruption may cost, in float32
_SHARD_IMAGES = 256
_SOURCES = ["data/images.py", "data/transforms.py", "data/night_view.py", "data/nights.py", "models/blocks.py"]
_SOURCES += ["models/backbones.py", "data/shrinking.py"]
_PACKAGES = ("torch", "timm", "pillow", "albumentations", "opencv-python-headless")


class View(NamedTuple):
    """A view of some photographs that is wanted."""

    images: pd.DataFrame  # rows of a manifest that can be read
    name: str
    transform: Transform


def frozen_store(
    net: FishNet,
    views: Sequence[View],
    *,
    about: Mapping[str, Any],
    base: Path,
    device: torch.device,
    batch_size: int,
    workers: int,
    console: Console,
) -> FeatureStore:
    """Return what a network's frozen backbone makes of photographs, computing what is not stored yet.

    Args:
        net: whose `encode` is stored.
        views: what is wanted.
        about: what the result depends on besides the photograph and the weights, such as the backbone's name.
        base: where stores are kept, each in a folder of its own.
        device: to compute on.
        batch_size: images in a batch.
        workers: processes that read photographs, 0 for none.
        console: where to show progress.

    Raises:
        InputError: a photograph is gone or another one now, the backbone gives no numbers, or the disk is too small.
    """
    folder = store_dir(base, {**about, "weights": weights_hash(net.backbone), **code_of(_SOURCES, _PACKAGES)})
    stored = open_store(folder)
    missing = set(missing_keys(stored, [key for view in views for key in image_keys(view.images, view.name)]))
    if missing:
        console.print(f"  computing {len(missing)} features of the frozen backbone into {folder}")
        net.to(device).float().eval()
        with progress_bar(console, disable=not console.is_terminal) as bar:
            task, left = bar.add_task("  frozen features", total=len(missing), unit=IMAGES), len(missing)
            for view in views:
                keys = pd.Series(image_keys(view.images, view.name), view.images.index)
                rows = view.images[keys.isin(missing) & ~keys.duplicated()]
                data = ViewDataset(rows, transform=view.transform, view=view.name)
                timeout_s = WORKER_TIMEOUT_S if workers else 0
                watched = Watched(data, data.paths) if workers else data
                loader = DataLoader(watched, batch_size=batch_size, num_workers=workers, timeout=timeout_s)
                for count in _compute(net, loader, folder, device=device, left=left):
                    bar.advance(task, count)
                left -= len(rows)
        stored = open_store(folder)
    return stored


def code_of(sources: Sequence[str], packages: Sequence[str]) -> dict[str, Any]:
    """Return the hash of files of ours, and the versions of others' packages, that decide what is stored."""
    files = b"".join((Path(__file__).parent / name).read_bytes() for name in sources)
    return {"code": hashlib.sha256(files).hexdigest()[:16], "versions": {name: version(name) for name in packages}}


def weights_hash(backbone: nn.Module) -> str:
    """Return 16 hexadecimal digits of the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _compute(net: FishNet, loader: DataLoader[Any], folder: Path, *, device: torch.device, left: int) -> Iterator[int]:
    """Write shards of what the loader's pictures are encoded to, and yield how many came with each batch."""
    keys: list[str] = []
    parts: list[np.ndarray[Any, Any]] = []
    for names, pictures in loader:
        encoded = net.encode(pictures.to(device)).float().cpu().numpy()
        if not np.isfinite(encoded).all():
            raise InputError("the frozen backbone gives no finite numbers: see model.weights, model.mean and model.std")
        if not keys:
            check_space(folder, arrays=left, shape=encoded.shape[1:])
        keys += names
        parts.append(encoded)
        if len(keys) >= _SHARD_IMAGES or sum(part.nbytes for part in parts) >= _SHARD_BYTES:
            write_shard(folder, keys, np.concatenate(parts))
            keys, parts = [], []
        left -= len(names)
        yield len(names)
    if keys:
        write_shard(folder, keys, np.concatenate(parts))
