"""The tables that every step reads and writes, keyed by `image_id`, and the checks at their border.

`image_id` is the name used in the submission: `img_00003.jpg`, or `test_stg2/image_00001.jpg` for the second stage.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

KEY = "image_id"
OK = "ok"
TRAIN = "train"
USABLE = (OK, "clipped")  # the statuses of boxes that are used

# A missing text is "", so that a class, a boat or a file may be called "NA" or "None".
MANIFEST: Mapping[str, str] = {
    "path": "str",  # where the file lies
    "subset": "str",  # the folder it was given in: train, test_stg1, test_stg2
    "label": "str",  # class name; "" for test images
    "height": "int64",  # pixels, after EXIF rotation; 0 where the file can't be read
    "width": "int64",
    "sha256": "str",  # of the file's bytes
    "status": "str",  # "ok", or why the image can't be used
    "notes": "str",  # oddities that don't stop its use, separated by blanks
    "boat": "str",  # "" where it is not known
    "burst": "str",  # id of the first of the near-duplicate frames that it belongs to, which may be itself
    "is_night": "bool",  # lit by the camera's lamp alone
    "size_bytes": "int64",
    "mtime_ns": "int64",
}
BOXES: Mapping[str, str] = {
    "left": "float64",  # frame pixels, after EXIF rotation
    "top": "float64",
    "box_width": "float64",
    "box_height": "float64",
    "source": "str",  # file or model that drew the box
    "status": "str",  # "ok", "clipped", or why the box can't be used
}
FOLDS: Mapping[str, str] = {
    "fold": "int64",  # the fold that holds the image out; -1 for a boat that no fold ever trains on
    "seen_fold": "int64",  # another fold, which holds it out of its training to be scored on seen boats; -1 for none
    "split": "str",  # how the folds were drawn
    "seed": "int64",
}
FOLDS_HASH = "folds"  # a column of prediction tables: the hash of the folds that their networks were trained on
BOATS: Mapping[str, str] = {"boat": "str"}


class InputError(ValueError):
    """Something the user gave can't be used: one line with the value, what was expected and the remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known name closest to `name`, or nothing if none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def read_table(
    path: Path | str,
    columns: Mapping[str, str],
    *,
    unique: bool = True,
    optional: Mapping[str, str | float | bool] | None = None,
) -> pd.DataFrame:
    """Read a CSV with a column `image_id` and at least `columns`; other columns are dropped.

    Args:
        path: the CSV file.
        columns: name -> dtype ("str", "int64", "float64", "bool"), such as `MANIFEST`.
        unique: whether an `image_id` may occur once only.
        optional: those of `columns` that the file may lack, and what they then hold throughout.

    Returns:
        The table, indexed by `image_id`, in the file's order.

    Raises:
        InputError: the file is missing, empty or not a CSV; a column is missing; a number can't be read; an id is
            empty or, if `unique`, occurs twice.
    """
    table = _read_text(Path(path))
    table = table.assign(**{name: str(value) for name, value in (optional or {}).items() if name not in table})
    for name in (KEY, *columns):
        if name not in table:
            raise InputError(
                f"{path}: no column {name!r}{nearest(name, table.columns)}; it needs {KEY},{','.join(columns)}"
            )
    table = _indexed(table, path, unique=unique)
    return pd.DataFrame({name: _typed(table[name], dtype, path) for name, dtype in columns.items()}, index=table.index)


def write_table(table: pd.DataFrame, path: Path | str) -> Path:
    """Write `table` with its index as `image_id`; numbers keep every digit, and a reader never sees half a file."""
    path = Path(path)
    text = table.to_csv(index_label=KEY, lineterminator="\n")
    if "\r" in text:  # ends a line for readers, but pandas quotes only what ends its own
        text = table.to_csv(index_label=KEY, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    write_atomic(path, text.encode())
    return path


def write_atomic(path: Path | str, data: bytes, *, make_folder: bool = True) -> None:
    """Write `data` as `new_file` does.

    Raises:
        OSError: it can't be written; names `path`.
    """
    with new_file(path, make_folder=make_folder) as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: Path | str, *, make_folder: bool = True) -> Iterator[BinaryIO]:
    """Open a file beside `path`; at the end it is synced and renamed, so that `path` is the old file or the new one, whole.

    Args:
        path: of the file.
        make_folder: whether its folder is made if it is not there.

    Raises:
        OSError: it can't be written; names `path`.
    """
    path = Path(path)
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)
        raise


def sweep_leftovers(folder: Path, *, older_s: float = 0) -> None:
    """Remove what `write_atomic` left in a folder when its process was killed, if it is older than so many seconds."""
    for path in folder.glob(".?*.????????"):
        with contextlib.suppress(OSError):  # another process has just renamed it
            if path.is_file() and time.time() - path.stat().st_mtime >= older_s:
                path.unlink()


