"""Predictions and features of photographs by the networks of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from fisheries import compose
from fisheries.batch import Batch
from fisheries.compose import TrainedFold, TrainedRun
from fisheries.data.datamodule import predict_loader
from fisheries.data.manifest import scan_paths
from fisheries.data.splits import usable_images
from fisheries.inference.predict import box_table, extract_features, mean_predictions, predict, with_prior
from fisheries.inference.scoring import class_frequencies
from fisheries.schema import (
    BOXES,
    FOLDS,
    MANIFEST,
    OK,
    InputError,
    read_table,
    table_hash,
    write_predictions,
    write_table,
)
from fisheries.training.devices import choose_device


def predict_paths(
    run_dir: Path, paths: Sequence[Path], out: Path, *, gpus: str, batch_size: int, workers: int, console: Console
) -> pd.DataFrame:
    """Predict photographs with the networks of a run, averaged over its folds, and write the table.

    Args:
        run_dir: of a run with at least one trained fold.
        paths: folders or files, see `scan_paths`.
        out: the CSV to write; predicted boxes go beside it, into <name>_boxes.csv.
        gpus: "0", a count, or "auto".
        batch_size: images in a batch.
        workers: processes that read, 0 for none.
        console: where to show progress.

    Returns:
        One row a photograph; one that can't be read gets the class frequencies that the run was trained on.

    Raises:
        InputError: as `compose.load_run` and `scan_paths`.
    """
    trained = compose.load_run(run_dir, console=console)
    device = choose_device(int(gpus) if gpus.isdigit() else gpus)
    images = scan_paths(paths, progress=console.is_terminal)
    readable = images[images["status"] == OK]
    if readable.empty:
        raise InputError(
            f"none of {len(images)} files can be read; the first is {images.index[0]!r}: {images['status'].iloc[0]}"
        )
    results = []
    for fold in trained.folds:
        loader = _loader(readable, trained, fold, batch_size=batch_size, workers=workers)
        shown = track(loader, description=f"  fold {fold.number}", console=console, disable=not console.is_terminal)
        results.append(predict(fold.net, shown, classes=trained.classes, device=device))
    boxes = [result.boxes_cxcywh for result in results if result.boxes_cxcywh is not None]
    if boxes:
        write_table(box_table(sum(boxes) / len(boxes), images), out.with_name(f"{out.stem}_boxes.csv"))
    labels = usable_images(read_table(run_dir / "manifest.csv", MANIFEST))["label"]
    table = mean_predictions([result.probabilities for result in results])
    if len(readable) < len(images):
        console.print(f"  {len(images) - len(readable)} files can't be read and get the prior:")
        for image_id, status in images.loc[images["status"] != OK, "status"].head(10).items():
            console.print(f"    {image_id}: {status}", highlight=False, markup=False)
    table = with_prior(table, images.index, class_frequencies(labels, trained.classes))
    write_predictions(table, out, folds_hash=table_hash(read_table(run_dir / "folds.csv", FOLDS)))
    return table


def run_features(run_dir: Path, *, batch_size: int = 32, workers: int = 2, console: Console) -> pd.DataFrame:
    """Return what the network of a run's first trained fold makes of the run's usable training images.

    Returns:
        Features (N, F) by `image_id`.

    Raises:
        InputError: as `compose.load_run`; a photograph is gone.
    """
    trained = compose.load_run(run_dir, console=console)
    images = usable_images(read_table(run_dir / "manifest.csv", MANIFEST))
    loader = _loader(images, trained, trained.folds[0], batch_size=batch_size, workers=workers)
    shown = track(loader, description="Extracting features", console=console, disable=not console.is_terminal)
    return extract_features(trained.folds[0].net, shown, device=choose_device("auto"))


def _loader(
    images: pd.DataFrame, trained: TrainedRun, fold: TrainedFold, *, batch_size: int, workers: int
) -> DataLoader[Batch]:
    return predict_loader(
        images.assign(label=""),
        boxes=pd.DataFrame(columns=list(BOXES)),
        classes=trained.classes,
        sizes=fold.sizes,
        transform=trained.transform,
        batch_size=batch_size,
        workers=workers,
    )
