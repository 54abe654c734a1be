"""Networks: made as a configuration says, and made again from a run's folder, where nothing is unpickled."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig
from rich.console import Console

from fisheries.config import IMPORTED, plain, read_config
from fisheries.data.cropping import CropRule, check_rule
from fisheries.data.metadata import SizeStatistics, fit_sizes
from fisheries.data.transforms import Transform, eval_transform
from fisheries.models.backbones import Backbone, create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.models.heads import MAP_HEADS
from fisheries.models.imported import ImportedFeatures
from fisheries.models.weights import load_weights
from fisheries.schema import InputError, write_atomic
from fisheries.training.callbacks import BEST, LAST
from fisheries.training.devices import choose_device

SIZES = "sizes.json"
_RESUMED = {"epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers"}
_ANEW = "remove it to train the fold from its beginning"


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
        InputError: the network does not take pictures of that size, or its parts do not fit together.
    """
    backbone = _backbone(model, console=console, trained=trained)
    # weights may have been learned below the head that this seed draws, and would know it again
    file = None if model.weights is None or trained else Path(model.weights)
    torch.manual_seed(torch.initial_seed() + 1 + (zlib.crc32(file.read_bytes()) if file else 0))
    try:
        net = FishNet(
            backbone,
            classes=classes,
            head=model.head,
            head_options=plain(model.head_options),
            dropout=model.dropout,
            metadata=model.metadata,
            known_hw=torch.from_numpy(sizes.known_standardized()),
            predict_box=model.predict_box,
        )
        if model.backbone != IMPORTED:
            _check_input(net, image_hw, name=model.backbone)
    except ValueError as error:
        raise InputError(str(error)) from error
    return net


def _backbone(model: DictConfig, *, console: Console, trained: bool) -> Backbone | ImportedFeatures:
    if model.backbone == IMPORTED:
        return ImportedFeatures(**plain(model.options))
    backbone = create_backbone(
        model.backbone,
        pretrained=model.pretrained and model.weights is None and not trained,
        mean=plain(model.mean),
        std=plain(model.std),
        options=plain(model.options),
        stride=model.stride,
        pool="avg" if model.head in MAP_HEADS else model.pool,  # or layers would stay that such a head has no use for
    )
    if model.weights is not None and not trained:
        console.print(f"  {model.weights}: {load_weights(backbone.network, model.weights)}")
    return backbone


def fold_dir(run_dir: Path, fold: int) -> Path:
    """Return where a fold's checkpoints and tables lie."""
    return run_dir / f"fold-{int(fold)}"


def save_sizes(sizes: SizeStatistics, folder: Path) -> None:
    """Write what a fold's network needs to read image sizes."""
    write_atomic(folder / SIZES, json.dumps(asdict(sizes)).encode())


def load_run(run_dir: Path, *, console: Console) -> TrainedRun:
    """Rebuild the networks of a run from its configuration and checkpoints; nothing is unpickled.

    Raises:
        InputError: the folder is no run, no fold of it has been trained, or it was trained without photographs.
    """
    config = read_config(run_dir)
    if config.model.backbone == IMPORTED:
        raise InputError(
            f"{run_dir}: was trained on imported features, and can't see photographs; its test.csv is all it says"
        )
    numbers = sorted(int(path.parent.name.removeprefix("fold-")) for path in run_dir.glob("fold-*/oof.csv"))
    if not numbers:
        raise InputError(f"{run_dir}: no fold is trained to its end; go on with: python train.py resume={run_dir}")
    classes = list(config.data.classes)
    folds = []
    for number in numbers:
        sizes = read_sizes(fold_dir(run_dir, number))
        net = create_net(
            config.model, classes=len(classes), sizes=sizes, image_hw=image_hw_of(config), console=console, trained=True
        )
        load_checkpoint(net, fold_dir(run_dir, number) / BEST)
        folds.append(TrainedFold(number, net, sizes))
    return TrainedRun(config, classes, eval_transform(image_hw=image_hw_of(config)), folds)


def crop_rule(config: DictConfig, run_dir: Path) -> CropRule:
    """Return how the crops that a run was trained on were cut.

    Raises:
        InputError: it was not trained on crops, or does not know how they were cut.
    """
    values = plain(config.data.get("crops"))
    if values is None:
        raise InputError(
            f"{run_dir}: not known to be trained on crops; train on a folder that `fisheries crops` made, or on others with "
            "data.crops={context:1.2,square:false}, as they were cut"
        )
    return check_rule(values, f"{run_dir}: data.crops")


