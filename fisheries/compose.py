"""The only place where configuration becomes objects, and where a run's folder becomes networks again."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, RichProgressBar
from rich.console import Console
from timm.optim._optim_factory import create_optimizer_v2

from fisheries.config import AUTO, plain, read_config
from fisheries.data import synthetic
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.metadata import SizeStatistics
from fisheries.data.splits import make_folds, train_ids, usable_images, val_ids
from fisheries.data.tables import load_or_scan, tables_dir_of
from fisheries.data.transforms import Transform, eval_transform, train_transform
from fisheries.inference.scoring import read_solution
from fisheries.models.backbones import check_backbone, create_backbone, load_weights
from fisheries.models.fishnet import FishNet
from fisheries.schema import InputError, nearest, write_atomic
from fisheries.training.callbacks import (
    BEST,
    EPOCHS,
    LAST,
    EpochTable,
    FiniteLoss,
    StepSeed,
    WholeCheckpoints,
    checkpoints,
)
from fisheries.training.devices import choose_devices
from fisheries.training.loggers import create_logger
from fisheries.training.losses import FishLoss
from fisheries.training.module import FishModule
from fisheries.training.schedules import create_schedule

SIZES = "sizes.json"


@dataclass(frozen=True)
class Material:
    """What a run learns from: tables, and the names of the classes."""

    root: Path
    manifest: pd.DataFrame
    boxes: pd.DataFrame
    classes: list[str]


@dataclass(frozen=True)
class TrainedFold:
    """One fold's network with what is needed to feed it."""

    number: int
    net: FishNet
    sizes: SizeStatistics


@dataclass(frozen=True)
class TrainedRun:
    """A run's networks and how their images are prepared."""

    config: DictConfig
    classes: list[str]
    transform: Transform
    folds: list[TrainedFold]


def load_material(config: DictConfig, *, console: Console) -> Material:
    """Scan the photographs, or reuse the tables of an earlier scan; draw the embedded boats if they are not there.

    Raises:
        InputError: no photographs, unknown class names, unusable box files or boats.
    """
    data = config.data
    if data.solution is not None:
        read_solution(data.solution)  # or a wrong one would only show after training
    if data.synth is not None and data.root is not None:
        raise InputError(
            f"data.root={data.root}: data=synthetic draws its own; use data=ncfm or data=folder, or data.root=null"
        )
    root = Path(data.root) if data.synth is None else _draw_synthetic(data.synth, console=console)
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder{_nearest_path(root)}; data.root is the one with train/ and test_stg1/ in it"
        )
    manifest, boxes = load_or_scan(
        root,
        annotations=None if data.annotations is None else [Path(file) for file in data.annotations],
        boats=None if data.boats is None else Path(data.boats),
        no_fish=data.no_fish or "",
        tables_dir=tables_dir_of(root, Path(config.tables_dir)),
        progress=console.is_terminal,
    )
    found = sorted(set(usable_images(manifest)["label"]))
    classes = list(data.classes) if data.classes is not None else found
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise InputError(
            f"{root}: train/{unknown[0]} is no class{nearest(unknown[0], classes)} of data.classes={classes}: rename it, or add it there"
        )
    if len(classes) < 2:
        raise InputError(f"{root}: {len(found)} classes with usable images under train/, expected at least 2")
    return Material(root, manifest, boxes, classes)


def check_parts(config: DictConfig, run_dir: Path) -> None:
    """Check that the network, its weights and the GPUs asked for are there, before the long work starts.

    Weights are not needed where every fold has a checkpoint of its own to go on from.

    Raises:
        BackboneError: the network is unknown, or its weights can't be had.
        InputError: as `choose_devices`.
    """
    model, trainer = config.model, config.trainer
    settled = isinstance(config.split.folds, int)  # else the run is a new one
    fresh = not settled or any(resume_path(fold_dir(run_dir, number)) is None for number in fold_numbers(config))
    check_backbone(model.backbone, pretrained=fresh and model.pretrained and model.weights is None)
    if fresh and model.weights is not None and not Path(model.weights).is_file():
        raise InputError(f"model.weights={model.weights}: no such file{_nearest_path(model.weights)}")
    if config.split.file is not None and not Path(config.split.file).is_file():
        raise InputError(f"split.file={config.split.file}: no such file{_nearest_path(config.split.file)}")
    choose_devices(plain(trainer.gpus), accelerator=trainer.accelerator, devices=plain(trainer.devices))


def draw_folds(config: DictConfig, material: Material) -> pd.DataFrame:
    """Draw the fold table that the configuration asks for, and write into it how many folds there are.

    Raises:
        InputError: as `make_folds`; `fold` is not one of them.
    """
    split = config.split
    folds = make_folds(
        material.manifest,
        split=split.name,
        folds=None if split.folds == AUTO else split.folds,
        seed=config.seed,
        holdout=plain(split.holdout),
        seen_share=split.seen_share,
        file=None if split.file is None else Path(split.file),
    )
    count = int(folds["fold"].max()) + 1
    if config.fold != "all" and config.fold >= count:
        raise InputError(f"fold={config.fold}: there are {count} folds; expected 0 to {count - 1}, or all")
    split.folds = count
    return folds


