"""The competition's submission files, written and read; names of the second stage carry `test_stg2/`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from fisheries.inference.submission_problems import cell_problems, class_problems, duplicates, numbers
from fisheries.schema import KEY, InputError, check_predictions, nearest, read_predictions, write_atomic

Stage = Literal["stg1", "stg2"]

IMAGE = "image"
STAGE2_PREFIX = "test_stg2/"
STAGES: tuple[Stage, ...] = ("stg1", "stg2")
CLASSES = ("ALB", "BET", "DOL", "LAG", "NoF", "OTHER", "SHARK", "YFT")  # the competition's, in its order
CLIP = 1e-15  # Kaggle clips probabilities to [CLIP, 1 - CLIP] before it takes the logarithm


@dataclass(frozen=True)
class Written:
    """A submission as written: its path, its rows, and how many predictions of other stages it leaves out."""

    path: Path
    rows: int
    left_out: int


def stage_of(image_id: str) -> Stage:
    """Return the stage whose test images are named like `image_id`: stage 2 has the prefix, stage 1 bare names."""
    return "stg2" if image_id.startswith(STAGE2_PREFIX) else "stg1"


def stages_of(names: Iterable[str]) -> tuple[Stage, ...]:
    """Return the stages that `names` belong to, the first one first."""
    found = {stage_of(name) for name in names}
    return tuple(stage for stage in STAGES if stage in found)


def join_tables(paths: Sequence[Path], *, stages: Sequence[Stage] = STAGES) -> pd.DataFrame:
    """Read prediction tables and join them, such as one of stage 1 and one of stage 2.

    Args:
        paths: of one or more tables, of the same classes.
        stages: whose images are kept.

    Raises:
        InputError: an image in two tables, no image of the one stage asked for, or as `schema.read_predictions`.
    """
    first = read_predictions(paths[0])
    tables = [first, *(read_predictions(path, list(first.columns)) for path in paths[1:])]
    _refuse_shared(paths, tables)
    joined = pd.concat(tables)
    if len(stages) == 1 and stages[0] not in stages_of(joined.index):
        named = f"named {STAGE2_PREFIX}…" if stages[0] == "stg2" else f"named without {STAGE2_PREFIX}"
        raise InputError(f"{paths[0]}: no image of stage {stages[0][-1]}, {named}; give the table that has them")
    return joined[[stage_of(name) in stages for name in joined.index]]


def write_submission(predictions: pd.DataFrame, path: Path | str, *, sample: Path | str | None = None) -> Written:
    """Write predictions in Kaggle's format: `image,<classes>`, with digits enough to read the same numbers back.

    Args:
        predictions: one probability a class (columns), indexed by `image_id`.
        path: the CSV file to write, whole or not at all.
        sample: a submission whose names, classes and order of both are taken over. Predictions of a stage that the
            sample does not have are left out and counted. Without a sample, rows are sorted by name, and the
            competition's classes take its order.

    Raises:
        InputError: `path` is no `.csv`; the predictions are no distributions or have an id twice; they lack a name
            of the sample, have more images of the sample's stages, or other classes.
    """
    path = Path(path)
    if path.suffix != ".csv":
        raise InputError(f"{path}: a submission's name must end in .csv; rename it to {path.stem}.csv")
    check_predictions(predictions)
    _refuse_duplicates(predictions, "predictions")
    table = _sorted(predictions) if sample is None else _arranged(predictions, read_sample(sample), Path(sample))
    write_atomic(path, table.astype("float64").map(_digits).to_csv(index_label=IMAGE, lineterminator="\n").encode())
    return Written(path=path, rows=len(table), left_out=len(predictions) - len(table))


def read_image_table(path: Path | str) -> pd.DataFrame:
    """Read a CSV whose first column is `image`, the others as the text they hold; indexed by `image_id`.

    Raises:
        InputError: no such file, not a CSV, no rows, no or another first column, a column twice, a row that is
            longer or shorter than the header or has no image. An id may occur twice.
    """
    path = Path(path)
    (_, header), *rows = _read_lines(path)
    _check_header(header, path)
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}: line {line} has {len(row)} values, the header {len(header)}; write the row anew")
        if not row[0].strip():
            raise InputError(f"{path}: line {line} has no image; write its name or delete the row")
    table = pd.DataFrame([row for _, row in rows], columns=header, dtype="str")
    return table.set_index(IMAGE).rename_axis(KEY)


def read_sample(path: Path | str) -> pd.DataFrame:
    """Read the names (index), the classes (columns) and the order of both from a sample; its values stay text.

    Raises:
        InputError: as `read_image_table`, or an image occurs twice.
    """
    table = read_image_table(path)
    _refuse_duplicates(table, path)
    return table


def read_submission(path: Path | str) -> pd.DataFrame:
    """Read a submission as a table of float64, one column a class, indexed by `image_id`; rows need not sum to 1.

    Raises:
        InputError: as `read_sample`, or a value is not a finite number.
    """
    text = read_sample(path)
    values = numbers(text)
    for problem in cell_problems(text, ~np.isfinite(values), "error", "not a finite number"):
        raise InputError(f"{path}: {problem.text}")
    return pd.DataFrame(values, index=text.index, columns=text.columns)


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV table ({error})") from error
    if len(lines) < 2:
        raise InputError(f"{path}: no rows; it needs a header {IMAGE},<classes> and one row an image")
    return lines


def _check_header(header: list[str], path: Path) -> None:
    if header[0] != IMAGE:
        raise InputError(f"{path}: the first column is {header[0]!r}, not {IMAGE!r}; `fisheries submit` writes it so")
    if len(header) < 2:
        raise InputError(f"{path}: no column beside {IMAGE!r}; it needs {IMAGE},<classes>")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} occurs more than once; keep one")


def _refuse_duplicates(table: pd.DataFrame, name: Path | str) -> None:
    for problem in duplicates(table.index):
        raise InputError(f"{name}: {problem.text}")


def _sorted(predictions: pd.DataFrame) -> pd.DataFrame:
    table = predictions.sort_index()
    return table[list(CLASSES)] if set(table.columns) == set(CLASSES) else table


def _refuse_shared(paths: Sequence[Path], tables: Sequence[pd.DataFrame]) -> None:
    for (one, first), (other, second) in combinations(zip(paths, tables, strict=True), 2):
        both = first.index.intersection(second.index, sort=False)
        if len(both):
            raise InputError(
                f"{both[0]!r} is in {one} and in {other}; {len(both)} such images; give tables of different images, "
                "or one that `fisheries ensemble` made of both"
            )


def _arranged(predictions: pd.DataFrame, sample: pd.DataFrame, path: Path) -> pd.DataFrame:
    for problem in class_problems(list(predictions.columns), list(sample.columns)):
        raise InputError(f"{path}: {problem.text}")
    _refuse_missing(predictions.index, sample.index, path)
    covered = {stage_of(name) for name in sample.index}
    extra = [name for name in predictions.index.difference(sample.index) if stage_of(name) in covered]
    if extra:
        raise InputError(
            f"{path}: no {extra[0]!r}, which is predicted; {len(extra)} such images; give the sample that has them"
        )
    return predictions.loc[sample.index, sample.columns]


def _refuse_missing(predicted: pd.Index, wanted: pd.Index, path: Path) -> None:
    missing = wanted.difference(predicted, sort=False)
    if missing.empty:
        return
    first = missing[0]
    if all(other_name(name) in predicted for name in missing):
        verb = "add it to" if stage_of(first) == "stg2" else "remove it from"
        raise InputError(
            f"{path}: {first!r} is predicted as {other_name(first)!r}; {len(missing)} names differ by the prefix "
            f"{STAGE2_PREFIX!r} only; {verb} the {KEY} of these predictions"
        )
    raise InputError(
        f"{path}: {first!r} is not predicted{nearest(first, predicted)}; {len(missing)} such images; "
        "predict them, or give the sample of the images predicted"
    )


def other_name(name: str) -> str:
    """Return the name that an image of the other stage would have: with the prefix, or without it."""
    return name.removeprefix(STAGE2_PREFIX) if stage_of(name) == "stg2" else STAGE2_PREFIX + name


def _digits(value: float) -> str:
    # the shortest text that reads back as the same float64, without an exponent, which not every reader knows
    return np.format_float_positional(value, unique=True, trim="0")
