"""What the page shows of a manifest or a run: its tables, joined by `image_id`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fisheries.data.cropping import read_boxes
from fisheries.data.tables import BOXES_CSV, MANIFEST_CSV, read_manifest
from fisheries.inference.scoring import per_image_loss
from fisheries.schema import BOXES, FOLDS, TRAIN, InputError, nearest, read_predictions, read_table, usable_boxes
from fisheries.viewer.sources import Sources, find_sources

HOLDOUT = "holdout"  # as a fold: boats that no fold trains on
_STEMS = ("oof", "holdout", "seen", "test")  # of prediction tables; an image takes its first's


@dataclass(frozen=True)
class Catalog:
    """The tables of a manifest or of a run, by `image_id`.

    Attributes:
        title: what is looked at.
        images: `schema.MANIFEST` and `fold`, "" where it has none; `part`, whose prediction is shown: "unseen boats",
            "seen boats", "test", or "" for none; `guess`, `confidence` and `log_loss` of it, "" and NaN for none.
        probabilities: (N, C) of the images predicted; empty without a run.
        true_boxes: usable rows of a box table.
        predicted_boxes: likewise.
        sources: the hand-edited tables that belong to them.
        run_dir: the folder of a run with networks, or None.
    """

    title: str
    images: pd.DataFrame
    probabilities: pd.DataFrame
    true_boxes: pd.DataFrame
    predicted_boxes: pd.DataFrame
    sources: Sources
    run_dir: Path | None

    @property
    def classes(self) -> list[str]:
        """Names of the classes: the run's, or those of the training images."""
        named = self.images.loc[self.images["subset"] == TRAIN, "label"]
        return list(self.probabilities.columns) or sorted(set(named) - {""})


def read_catalog(source: Path) -> Catalog:
    """Read the tables of a manifest, with the boxes and folds beside it, or of a run or a step after it.

    Raises:
        InputError: no manifest there, no images in it, a table that can't be used, or predictions of other images.
    """
    folder = source if source.is_dir() else source.parent
    if source.is_dir() and not (source / MANIFEST_CSV).is_file():
        raise InputError(
            f"{source}: no {MANIFEST_CSV} in it; expected a run's folder, or the manifest.csv that `fisheries manifest` makes"
        )
    manifest = read_manifest(folder / MANIFEST_CSV if source.is_dir() else source)
    if manifest.empty:
        raise InputError(f"{source}: no images in it; there is nothing to look at")
    folds = _read_folds(folder)
    said = _read_said(folder, manifest, folds) if source.is_dir() else _nothing_said(manifest)
    boxes = folder / BOXES_CSV
    return Catalog(
        title=str(source),
        images=manifest.assign(fold=_fold_names(manifest, folds)).join(_judged(said, manifest)),
        probabilities=said.drop(columns="part"),
        true_boxes=usable_boxes(read_table(boxes, BOXES, unique=False) if boxes.is_file() else _no_boxes()),
        predicted_boxes=_read_predicted_boxes(folder) if source.is_dir() else _no_boxes(),
        sources=find_sources(folder, manifest),
        run_dir=folder if source.is_dir() and any(folder.glob("fold-*/best.ckpt")) else None,
    )


def _read_folds(folder: Path) -> pd.DataFrame:
    path = folder / "folds.csv"
    return read_table(path, FOLDS) if path.is_file() else pd.DataFrame(columns=list(FOLDS))


def _fold_names(manifest: pd.DataFrame, folds: pd.DataFrame) -> pd.Series:
    lookup = {image_id: str(fold) if fold >= 0 else HOLDOUT for image_id, fold in folds["fold"].items()}
    return pd.Series([lookup.get(image_id, "") for image_id in manifest.index], manifest.index, dtype="str")


def _read_said(folder: Path, manifest: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Return the probabilities of each image that the run predicted, and the column `part`."""
    by_boat = bool((folds["split"] == "boat").all())
    parts = dict(
        zip(_STEMS, ("unseen boats" if by_boat else "seen boats", "unseen boats", "seen boats", "test"), strict=True)
    )
    tables: list[pd.DataFrame] = []
    for path in [folder / f"{stem}.csv" for stem in _STEMS]:
        if path.is_file():
            table = read_predictions(path, list(tables[0].columns.drop("part")) if tables else None)
            strange = table.index.difference(manifest.index)
            if len(strange):
                raise InputError(
                    f"{path}: {strange[0]!r} is not in {folder / MANIFEST_CSV}{nearest(strange[0], manifest.index)}; "
                    f"{len(strange)} such images; both must come from one run"
                )
            tables.append(table.assign(part=parts[path.stem]))
    said = pd.concat(tables) if tables else _nothing_said(manifest)
    return said[~said.index.duplicated()]


def _nothing_said(manifest: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"part": pd.Series(dtype="str")}, manifest.index[:0])


def _judged(said: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return `part`, `guess`, `confidence` and `log_loss` of every image of the manifest."""
    columns: dict[str, pd.Series] = {"part": said["part"]}
    probabilities = said.drop(columns="part")
    judged = pd.DataFrame(index=manifest.index)
    if len(said):
        labels = manifest.loc[said.index, "label"]
        labels = labels[labels.isin(probabilities.columns)]
        columns |= {"guess": probabilities.idxmax(axis=1), "confidence": probabilities.max(axis=1)}
        if len(labels):
            columns["log_loss"] = per_image_loss(probabilities.loc[labels.index], labels)
    for name, empty in {"part": "", "guess": "", "confidence": np.nan, "log_loss": np.nan}.items():
        values = columns.get(name, pd.Series(dtype="float64" if empty != "" else "str"))
        judged[name] = values.reindex(manifest.index, fill_value=empty)  # by name; the rest was not predicted
    return judged


def _read_predicted_boxes(folder: Path) -> pd.DataFrame:
    return read_boxes([folder])[0] if any(folder.glob("fold-*/*_boxes.csv")) else _no_boxes()


def _no_boxes() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in BOXES.items()})
