"""A run's configuration: read and written, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from fisheries.schema import InputError, write_atomic

CONFIG = "config.yaml"
AUTO = "auto"  # as split.folds: the most that lack no class on either side; as logger.images: of the embedded boats
LOGGERS = ("csv", "tensorboard", "wandb")
IMPORTED = "imported"  # as model.backbone: features made elsewhere
CLASS_MAP_HEADS = ("fcn", "inception")
MAP_HEADS = ("dense_map", *CLASS_MAP_HEADS)  # take the feature map as it is
_DEEPEST = 30
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in Python, a thousand brackets take seconds
_VALUES_ONLY = "a run's configuration holds values only; expected one that train.py wrote"
# what a run went by whose configuration does not name these
_UNSAID: dict[str, Any] = {
    "logger": {},
    "tta": "none",
    "fold_mean": "arithmetic",
    "pseudo": None,
    "find_batch_size": False,
    "mix": {"pseudo": 0.25},
    "data": {"cache": "none", "cache_gb": 8, "augment": "workers"},
    "trainer": {"channels_last": False, "compile": False, "on_oom": "stop"},
    "transform": {"schedule": None},
}


def save_config(config: DictConfig, folder: Path) -> None:
    """Write the configuration, with every reference resolved."""
    write_atomic(folder / CONFIG, OmegaConf.to_yaml(config, resolve=True).encode())


def read_config(run_dir: Path) -> DictConfig:
    """Read a run's configuration, which holds values only: it may come from somebody else.

    Raises:
        InputError: there is none, it is no YAML of keys and values, or it has references or names what to build.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        raise InputError(
            f"{run_dir}: no {CONFIG} in it; expected the folder of a run, such as runs/2026-01-31_12-00-00-ab12"
        )
    config = OmegaConf.merge(_UNSAID, _read_values(path))
    assert isinstance(config, DictConfig)
    if "name" in config.logger:
        _rename_logger(config)
    return config


def _read_values(path: Path) -> DictConfig:
    try:
        text = path.read_text(encoding="utf-8")
        bomb = _bomb(text)
        config = OmegaConf.create("" if bomb else text)
    except Exception as error:  # what broken YAML makes a reader stumble over has any type
        raise InputError(f"{path}: not the YAML of a configuration ({' '.join(str(error).split())[:120]})") from error
    if bomb:
        raise InputError(f"{path}: {bomb}; {_VALUES_ONLY}")
    if not isinstance(config, DictConfig):
        raise InputError(f"{path}: a list; {_VALUES_ONLY}")
    for section in ("data", "model", "trainer", "split", "logger"):
        if not isinstance(config.get(section, config), DictConfig):
            raise InputError(f"{path}: {section} is no section; {_VALUES_ONLY}")
    for key, value in _leaves(OmegaConf.to_container(config, resolve=False)):
        if key.endswith("_target_") or (isinstance(value, str) and "${" in value):
            raise InputError(f"{path}: {key}={value!r}: {_VALUES_ONLY}")
    return config


def _bomb(text: str) -> str:
    """Return why a few lines of YAML could fill the memory or take for ever, or ""."""
    depth = 0
    for event in yaml.parse(text, Loader=_PARSER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            return "has an alias"
        if depth > _DEEPEST:
            return f"is nested more than {_DEEPEST} deep"
    return ""


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if children is None:
        yield key, node
    for name, child in children or ():
        yield from _leaves(child, f"{key}.{name}" if key else str(name))


def _rename_logger(config: DictConfig) -> None:
    """Turn `name: csv` of older runs into what a logger is called today, with the values that wandb had not."""
    name = config.logger.pop("name")
    if name != "none":
        config.logger[name] = True
    if name == "wandb":
        config.logger.update({"images": AUTO, "artifacts": True})


def is_random(config: DictConfig) -> bool:
    """Whether the transform leaves something to chance, so that each epoch sees other views."""
    return any(transform_values(config).values())


def transform_values(config: DictConfig) -> dict[str, float]:
    """Return what the transform does to a picture, by name; its schedule says how large pictures are."""
    return {str(name): value for name, value in plain(config.transform).items() if name != "schedule"}


def logger_names(config: DictConfig) -> list[str]:
    """Return which loggers are asked for."""
    return [name for name in LOGGERS if config.logger.get(name)]


def plain(node: Any) -> Any:
    """Return a node of a configuration as dicts, lists and values; anything else as it is."""
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node
