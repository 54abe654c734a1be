"""Whether a run's configuration can be meant: everything that is wrong, at once, before the long work starts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from timm.optim._optim_factory import list_optimizers

from fisheries.config import AUTO, CLASS_MAP_HEADS, IMPORTED, LOGGERS, MAP_HEADS, is_random, plain, transform_values
from fisheries.data.mixed_sampler import extra_count
from fisheries.data.resizing import part_sizes
from fisheries.data.splits import SPLITS
from fisheries.schema import InputError


def check_config(config: DictConfig) -> None:
    """Check values that would fail late, or not at all, and list everything that is wrong at once.

    Raises:
        InputError: one line with all of it.
    """
    if OmegaConf.is_missing(config.data, "root"):
        raise InputError("data.root is missing: give data.root=DIR, the folder with train/ and test_stg1/ in it")
    problems = [*_choices(config), *_ranges(config), *_kinds(config), *_network(config.model)]
    problems += [
        *_frozen(config),
        *_phase_problems(config),
        *_schedule(config),
        *_pseudo(config),
        *_loggers(config.logger),
        *_augment(config),
    ]
    if problems:
        raise InputError("; ".join(problems))


def _choices(config: DictConfig) -> list[str]:
    choices: dict[str, Sequence[str]] = {
        "split.name": SPLITS,
        "model.head": ("linear", "dense", *MAP_HEADS),
        "model.pool": ("own", "avg", "max", "avgmax"),
        "model.metadata": ("none", "standardized", "onehot"),
        "schedule.name": ("constant", "cosine"),
        "finetune.batch_norm": ("train", "frozen"),
        "loss.class_weights": ("none", "balanced"),
        "optimizer.name": [str(name) for name in list_optimizers()],
        "data.cache": ("none", "memory", "disk"),
        "data.augment": ("workers", "device"),
        "trainer.on_oom": ("stop", "halve"),
        "tta": ("none", "flips", "d4", "multiscale"),
        "fold_mean": ("arithmetic", "geometric"),
    }
    problems = []
    for key, known in choices.items():
        value = OmegaConf.select(config, key)
        if value not in known:
            near = difflib.get_close_matches(str(value), known, n=1)
            expected = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known[:8])}"
            problems.append(f"{key}={value!r}: {expected}")
    return problems


def _kinds(config: DictConfig) -> list[str]:
    problems = []
    for key in (
        "model.pretrained",
        "model.predict_box",
        "data.balanced",
        "trainer.compile",
        "find_lr",
        "find_batch_size",
    ):
        value = OmegaConf.select(config, key, default=False)
        if not isinstance(value, bool):
            problems.append(f"{key}={value!r}: expected true or false")
    for key in ("data.classes", "data.annotations"):
        value = OmegaConf.select(config, key)
        if value is not None and not isinstance(value, ListConfig):
            problems.append(f"{key}={value!r}: expected a list, such as [{value}]")
    if config.trainer.channels_last not in (None, True, False):
        problems.append(f"trainer.channels_last={config.trainer.channels_last!r}: expected true, false or null")
    epochs = config.trainer.max_epochs
    if epochs is not None and (not isinstance(epochs, int) or (epochs < 1 and epochs != -1)):
        problems.append(f"trainer.max_epochs={epochs!r}: expected at least 1, or -1 for no limit")
    return problems


def _loggers(logger: DictConfig) -> list[str]:
    problems = []
    for key in (*LOGGERS, "offline", "artifacts"):
        value = logger.get(key, False)
        if not isinstance(value, bool):
            problems.append(f"logger.{key}={value!r}: expected true or false")
    images = logger.get("images", 0)
    if images != AUTO and (isinstance(images, bool) or not isinstance(images, int) or not 0 <= images <= 1000):
        problems.append(f"logger.images={images!r}: expected a whole number from 0 to 1000, or auto")
    return problems


def _augment(config: DictConfig) -> list[str]:
    made_by_workers = [key for key in ("blur", "noise", "jpeg", "erase") if config.transform.get(key)]
    if config.data.augment != "device" or not made_by_workers:
        return []
    return [
        f"data.augment=device: only workers make transform.{made_by_workers[0]}; give transform=light, or transform."
        f"{made_by_workers[0]}=0, or data.augment=workers"
    ]


def _frozen(config: DictConfig) -> list[str]:
    model, problems = config.model, []
    views, random = model.views, is_random(config)
    if not isinstance(model.backbone_frozen, bool):
        return [f"model.backbone_frozen={model.backbone_frozen!r}: expected true or false"]
    if views is not None and (isinstance(views, bool) or not isinstance(views, int) or not 1 <= views <= 1000):
        problems.append(f"model.views={views!r}: expected a whole number from 1 to 1000, or null")
    elif views is not None and not (model.backbone_frozen and random and model.backbone != IMPORTED):
        problems.append(
            f"model.views={views}: are augmented views that a frozen backbone sees once; needs model.backbone_frozen=true and "
            "a transform that leaves something to chance"
        )
    elif views is not None and model.predict_box:
        problems.append(
            "model.predict_box=true: boxes would not follow model.views; give transform=none model.views=null"
        )
    is_stored = model.backbone_frozen and (views is not None or not random or model.backbone == IMPORTED)
    if is_stored and config.mix.cutmix:
        problems.append(
            f"mix.cutmix={config.mix.cutmix!r}: stored features have no pixels to cut; give mix.cutmix=0, or mix.mixup instead"
        )
    if model.backbone == IMPORTED and (not model.backbone_frozen or model.head in MAP_HEADS or model.predict_box):
        problems.append(
            "model=imported trains a head on features: model.backbone_frozen=true model.head=linear or dense model.predict_box=false"
        )
    if model.backbone == IMPORTED and config.tta != "none":
        problems.append(
            f"tta={config.tta}: features made elsewhere have no picture to look at in several ways; give tta=none"
        )
    if model.backbone == IMPORTED:
        own = {"pretrained": False, "weights": None, "stride": None, "pool": "own", "mean": None, "std": None}
        problems += [
            f"model.{key}={plain(model[key])!r}: says nothing to features made elsewhere; leave it out"
            for key, value in own.items()
            if plain(model[key]) != value
        ]
    return problems


def _network(model: DictConfig) -> list[str]:
    problems, stride = [], model.stride
    if stride is not None and (isinstance(stride, bool) or not isinstance(stride, int) or stride < 1):
        problems.append(f"model.stride={stride!r}: expected a whole number such as 16, or null for the whole network")
    if model.head_options is not None and not isinstance(model.head_options, DictConfig):
        problems.append(
            f"model.head_options={plain(model.head_options)!r}: expected {{name:value}}, such as {{width:64}}"
        )
    if model.head in MAP_HEADS and model.pool != "own":
        problems.append(
            f"model.pool={model.pool!r}: model.head={model.head} takes the feature map as it is; leave it own"
        )
    if model.head not in MAP_HEADS and stride is not None and model.pool == "own":
        problems.append(f"model.stride={stride} cuts the network's own pooling off: model.pool=avg, max or avgmax")
    if model.head in CLASS_MAP_HEADS and (model.metadata != "none" or model.predict_box):
        problems.append(
            f"model.head={model.head} gives class maps only: model.metadata=none and model.predict_box=false, or another head"
        )
    return problems


def _ranges(config: DictConfig) -> list[str]:
    ranges: dict[str, tuple[float, float, type]] = {
        "seed": (0, 2**32 - 1, int),
        "data.batch_size": (1, 1 << 16, int),
        "data.workers": (0, 256, int),
        "data.cache_gb": (0.001, 1e6, float),
        "split.seen_share": (0, 0.5, float),
        "model.dropout": (0, 0.99, float),
        "optimizer.lr": (1e-12, 100, float),
        "optimizer.weight_decay": (0, 10, float),
        "schedule.warmup": (0, 1, float),
        "finetune.lr_decay": (1e-3, 1, float),
        "ema": (0, 0.99999, float),
        "loss.label_smoothing": (0, 0.99, float),
        "loss.box_weight": (0, 1e6, float),
        "loss.box_unit_px": (1e-6, 1e6, float),
        "mix.mixup": (0, 100, float),
        "mix.cutmix": (0, 100, float),
        "mix.pseudo": (0.001, 0.999, float),
        **{f"transform.{name}": (0, 180 if name.endswith("_deg") else 1, float) for name in transform_values(config)},
        "transform.hue": (0, 0.5, float),
    }
    problems = []
    for key, (low, high, kind) in ranges.items():
        value = OmegaConf.select(config, key)
        right = isinstance(value, int) if kind is int else isinstance(value, int | float)
        if not right or isinstance(value, bool) or not low <= value <= high:
            problems.append(
                f"{key}={value!r}: expected {'a whole number' if kind is int else 'a number'} from {low:g} to {high:g}"
            )
    sides = plain(config.data.image_hw)
    if not (
        isinstance(sides, list)
        and len(sides) == 2
        and all(isinstance(side, int) and 16 <= side <= 8192 for side in sides)
    ):
        problems.append(f"data.image_hw={sides!r}: expected [height,width] of 16 to 8192 pixels")
    return problems + _fold_problems(config)


def _fold_problems(config: DictConfig) -> list[str]:
    problems = []
    folds, fold, holdout = config.split.folds, config.fold, plain(config.split.holdout)
    known = isinstance(folds, int) and not isinstance(folds, bool)
    if not (folds == AUTO or (known and 2 <= folds <= 1000) or (folds is None and config.split.name == "file")):
        problems.append(f"split.folds={folds!r}: expected a whole number from 2 to 1000, or auto")
    if fold != "all" and (isinstance(fold, bool) or not isinstance(fold, int) or fold < 0 or (known and fold >= folds)):
        problems.append(f"fold={fold!r}: expected 0 to {folds - 1 if known else 'the last fold'}, or all")
    names = isinstance(holdout, list) and all(isinstance(name, str) for name in holdout)
    if not names and (isinstance(holdout, bool) or not isinstance(holdout, int) or holdout < 0):
        problems.append(f"split.holdout={holdout!r}: expected a number of boats, or a list of their names")
    if config.split.name in ("random", "burst") and config.split.seen_share:
        problems.append(
            f"split.seen_share={config.split.seen_share!r}: split={config.split.name} holds out seen boats in any case; leave it 0"
        )
    if (config.split.name == "file") != (config.split.file is not None):
        problems.append(
            f"split.file={config.split.file!r} with split={config.split.name}: give split=file split.file=FILE.csv"
        )
    return problems


def _pseudo(config: DictConfig) -> list[str]:
    if config.pseudo is None:
        return []
    if not isinstance(config.pseudo, str):
        return [f"pseudo={plain(config.pseudo)!r}: expected a file that `fisheries pseudo` wrote, or null"]
    share, size = config.mix.pseudo, config.data.batch_size
    numbers = isinstance(share, int | float) and isinstance(size, int)  # else that has been said
    if numbers and not 1 <= extra_count(size, share) < size:
        return [f"mix.pseudo={share} of data.batch_size={size}: expected at least one image of either kind in a batch"]
    return []


def _phase_problems(config: DictConfig) -> list[str]:
    phases = plain(config.finetune.phases)
    if not isinstance(phases, list) or not phases:
        return [f"finetune.phases={phases!r}: expected a list such as [{{share:1,open:all,lr:1}}]"]
    problems = [
        f"finetune.phases: {phase!r} is none; expected {{share:S,open:N,lr:F}}, S and F above 0, N groups of layers from "
        "the head (1) backwards, or all; and maybe augment:false"
        for phase in phases
        if not _is_phase(phase)
    ]
    if len(phases) > 1 and config.model.backbone_frozen:
        problems.append("model.backbone_frozen=true with phases that would open the backbone: give finetune=none")
    if len(phases) == 1 and isinstance(phases[0], dict) and not phases[0].get("augment", True):
        problems.append("finetune.phases: its only phase has augment=false; give transform=none")
    if len(phases) > 1 and config.trainer.max_steps not in (None, -1):
        problems.append(f"trainer.max_steps={config.trainer.max_steps}: phases are counted in epochs; leave it -1")
    asked = {key: OmegaConf.select(config, key) for key in ("find_lr", "find_batch_size", "trainer.fast_dev_run")}
    several = [key for key, value in asked.items() if value]
    if len(several) > 1:
        problems.append(f"{several[0]}=true with {several[1]}: give one of them")
    return problems


def _schedule(config: DictConfig) -> list[str]:
    shares = plain(config.transform.schedule)
    if shares is None:
        return []
    key, epochs = f"transform.schedule={shares!r}", config.trainer.max_epochs
    if not _is_schedule(shares):
        return [f"{key}: expected rising shares of data.image_hw up to 1, such as [0.5,0.75,1.0], or null"]
    stored = config.model.backbone_frozen and (not is_random(config) or config.model.views is not None)
    if config.model.backbone == IMPORTED or stored:
        return [f"{key}: features are stored of pictures of one size; give transform.schedule=null"]
    if not isinstance(epochs, int) or epochs < len(shares) or config.trainer.max_steps not in (None, -1):
        return [f"{key} divides the epochs into {len(shares)} parts: give as many trainer.max_epochs, and no max_steps"]
    sides = plain(config.data.image_hw)
    is_sized = isinstance(sides, list) and len(sides) == 2 and all(isinstance(side, int) for side in sides)
    sizes = part_sizes(shares, (sides[0], sides[1])) if is_sized else []  # else that has been said
    if len(set(sizes)) < len(sizes):
        shown = ", ".join(f"{height}x{width}" for height, width in sizes)
        return [f"{key} comes to {shown} pixels: sides are multiples of 32; give other shares, or fewer"]
    return []


def _is_schedule(shares: Any) -> bool:
    if not isinstance(shares, list) or len(shares) < 2:
        return False
    numbers = all(isinstance(share, int | float) and not isinstance(share, bool) for share in shares)
    return numbers and shares[0] > 0 and shares[-1] == 1 and all(one < other for one, other in pairwise(shares))


def _is_phase(phase: Any) -> bool:
    if not isinstance(phase, dict) or set(phase) - {"augment"} != {"share", "open", "lr"}:
        return False
    share, opened, lr = phase["share"], phase["open"], phase["lr"]
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < math.inf for n in (share, lr))
    augment = isinstance(phase.get("augment", True), bool)
    return numbers and augment and (opened == "all" or (type(opened) is int and opened >= 1))
