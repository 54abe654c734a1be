"""What a run is bound by, measured on some of its own photographs with the pieces that it is made of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console

from fisheries import compose, nets
from fisheries.batch import Batch
from fisheries.config import AUTO
from fisheries.config_check import check_config
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.feature_store import PLAIN, FeatureStore
from fisheries.doctor.diagnosis import STEP, Limits, Machine, Plan, bound_by
from fisheries.doctor.feed import FeedTimes, sample_cache, time_feed, timed
from fisheries.doctor.limits import limits_of, machine_of
from fisheries.doctor.plans import encoding, plan_of_features, plan_of_photographs
from fisheries.doctor.sample import Sample, draw_sample, few
from fisheries.doctor.step import StepTimes, batch_of, move_s, now_s, one_process, process_bytes, time_steps
from fisheries.memory import keep_large_blocks
from fisheries.models.fishnet import FishNet
from fisheries.precision import settle_precision
from fisheries.progress import progress_bar
from fisheries.schema import InputError
from fisheries.training.devices import hide_missing_gpus
from fisheries.training.precision import PRECISIONS

SILENT = Console(quiet=True)
LEAST, MOST, A_WORKER = 64, 512, 32  # photographs to look at
SLOW_STEP_S, FORWARD_SHARE = 2.0, 3  # a longer step on a CPU is measured with fewer images; it is three times a forward
FEWEST = 4  # of them
SMALLER, MULTIPLE = 0.7, 32  # side of the pictures that are tried where the step takes longest, and what divides it
PROBES = 5  # of something fast


@dataclass(frozen=True)
class Findings:
    """What was measured of a run.

    Attributes:
        config: of the run.
        sample: of its photographs.
        feed: how they come; None where features that were made elsewhere come in their place.
        steps: how long steps take.
        move_s: that an image takes to the device.
        plan: the run's time.
        machine: where it runs.
        limits: what there is and what is needed.
        faster: override -> the share of its time that a step takes with it.
        frozen: the run with a frozen backbone's features, where it trains a backbone that knows something.
        step_images: in the batches that steps were measured with.
        device: that they were measured on.
    """

    config: Any
    sample: Sample
    feed: FeedTimes | None
    steps: StepTimes
    move_s: float
    plan: Plan
    machine: Machine
    limits: Limits
    faster: dict[str, float]
    frozen: Plan | None
    step_images: int
    device: torch.device


@dataclass(frozen=True)
class _Subject:
    """A network and what it is trained on: a batch, and what an image of it took."""

    net: FishNet
    data: FisheriesDataModule
    batch: Batch
    encode_s: float = 0.0
    fetch_s: float = 0.0


def examine(config: Any, run_dir: Path | None, *, console: Console) -> Findings:
    """Measure a run on a sample of its photographs; nothing stays of it.

    Args:
        config: of the run.
        run_dir: its folder, if it has begun.
        console: where to show progress.

    Raises:
        InputError: something given can't be used.
    """
    keep_large_blocks()  # this and the next as a run does
    hide_missing_gpus()
    has_weights = config.model.pretrained or config.model.weights is not None  # else a frozen backbone would be noise
    model, config = config.model, _checked(config, run_dir)
    most = min(MOST, max(LEAST, A_WORKER * config.data.workers))
    with TemporaryDirectory() as name, progress_bar(console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("Drawing a sample", total=4)
        sample = draw_sample(config, run_dir, most=most, console=console)
        sample = replace(
            sample,
            train=_limited(sample.train, config.trainer.limit_train_batches, config.data.batch_size),
            held_out=_limited(sample.held_out, config.trainer.limit_val_batches, config.data.batch_size),
        )
        own, folder = one_process(config), Path(name)
        own.tables_dir, own.pseudo = name, None
        if (known := Path(config.tables_dir) / PRECISIONS).is_file():
            shutil.copy(known, folder)
        asked = own.trainer.precision, own.trainer.channels_last
        _settle(own, model, sample, *asked)
        trainer, device = _idle_trainer(own, folder), nets.device_of(own)
        feed = None
        bar.update(task, description="Reading photographs", advance=1)
        if sample.material.features is None:
            feed = time_feed(own, sample, folder, trainer)
        bar.update(task, description="Training steps", advance=1)
        subject = _subject(own, sample, folder, trainer, device)
        before = process_bytes()
        steps = time_steps(own, subject.net, subject.data, subject.batch, folder)
        machine = machine_of(device, processes=compose.process_count(config))
        limits = limits_of(config, sample, subject.batch, steps, device, before=before)
        plan = _plan(config, sample, feed, steps, subject, limits)
        bar.update(task, description="Other steps", advance=1)
        heavy = "image" in subject.batch and bound_by(plan.later, machine) == STEP
        faster = _faster(own, sample, subject, steps, device, folder, model=model, asked=asked) if heavy else {}
        frozen = None
        if heavy and feed is not None and has_weights and not config.model.backbone_frozen:
            frozen = Plan([encoding(config, feed, steps.val_s, sample.images)], [], plan.epochs)
    settled = deepcopy(config)
    settled.trainer.precision = own.trainer.precision
    return Findings(
        config=settled,
        sample=sample,
        feed=feed,
        steps=steps,
        move_s=move_s(subject.batch, device),
        plan=plan,
        machine=machine,
        limits=limits,
        faster=faster,
        frozen=frozen,
        step_images=len(subject.batch["image_id"]),
        device=device,
    )


def _checked(config: Any, run_dir: Path | None) -> Any:
    """Return the configuration with a network without its weights, which take long to load and change no time."""
    config = deepcopy(config)
    check_config(config)
    config.model.pretrained = False
    compose.check_parts(config, run_dir or Path(config.tables_dir))
    config.model.weights = None
    return config


def _limited(images: int, limit: float | None, batch_size: int) -> int:
    """Return how many images an epoch has where Lightning takes a share of its batches, or so many."""
    if limit is None:
        return images
    return min(images, limit * batch_size) if isinstance(limit, int) else int(images * limit)


def _idle_trainer(config: Any, folder: Path) -> pl.Trainer:
    """Return a trainer that tells loaders which epoch it is."""
    config = deepcopy(config)
    config.trainer.fast_dev_run = 1
    return compose.create_trainer(config, folder, loggers=[], console=SILENT)


def _subject(config: Any, sample: Sample, folder: Path, trainer: pl.Trainer, device: torch.device) -> _Subject:
    net = create_net(config, sample)
    if sample.material.features is not None:
        return _of_store(config, sample, net, sample.material.features, trainer)
    images = _step_images(config, net, device)
    data = _datamodule(config, sample, folder, trainer)
    batch = batch_of(data, images)
    if not compose.view_names(config):
        return _Subject(net, data, batch)
    encode_s = _encode_s(net, batch, device)
    small = deepcopy(config)
    small.model.views = None if config.model.views is None else 1
    some = few(sample, images)
    store = compose.frozen_features(small, net, some.material, console=SILENT)
    assert store is not None  # since there are views to store
    return replace(_of_store(small, some, net, store, trainer), encode_s=encode_s)


def create_net(config: Any, sample: Sample) -> FishNet:
    """Return the network of a run, as noise."""
    material = sample.material
    if material.features is not None:
        config.model.options = {"width": material.features.shape[0]}
    rows = material.manifest.loc[sample.train_ids]
    return nets.empty_net(config, rows, classes=len(material.classes), console=SILENT)


def _datamodule(config: Any, sample: Sample, folder: Path, trainer: pl.Trainer) -> FisheriesDataModule:
    """Return the run's data, with the photographs that have been read in a cache."""
    cache = sample_cache(config, sample, folder / "pieces", kind="disk")
    data = compose.create_datamodule(config, sample.material, sample.folds, fold=0, cache=cache)
    data.trainer = trainer
    return data


