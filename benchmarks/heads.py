"""How long is an epoch of a head on stored features, beside a bare loop and scikit-learn; and how much longer with the backbone in it?

    python benchmarks/heads.py [--repetitions 7] [--json FILE] [--quick]

A head learns on 3,000 of 3,334 made-up features of 2,048 numbers, in batches of 64: linear, and lesson 7's dense layers. Ours is
what train.py runs: the store, the batches made of it, the module, the trainer with its callbacks. The bare loop has the same
network, optimizer, clipping and schedule, and its features in memory; so has Lightning without a callback, a logger or a
validation, whose own share this shows. The last rows are a frozen network on the embedded boats.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from measured import Row, arguments, in_turn, report, rows_of
from omegaconf import DictConfig
from ours import QUIET, SMOOTHING, composed, fit_ours, new_module
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from fisheries import compose
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.imported import import_features
from fisheries.data.metadata import fit_sizes
from fisheries.data.splits import train_ids
from fisheries.data.synthetic import draw_competition
from fisheries.material import load_material, settle
from fisheries.models.fishnet import FishNet
from fisheries.nets import create_net, image_hw_of
from fisheries.precision import settle_precision
from fisheries.training.devices import hide_missing_gpus

IMAGES, WIDTH, BATCH = 3334, 2048, 64  # a tenth is held out
CLASSES = ["ALB", "BET", "DOL", "LAG", "NoF", "OTHER", "SHARK", "YFT"]
EPOCHS = 5  # of which the first is not counted
BARE, LIGHTNING = "a bare loop", "Lightning alone"


def main() -> None:
    given = arguments(__doc__, repetitions=7).parse_args()
    repetitions = 1 if given.quick else given.repetitions
    hide_missing_gpus()  # as a run does, and as a loop without Lightning needs not
    with TemporaryDirectory() as name:
        folder = Path(name)
        make_up(folder)
        rows = [row for head in ("linear", "dense") for row in head_rows(folder, head, repetitions=repetitions)]
        rows += boat_rows(folder, images=80 if given.quick else 400, repetitions=min(repetitions, 2))
    report(rows, given.json)


def make_up(folder: Path) -> None:
    """Import features that tell the label a little."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(CLASSES), IMAGES)
    features = rng.normal(size=(IMAGES, WIDTH)).astype(np.float16)
    features[np.arange(IMAGES), label] += 3
    names = [f"img_{number:05}.jpg" for number in range(IMAGES)]
    np.savez(folder / "made_up.npz", features=features, image_id=np.array(names))
    boats = rng.integers(0, 20, IMAGES).astype(str)
    table = pd.DataFrame({"image_id": names, "label": np.array(CLASSES)[label], "boat": boats})
    table.to_csv(folder / "images.csv", index=False)
    import_features(folder / "made_up.npz", folder / "images.csv", folder / "features")


def head_rows(folder: Path, head: str, *, repetitions: int) -> list[Row]:
    """Measure an epoch of a head in each way."""
    config = composed(
        "data=ncfm",
        f"data.root={folder / 'features'}",
        "model=imported",
        f"model.head={head}",
        "split=random",
        "split.folds=10",
        f"data.batch_size={BATCH}",
        f"trainer.max_epochs={EPOCHS}",
    )
    data, net = fold_of(config)
    features, labels = everything(data)
    whole: list[float] = []

    def ours() -> float:
        clock = EpochClock()
        fit_ours(config, net, data, clock)
        whole.append(median(clock.epochs_s[1:]))
        return median(clock.steps_s[1:])

    ways: dict[str, Callable[[], float]] = {
        BARE: lambda: median(bare_epochs(config, net, features, labels)[1:]),
        "ours": ours,
        LIGHTNING: lambda: median(lightning_epochs(config, net, features, labels)[1:]),
    }
    if head == "linear":
        ways["scikit-learn's logistic regression, a fit of 50 iterations"] = lambda: fit_s(features, labels)
    measured = in_turn(ways, repetitions=repetitions, about=f"{head} head")
    measured["ours, with validation, checkpoints and tables"] = whole
    part = f"an epoch of a {head} head, {len(features)} features of {WIDTH}, batches of {BATCH}"
    return rows_of(measured, part=part, unit="s", against=BARE)


