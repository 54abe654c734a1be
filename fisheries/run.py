"""The main job: from a folder of photographs to held-out scores and a submission file."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger
from rich.console import Console

from fisheries import compose, nets
from fisheries.analysis.page import figure_png
from fisheries.batch_size import find_batch_size
from fisheries.commit import git_commit
from fisheries.compose import fold_numbers
from fisheries.config import IMPORTED, logger_names, save_config
from fisheries.config_check import check_config
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.image_cache import ImageCache
from fisheries.data.metadata import fit_sizes
from fisheries.data.pseudo_rows import PSEUDO_CSV, fold_rows, read_pseudo
from fisheries.data.splits import check_folds, holdout_ids, missing_classes, seen_ids, train_ids, usable_images
from fisheries.inference.predict import box_table, predict, with_prior
from fisheries.inference.scoring import class_frequencies
from fisheries.inference.tta import check_views
from fisheries.material import Material, load_material, reopen_material, settle
from fisheries.memory import give_blocks_back, keep_large_blocks
from fisheries.models.fishnet import FishNet
from fisheries.nets import fold_dir
from fisheries.precision import settle_precision
from fisheries.progress import IMAGES, track
from fisheries.results import finish, material_hash
from fisheries.schema import (
    FOLDS,
    OK,
    TRAIN,
    read_table,
    sweep_leftovers,
    table_hash,
    write_atomic,
    write_predictions,
    write_table,
)
from fisheries.tracking import open_run, send_experiment, send_fold
from fisheries.training.callbacks import BEST, Report
from fisheries.training.compiled import compile_net, interpret_net
from fisheries.training.devices import hide_missing_gpus
from fisheries.training.fitting import OutOfMemoryError, fit, memory_told
from fisheries.training.loggers import create_loggers
from fisheries.training.lr_finder import plot_lr, search_lr, suggest_lr
from fisheries.training.module import FishModule

_OTHERS_WRITE_S = 3600  # tables are shared: what another run has begun to write since is not left over


def run(config: Any, run_dir: Path, *, name: str, console: Console, report: Report | None = None) -> None:
    """Train, predict, score, and write a submission.

    Args:
        config: the composed configuration; on resuming, the run's own.
        run_dir: where everything of the run goes; what is there already is not done again.
        name: of the run, and of its submission.
        console: where to say what happens.
        report: is told of each epoch of the first fold; the others hold out other boats, where a loss means something else.

    Raises:
        InputError: something given can't be used.
        Pruned: `report` answered why to stop.
        KeyboardInterrupt: Ctrl-C; the last finished epoch is kept.
    """
    started_s = time.perf_counter()
    check_config(config)
    keep_large_blocks()
    hide_missing_gpus()
    compose.check_parts(config, run_dir)
    if is_main_process():
        for folder in (run_dir, *run_dir.glob("fold-*")):
            sweep_leftovers(folder)
        tables = Path(config.tables_dir)
        for folder in (tables, *tables.glob("*/")):
            sweep_leftovers(folder, older_s=_OTHERS_WRITE_S)
    material, folds = _tables(config, run_dir, console=console)
    searches = config.find_lr or config.find_batch_size
    numbers = fold_numbers(config)[:1] if searches else fold_numbers(config)
    if material.pseudo is not None:
        _describe_pseudo(material.pseudo, material, folds, numbers, console=console)
    if settle_precision(config, material, console=console) and is_main_process():
        save_config(config, run_dir)
    cache = compose.image_cache(config, material, console=console)
    for number in numbers:
        if (fold_dir(run_dir, number) / "oof.csv").is_file():
            console.print(f"Fold {number}: already trained")
        else:
            told = report if number == numbers[0] else None
            _train_fold(config, material, folds, number, run_dir, cache=cache, name=name, console=console, report=told)
    if config.trainer.fast_dev_run:
        console.print("trainer.fast_dev_run: the batches went through; nothing is predicted or written")
    elif not searches and is_main_process():
        seconds = time.perf_counter() - started_s
        scored = finish(config, material, folds, numbers, run_dir, name=name, seconds=seconds, console=console)
        tracked: dict[str, Any] = {"name": name, "provenance": _provenance(material, folds), "console": console}
        with open_run(config, run_dir, number=None, **tracked) as wandb_run:
            if wandb_run is not None:
                send_experiment(wandb_run, config, material, scored, numbers, run_dir, **tracked)


def _provenance(material: Material, folds: pd.DataFrame) -> dict[str, str]:
    """Return what a network is made of: the hashes of its tables, and the code's commit."""
    return {"folds": table_hash(folds), "manifest": material_hash(material.manifest), "git_commit": git_commit()}


