"""Where the hand-edited tables lie that the next run reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from fisheries.data.tables import BOATS_CSV, LABELS_CSV, tables_dir_of
from fisheries.schema import InputError


@dataclass(frozen=True)
class Source:
    """A hand-edited table.

    Attributes:
        path: the CSV, which may not exist yet.
        option: what to give to train.py so that a run reads it; "" where it does in any case.
    """

    path: Path
    option: str


@dataclass(frozen=True)
class Sources:
    """The hand-edited tables of some photographs."""

    boats: Source
    labels: Source


def find_sources(folder: Path, manifest: pd.DataFrame) -> Sources:
    """Return the tables of boats and labels that a run on the same photographs reads.

    That is what the run was given as data.boats and data.labels; else the boats.csv in the folder of the photographs, if
    there is one; else those in the folder of the tables, which is the manifest's, or for a run the one that it used.

    Args:
        folder: of a run, or of a manifest.
        manifest: the table in it.

    Raises:
        InputError: the run's configuration can't be read.
    """
    config = _read_config(folder)
    data = config.get("data") or {}
    root = Path(data["root"]) if data.get("root") else photographs_root(manifest)
    usual = None if root is None else tables_dir_of(root, Path(config.get("tables_dir") or "tables"))
    beside = usual if config and usual is not None else folder
    read = usual is not None and beside.resolve().name == usual.name

    def source(name: str, key: str, *, in_root: bool) -> Source:
        if data.get(key):
            return Source(Path(data[key]), f"data.{key}={data[key]}")
        if in_root and root is not None and (root / name).is_file():
            return Source(root / name, "")
        return Source(beside / name, "" if read else f"data.{key}={beside / name}")

    return Sources(source(BOATS_CSV, "boats", in_root=True), source(LABELS_CSV, "labels", in_root=False))


def photographs_root(manifest: pd.DataFrame) -> Path | None:
    """Return the folder that holds train/ and test*/, by the path of the first photograph, or None if it has none."""
    named = manifest[manifest["path"] != ""]
    if named.empty:
        return None
    above = (folder.parent for folder in Path(named["path"].iloc[0]).parents if folder.name == named["subset"].iloc[0])
    return next(above, None)


def _read_config(folder: Path) -> dict[str, Any]:
    """Return a run's configuration, which is resolved, or {} where there is none; hydra's own reader needs seconds."""
    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no YAML ({' '.join(str(error).split())}); expected a run's configuration") from error
    return config if isinstance(config, dict) else {}