def _of_store(config: Any, sample: Sample, net: FishNet, store: FeatureStore, trainer: pl.Trainer) -> _Subject:
    data = compose.create_datamodule(config, sample.material, sample.folds, fold=0, store=store)
    data.trainer = trainer
    images = min(config.data.batch_size, sample.train)
    fetch_s, batches = timed(lambda _: batch_of(data, images), PROBES)
    return _Subject(net, data, batches[0], fetch_s=fetch_s / images)


def _step_images(config: Any, net: FishNet, device: torch.device) -> int:
    """Return how many images a step is measured with: a batch, unless a CPU takes long for it."""
    pictures = torch.zeros(2, 3, *nets.image_hw_of(config), dtype=torch.uint8)
    images: int = config.data.batch_size
    if device.type != "cpu":
        return images
    with torch.inference_mode():
        forward_s, _ = timed(lambda _: net.eval()(pictures, torch.zeros(2, 2)), PROBES)
    net.train()
    return min(images, max(FEWEST, int(SLOW_STEP_S / (FORWARD_SHARE * forward_s / 2))))


def _encode_s(net: FishNet, batch: Batch, device: torch.device) -> float:
    """Return the seconds that a frozen backbone takes for an image."""
    net.to(device).eval()

    def encode(_: int) -> float:
        net.encode(batch["image"].to(device))
        return now_s(device)

    with torch.inference_mode():
        seconds, _ = timed(encode, PROBES)
    return seconds / len(batch["image_id"])


