"""A run's configuration: read, checked and written."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from timm.optim._optim_factory import list_optimizers

from fisheries.data.splits import SPLITS
from fisheries.schema import InputError, write_atomic

CONFIG = "config.yaml"
AUTO = "auto"  # as split.folds: the most that lack no class on either side


def check_config(config: DictConfig) -> None:
    """Check values that would fail late, or not at all, and list everything that is wrong at once.

    Raises:
        InputError: one line with all of it.
    """
    if OmegaConf.is_missing(config.data, "root"):
        raise InputError("data.root is missing: give data.root=DIR, the folder with train/ and test_stg1/ in it")
    problems = [*_choices(config), *_ranges(config), *_kinds(config)]
    if problems:
        raise InputError("; ".join(problems))


def save_config(config: DictConfig, folder: Path) -> None:
    """Write the configuration, with every reference resolved."""
    write_atomic(folder / CONFIG, OmegaConf.to_yaml(config, resolve=True).encode())


def read_config(run_dir: Path) -> DictConfig:
    """Read a run's configuration.

    Raises:
        InputError: there is none.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        raise InputError(
            f"{run_dir}: no {CONFIG} in it; expected the folder of a run, such as runs/2026-01-31_12-00-00-ab12"
        )
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


def plain(node: Any) -> Any:
    """Return a node of a configuration as dicts, lists and values; anything else as it is."""
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node


def _choices(config: DictConfig) -> list[str]:
    choices: dict[str, Sequence[str]] = {
        "split.name": SPLITS,
        "model.head": ("linear", "dense"),
        "model.metadata": ("none", "standardized", "onehot"),
        "schedule.name": ("constant", "cosine"),
        "loss.class_weights": ("none", "balanced"),
        "logger.name": ("csv", "wandb", "none"),
        "optimizer.name": [str(name) for name in list_optimizers()],
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
    for key in ("model.pretrained", "model.predict_box", "data.balanced", "logger.offline"):
        value = OmegaConf.select(config, key, default=False)
        if not isinstance(value, bool):
            problems.append(f"{key}={value!r}: expected true or false")
    for key in ("data.classes", "data.annotations"):
        value = OmegaConf.select(config, key)
        if value is not None and not isinstance(value, ListConfig):
            problems.append(f"{key}={value!r}: expected a list, such as [{value}]")
    epochs = config.trainer.max_epochs
    if epochs is not None and (not isinstance(epochs, int) or (epochs < 1 and epochs != -1)):
        problems.append(f"trainer.max_epochs={epochs!r}: expected at least 1, or -1 for no limit")
    return problems


def _ranges(config: DictConfig) -> list[str]:
    ranges: dict[str, tuple[float, float, type]] = {
        "seed": (0, 2**32 - 1, int),
        "data.batch_size": (1, 1 << 16, int),
        "data.workers": (0, 256, int),
        "split.seen_share": (0, 0.5, float),
        "model.dropout": (0, 0.99, float),
        "optimizer.lr": (1e-12, 100, float),
        "optimizer.weight_decay": (0, 10, float),
        "schedule.warmup": (0, 1, float),
        "loss.label_smoothing": (0, 0.99, float),
        "loss.box_weight": (0, 1e6, float),
        "loss.box_unit_px": (1e-6, 1e6, float),
        **{f"transform.{name}": (0, 180 if name.endswith("_deg") else 1, float) for name in config.transform},
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