def load_checkpoint(net: FishNet, path: Path) -> None:
    """Fill a network from a checkpoint of ours, without unpickling.

    Raises:
        InputError: it is something else, or another network's.
    """
    _load_state(net, path)


def check_resumable(net: FishNet, path: Path) -> None:
    """Check that training can go on from a checkpoint, and fill the network from it.

    Raises:
        InputError: it is none of this run's network, or holds its weights only.
    """
    lacking = sorted(_RESUMED - _load_state(net, path).keys())
    if lacking:
        raise InputError(f"{path}: has no {lacking[0]!r}; {_ANEW}")


def _load_state(net: FishNet, path: Path) -> Mapping[str, Any]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint["state_dict"]
        net.load_state_dict(
            {name.removeprefix("net."): tensor for name, tensor in state.items() if name.startswith("net.")}
        )
    except Exception as error:  # what a broken file makes a reader stumble over has any type
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        remedy = f"; {_ANEW}" if path.name == LAST else ""
        raise InputError(f"{path}: not a checkpoint of this run's network ({reason[:120]}){remedy}") from error
    return checkpoint


def resume_path(folder: Path) -> Path | None:
    """Return the last whole checkpoint of a fold, or None if it has not finished an epoch."""
    path = folder / LAST
    return path if path.is_file() else None


def _check_input(net: FishNet, image_hw: tuple[int, int], *, name: str) -> None:
    """Try a picture of that size; some networks take their own size only, and some fail on small ones."""
    height, width = image_hw
    why = _refusal(net, image_hw)
    if why:
        raise InputError(
            f"{name} does not take pictures of data.image_hw=[{height},{width}] ({why}): "
            f"try another size, or model.options={{img_size:[{height},{width}]}}"
        )


def check_sizes(net: FishNet, sizes: Iterable[tuple[int, int]], *, name: str) -> None:
    """Try pictures of each of the sizes that a schedule comes to, height and width.

    Raises:
        InputError: the network, called `name`, does not take them.
    """
    for height, width in sizes:
        why = _refusal(net, (height, width))
        if why:
            raise InputError(
                f"transform.schedule: {name} does not take pictures of {height}x{width} pixels ({why}); "
                "give transform.schedule=null, or other shares"
            )


def _refusal(net: FishNet, image_hw: tuple[int, int]) -> str:
    """Return why a network does not take pictures of that size, or ""."""
    try:
        with torch.inference_mode():
            net.eval()(torch.zeros(2, 3, *image_hw, dtype=torch.uint8), torch.zeros(2, 2))
    except (AssertionError, RuntimeError) as error:
        return " ".join(str(error).split())[:120] or type(error).__name__
    net.train()
    return ""


def image_hw_of(config: DictConfig) -> tuple[int, int]:
    """Return height and width of the pictures that the network sees."""
    height, width = config.data.image_hw
    return int(height), int(width)


def device_of(config: DictConfig) -> torch.device:
    """Return the device that a configuration trains or predicts on.

    Raises:
        InputError: as `choose_devices`.
    """
    trainer = config.trainer
    return choose_device(plain(trainer.gpus), accelerator=trainer.accelerator, devices=plain(trainer.devices))


def empty_net(config: DictConfig, images: pd.DataFrame, *, classes: int, console: Console) -> FishNet:
    """Return the network of a configuration with weights of noise, to measure it.

    Args:
        config: of the run.
        images: rows of the manifest that sizes are fitted on.
        classes: how many there are.
        console: as in `create_net`.

    Raises:
        InputError: as `create_net`.
    """
    return create_net(
        config.model,
        classes=classes,
        sizes=fit_sizes(images),
        image_hw=image_hw_of(config),
        console=console,
        trained=True,
    )


def read_sizes(folder: Path) -> SizeStatistics:
    """Read what `save_sizes` wrote.

    Raises:
        InputError: the file is missing, or something else.
    """
    path = folder / SIZES
    try:
        values = json.loads(path.read_bytes())
        mean_hw, std_hw = [(float(height), float(width)) for height, width in (values["mean_hw"], values["std_hw"])]
        known_hw = tuple((int(height), int(width)) for height, width in values["known_hw"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise InputError(f"{path}: not the sizes that a run's fold was trained on; train the fold anew") from error
    return SizeStatistics(mean_hw=mean_hw, std_hw=std_hw, known_hw=known_hw)