def fold_numbers(config: DictConfig) -> list[int]:
    """Return the folds to train; the number of folds must be settled, see `draw_folds`."""
    return list(range(config.split.folds)) if config.fold == "all" else [config.fold]


def process_count(config: DictConfig) -> int:
    """Return how many processes train together."""
    trainer = config.trainer
    chosen = choose_devices(plain(trainer.gpus), accelerator=trainer.accelerator, devices=plain(trainer.devices))[
        "devices"
    ]
    count = len(chosen) if isinstance(chosen, list) else chosen if isinstance(chosen, int) and chosen > 0 else 1
    return count * int(trainer.num_nodes)


def settle(config: DictConfig, material: Material) -> None:
    """Write into the configuration what was found, and paths that hold from any folder."""
    config.data.root, config.data.classes = str(material.root.resolve()), material.classes
    paths = ((config.data, "boats"), (config.data, "solution"), (config.model, "weights"), (config.split, "file"))
    for node, key in paths:
        if node[key] is not None:
            node[key] = str(Path(node[key]).resolve())


def create_net(
    model: DictConfig,
    *,
    classes: int,
    sizes: SizeStatistics,
    image_hw: tuple[int, int],
    console: Console,
    trained: bool = False,
) -> FishNet:
    """Build the network.

    Args:
        model: the configuration's `model`.
        classes: how many there are.
        sizes: of the training fold.
        image_hw: height and width of the pictures it will see.
        console: where to say which weights were loaded.
        trained: whether a checkpoint fills it next, so that no other weights are needed.

    Raises:
        BackboneError: see `create_backbone` and `load_weights`.
        InputError: the network does not take pictures of that size.
    """
    pretrained = model.pretrained and model.weights is None and not trained
    backbone = create_backbone(
        model.backbone,
        pretrained=pretrained,
        mean=plain(model.mean),
        std=plain(model.std),
        options=plain(model.options),
    )
    if model.weights is not None and not trained:
        console.print(f"  {model.weights}: {load_weights(backbone, model.weights)}")
    net = FishNet(
        backbone,
        classes=classes,
        head=model.head,
        dropout=model.dropout,
        metadata=model.metadata,
        known_hw=torch.from_numpy(sizes.known_standardized()),
        predict_box=model.predict_box,
    )
    _check_input(net, image_hw, name=model.backbone)
    return net


def create_datamodule(config: DictConfig, material: Material, folds: pd.DataFrame, *, fold: int) -> FisheriesDataModule:
    """Divide the material into the fold's two sides and feed them."""
    return FisheriesDataModule(
        train=material.manifest.loc[train_ids(folds, fold)],
        val=material.manifest.loc[val_ids(folds, fold)],
        boxes=material.boxes,
        classes=material.classes,
        train_transform=train_transform(image_hw=image_hw_of(config), **plain(config.transform)),
        eval_transform=eval_transform(image_hw=image_hw_of(config)),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        seed=config.seed,
        balanced=config.data.balanced,
    )


def create_module(
    config: DictConfig, net: FishNet, datamodule: FisheriesDataModule, *, provenance: Mapping[str, str]
) -> FishModule:
    """Put loss, optimizer and schedule around a network."""
    loss = FishLoss(
        class_weights=_class_weights(config.loss.class_weights, datamodule),
        label_smoothing=config.loss.label_smoothing,
        box_weight=config.loss.box_weight,
        box_unit_px=config.loss.box_unit_px,
    )
    optimizer = config.optimizer
    return FishModule(
        net,
        loss,
        optimizer=partial(
            create_optimizer_v2,
            opt=optimizer.name,
            lr=optimizer.lr,
            weight_decay=optimizer.weight_decay,
            momentum=optimizer.momentum,
        ),
        schedule=lambda opt, steps: create_schedule(
            opt, name=config.schedule.name, warmup=config.schedule.warmup, total_steps=steps
        ),
        provenance=provenance,
    )