def boat_rows(folder: Path, *, images: int, repetitions: int) -> list[Row]:
    """Measure an epoch on the embedded boats with stored features, and with the frozen backbone in each step."""
    draw_competition(folder / "boats", train=images, stage1=8, stage2=16, boats=8, new_boats=4, workers=1)
    config = composed(
        "data=folder",
        f"data.root={folder / 'boats'}",
        f"tables_dir={folder / 'tables'}",
        "data.image_hw=[96,160]",
        "model.pretrained=true",
        "model.backbone_frozen=true",
        "transform=none",
        "data.workers=0",
        "trainer.max_epochs=2",
    )
    fed = {"with stored features": fold_of(config), "with the frozen backbone": fold_of(config, stored=False)}

    def epoch_s(data: FisheriesDataModule, net: FishNet) -> float:
        clock = EpochClock()
        fit_ours(config, net, data, clock)
        return clock.epochs_s[-1]

    ways = {name: lambda of=of: epoch_s(*of) for name, of in fed.items()}
    measured = in_turn(ways, repetitions=repetitions, about="boats")
    part = f"an epoch of a frozen small_residual on {len(fed['with stored features'][0].train)} embedded boats"
    return rows_of(measured, part=part, unit="s", against="with stored features")


def fold_of(config: DictConfig, *, stored: bool = True) -> tuple[FisheriesDataModule, FishNet]:
    """Return the first fold's batches and network, as train.py makes them."""
    material = load_material(config, console=QUIET)
    folds = compose.draw_folds(config, material)
    settle(config, material)
    settle_precision(config, material, console=QUIET)
    torch.manual_seed(0)
    net = create_net(
        config.model,
        classes=len(material.classes),
        sizes=fit_sizes(material.manifest.loc[train_ids(folds, 0)]),
        image_hw=image_hw_of(config),
        console=QUIET,
    )
    store = compose.frozen_features(config, net, material, console=QUIET) if stored else None
    return compose.create_datamodule(config, material, folds, fold=0, store=store), net


class EpochClock(pl.Callback):
    """Note the seconds of each epoch: its training steps, and all of it."""

    def __init__(self) -> None:
        self.steps_s: list[float] = []
        self.epochs_s: list[float] = []
        self.began_s = self.stepped_s = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start."""
        self.began_s = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the end of the last step so far."""
        self.stepped_s = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note the epoch."""
        self.steps_s.append(self.stepped_s - self.began_s)
        self.epochs_s.append(time.perf_counter() - self.began_s)


def bare_epochs(config: DictConfig, net: FishNet, features: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Train a head with nothing around it; return the seconds of each epoch."""
    net.train()
    optimizer, schedule = optimizer_and_schedule(config, net, images=len(features))
    seconds = []
    image_hw = torch.zeros(len(features), 2)
    for _ in range(EPOCHS):
        began_s = time.perf_counter()
        for rows in torch.randperm(len(features)).split(BATCH):
            logits = net.decode(features[rows], image_hw[rows])["logits"]
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), config.trainer.gradient_clip_val)
            optimizer.step()
            schedule.step()
        seconds.append(time.perf_counter() - began_s)
    return seconds


def lightning_epochs(config: DictConfig, net: FishNet, features: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Train that head with the least that Lightning can do; return the seconds of each epoch."""

    class Least(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            logits = self.net.decode(*batch[:2])["logits"]
            return functional.cross_entropy(logits, batch[2], label_smoothing=SMOOTHING)

        def configure_optimizers(self) -> Any:
            optimizer, schedule = optimizer_and_schedule(config, net, images=len(features))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    clock, tables = EpochClock(), TensorDataset(features, torch.zeros(len(features), 2), labels)
    order = BatchSampler(RandomSampler(tables), BATCH, drop_last=False)
    rows = DataLoader(tables, sampler=order, batch_size=None)  # a batch by one index, as ours has it
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        gradient_clip_val=config.trainer.gradient_clip_val,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(Least(), rows)
    return clock.steps_s


def optimizer_and_schedule(config: DictConfig, net: FishNet, *, images: int) -> tuple[Any, Any]:
    """Return those that ours has."""
    module = new_module(config, net)
    optimizer = module.create_optimizer(net)
    return optimizer, module.create_schedule(optimizer, EPOCHS * -(-images // BATCH))


def everything(data: FisheriesDataModule) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all training features (N, F), and labels (N,)."""
    batch = data.train_set.__getitems__([(0, place) for place in range(len(data.train))])
    return batch["encoded"], batch["target"].argmax(dim=1)


def fit_s(features: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the seconds of a fit in scikit-learn."""
    began_s = time.perf_counter()
    LogisticRegression(max_iter=50, tol=0).fit(features.numpy(), labels.numpy())
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
