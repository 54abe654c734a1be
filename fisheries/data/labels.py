"""Labels that a person corrected or doubts: a table to be edited by hand, or in the page of `fisheries view`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fisheries.schema import TRAIN, InputError, nearest, read_table

LABELS: Mapping[str, str] = {
    "label": "str",  # the right class; "" where it is only doubted
    "note": "str",  # for those who annotate
}


def read_labels(path: Path | str) -> pd.DataFrame:
    """Read a CSV with `image_id,label`, and perhaps `note`.

    Raises:
        InputError: as `schema.read_table`.
    """
    table = read_table(path, LABELS, optional={"note": ""})
    return table.assign(label=table["label"].str.strip(), note=table["note"].str.strip())


def attach_labels(manifest: pd.DataFrame, labels_csv: Path) -> pd.DataFrame:
    """Give training images the labels of a table, and note that in `notes`.

    Args:
        manifest: with `subset`, `label` and `notes`.
        labels_csv: see `read_labels`; an image without a row, or with the label "", keeps its own.

    Raises:
        InputError: the file is no such table; an image that is not in the manifest, or is of test; an unknown class.
    """
    labels = read_labels(labels_csv)["label"]
    _check_images(labels, manifest, labels_csv)
    given = labels[labels != ""]
    changed = given[given != manifest.loc[given.index, "label"]]
    if changed.empty:
        return manifest
    label, notes = manifest["label"].copy(), manifest["notes"].copy()
    label[changed.index] = changed
    notes[changed.index] = (notes[changed.index] + " relabeled").str.strip()
    return manifest.assign(label=label, notes=notes)


def _check_images(labels: pd.Series, manifest: pd.DataFrame, name: Path) -> None:
    strange = labels.index.difference(manifest.index)
    if len(strange):
        raise InputError(
            f"{name}: {strange[0]!r} is not in the manifest{nearest(strange[0], manifest.index)}; correct or delete its row "
            f"({len(strange)} such rows)"
        )
    given = labels[labels != ""]
    rows = manifest.loc[given.index]
    test = rows.index[rows["subset"] != TRAIN]
    if len(test):
        raise InputError(f"{name}: {test[0]!r} is a test image; labels are of training images, so delete its row")
    classes = sorted(set(manifest.loc[manifest["subset"] == TRAIN, "label"]) - {""})
    wrong = given[~given.isin(classes)]
    if len(wrong):
        raise InputError(
            f"{name}: {wrong.index[0]!r} has the label {wrong.iloc[0]!r}{nearest(wrong.iloc[0], classes)}; "
            f"expected one of {', '.join(classes)}"
        )