def create_trainer(config: DictConfig, folder: Path, *, run_name: str, console: Console) -> pl.Trainer:
    """Make Lightning's trainer, writing into `folder`.

    Raises:
        InputError: more GPUs asked for than there are, or an argument that Lightning refuses.
    """
    _quieten()
    arguments: dict[str, Any] = plain(config.trainer)
    gpus = arguments.pop("gpus")
    arguments |= choose_devices(gpus, accelerator=arguments["accelerator"], devices=arguments["devices"])
    bar = arguments.pop("enable_progress_bar")
    plugins = arguments.pop("plugins") or []
    callbacks: list[Callback] = [StepSeed(config.seed), FiniteLoss()]
    if not arguments["fast_dev_run"]:
        callbacks.append(EpochTable(folder / EPOCHS, console=console))
        callbacks += checkpoints(folder, monitor=arguments["limit_val_batches"] != 0)
        logger = create_logger(**plain(config.logger), folder=folder, run_name=run_name, console=console)
    bar = console.is_terminal if bar is None else bar
    if bar:
        callbacks.append(RichProgressBar(leave=False))
    try:
        return pl.Trainer(
            **arguments,
            plugins=[WholeCheckpoints(), *(plugins if isinstance(plugins, list) else [plugins])],
            enable_progress_bar=bar,
            callbacks=callbacks,
            logger=False if arguments["fast_dev_run"] else logger,
            default_root_dir=folder,
            use_distributed_sampler=False,  # ours gives each process its own share, the same whatever their number
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error


def fold_dir(run_dir: Path, fold: int) -> Path:
    """Return where a fold's checkpoints and tables lie."""
    return run_dir / f"fold-{int(fold)}"


def save_sizes(sizes: SizeStatistics, folder: Path) -> None:
    """Write what a fold's network needs to read image sizes."""
    write_atomic(folder / SIZES, json.dumps(asdict(sizes)).encode())


def load_run(run_dir: Path, *, console: Console) -> TrainedRun:
    """Rebuild the networks of a run from its configuration and checkpoints; nothing is unpickled.

    Raises:
        InputError: the folder is no run, or no fold of it has been trained.
    """
    config = read_config(run_dir)
    numbers = sorted(int(path.parent.name.removeprefix("fold-")) for path in run_dir.glob("fold-*/oof.csv"))
    if not numbers:
        raise InputError(f"{run_dir}: no fold is trained to its end; go on with: python train.py resume={run_dir}")
    classes = list(config.data.classes)
    folds = []
    for number in numbers:
        sizes = _read_sizes(fold_dir(run_dir, number))
        net = create_net(
            config.model, classes=len(classes), sizes=sizes, image_hw=image_hw_of(config), console=console, trained=True
        )
        load_checkpoint(net, fold_dir(run_dir, number) / BEST)
        folds.append(TrainedFold(number, net, sizes))
    return TrainedRun(config, classes, eval_transform(image_hw=image_hw_of(config)), folds)


def load_checkpoint(net: FishNet, path: Path) -> None:
    """Fill a network from a checkpoint of ours, without unpickling."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        net.load_state_dict(
            {name.removeprefix("net."): tensor for name, tensor in state.items() if name.startswith("net.")}
        )
    except Exception as error:
        raise InputError(
            f"{path}: not a checkpoint of this run's network ({str(error).splitlines()[0][:120]})"
        ) from error


def resume_path(folder: Path) -> Path | None:
    """Return the last whole checkpoint of a fold, or None if it has not finished an epoch."""
    path = folder / LAST
    return path if path.is_file() else None


def _draw_synthetic(synth: DictConfig, *, console: Console) -> Path:
    options = plain(synth)
    sources = sorted(Path(synthetic.__file__).parent.glob("synthetic*.py"))
    text = json.dumps(options, sort_keys=True).encode() + b"".join(source.read_bytes() for source in sources)
    root = Path("data") / f"synthetic-{hashlib.sha256(text).hexdigest()[:8]}"
    if not root.is_dir():
        console.print(f"Drawing the embedded boats into {root}")
        synthetic.draw_competition(root, progress=console.is_terminal, **options)
    return root


def _check_input(net: FishNet, image_hw: tuple[int, int], *, name: str) -> None:
    """Try a picture of that size; some networks take their own size only, and some fail on small ones."""
    try:
        with torch.inference_mode():
            net.eval()(torch.zeros(2, 3, *image_hw, dtype=torch.uint8), torch.zeros(2, 2))
    except (AssertionError, RuntimeError) as error:
        height, width = image_hw
        raise InputError(
            f"{name} does not take pictures of data.image_hw=[{height},{width}] ({' '.join(str(error).split())[:120]}): "
            f"try another size, or model.options={{img_size:[{height},{width}]}}"
        ) from error
    net.train()


def _nearest_path(path: Path | str) -> str:
    folder = Path(path).absolute().parent
    return nearest(Path(path).name, [child.name for child in folder.iterdir()]) if folder.is_dir() else ""


def _class_weights(kind: str, datamodule: FisheriesDataModule) -> torch.Tensor | None:
    if kind == "none":
        return None
    counts = torch.from_numpy(datamodule.class_counts)
    return counts.sum() / (len(counts) * counts.clamp(min=1))


def image_hw_of(config: DictConfig) -> tuple[int, int]:
    """Return height and width of the pictures that the network sees."""
    height, width = config.data.image_hw
    return int(height), int(width)


def _read_sizes(folder: Path) -> SizeStatistics:
    values = json.loads((folder / SIZES).read_text())
    return SizeStatistics(
        mean_hw=tuple(values["mean_hw"]),
        std_hw=tuple(values["std_hw"]),
        known_hw=tuple((height, width) for height, width in values["known_hw"]),
    )


def _quieten() -> None:
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*find_unused_parameters=True.*",
        ".*LeafSpec.*is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=message)