def is_main_process() -> bool:
    """Whether this is the process that writes, among those that train together."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _tables(config: Any, run_dir: Path, *, console: Console) -> tuple[Material, pd.DataFrame]:
    """Return the run's tables, writing them where it is new."""
    folds_csv, pseudo_csv = run_dir / "folds.csv", run_dir / PSEUDO_CSV
    if folds_csv.is_file():
        material = reopen_material(run_dir)
        folds = read_table(folds_csv, FOLDS)
    else:
        material = load_material(config, console=console)
        folds = compose.draw_folds(config, material)
        if config.pseudo is not None:
            pseudo = read_pseudo(config.pseudo, material.classes, manifest=material.manifest, folds=folds)
            material = replace(material, pseudo=pseudo)
            write_predictions(
                pseudo, pseudo_csv, folds_hash=table_hash(folds)
            )  # so that the run has what it began with
        settle(config, material)
        save_config(config, run_dir)
        write_table(material.manifest, run_dir / "manifest.csv")
        write_table(material.boxes, run_dir / "boxes.csv")
        write_table(folds, folds_csv)
    check_folds(folds, material.manifest)
    _describe(config, material, folds, console=console)
    return material, folds


def _describe(config: Any, material: Material, folds: pd.DataFrame, *, console: Console) -> None:
    images = usable_images(material.manifest)
    test = material.manifest[material.manifest["subset"] != TRAIN]
    boats, left_out = images["boat"].replace("", None).nunique(), len(images) - len(folds)
    console.print(
        f"{material.root}: {len(images)} training images, {len(material.classes)} classes, {boats} boats; {len(test)} test images; "
        f"{folds['fold'].max() + 1} folds, split by {folds['split'].iloc[0]} ({table_hash(folds)})"
    )
    unusable = (material.manifest["status"] != OK).sum()
    if unusable:
        console.print(f"  {unusable} files can't be used: `fisheries manifest {material.root}` lists them")
    for note in folds.attrs.get("notes", []):
        console.print(f"  {note}")
    if left_out and config.split.name == "boat":
        console.print(f"  {left_out} images of unknown boats are in no fold: their boat could be on both sides")
    for name in sorted(set(material.classes) - set(images["label"])):
        console.print(
            f"  [yellow]no usable training image of {name}[/]: the prior gives it 0, and Kaggle 34.5 for that"
        )
    for line in missing_classes(folds, images["label"]):
        console.print(f"  [yellow]{line}[/]")


def _train_fold(
    config: Any,
    material: Material,
    folds: pd.DataFrame,
    number: int,
    run_dir: Path,
    *,
    cache: ImageCache | None,
    name: str,
    console: Console,
    report: Report | None,
) -> None:
    folder = fold_dir(run_dir, number)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    sizes = fit_sizes(material.manifest.loc[train_ids(folds, number)])
    resume_path = nets.resume_path(folder)
    net = nets.create_net(
        config.model,
        classes=len(material.classes),
        sizes=sizes,
        image_hw=nets.image_hw_of(config),
        console=console,
        trained=resume_path is not None,
    )
    if resume_path is not None:
        nets.check_resumable(net, resume_path)  # and a frozen backbone is asked before Lightning loads it
    if config.model.backbone != IMPORTED:
        check_views(net, config.tta, image_hw=nets.image_hw_of(config), name=config.model.backbone)
        smaller = compose.scheduled_sizes(config)
        nets.check_sizes(net, dict.fromkeys(smaller.values()), name=config.model.backbone)
    store = compose.frozen_features(config, net, material, console=console)
    if store is None and config.model.backbone_frozen:
        console.print(
            "  the frozen backbone sees new views each epoch; transform=none or model.views=4 would store its features"
        )
    data = compose.create_datamodule(config, material, folds, fold=number, store=store, cache=cache)
    seen = len(seen_ids(folds, number))
    console.print(
        f"Fold {number}: {config.model.backbone} on {len(data.train)} images, {len(data.val)} held out"
        + (f", and {seen} of the boats it trains on" if seen else "")
    )
    if config.find_batch_size:
        find_batch_size(config, net, data, console=console)
        return
    provenance = _provenance(material, folds)
    module = compose.create_module(config, net, data, provenance=provenance)
    if config.trainer.compile:
        compile_net(net, image_hw=nets.image_hw_of(config), console=console)
    if config.find_lr:
        _find_lr(config, module, data, run_dir, console=console)
        return
    nets.save_sizes(sizes, folder)
    tracked: dict[str, Any] = {"name": name, "provenance": provenance, "console": console}
    with open_run(config, run_dir, number=number, **tracked) as wandb_run:
        loggers = create_loggers(logger_names(config), folder=folder, wandb_run=wandb_run, console=console)
        trainer = _fit(config, module, data, folder, loggers=loggers, console=console, report=report)
        if config.trainer.fast_dev_run:
            return
        _keep_best(trainer, net, folder)
        interpret_net(net)
        if not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        with memory_told(data.batch_size, accumulated=config.trainer.accumulate_grad_batches):
            _predict_fold(
                net, data, material, folds, folder, number=number, device=device, tta=config.tta, console=console
            )
        if wandb_run is not None:
            send_fold(wandb_run, config, material, folds, number, run_dir, net=net, data=data, device=device, **tracked)


