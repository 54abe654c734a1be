"""Folds that somebody else has drawn."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fisheries.schema import InputError, read_table


def read_folds(path: Path, usable: pd.Index, unusable: pd.Index) -> tuple[pd.DataFrame, list[str]]:
    """Read a CSV with image_id, fold and perhaps split, what the folds claim to separate; without it that is boats.

    Args:
        path: the file.
        usable: the images that can be in folds.
        unusable: training images that can't; what the file says of them is left out.

    Returns:
        Columns fold and split by `image_id`, in the order of `usable`, and then those that nobody knows; and sentences
        that say what was left out.

    Raises:
        InputError: as `schema.read_table`.
    """
    table = read_table(path, {"fold": "int64", "split": "str"}, optional={"split": "boat"})
    dropped = table.index.isin(unusable)
    absent = ~usable.isin(table.index)
    notes = [f"as many folds as {path} has"]
    if dropped.any():
        notes.append(f"{int(dropped.sum())} images of {path} can't be used, such as {table.index[dropped][0]!r}")
    if absent.any():
        notes.append(f"{int(absent.sum())} usable images are not in {path}, such as {usable[absent][0]!r}")
    order = [*usable[~absent], *table.index[~dropped & ~table.index.isin(usable)]]
    return table.loc[order], notes


def check_number(table: pd.DataFrame, folds: int | None, path: Path) -> None:
    """Check that a file has as many folds as were asked for, if any were.

    Raises:
        InputError: it has more or fewer.
    """
    count = int(table["fold"].max()) + 1
    if folds not in (None, count):
        raise InputError(f"split.folds={folds}: {path} has {count}; leave split.folds=null")
