"""Some of the photographs that a run would train on, without a scan of all of them and without a trace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from fisheries import compose
from fisheries.config import IMPORTED, plain
from fisheries.data.manifest import list_images, photographs_dir, scan_paths
from fisheries.data.mixed_sampler import extra_count
from fisheries.data.splits import NEVER, train_ids, usable_images, val_ids
from fisheries.data.tables import BOXES_CSV, MANIFEST_CSV, tables_dir_of
from fisheries.material import Material, data_root, load_material, reopen_material
from fisheries.schema import BOXES, FOLDS, KEY, MANIFEST, OK, TRAIN, InputError, read_table

ASSUMED_FOLDS = 5  # where their number is found by search, and nothing is known yet to search in


@dataclass(frozen=True)
class Sample:
    """Photographs to measure with, and how many there are in all.

    Attributes:
        material: with some images of the fold's training part and one that it holds out, or, of features, with all.
        folds: a fold table of these, for fold 0.
        train: images that an epoch trains on, extra rows among them.
        held_out: images that it is scored on.
        images: that can be read, those of test among them.
        is_scanned: whether a scan knows all of this; else it is counted from the files' names.
    """

    material: Material
    folds: pd.DataFrame
    train: int
    held_out: int
    images: int
    is_scanned: bool

    @property
    def train_ids(self) -> pd.Index:
        """The images of the training part that were drawn."""
        return train_ids(self.folds, 0)


def draw_sample(config: Any, run_dir: Path | None, *, most: int, console: Console) -> Sample:
    """Choose photographs of the fold's training part at random.

    Args:
        config: of the run; the number of folds is written into it where it is found.
        run_dir: the folder of a run that has begun; None for one that has not.
        most: how many to choose.
        console: where to say what is drawn.

    Raises:
        InputError: as `load_material` and `reopen_material`; too few photographs can be read.
    """
    if run_dir is not None:
        return _of_tables(config, reopen_material(run_dir), read_table(run_dir / "folds.csv", FOLDS), most=most)
    if config.model.backbone == IMPORTED:
        material = load_material(config, console=console)  # which reads, and writes nothing
    else:
        root = data_root(config, console=console).resolve()
        folder = tables_dir_of(root, Path(config.tables_dir))
        if not (folder / MANIFEST_CSV).is_file():
            return _of_files(config, root, most=most)
        manifest = read_table(folder / MANIFEST_CSV, MANIFEST)
        boxes = read_table(folder / BOXES_CSV, BOXES, unique=False)
        classes = plain(config.data.classes) or sorted(set(usable_images(manifest)["label"]))
        material = Material(root, manifest, boxes, classes)
        if not _is_current(manifest, usable_images(manifest).sample(frac=1, random_state=config.seed)[:most]):
            return _of_files(config, root, most=most)
    return _of_tables(config, material, compose.draw_folds(config, material), most=most)


def few(sample: Sample, most: int) -> Sample:
    """Return the sample with fewer images of the training part."""
    folds = sample.folds[(sample.folds["fold"] == 0) | sample.folds.index.isin(sample.train_ids[:most])]
    material = replace(sample.material, manifest=sample.material.manifest.loc[folds.index])
    return replace(sample, material=material, folds=folds)


def _of_tables(config: Any, material: Material, folds: pd.DataFrame, *, most: int) -> Sample:
    fold = compose.fold_numbers(config)[0]
    train, val = train_ids(folds, fold), val_ids(folds, fold)
    drawn = np.random.default_rng(config.seed).permutation(len(train))[:most]
    images = int((material.manifest["status"] == OK).sum())
    return _sample(config, material, train[drawn], val[:1], counts=(len(train), len(val), images), is_scanned=True)


def _of_files(config: Any, root: Path, *, most: int) -> Sample:
    """Count files, and look at as many as are wanted."""
    paths = list(list_images(photographs_dir(root)).index)
    trained = [path for path in paths if path.startswith(f"{TRAIN}/") and path.count("/") > 1]
    order = np.random.default_rng(config.seed).permutation(len(trained))
    named = {Path(trained[number]).name: trained[number] for number in order}  # two of a name have no place in a table
    chosen = dict(list(named.items())[: most + 1])
    if len(chosen) < 2:
        raise InputError(f"{root}: {len(chosen)} photographs in train/<class>/, expected at least 2")
    manifest = scan_paths([root / path for path in chosen.values()], progress=False)
    labels = [chosen[Path(path).name].split("/")[1] for path in manifest["path"]]
    manifest = manifest.assign(subset=TRAIN, label=labels).astype({"label": "str"})
    classes = plain(config.data.classes) or sorted({path.split("/")[1] for path in trained})
    readable = usable_images(manifest).index
    if len(readable) < 2:
        raise InputError(
            f"{root}: {len(readable)} of {len(chosen)} photographs can be read; see `fisheries manifest {root}`"
        )
    material = Material(root, manifest, pd.DataFrame(columns=list(BOXES)).rename_axis(KEY), classes)
    folds = config.split.folds if isinstance(config.split.folds, int) else ASSUMED_FOLDS
    held_out = round(len(trained) / folds)
    counts = len(trained) - held_out, held_out, len(paths)
    return _sample(config, material, readable[1:], readable[:1], counts=counts, is_scanned=False)


def _sample(
    config: Any, material: Material, train: pd.Index, val: pd.Index, *, counts: tuple[int, int, int], is_scanned: bool
) -> Sample:
    fold = pd.DataFrame({"fold": np.where(train.union(val).isin(val), 0, 1)}, train.union(val)).astype("int64")
    fold = fold.assign(seen_fold=NEVER, split="random", seed=0)
    if material.features is None:
        material = replace(material, manifest=material.manifest.loc[fold.index])
    extra = 0 if config.pseudo is None else extra_count(config.data.batch_size, config.mix.pseudo)
    trained = round(counts[0] * config.data.batch_size / (config.data.batch_size - extra))
    return Sample(replace(material, pseudo=None), fold, trained, counts[1], counts[2], is_scanned)


def _is_current(manifest: pd.DataFrame, rows: pd.DataFrame) -> bool:
    """Whether files are those of the scan, by their size and time of change."""
    for path, size_bytes, mtime_ns in rows[["path", "size_bytes", "mtime_ns"]].itertuples(index=False):
        file = Path(path)
        facts = file.stat() if file.is_file() else None
        if facts is None or (facts.st_size, facts.st_mtime_ns) != (size_bytes, mtime_ns):
            return False
    return len(rows) > 1