def _fit(
    config: Any,
    module: FishModule,
    data: FisheriesDataModule,
    folder: Path,
    *,
    loggers: Sequence[Logger],
    console: Console,
    report: Report | None,
) -> pl.Trainer:
    """Train, and return what did; where memory is short, go on from the last epoch with half the batch if wanted.

    Raises:
        OutOfMemoryError: that is not wanted, or the batch is one image, or processes train together, of which others go on.
    """
    halves, first = config.trainer.on_oom == "halve", nets.resume_path(folder) is None
    untrained = {name: tensor.clone() for name, tensor in module.net.state_dict().items()} if halves and first else {}
    while True:
        trainer = compose.create_trainer(config, folder, loggers=loggers, console=console, report=report)
        try:
            with memory_told(data.batch_size, accumulated=config.trainer.accumulate_grad_batches):
                fit(trainer, module, data, resume_path=nets.resume_path(folder))
            return trainer
        except OutOfMemoryError as error:
            if not halves or data.batch_size == 1 or trainer.world_size > 1:
                raise
            told = str(error).split(":")[0]
        del trainer  # and with it what the batch took
        gc.collect()
        give_blocks_back()
        torch.cuda.empty_cache()
        if nets.resume_path(folder) is None:
            module.net.load_state_dict(untrained)
        data.batch_size = config.data.batch_size = data.batch_size // 2
        config.trainer.accumulate_grad_batches *= 2
        save_config(config, folder.parent)
        console.print(f"  [yellow]{told}[/]: going on with {data.batch_size}, and twice as many batches to a step")


def _describe_pseudo(
    pseudo: pd.DataFrame, material: Material, folds: pd.DataFrame, numbers: Sequence[int], *, console: Console
) -> None:
    """Say what each fold trains on; one that gets nothing is refused before the others are trained."""
    for number in numbers:
        entered = fold_rows(pseudo, material.manifest, folds, number)
        reasons = ", ".join(f"{reason} {count}" for reason, count in entered.left_out.items())
        left_out = f"{sum(entered.left_out.values())} left out{': ' * bool(reasons)}{reasons}"
        console.print(f"  pseudo: {len(entered.rows)} rows of fold {number} ({left_out})")


def _find_lr(config: Any, module: FishModule, data: FisheriesDataModule, run_dir: Path, *, console: Console) -> None:
    """Search for a learning rate, draw what was found, and say it; the network stays as it was."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = compose.create_trainer(config, Path(folder), loggers=[], console=console)
        table = search_lr(
            trainer, module, data, factor=compose.run_phases(config)[0].lr, lr_decay=config.finetune.lr_decay
        )
    write_atomic(run_dir / "lr_find.csv", table.to_csv(index=False).encode())
    suggestion = suggest_lr(table)
    title = f"{config.model.backbone}, {config.optimizer.name}"
    write_atomic(run_dir / "lr_find.png", figure_png(plot_lr(table, suggestion=suggestion, title=title)))
    console.print(
        f"Learning rate: the loss falls fastest at optimizer.lr={suggestion:.1e} (now {config.optimizer.lr:.1e}); "
        f"{run_dir / 'lr_find.png'}; nothing is trained"
    )


def _keep_best(trainer: pl.Trainer, net: FishNet, folder: Path) -> None:
    """Fill the network with the best epoch's weights; where no held-out batch said which it was, that is the last."""
    if trainer.strategy.broadcast((folder / BEST).is_file()):
        nets.load_checkpoint(net, folder / BEST)
    else:
        trainer.save_checkpoint(folder / BEST, weights_only=True)  # every process must call it


def _predict_fold(
    net: FishNet,
    data: FisheriesDataModule,
    material: Material,
    folds: pd.DataFrame,
    folder: Path,
    *,
    number: int,
    device: torch.device,
    tta: str,
    console: Console,
) -> None:
    manifest = material.manifest
    prior = class_frequencies(data.train["label"], material.classes)
    parts = {
        "test": manifest[manifest["subset"] != TRAIN],
        "holdout": manifest.loc[holdout_ids(folds)],
        "seen": manifest.loc[seen_ids(folds, number)],
        "oof": data.val,  # last, since the fold counts as trained once it is there
    }
    for stem, images in parts.items():
        readable = images[images["status"] == OK]
        if len(images):
            batches = data.predict_loader(readable, photographs=tta != "none")
            shown = track(
                batches,
                f"  predicting {stem}",
                console=console,
                disable=not console.is_terminal,
                unit=IMAGES,
                per_step=data.batch_size,
            )
            predicted = predict(net, shown, classes=material.classes, device=device, tta=tta)
            if predicted.boxes_cxcywh is not None:
                write_table(box_table(predicted.boxes_cxcywh, manifest), folder / f"{stem}_boxes.csv")
            whole = with_prior(predicted.probabilities, images.index, prior)
            write_predictions(whole, folder / f"{stem}.csv", folds_hash=table_hash(folds))
