"""Does the input keep up with a GPU? Training from real JPEGs, beside the same steps on a batch that is on the device already.

    python benchmarks/gpu.py [--photographs DIR] [--repetitions 3] [--json FILE] [--quick] [--device cpu] [OVERRIDE ...]

resnet50 and convnext_tiny at 224 x 224 and 360 x 640 in bf16, by train.py's own module, trainer and callbacks, with
transform=light and a cache that the first epoch has filled; epochs of 8,192 images, and the photographs of DIR again and again
up to that, or 256 drawn ones without it. Needs no network, and a GPU: `--device cpu --quick` tries whether it runs at all.
Further overrides are train.py's, such as data.workers=16.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd
import pytorch_lightning as pl
import torch
from measured import Row, arguments, in_turn, report, rows_of
from omegaconf import DictConfig
from ours import QUIET, StoredData, composed, fit_ours, new_net, random_batch
from photographs import photographs
from stored import CLASSES, Stored

from fisheries import compose
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.manifest import scan_paths
from fisheries.material import Material
from fisheries.schema import BOXES, KEY, OK

NETWORKS, SIZES = ("resnet50", "convnext_tiny"), ((224, 224), (360, 640))
BATCH = {(224, 224): 256, (360, 640): 64}
EPOCHS = 4  # of which the first fills the cache and warms up
ON_DEVICE, FROM_JPEGS, ALONE = "a batch on the device", "JPEGs, with a warm cache", "JPEGs, no network"


class Case(NamedTuple):
    """What is trained, and on how many images an epoch."""

    network: str
    image_hw: tuple[int, int]
    batch_size: int
    images: int


def main() -> None:
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--photographs", type=Path, help="folder of JPEGs; by default some are drawn")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("overrides", nargs="*", help="further ones for train.py")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here, and so nothing to measure; --device cpu --quick tries whether this runs at all")
        return
    cases = [Case(network, hw, BATCH[hw], 8192) for network in NETWORKS for hw in SIZES]
    if given.quick:
        cases = [Case(network, (64, 64), 4, 16) for network in NETWORKS]
    with TemporaryDirectory() as name:
        folder = Path(name)
        images = found(given.photographs) if given.photographs else drawn(folder, 16 if given.quick else 256)
        rows = [
            row
            for case in cases
            for row in case_rows(
                case,
                images,
                folder,
                gpus=int(given.device == "cuda"),
                overrides=given.overrides,
                repetitions=1 if given.quick else given.repetitions,
            )
        ]
    report(rows, given.json)


def found(folder: Path) -> pd.DataFrame:
    """Return the manifest of a folder's photographs."""
    images = scan_paths([folder], progress=True)
    return images[images["status"] == OK].drop_duplicates("sha256")


def drawn(folder: Path, count: int) -> pd.DataFrame:
    """Return the manifest of embedded boats as large as real photographs."""
    return photographs(None, most=count, folder=folder)[0]


def case_rows(
    case: Case, images: pd.DataFrame, folder: Path, *, gpus: int, overrides: list[str], repetitions: int
) -> list[Row]:
    """Measure images a second in each way."""
    config = composed(
        "data=folder",
        f"data.root={folder}",
        f"data.image_hw=[{case.image_hw[0]},{case.image_hw[1]}]",
        f"data.batch_size={case.batch_size}",
        f"data.workers={min(16, os.cpu_count() or 1)}",
        f"tables_dir={folder / 'tables'}",
        f"model={case.network}",
        "model.pretrained=false",
        "split=random",
        "split.folds=10",
        f"trainer.gpus={gpus}",
        "trainer.precision=bf16-mixed",
        "trainer.channels_last=true",
        f"trainer.max_epochs={EPOCHS}",
        "trainer.limit_val_batches=0",
        *overrides,
    )
    data, net = data_of(config, images, case.images), new_net(config)
    batch = {
        key: value.to("cuda" if gpus else "cpu") if isinstance(value, torch.Tensor) else value
        for key, value in random_batch(case.batch_size, case.image_hw).items()
    }
    steps = len(data.train) // case.batch_size

    def rate(data: pl.LightningDataModule, count: int) -> float:
        clock = Clock()
        fit_ours(config, net, data, clock)
        return count / median(clock.epochs_s[1:])

    ways: dict[str, Callable[[], float]] = {
        ON_DEVICE: lambda: rate(StoredData(Stored(batch, steps)), steps * case.batch_size),
        FROM_JPEGS: lambda: rate(data, len(data.train)),
        ALONE: lambda: len(data.train) / loaded_s(data),
    }
    height, width = case.image_hw
    part = f"{case.network} at {height} x {width}, batches of {case.batch_size}, {config.data.workers} workers"
    return rows_of(in_turn(ways, repetitions=repetitions, about=part), part=part, unit="images/s", against=ON_DEVICE)


def data_of(config: DictConfig, images: pd.DataFrame, count: int) -> FisheriesDataModule:
    """Return batches of `count` images, the same photographs again and again, as train.py makes them."""
    times = -(-count // len(images))
    rows = pd.concat([images.set_axis([f"{number}-{name}" for name in images.index]) for number in range(times)])
    rows = rows.iloc[:count].rename_axis(KEY)
    labels = [f"class {number % CLASSES}" for number in range(len(rows))]
    rows = rows.assign(label=pd.Series(labels, rows.index, dtype="str"), subset="train", burst="", boat="")
    boxes = pd.DataFrame(columns=list(BOXES)).rename_axis(KEY)
    material = Material(Path(config.data.root), rows, boxes, sorted(set(labels)), None)
    cache = compose.image_cache(config, material, console=QUIET)
    return compose.create_datamodule(config, material, compose.draw_folds(config, material), fold=0, cache=cache)


def loaded_s(data: FisheriesDataModule) -> float:
    """Return the seconds in which an epoch's batches come where nothing is done with them; the second time."""
    batches = data.train_dataloader()
    for _ in batches:
        pass
    began_s = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - began_s


class Clock(pl.Callback):
    """Note how long epochs take, until the device has done its work."""

    def __init__(self) -> None:
        self.epochs_s: list[float] = []
        self.began_s = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start."""
        self.began_s = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop."""
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self.epochs_s.append(time.perf_counter() - self.began_s)


if __name__ == "__main__":
    main()