def read_predictions(path: Path | str, classes: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a prediction table: `image_id` and one probability a class, in the order of `classes` or else of the file.

    Raises:
        InputError: as `read_table` and `check_predictions`.
    """
    if classes is None:
        classes = [name for name in _read_text(Path(path), rows=1).columns if name not in (KEY, FOLDS_HASH)]
    table = read_table(path, dict.fromkeys(classes, "float64"))
    check_predictions(table, path)
    return table


def write_predictions(table: pd.DataFrame, path: Path | str, *, folds_hash: str) -> Path:
    """Write a prediction table with the hash of the folds in its last column, so that it can't be mixed with others."""
    return write_table(table.assign(**{FOLDS_HASH: folds_hash}), path)


def read_folds_hash(path: Path | str) -> str:
    """Return the hash that `write_predictions` wrote, or "" for a table from elsewhere.

    Raises:
        InputError: the table has rows of several folds.
    """
    text = _read_text(Path(path))
    found = sorted(set(text[FOLDS_HASH])) if FOLDS_HASH in text else [""]
    if len(found) != 1:
        raise InputError(f"{path}: rows of {len(found)} fold tables ({', '.join(found[:3])}); expected rows of one")
    return found[0]


def check_predictions(table: pd.DataFrame, name: Path | str = "predictions") -> None:
    """Check that `table` has rows, and that each is a probability distribution.

    Raises:
        InputError: no rows or classes, a value that is not finite or outside [0, 1], or a row that does not sum to 1
            within 1e-6, by the name of the first image.
    """
    if table.empty:
        raise InputError(
            f"{name}: no rows or no classes; a prediction table has one row an image and one column a class"
        )
    values = table.to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values).all(axis=1) | (values < 0).any(axis=1) | (values > 1).any(axis=1)
    if bad.any():
        raise InputError(
            f"{name}: {table.index[bad][0]!r} has a value that is no probability; {int(bad.sum())} such rows"
        )
    off = np.abs(values.sum(axis=1) - 1) > 1e-6
    if off.any():
        total = values[off][0].sum()
        raise InputError(f"{name}: {table.index[off][0]!r} sums to {total:.6g}, not 1; {int(off.sum())} such rows")


def largest_boxes(boxes: pd.DataFrame) -> pd.DataFrame:
    """Return the largest usable box of each image that has one, a row an image; of equal ones the first."""
    ordered = usable_boxes(boxes)
    return ordered[~ordered.index.duplicated()]


def usable_boxes(boxes: pd.DataFrame) -> pd.DataFrame:
    """Return the boxes that can be used, the largest first; equal ones stay in their order."""
    usable = boxes[boxes["status"].isin(USABLE)]
    area = (usable["box_width"] * usable["box_height"]).to_numpy(dtype=np.float64)
    return usable.iloc[np.argsort(-area, kind="stable")]


def table_hash(table: pd.DataFrame) -> str:
    """Return 16 hexadecimal digits that change when any id, column or value changes, but not with the rows' order."""
    text = table.sort_index(kind="stable").to_csv(index_label=KEY, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_text(path: Path, rows: int | None = None) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, nrows=rows)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV table ({str(error).strip()})") from error


def _indexed(table: pd.DataFrame, path: Path | str, *, unique: bool) -> pd.DataFrame:
    if (table[KEY] == "").any():
        raise InputError(f"{path}: row {int((table[KEY] == '').argmax()) + 2} has no {KEY}")
    twice = table[KEY].duplicated()
    if unique and twice.any():
        raise InputError(
            f"{path}: {table.loc[twice, KEY].iloc[0]!r} occurs more than once; {int(twice.sum())} such rows"
        )
    return table.set_index(KEY)


def _typed(column: pd.Series, dtype: str, path: Path | str) -> pd.Series:
    if dtype == "str":
        return column
    if dtype == "bool":
        return _truth(column, path)
    numbers = pd.to_numeric(column.replace("", "nan"), errors="coerce")
    text = column.str.strip().str.lower()
    wrong = numbers.isna() & ((dtype == "int64") | ~text.isin(["", "nan"]))
    if dtype == "int64":
        wrong |= numbers % 1 != 0
    if wrong.any():
        where, value = column.index[wrong][0], column[wrong].iloc[0]
        raise InputError(
            f"{path}: {column.name} of {where!r} is {value!r}, not {'a whole' if dtype == 'int64' else 'a'} number"
        )
    return numbers.astype(dtype)


def _truth(column: pd.Series, path: Path | str) -> pd.Series:
    truth = column.str.strip().str.lower().map({"true": True, "1": True, "false": False, "0": False})
    if truth.isna().any():
        where, value = column.index[truth.isna()][0], column[truth.isna()].iloc[0]
        raise InputError(f"{path}: {column.name} of {where!r} is {value!r}; expected True or False")
    return truth.astype(bool)
