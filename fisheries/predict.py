"""Predictions and features of photographs by the networks of a run."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from fisheries import nets
from fisheries.batch import Batch
from fisheries.data.cropping import REGION, CropRule, crop_table, fish_boxes, read_boxes
from fisheries.data.datamodule import predict_loader
from fisheries.data.manifest import scan_paths
from fisheries.data.metadata import SizeStatistics
from fisheries.data.splits import train_ids, usable_images, val_ids
from fisheries.inference.fast import CHECKED, PRECISIONS, choose_way, fast_net, settled_way
from fisheries.inference.outputs import Outputs, write_outputs
from fisheries.inference.partial import Partial
from fisheries.inference.predict import (
    ARITHMETIC,
    GEOMETRIC,
    Predictions,
    box_table,
    extract_features,
    join_predictions,
    mean_predictions,
    predict_batches,
    with_prior,
)
from fisheries.inference.scoring import class_frequencies
from fisheries.inference.stages import chain_stages, check_stages, merge_crops, sees_fish
from fisheries.inference.submission_notes import sha256_of
from fisheries.inference.tta import VIEWS, Reader, check_views
from fisheries.memory import keep_large_blocks
from fisheries.nets import TrainedFold, TrainedRun
from fisheries.progress import IMAGES, track
from fisheries.schema import (
    BOXES,
    FOLDS,
    MANIFEST,
    OK,
    TRAIN,
    InputError,
    nearest,
    read_table,
    table_hash,
    write_predictions,
    write_table,
)
from fisheries.training.callbacks import BEST
from fisheries.training.devices import choose_device

_IN_PIXELS = SizeStatistics(mean_hw=(0.0, 0.0), std_hw=(1.0, 1.0), known_hw=())


def predict_paths(
    run_dir: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    crops_run: Path | None = None,
    boxes: Sequence[Path] = (),
    gpus: str,
    batch_size: int,
    workers: int,
    tta: str | None = None,
    fold_mean: str | None = None,
    precision: str = "auto",
    console: Console,
) -> pd.DataFrame:
    """Predict photographs with the networks of a run, averaged over its folds, and write the table.

    With a second run, of crops, the first one's answer is that of the first of two stages: see `chain_stages`. Each
    photograph is decoded once for all folds and views, and once more where the second stage looks at its fish. Answers
    are kept in <out>.partial until the end: after a stop, the same call goes on with them.

    Args:
        run_dir: of a run with at least one trained fold.
        paths: folders or files, see `scan_paths`.
        out: the CSV to write; predicted boxes go beside it, into <name>_boxes.csv.
        crops_run: of a run trained on crops, which says which fish they show; None for a single stage.
        boxes: where the fish are, in place of what the first run says; see `cropping.read_boxes`.
        gpus: "0", a count, or "auto".
        batch_size: images in a batch.
        workers: processes that read, 0 for none.
        tta: views of each photograph that are averaged, see `tta.VIEWS`; None for each run's own.
        fold_mean: how folds are averaged, see `mean_predictions`; None for each run's own.
        precision: "float32", "bfloat16", or "auto" for the faster one whose answers are as good, see `choose_way`.
        console: where to show progress.

    Returns:
        One row a photograph; one that can't be read gets the class frequencies that the run was trained on.

    Raises:
        InputError: as `nets.load_run`, `scan_paths`, `check_stages` and `check_views`; `tta`, `fold_mean` or `precision` is
            unknown; the second run was not trained on crops; no run predicts boxes and none are given, or only for other images.
    """
    check_choice("--tta", tta, list(VIEWS))
    check_choice("--fold-mean", fold_mean, [ARITHMETIC, GEOMETRIC])
    check_choice("--precision", precision, PRECISIONS)
    keep_large_blocks()
    trained = nets.load_run(run_dir, console=console)
    second = None if crops_run is None else _second_stage(crops_run, trained, boxes, run_dir, console=console)
    tables = read_boxes(boxes)
    device = choose_device(gpus)
    images = scan_paths(paths, progress=console.is_terminal)
    readable = images[images["status"] == OK]
    if readable.empty:
        raise InputError(
            f"none of {len(images)} files can be read; the first is {images.index[0]!r}: {images['status'].iloc[0]}"
        )
    if tables and fish_boxes(tables, readable).empty:
        raise InputError(
            f"none of {sum(map(len, tables))} boxes can be used for {len(readable)} images; expected boxes by image_id, such "
            f"as {readable.index[0]!r}, of status ok or clipped, and with an area in the frame"
        )
    batches = _Batches(batch_size, workers, device, tta, fold_mean, precision, console)
    for run in [trained] if second is None else [trained, second.trained]:
        hw, name = nets.image_hw_of(run.config), run.config.model.backbone
        check_views(run.folds[0].net, tta or run.config.tta, image_hw=hw, name=name)
    kept = out.with_name(f"{out.name}.partial")
    first = _predict_mean(trained, readable, batches, _Kept(kept / "first", run_dir))
    if first.boxes_cxcywh is not None:
        own = box_table(first.boxes_cxcywh, images)
        write_table(own, out.with_name(f"{out.stem}_boxes.csv"))
        tables = tables or [own.assign(score=1.0)]
    table = first.probabilities
    if second is not None:
        said = _Kept(kept / "second", second.run_dir)
        table = _chain(second, table, tables, readable, trained.config.data.no_fish or "", batches, said)
    if len(readable) < len(images):
        console.print(f"  {len(images) - len(readable)} files can't be read and get the prior:")
        for image_id, status in images.loc[images["status"] != OK, "status"].head(10).items():
            console.print(f"    {image_id}: {status}", highlight=False, markup=False)
    table = with_prior(table, images.index, _prior(run_dir, trained.classes))
    runs = [run_dir] if crops_run is None else [run_dir, crops_run]
    hashes = [table_hash(read_table(run / "folds.csv", FOLDS)) for run in runs]
    write_predictions(table, out, folds_hash="+".join(hashes))
    shutil.rmtree(kept, ignore_errors=True)
    return table


def predict_folds(run_dir: Path, out: Path, *, tta: str, console: Console) -> Outputs:
    """Predict a run's held-out and test images anew, with other views of them, and write tables as the run did.

    Each fold's network predicts what the fold holds out, and test; the folder has their own test tables, too, from which
    pseudo-labels can be made.

    Args:
        run_dir: of a run with at least one trained fold.
        out: folder to write.
        tta: see `tta.VIEWS`.
        console: where to show progress.

    Raises:
        InputError: as `nets.load_run` and `check_views`; `tta` is unknown; a photograph is gone.
    """
    check_choice("--tta", tta, list(VIEWS))
    trained = nets.load_run(run_dir, console=console)
    data = trained.config.data
    check_views(
        trained.folds[0].net, tta, image_hw=nets.image_hw_of(trained.config), name=trained.config.model.backbone
    )
    device = nets.device_of(trained.config)
    batches = _Batches(data.batch_size, data.workers, device, tta, None, "float32", console)
    manifest, folds = read_table(run_dir / "manifest.csv", MANIFEST), read_table(run_dir / "folds.csv", FOLDS)
    priors = [
        class_frequencies(manifest["label"].loc[train_ids(folds, fold.number)], trained.classes)
        for fold in trained.folds
    ]

    def said(seen: Sequence[TrainedFold], rows: pd.DataFrame) -> list[pd.DataFrame]:
        answers = _predict_each(trained, seen, rows[rows["status"] == OK], batches)
        return [answer.probabilities for answer in answers]

    oof = []
    for fold, prior in zip(trained.folds, priors, strict=True):
        rows = manifest.loc[val_ids(folds, fold.number)]
        oof += [with_prior(table, rows.index, prior) for table in said([fold], rows)]
    rows = manifest[manifest["subset"] != TRAIN]
    tests = [
        with_prior(table, rows.index, prior) for table, prior in zip(said(trained.folds, rows), priors, strict=True)
    ]
    for fold, test in zip(trained.folds, tests, strict=True):
        write_predictions(test, nets.fold_dir(out, fold.number) / "test.csv", folds_hash=table_hash(folds))
    mean = mean_predictions(tests, trained.config.fold_mean)
    outputs = Outputs(pd.concat(oof), mean, manifest, folds)
    write_outputs(outputs, out, step={"step": "views", "tta": tta, "from": [str(run_dir)]})
    return outputs


def check_choice(option: str, value: str | None, known: Sequence[str]) -> None:
    """Check that an option's value, if one is given, is known.

    Raises:
        InputError: it is not, with the nearest that is.
    """
    if value is not None and value not in known:
        raise InputError(f"{option} {value}: expected {', '.join(known)}{nearest(value, known)}")


def run_features(run_dir: Path, *, batch_size: int = 32, workers: int = 2, console: Console) -> pd.DataFrame:
    """Return what the network of a run's first trained fold makes of the run's usable training images.

    Returns:
        Features (N, F) by `image_id`.

    Raises:
        InputError: as `nets.load_run`; a photograph is gone.
    """
    trained = nets.load_run(run_dir, console=console)
    images = usable_images(read_table(run_dir / "manifest.csv", MANIFEST))
    fold = trained.folds[0]
    loader = _loader(images, trained, fold.sizes, batch_size=batch_size, workers=workers)
    quiet = not console.is_terminal
    shown = track(loader, "Extracting features", console=console, disable=quiet, unit=IMAGES, per_step=batch_size)
    return extract_features(fold.net, shown, device=choose_device("auto"))


@dataclass(frozen=True)
class _Batches:
    size: int
    workers: int
    device: torch.device
    tta: str | None
    fold_mean: str | None
    precision: str
    console: Console


@dataclass(frozen=True)
class _Kept:
    """Where answers of a run are kept as they come."""

    folder: Path
    run_dir: Path


@dataclass(frozen=True)
class _SecondStage:
    run_dir: Path
    trained: TrainedRun
    rule: CropRule
    prior: pd.Series


def _second_stage(
    crops_run: Path, first: TrainedRun, boxes: Sequence[Path], run_dir: Path, *, console: Console
) -> _SecondStage:
    """Load the networks that look at crops, and check that they can follow the first ones."""
    if not boxes and not first.config.model.predict_box:
        raise InputError(
            f"{run_dir}: its networks predict no boxes; give --boxes, or a run trained with model.predict_box=true"
        )
    trained = nets.load_run(crops_run, console=console)
    check_stages(first.classes, trained.classes, no_fish=first.config.data.no_fish or "", name=crops_run)
    return _SecondStage(
        crops_run, trained, nets.crop_rule(trained.config, crops_run), _prior(crops_run, trained.classes)
    )


def _chain(
    second: _SecondStage,
    frames: pd.DataFrame,
    boxes: Sequence[pd.DataFrame],
    images: pd.DataFrame,
    no_fish: str,
    batches: _Batches,
    kept: _Kept,
) -> pd.DataFrame:
    """Cut the frames in which the first stage sees fish, in memory, and let the second say which."""
    found = fish_boxes(boxes, images)
    found = found[found.index.isin(frames.index[sees_fish(frames, no_fish)])]
    rows = crop_table(found, images, second.rule)
    batches.console.print(f"  {len(rows)} crops of {rows['frame'].nunique()} of {len(images)} images")
    merged = pd.DataFrame(columns=second.trained.classes, dtype="float64")
    if len(rows):
        said = _predict_mean(second.trained, rows, batches, kept).probabilities
        merged = merge_crops(said, rows["frame"], rows["score"])
    return chain_stages(frames, merged, prior=second.prior, no_fish=no_fish)


def _predict_mean(trained: TrainedRun, rows: pd.DataFrame, batches: _Batches, kept: _Kept) -> Predictions:
    """Return the mean of what the folds' networks say of rows of a manifest."""
    results = _predict_each(trained, trained.folds, rows, batches, _partial(trained, rows, batches, kept))
    boxes = [result.boxes_cxcywh for result in results if result.boxes_cxcywh is not None]
    how = batches.fold_mean or trained.config.fold_mean
    mean = mean_predictions([result.probabilities for result in results], how)
    return Predictions(mean, sum(boxes) / len(boxes) if boxes else None)