def _plan(
    config: Any, sample: Sample, feed: FeedTimes | None, steps: StepTimes, subject: _Subject, limits: Limits
) -> Plan:
    epochs = max(1, config.trainer.max_epochs or 1)
    if not subject.fetch_s:
        assert feed is not None
        return plan_of_photographs(config, sample, feed, steps, kept_share=limits.kept_share, epochs=epochs)
    once = None
    if feed is not None:
        copies = len([name for name in compose.view_names(config) if name != PLAIN])
        once = (feed, subject.encode_s, sample.images + copies * (sample.train + sample.held_out))
    return plan_of_features(config, sample, steps, fetch_s=subject.fetch_s, once=once, epochs=epochs)


def _settle(own: Any, model: Any, sample: Sample, precision: str, channels_last: bool | None) -> None:
    """Write the precision and layout into `own` that a run with `model` takes where it is asked for these."""
    asked = deepcopy(own)
    asked.model, asked.trainer.precision, asked.trainer.channels_last = deepcopy(model), precision, channels_last
    settle_precision(asked, sample.material, console=SILENT)
    own.trainer.precision, own.trainer.channels_last = asked.trainer.precision, asked.trainer.channels_last


def _faster(
    config: Any,
    sample: Sample,
    subject: _Subject,
    steps: StepTimes,
    device: torch.device,
    folder: Path,
    *,
    model: Any,
    asked: tuple[str, bool | None],
) -> dict[str, float]:
    """Return what share of its time a step takes with other overrides, each measured."""
    shares = {}
    for group, key, value, batch in _others(config, sample, subject, steps, device, precision=asked[0]):
        other = deepcopy(config)
        other[group][key] = value
        if key == "gpus":
            _settle(other, model, sample, *asked)
        elif key == "precision":
            _settle(other, model, sample, value, None)
        try:
            took = time_steps(other, create_net(other, sample), subject.data, batch, folder)
        except (InputError, RuntimeError):  # a network of one size, a device without this precision: no proposal
            continue
        shares[f"{group}.{key}={value}".replace(", ", ",")] = took.train_s / steps.train_s
    return shares


def _others(
    config: Any, sample: Sample, subject: _Subject, steps: StepTimes, device: torch.device, *, precision: str
) -> Iterator[tuple[str, str, Any, Batch]]:
    """Yield what else could be given, group, key and value, with a batch for it."""
    batch, size, sides = subject.batch, config.data.batch_size, config.data.image_hw
    if device.type == "cpu" and torch.cuda.is_available():
        yield "trainer", "gpus", 1, batch
    if precision != AUTO:
        yield "trainer", "precision", AUTO, batch
    height, width = (max(MULTIPLE, round(SMALLER * side / MULTIPLE) * MULTIPLE) for side in sides)
    if height < sides[0] and width < sides[1]:
        yield "data", "image_hw", [height, width], {**batch, "image": batch["image"][..., :height, :width].contiguous()}
    if device.type == "cuda" and 2 * size <= sample.train and 2 * steps.peak_bytes < torch.cuda.mem_get_info(device)[0]:
        yield "data", "batch_size", 2 * size, batch_of(subject.data, 2 * size)
