"""What networks said, with what is needed to judge it: the tables that every step after training takes and gives back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fisheries.inference.evaluation import boats_of
from fisheries.inference.scoring import class_frequencies
from fisheries.schema import (
    FOLDS,
    MANIFEST,
    OK,
    TRAIN,
    InputError,
    read_folds_hash,
    read_predictions,
    read_table,
    table_hash,
    write_atomic,
    write_predictions,
    write_table,
)

STEP = "step.json"


@dataclass(frozen=True)
class Outputs:
    """Prediction tables of one or more networks, and the tables that say what they were trained on.

    Attributes:
        oof: of training images by networks that have not seen their boats, (N, C) by `image_id`.
        test: of the test images, (M, C), columns as `oof`; no rows where there are none.
        manifest: of all images.
        folds: that the networks were trained on.
    """

    oof: pd.DataFrame
    test: pd.DataFrame
    manifest: pd.DataFrame
    folds: pd.DataFrame

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the columns."""
        return list(self.oof.columns)

    @property
    def labels(self) -> pd.Series:
        """True classes of `oof`, in its order."""
        return self.manifest["label"].loc[self.oof.index]

    @property
    def boats(self) -> pd.Series:
        """Boats of `oof`, in its order; an image's burst where its boat is not known."""
        return boats_of(self.manifest.loc[self.oof.index])

    @property
    def prior(self) -> pd.Series:
        """Share of each class among the usable training images."""
        images = self.manifest[(self.manifest["subset"] == TRAIN) & (self.manifest["status"] == OK)]
        return class_frequencies(images["label"], self.classes)


def read_outputs(oof_csv: Path, test_csv: Path | None = None, *, tables: Path | None = None) -> Outputs:
    """Read prediction tables, and check that they belong together.

    Args:
        oof_csv: of a run, or of a step after it.
        test_csv: likewise; by default test.csv beside it, if there is one.
        tables: the folder of manifest.csv and folds.csv; by default that of `oof_csv`.

    Raises:
        InputError: a file is missing or no such table; the tables come from networks of other folds; an image is not
            in the manifest, has no label, or was held out by no fold.
    """
    tables = tables or oof_csv.parent
    if test_csv is None and oof_csv.with_name("test.csv").is_file():
        test_csv = oof_csv.with_name("test.csv")
    oof = read_predictions(oof_csv)
    test = oof.iloc[:0] if test_csv is None else read_predictions(test_csv, list(oof.columns))
    manifest, folds = read_table(tables / "manifest.csv", MANIFEST), read_table(tables / "folds.csv", FOLDS)
    for path in filter(None, (oof_csv, test_csv)):
        found = read_folds_hash(path)
        if found != table_hash(folds):
            raise InputError(
                f"{path}: its networks were trained on the folds {found or '(not said)'}, {tables / 'folds.csv'} is "
                f"{table_hash(folds)}; give tables of one run, or steps that began with it"
            )
    held_out = folds.index[folds["fold"] >= 0]
    _refuse(oof.index.difference(held_out), oof_csv, "was held out by no fold of folds.csv")
    _refuse(oof.index.difference(manifest.index[manifest["label"] != ""]), oof_csv, "has no label in manifest.csv")
    not_test = test.index.difference(manifest.index[manifest["subset"] != TRAIN])
    _refuse(not_test, test_csv or oof_csv, "is no test image in manifest.csv")
    return Outputs(oof, test, manifest, folds)


def write_outputs(outputs: Outputs, folder: Path, *, step: Mapping[str, Any]) -> list[Path]:
    """Write the tables into a folder that the next step can take, and `step.json`, which says how they were made.

    Returns:
        The paths of the prediction tables.
    """
    folds_hash = table_hash(outputs.folds)
    write_table(outputs.manifest, folder / "manifest.csv")
    write_table(outputs.folds, folder / "folds.csv")
    tables = {"test.csv": outputs.test, "oof.csv": outputs.oof}
    written = [
        write_predictions(table, folder / name, folds_hash=folds_hash) for name, table in tables.items() if len(table)
    ]
    write_atomic(folder / STEP, (json.dumps({**step, "folds": folds_hash}, indent=2) + "\n").encode())
    return written


def _refuse(image_ids: pd.Index, path: Path, problem: str) -> None:
    if len(image_ids):
        raise InputError(f"{path}: {image_ids[0]!r} {problem}; {len(image_ids)} such images; give tables of one run")
