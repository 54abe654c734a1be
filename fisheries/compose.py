"""Where configuration becomes what trains a network: folds, batches, losses, phases and a trainer."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from rich.console import Console
from timm.optim._optim_factory import create_optimizer_v2, get_optimizer_class
from torch import nn
from torch.optim import Optimizer

from fisheries.config import AUTO, IMPORTED, is_random, logger_names, plain, transform_values
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.feature_store import PLAIN, FeatureStore
from fisheries.data.image_cache import ImageCache, disk_cache, memory_cache
from fisheries.data.pseudo_rows import PSEUDO_CSV, fold_rows
from fisheries.data.resizing import smaller_epochs
from fisheries.data.splits import make_folds, train_ids, usable_images, val_ids
from fisheries.data.transforms import Transform, eval_transform, train_transform
from fisheries.features import View, code_of, frozen_store
from fisheries.material import Material, nearest_path
from fisheries.models.backbones import check_backbone
from fisheries.models.fishnet import FishNet
from fisheries.models.heads import MAP_HEADS
from fisheries.models.imported import ImportedFeatures
from fisheries.nets import device_of, fold_dir, image_hw_of, resume_path
from fisheries.schema import OK, InputError
from fisheries.training.callbacks import (
    EPOCHS,
    AveragedWeights,
    EpochBar,
    EpochMeans,
    EpochReport,
    EpochTable,
    FiniteLoss,
    Report,
    StepSeed,
    WholeCheckpoints,
    checkpoints,
)
from fisheries.training.devices import choose_devices
from fisheries.training.finetune import (
    OpenGroups,
    Phase,
    check_phases,
    opens_all,
    parameter_groups,
    plain_epochs,
    plan_phases,
)
from fisheries.training.loggers import check_loggers
from fisheries.training.losses import FishLoss
from fisheries.training.lr_finder import TRAINER as LR_FINDER
from fisheries.training.mixing import Mixing
from fisheries.training.module import FishModule
from fisheries.training.pace import Pace
from fisheries.training.precision import takes_channels_last
from fisheries.training.schedules import create_schedule


def check_parts(config: DictConfig, run_dir: Path) -> None:
    """Check that the network, its weights and the GPUs asked for are there, before the long work starts.

    Weights are not needed where every fold has a checkpoint of its own to go on from.

    Raises:
        BackboneError: the network is unknown, or its weights can't be had.
        InputError: as `choose_devices`, `run_phases` and `check_loggers`; several processes would search for a learning rate.
    """
    model, trainer = config.model, config.trainer
    settled = isinstance(config.split.folds, int)  # else the run is a new one
    fresh = not settled or any(resume_path(fold_dir(run_dir, number)) is None for number in fold_numbers(config))
    if model.backbone != IMPORTED:
        check_backbone(model.backbone, pretrained=fresh and model.pretrained and model.weights is None)
    if fresh and model.weights is not None and not Path(model.weights).is_file():
        raise InputError(f"model.weights={model.weights}: no such file{nearest_path(model.weights)}")
    if config.split.file is not None and not Path(config.split.file).is_file():
        raise InputError(f"split.file={config.split.file}: no such file{nearest_path(config.split.file)}")
    began = (run_dir / PSEUDO_CSV).is_file()  # then the run has rows of its own
    if config.pseudo is not None and not began and not Path(config.pseudo).is_file():
        raise InputError(f"pseudo={config.pseudo}: no such file{nearest_path(config.pseudo)}")
    choose_devices(plain(trainer.gpus), accelerator=trainer.accelerator, devices=plain(trainer.devices))
    run_phases(config)
    check_loggers(logger_names(config))
    if config.find_lr and process_count(config) > 1:
        raise InputError("find_lr=true searches in one process: give trainer.gpus=1, or trainer.devices=1")
    if config.find_batch_size and process_count(config) > 1:
        raise InputError("find_batch_size=true searches in one process: give trainer.gpus=1, or trainer.devices=1")


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


def frozen_features(config: DictConfig, net: FishNet, material: Material, *, console: Console) -> FeatureStore | None:
    """Return what is fed in place of photographs, computing what is not stored yet; None if the network sees these.

    That are features made elsewhere, or what a frozen backbone makes of views that do not change from epoch to epoch.

    Raises:
        InputError: as `frozen_store`.
    """
    names = view_names(config)
    if material.features is not None or not names or config.trainer.fast_dev_run:
        return material.features
    model, image_hw = config.model, image_hw_of(config)
    images = material.manifest[material.manifest["status"] == OK]
    augmented = train_transform(image_hw=image_hw, **transform_values(config))
    views = [View(images, PLAIN, eval_transform(image_hw=image_hw))]
    augmentable = usable_images(images)
    if material.pseudo is not None:
        augmentable = pd.concat([augmentable, images.loc[material.pseudo.index.unique()]])
    views += [View(augmentable, name, augmented) for name in names if name != PLAIN]
    about = {key: plain(model[key]) for key in ("backbone", "options", "mean", "std", "stride", "pool")}
    return frozen_store(
        net,
        views,
        about={**about, "takes": "map" if model.head in MAP_HEADS else "features", "image_hw": list(image_hw)},
        base=Path(config.tables_dir),
        device=device_of(config),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        console=console,
    )


def view_names(config: DictConfig) -> list[str]:
    """Return the names of the views that the frozen backbone's features are stored of; [] if it sees new ones each epoch.

    With `model.views` these are as many augmented views; without it the plain one, if the transform leaves nothing to
    chance. A name holds what the transform does, so that others are not taken for it.
    """
    model, transform = config.model, transform_values(config)
    if not model.backbone_frozen or (is_random(config) and model.views is None):
        return []
    if not is_random(config):
        return [PLAIN]
    digest = hashlib.sha256(json.dumps(transform, sort_keys=True).encode()).hexdigest()[:8]
    return [f"{digest}-{config.seed}-{number}" for number in range(model.views)]


def image_cache(config: DictConfig, material: Material, *, console: Console) -> ImageCache | None:
    """Return where photographs are kept at the size that the network sees; None if each is read anew, or none at all."""
    data, image_hw = config.data, image_hw_of(config)
    if data.cache == "none" or material.features is not None or view_names(config) or config.trainer.fast_dev_run:
        return None
    keys = list(material.manifest.loc[material.manifest["status"] == OK, "sha256"].unique())
    limit_bytes, base = int(data.cache_gb * 1e9), Path(config.tables_dir)
    try:
        if data.cache == "memory":
            cache = memory_cache(keys, image_hw=image_hw, limit_bytes=limit_bytes)
        else:
            about = code_of(["data/images.py", "data/shrinking.py"], ["pillow", "torch"])
            cache = disk_cache(base, keys, image_hw=image_hw, about=about, limit_bytes=limit_bytes)
    except OSError as error:
        console.print(f"  {base}: can't be written ({error.strerror}): each photograph is decoded in every epoch")
        return None
    missing, room = cache.missing(keys), len(cache.places.keys() & set(keys))
    if missing:
        gb = 3e-9 * image_hw[0] * image_hw[1] * len(missing)
        console.print(
            f"  keeping {len(missing)} photographs as the network sees them in {cache.folder or 'memory'}: {gb:.2f} GB"
        )
    if room < len(keys):
        console.print(
            f"  room for {room} of {len(keys)} photographs (data.cache_gb={data.cache_gb}): the others are decoded in every epoch"
        )
    return cache


def create_datamodule(
    config: DictConfig,
    material: Material,
    folds: pd.DataFrame,
    *,
    fold: int,
    store: FeatureStore | None = None,
    cache: ImageCache | None = None,
) -> FisheriesDataModule:
    """Divide the material into the fold's two sides and feed them: from a store if there is one.

    Raises:
        InputError: there are pseudo-labels, and none that the fold may train on.
    """
    pseudo = material.pseudo
    return FisheriesDataModule(
        train=material.manifest.loc[train_ids(folds, fold)],
        val=material.manifest.loc[val_ids(folds, fold)],
        boxes=material.boxes,
        classes=material.classes,
        train_transform=train_transform(image_hw=image_hw_of(config), **transform_values(config)),
        eval_transform=eval_transform(image_hw=image_hw_of(config)),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        seed=config.seed,
        epoch_transforms=_epoch_transforms(config),
        balanced=config.data.balanced,
        extra=None if pseudo is None else fold_rows(pseudo, material.manifest, folds, fold).rows,
        extra_share=config.mix.pseudo,
        store=store,
        views=view_names(config) if material.features is None and store is not None else [PLAIN],
        cache=cache,
    )


def scheduled_sizes(config: DictConfig) -> dict[int, tuple[int, int]]:
    """Return height and width of the pictures of the epochs that `transform.schedule` shows smaller, by their number."""
    shares = plain(config.transform.schedule)
    if shares is None or config.find_lr or config.find_batch_size:  # a search does not go through the epochs
        return {}
    return smaller_epochs(shares, image_hw_of(config), epochs=config.trainer.max_epochs)


def _epoch_transforms(config: DictConfig) -> dict[int, Transform]:
    """Return the transforms of epochs with smaller pictures, or with pictures as they are."""
    bare, sizes = plain_epochs(run_phases(config)), scheduled_sizes(config)
    transforms = {}
    for epoch in sorted(bare | sizes.keys()):
        image_hw, values = sizes.get(epoch, image_hw_of(config)), {} if epoch in bare else transform_values(config)
        transforms[epoch] = train_transform(image_hw=image_hw, **values)
    return transforms


def create_module(
    config: DictConfig, net: FishNet, datamodule: FisheriesDataModule, *, provenance: Mapping[str, str]
) -> FishModule:
    """Put loss, optimizer and schedule around a network.

    Raises:
        InputError: a phase opens more groups of layers than the network has.
    """
    loss = FishLoss(
        class_weights=_class_weights(config.loss.class_weights, datamodule),
        label_smoothing=config.loss.label_smoothing,
        box_weight=config.loss.box_weight,
        box_unit_px=config.loss.box_unit_px,
    )
    optimizer, phases, lr_decay = config.optimizer, run_phases(config), config.finetune.lr_decay
    check_phases(phases, groups=len(net.depth_groups()))
    _lay_out(config, net)

    def create_optimizer(net: nn.Module) -> Optimizer:
        made = create_optimizer_v2(
            net if opens_all(phases) and lr_decay == 1 else parameter_groups(net, weight_decay=optimizer.weight_decay),
            opt=optimizer.name,
            lr=optimizer.lr,
            weight_decay=optimizer.weight_decay,
            momentum=optimizer.momentum,
            **_fused(optimizer.name, precision=str(config.trainer.precision)),
        )
        # where losses are scaled, a fused one takes the scale back itself, and gradients can't be clipped before; here none are
        made._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        return made

    return FishModule(
        net,
        loss,
        optimizer=create_optimizer,
        schedule=lambda opt, steps: create_schedule(
            opt,
            name=config.schedule.name,
            warmup=config.schedule.warmup,
            total_steps=steps,
            phases=phases,
            lr_decay=lr_decay,
        ),
        provenance=provenance,
        mix=Mixing(mixup=config.mix.mixup, cutmix=config.mix.cutmix),
        unmixed_epochs=plain_epochs(phases),
    )


def _lay_out(config: DictConfig, net: FishNet) -> None:
    if not config.trainer.channels_last:
        return
    if isinstance(net.backbone, ImportedFeatures) or not takes_channels_last(net, device_of(config)):
        raise InputError(
            f"trainer.channels_last=true: {config.model.backbone} can't be trained so on the CPU; leave it out"
        )
    net.backbone.lay_out(channels_last=True)


def run_phases(config: DictConfig) -> list[Phase]:
    """Return the phases of a run; where the backbone is frozen they open the head only.

    A search for the learning rate has the first phase only.

    Raises:
        InputError: the phases do not fit the epochs, see `plan_phases`.
    """
    parts = plain(config.finetune.phases)
    if config.model.backbone_frozen:
        parts = [{**part, "open": 1} for part in parts]
    return plan_phases(parts[:1] if config.find_lr else parts, max_epochs=config.trainer.max_epochs)


def create_trainer(
    config: DictConfig, folder: Path, *, loggers: Sequence[Logger], console: Console, report: Report | None = None
) -> pl.Trainer:
    """Make Lightning's trainer, writing into `folder`, and telling the loggers, and `report` if given, how it goes.

    Raises:
        InputError: more GPUs asked for than there are, or an argument that Lightning refuses.
    """
    _quieten()
    arguments: dict[str, Any] = plain(config.trainer)
    gpus = arguments.pop("gpus")
    arguments |= choose_devices(gpus, accelerator=arguments["accelerator"], devices=arguments["devices"])
    bar = arguments.pop("enable_progress_bar")
    for ours in ("channels_last", "compile", "on_oom"):  # of the network, and of what is done where memory is short
        del arguments[ours]
    plugins = arguments.pop("plugins") or []
    callbacks = _learning(config)
    if console.is_terminal if bar is None else bar:
        callbacks.append(EpochBar(console))  # before what prints an epoch's line
    arguments["logger"] = False
    if config.find_lr:
        arguments |= LR_FINDER
    elif not arguments["fast_dev_run"]:
        callbacks += [EpochMeans(), EpochTable(folder / EPOCHS, console=console, phases=run_phases(config))]
        callbacks += [EpochReport(report)] if report is not None else []
        callbacks += checkpoints(folder, monitor=arguments["limit_val_batches"] != 0)
        callbacks += [Pace(every_n_steps=arguments["log_every_n_steps"])] if loggers else []
        arguments["logger"] = list(loggers) or False
    try:
        return pl.Trainer(
            **arguments,
            plugins=[WholeCheckpoints(), *(plugins if isinstance(plugins, list) else [plugins])],
            enable_progress_bar=False,  # Lightning's; ours counts images
            callbacks=callbacks,
            default_root_dir=folder,
            use_distributed_sampler=False,  # ours gives each process its own share, the same whatever their number
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error


def _fused(name: str, *, precision: str) -> dict[str, Any]:
    """Ask for one kernel over all parameters where the optimizer has it; with float16 it would not let gradients be clipped."""
    has = "fused" in inspect.signature(get_optimizer_class(name, bind_defaults=False)).parameters
    return {"fused": True} if has and not precision.startswith("16") else {}


def _learning(config: DictConfig) -> list[Callback]:
    """Return what takes part in each step."""
    phases, frozen_batch_norm = run_phases(config), config.finetune.batch_norm == "frozen"
    callbacks: list[Callback] = [StepSeed(config.seed)]
    if frozen_batch_norm or not opens_all(phases):
        callbacks.append(OpenGroups(phases, frozen_batch_norm=frozen_batch_norm))
    if config.find_lr:  # goes on until the loss is no number, and keeps no weights
        return callbacks
    return [*callbacks, FiniteLoss(), *([AveragedWeights(config.ema)] if config.ema else [])]


def _class_weights(kind: str, datamodule: FisheriesDataModule) -> torch.Tensor | None:
    if kind == "none":
        return None
    counts = torch.from_numpy(datamodule.class_counts)
    return counts.sum() / (len(counts) * counts.clamp(min=1))


def _quieten() -> None:
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*in eval mode at the start of training.*",
        ".*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*find_unused_parameters=True.*",
        ".*You have overridden `transfer_batch_to_device`.*",
        ".*LeafSpec.*is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=message)