def _predict_each(
    trained: TrainedRun,
    folds: Sequence[TrainedFold],
    rows: pd.DataFrame,
    batches: _Batches,
    partial: Partial | None = None,
) -> list[Predictions]:
    """Return what each fold's network says of rows of a manifest; each photograph is decoded once."""
    console = batches.console
    way, parts = (None, []) if partial is None else partial.read()
    done = sum(len(part[0].probabilities) for part in parts)
    if done and partial is not None:
        console.print(f"  goes on after {done} of {len(rows)} images, kept in {partial.folder}", soft_wrap=True)
    shown = _shown(trained, folds, rows.iloc[done:], batches)
    if way is None:
        plain = [Reader(fold.net.float(), fold.sizes.standardize) for fold in folds]
        choice = settled_way(plain[0].net, precision=batches.precision, images=len(rows))
        if choice is None:
            looked = list(islice(shown, -(-CHECKED // batches.size)))
            shown = chain(looked, shown)
            choice = choose_way(plain, looked, precision=batches.precision, images=len(rows), device=batches.device)
        way, reason = choice
        if reason:
            console.print(f"  prediction: {way} ({reason})")
        if partial is not None:
            partial.begin(way)
    readers = [Reader(fast_net(fold.net, way), fold.sizes.standardize) for fold in folds]
    tta = batches.tta or trained.config.tta
    answers = predict_batches(readers, shown, classes=trained.classes, device=batches.device, tta=tta)
    parts += answers if partial is None else partial.keep(answers, done=done)
    return [join_predictions([part[number] for part in parts], trained.classes) for number in range(len(folds))]


def _shown(trained: TrainedRun, folds: Sequence[TrainedFold], rows: pd.DataFrame, batches: _Batches) -> Iterator[Batch]:
    """Yield the batches under a bar, sizes in pixels."""
    console, size = batches.console, batches.size
    names = "fold" if len(folds) == 1 else "folds"
    about = f"  {names} {', '.join(str(fold.number) for fold in folds)}"
    loader = _loader(rows, trained, _IN_PIXELS, batch_size=size, workers=batches.workers)
    quiet = not console.is_terminal
    return iter(track(loader, about, console=console, disable=quiet, unit=IMAGES, per_step=size))


def _partial(trained: TrainedRun, rows: pd.DataFrame, batches: _Batches, kept: _Kept) -> Partial:
    """Say what the answers depend on, so that those of another prediction are never taken for this one's."""
    folders = [nets.fold_dir(kept.run_dir, fold.number) for fold in trained.folds]
    files = [kept.run_dir / "config.yaml", *(folder / name for folder in folders for name in (BEST, nets.SIZES))]
    columns = [name for name in dict.fromkeys(("sha256", "height", "width", *REGION)) if name in rows]
    about = {
        "networks": {str(file.relative_to(kept.run_dir)): sha256_of(file) for file in files},
        "images": hashlib.sha256(rows[columns].to_csv().encode()).hexdigest(),
        "tta": batches.tta or trained.config.tta,
        "precision": batches.precision,
        "batch_size": batches.size,
        "device": batches.device.type,
        "torch": torch.__version__,
    }
    return Partial(kept.folder, about, trained.classes)


def _prior(run_dir: Path, classes: Sequence[str]) -> pd.Series:
    return class_frequencies(usable_images(read_table(run_dir / "manifest.csv", MANIFEST))["label"], classes)


def _loader(
    images: pd.DataFrame, trained: TrainedRun, sizes: SizeStatistics, *, batch_size: int, workers: int
) -> DataLoader[Batch]:
    return predict_loader(
        images.assign(label=""),
        boxes=pd.DataFrame(columns=list(BOXES)),
        classes=trained.classes,
        sizes=sizes,
        transform=trained.transform,
        batch_size=batch_size,
        workers=workers,
    )
