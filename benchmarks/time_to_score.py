"""How soon does a network know boats that it has not seen? train.py beside fastai and timm, from the start of their processes.

    python benchmarks/time_to_score.py [--repetitions 1] [--json FILE] [--quick] [--network resnet18 [--weights FILE]]

Embedded boats are drawn, and enlarged to the size of the competition's photographs. All three read these files, and
have the same boats held out, the same network and weights to begin with, the same size, batches, epochs, workers and highest
learning rate, and augmentations that are as like as their libraries allow; optimizer, schedule and loop are each one's own: train.py
by default but for what is named here, fastai's Learner with fit_one_cycle, and the recipe of timm's train.py. What counts is when
the held-out log loss is first at most 60 % of the constant prior's. The network is small_residual with the weights that come with
it, or any of timm with given or random ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import cv2
import pandas as pd
import timm
import torch
from machine import PEERS
from measured import Row, arguments, report, rows_of
from ours import QUIET, composed

from fisheries import compose
from fisheries.console import make_console
from fisheries.data.splits import train_ids, val_ids
from fisheries.data.synthetic import draw_competition
from fisheries.data.synthetic_plan import REDUCTION
from fisheries.inference.scoring import prior_log_loss
from fisheries.material import load_material
from fisheries.models.backbones import OWN_WEIGHTS
from fisheries.progress import track

HERE = Path(__file__).resolve().parent
PEERS_PYTHON = PEERS / "bin" / "python"
WORLD = {"stage1": 8, "stage2": 16, "new_boats": 4}
PER_BOAT = 30  # photographs
SEED = 1  # with 0 the peers' new last layer may be the one that our network's weights were learned with
SMALL = "small_residual"
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TARGET = 0.6  # of the constant prior's log loss
OURS = "ours"
Curve = list[tuple[float, float]]  # seconds since the process began, held-out log loss; by epoch


def main() -> None:
    parser = arguments(__doc__, repetitions=1)
    parser.add_argument("--network", default=SMALL)
    parser.add_argument("--weights", type=Path, help="of a network of timm; by default random ones, the same for all")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, default=600, help="photographs, of which a quarter are held out")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "boats", 120 if given.quick else given.images)
        weights = given.weights or weights_of(given.network, folder)
        settings = settings_of(folder, given.network, weights.resolve(), epochs=2 if given.quick else given.epochs)
        target = TARGET * prior_loss(settings)
        curves = learn(settings, folder, repetitions=1 if given.quick else given.repetitions)
    report(rows_from(curves, target, settings), given.json)


def draw(folder: Path, images: int) -> None:
    """Draw embedded boats as large as real photographs."""
    draw_competition(folder, train=images, boats=max(8, images // PER_BOAT), **WORLD)
    files, console = sorted(folder.rglob("*.jpg")), make_console()
    for file in track(files, "  enlarging", console=console, disable=not console.is_terminal):
        picture = cv2.resize(cv2.imread(str(file)), None, fx=REDUCTION, fy=REDUCTION, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(file), picture)


def weights_of(network: str, folder: Path) -> Path:
    """Return weights to begin with: those that come with our network, or random ones."""
    if network in OWN_WEIGHTS:
        return OWN_WEIGHTS[network]
    torch.manual_seed(0)
    torch.save(timm.create_model(network, num_classes=0).state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def settings_of(folder: Path, network: str, weights: Path, *, epochs: int) -> dict[str, Any]:
    """Return what all have in common, with the photographs of both sides of a fold that train.py would draw."""
    model = [f"model={SMALL}"] if network == SMALL else ["model=timm", f"model.backbone={network}"]
    overrides = [
        "data=folder",
        f"data.root={folder / 'boats'}",
        "data.image_hw=[96,160]",
        "data.batch_size=16",
        *model,
        f"model.weights={weights}",
        f"trainer.max_epochs={epochs}",
        "split.folds=4",
        "logger=none",
        f"seed={SEED}",
    ]
    config = composed(*overrides, f"tables_dir={folder / 'tables of this script'}")
    material = load_material(config, console=QUIET)
    folds, manifest = compose.draw_folds(config, material), material.manifest
    sides = {"train": manifest.loc[train_ids(folds, 0)], "val": manifest.loc[val_ids(folds, 0)]}
    pixels = {"mean": [0.4] * 3, "std": [0.2] * 3} if network == SMALL else IMAGENET
    return {
        **{side: rows[["path", "label"]].to_numpy().tolist() for side, rows in sides.items()},
        **pixels,
        "overrides": overrides,
        "classes": material.classes,
        "image_hw": list(config.data.image_hw),
        "batch_size": config.data.batch_size,
        "workers": config.data.workers,
        "epochs": epochs,
        "seed": SEED,
        "lr": config.optimizer.lr,
        "weight_decay": config.optimizer.weight_decay,
        "network": network,
        "weights": str(weights),
    }


def prior_loss(settings: dict[str, Any]) -> float:
    """Return the held-out log loss of the training part's class frequencies."""
    train, val = (pd.Series([label for _, label in settings[side]], dtype="str") for side in ("train", "val"))
    return prior_log_loss(train, val, settings["classes"])


