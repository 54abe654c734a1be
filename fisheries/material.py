"""What a run learns from: photographs or features, brought into tables."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig
from rich.console import Console

from fisheries.config import IMPORTED, plain, read_config
from fisheries.data import synthetic
from fisheries.data.cropping import check_rule, read_rule
from fisheries.data.feature_store import FeatureStore
from fisheries.data.imported import is_imported, read_imported
from fisheries.data.labels import attach_labels
from fisheries.data.pseudo_rows import PSEUDO_CSV, read_pseudo
from fisheries.data.splits import usable_images
from fisheries.data.tables import attach_boats, load_or_scan, tables_dir_of
from fisheries.inference.scoring import read_solution
from fisheries.schema import BOXES, FOLDS, KEY, MANIFEST, InputError, nearest, read_table


@dataclass(frozen=True)
class Material:
    """What a run learns from: tables, and the names of the classes."""

    root: Path
    manifest: pd.DataFrame
    boxes: pd.DataFrame
    classes: list[str]
    features: FeatureStore | None = None  # made elsewhere; then there are no photographs
    pseudo: pd.DataFrame | None = None  # test images to train on, see `pseudo_rows.read_pseudo`


def load_material(config: DictConfig, *, console: Console) -> Material:
    """Scan the photographs, or reuse the tables of an earlier scan; draw the embedded boats if they are not there.

    Raises:
        InputError: as `data_root`; no photographs, unknown class names, unusable box files or boats.
    """
    data, root = config.data, data_root(config, console=console)
    features = None
    if is_imported(root):
        manifest, features = read_imported(root)
        manifest = manifest if data.boats is None else attach_boats(manifest, Path(data.boats))
        manifest = manifest if data.labels is None else attach_labels(manifest, Path(data.labels))
        boxes = pd.DataFrame(columns=list(BOXES)).rename_axis(KEY)
    else:
        manifest, boxes = load_or_scan(
            root,
            annotations=None if data.annotations is None else [Path(file) for file in data.annotations],
            boats=None if data.boats is None else Path(data.boats),
            no_fish=data.no_fish or "",
            tables_dir=tables_dir_of(root, Path(config.tables_dir)),
            progress=console.is_terminal,
            labels=None if data.labels is None else Path(data.labels),
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
    return Material(root, manifest, boxes, classes, features)


def data_root(config: DictConfig, *, console: Console) -> Path:
    """Return the folder of photographs or imported features; draw the embedded boats if they are not there.

    Raises:
        InputError: no such folder, an unusable data.solution, or the network is not for what is in the folder.
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
            f"{root}: no such folder{nearest_path(root)}; data.root is the one with train/ and test_stg1/ in it"
        )
    if (config.model.backbone == IMPORTED) != is_imported(root):
        raise InputError(
            f"{root}: model.backbone={config.model.backbone}, but "
            + (
                "there are no imported features: see `fisheries features import`"
                if config.model.backbone == IMPORTED
                else "it holds imported features, no photographs: give model=imported"
            )
        )
    return root


def reopen_material(run_dir: Path) -> Material:
    """Return what a run learns from, by the tables in its folder.

    Raises:
        InputError: a table can't be read, or imported features are gone or others now.
    """
    config = read_config(run_dir)
    data = config.data
    manifest = read_table(run_dir / "manifest.csv", MANIFEST)
    boxes = read_table(run_dir / "boxes.csv", BOXES, unique=False)
    if config.model.backbone == IMPORTED and not is_imported(Path(data.root)):
        raise InputError(
            f"{data.root}: the imported features that {run_dir} began with are gone; put them back, or start a new run"
        )
    features = read_imported(Path(data.root))[1] if config.model.backbone == IMPORTED else None
    if features is not None and not manifest["sha256"].isin(set(features.places)).all():
        raise InputError(f"{data.root}: its features are not those that {run_dir} began with; start a new run")
    pseudo = None
    if config.pseudo is not None:
        folds = read_table(run_dir / "folds.csv", FOLDS)
        pseudo = read_pseudo(run_dir / PSEUDO_CSV, data.classes, manifest=manifest, folds=folds)
    return Material(Path(data.root), manifest, boxes, list(data.classes), features, pseudo)


def settle(config: DictConfig, material: Material) -> None:
    """Write into the configuration what was found, and paths that hold from any folder.

    Raises:
        InputError: data.crops, or the folder's crops.json, does not say how crops are cut.
    """
    config.data.root, config.data.classes = str(material.root.resolve()), material.classes
    if material.features is not None:
        config.model.options = {"width": material.features.shape[0]}
    paths = [
        (config.data, "boats"),
        (config.data, "labels"),
        (config.data, "solution"),
        (config.model, "weights"),
        (config.split, "file"),
    ]
    paths.append((config, "pseudo"))
    for node, key in paths:
        if node[key] is not None:
            node[key] = str(Path(node[key]).resolve())
    config.tables_dir, config.submissions_dir = (
        str(Path(d).resolve()) for d in (config.tables_dir, config.submissions_dir)
    )
    given = plain(config.data.crops)
    rule = read_rule(material.root) if given is None else check_rule(given, "data.crops")
    config.data.crops = None if rule is None else asdict(rule)


def nearest_path(path: Path | str) -> str:
    """Return a hint at what lies beside a path that is not there, or nothing."""
    folder = Path(path).absolute().parent
    return nearest(Path(path).name, [child.name for child in folder.iterdir()]) if folder.is_dir() else ""


def _draw_synthetic(synth: DictConfig, *, console: Console) -> Path:
    options = plain(synth)
    sources = sorted(Path(synthetic.__file__).parent.glob("synthetic*.py"))
    text = json.dumps(options, sort_keys=True).encode() + b"".join(source.read_bytes() for source in sources)
    root = Path("data") / f"synthetic-{hashlib.sha256(text).hexdigest()[:8]}"
    if not root.is_dir():
        console.print(f"Drawing the embedded boats into {root}")
        synthetic.draw_competition(root, progress=console.is_terminal, **options)
    return root