def learn(settings: dict[str, Any], folder: Path, *, repetitions: int) -> dict[str, list[Curve]]:
    """Train in each way in every repetition, each time as if it were the first."""
    question = folder / "settings.json"
    question.write_text(json.dumps(settings))
    names = [OURS, *(["fastai", "timm"] if PEERS_PYTHON.is_file() else [])]
    if len(names) == 1:
        print(f"{PEERS_PYTHON}: not there, so without fastai and timm; `make bench` sets it up")
    curves: dict[str, list[Curve]] = {name: [] for name in names}
    console = make_console()
    turns = [(number, name) for number in range(repetitions) for name in names]
    for number, name in track(turns, "  learning", console=console, disable=not console.is_terminal):
        run_dir = folder / f"run-{number}"
        curve = ours(settings, run_dir) if name == OURS else peer(name, question)
        curves[name].append(list(curve))
    return curves


def ours(settings: dict[str, Any], run_dir: Path) -> Iterator[tuple[float, float]]:
    """Run train.py, and yield when an epoch's held-out log loss is known, and what it is."""
    folders = [f"hydra.run.dir={run_dir}", f"tables_dir={run_dir}-tables", f"submissions_dir={run_dir}-submissions"]
    command = [sys.executable, str(HERE.parent / "train.py"), *settings["overrides"], *folders]
    began_s, table = time.perf_counter(), run_dir / "fold-0" / "epochs.csv"
    with TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        told = 0
        while told < settings["epochs"]:
            time.sleep(0.05)
            ended = process.poll()
            losses = pd.read_csv(table)["val/log_loss"].tolist() if table.is_file() else []
            yield from ((time.perf_counter() - began_s, loss) for loss in losses[told:])
            told = len(losses)
            if ended is not None and told < settings["epochs"]:
                said.seek(0)
                sys.exit(f"train.py ended with {ended} after {told} epochs:\n{said.read()[-2000:]}")
        process.terminate()  # what it goes on with is no part of this


def peer(name: str, question: Path) -> Iterator[tuple[float, float]]:
    """Run another library's training, which prints each epoch's held-out log loss, and yield when it did."""
    command = [str(PEERS_PYTHON), "-W", "ignore", str(HERE / "peers" / f"score_{name}.py"), str(question)]
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    began_s = time.perf_counter()
    with (
        TemporaryFile("w+") as said,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            yield time.perf_counter() - began_s, float(line)
        if process.wait():
            said.seek(0)
            sys.exit(f"{name} ended with {process.returncode}:\n{said.read()[-2000:]}")


def rows_from(curves: dict[str, list[Curve]], target: float, settings: dict[str, Any]) -> list[Row]:
    """Return how soon each was there, how long all epochs took, and what came of them."""
    about = f"{settings['network']}, {len(settings['train'])} photographs, {len(settings['val'])} held out"
    scores = {name: [min(loss for _, loss in curve) for curve in all_] for name, all_ in curves.items()}
    whole = {name: [curve[-1][0] for curve in all_] for name, all_ in curves.items()}
    there = {name: [seconds_to(target, curve) for curve in all_] for name, all_ in curves.items()}
    rows = rows_of(
        there, part=f"seconds to a log loss of {target:.2f} on unseen boats ({about})", unit="s", against=OURS
    )
    rows += rows_of(whole, part=f"seconds of {settings['epochs']} epochs, from the start", unit="s", against=OURS)
    return rows + rows_of(scores, part="their best log loss on unseen boats", unit="", against=OURS)


def seconds_to(target: float, curve: Curve) -> float:
    """Return when a curve first is at a log loss; infinity if it never is."""
    return next((seconds for seconds, loss in curve if loss <= target), float("inf"))


if __name__ == "__main__":
    main()
