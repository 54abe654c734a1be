"""The competition's submission files: written, read and checked; names of the second stage carry `test_stg2/`."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.schema import KEY, InputError, check_predictions, nearest, write_atomic

Stage = Literal["stg1", "stg2"]
Expected = Literal["stg1", "final"]
Severity = Literal["error", "warning"]

IMAGE = "image"
STAGE2_PREFIX = "test_stg2/"
STAGES: tuple[Stage, ...] = ("stg1", "stg2")
STAGES_OF: Mapping[Expected, tuple[Stage, ...]] = {"stg1": ("stg1",), "final": STAGES}
STAGE_IMAGES: Mapping[Stage, int] = {"stg1": 1_000, "stg2": 12_153}
CLIP = 1e-15  # Kaggle clips probabilities to [CLIP, 1 - CLIP] before it takes the logarithm


@dataclass(frozen=True)
class Problem:
    """What is wrong with a submission: Kaggle refuses or misreads an error, a warning is only likely to cost."""

    severity: Severity
    text: str


@dataclass(frozen=True)
class Written:
    """A submission as written: its path, its rows, and how many predictions of other stages it leaves out."""

    path: Path
    rows: int
    left_out: int


def stage_of(image_id: str) -> Stage:
    """Return the stage whose test images are named like `image_id`: stage 2 has the prefix, stage 1 bare names."""
    return "stg2" if image_id.startswith(STAGE2_PREFIX) else "stg1"


def write_submission(predictions: pd.DataFrame, path: Path | str, *, sample: Path | str | None = None) -> Written:
    """Write predictions in Kaggle's format: `image,<classes>`, with digits enough to read the same numbers back.

    Args:
        predictions: one probability a class (columns), indexed by `image_id`.
        path: the CSV file to write, whole or not at all.
        sample: a submission whose names, classes and order of both are taken over. Predictions of a stage that the
            sample does not have are left out and counted. Without a sample, rows are sorted by name.

    Raises:
        InputError: `path` is no `.csv`; the predictions are no distributions or have an id twice; they lack a name
            of the sample, have more images of the sample's stages, or other classes.
    """
    path = Path(path)
    if path.suffix != ".csv":
        raise InputError(f"{path}: a submission's name must end in .csv; rename it to {path.stem}.csv")
    check_predictions(predictions)
    _refuse_duplicates(predictions, "predictions")
    table = predictions.sort_index() if sample is None else _arranged(predictions, read_sample(sample), Path(sample))
    write_atomic(path, table.astype("float64").map(_digits).to_csv(index_label=IMAGE, lineterminator="\n").encode())
    return Written(path=path, rows=len(table), left_out=len(predictions) - len(table))


def write_submission_notes(
    csv_path: Path | str, *, run: str, git_commit: str, folds_hash: str, scores: Mapping[str, float]
) -> Path:
    """Write `<name>.json` beside a submission: where it comes from, its honest scores and what its bytes are.

    Raises:
        InputError: a score is not finite, or as `read_submission`.
    """
    csv_path = Path(csv_path)
    for name, score in scores.items():
        if not math.isfinite(score):
            raise InputError(f"{csv_path}: score {name!r} is {score}, not a finite number; leave it out")
    table = read_submission(csv_path)
    notes = {
        "run": run,
        "git_commit": git_commit,
        "folds_hash": folds_hash,
        "scores": {name: float(score) for name, score in scores.items()},
        "sha256": hashlib.sha256(csv_path.read_bytes()).hexdigest(),
        "rows": len(table),
        "classes": list(table.columns),
        "mean_prediction": table.mean().to_dict(),
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = csv_path.with_suffix(".json")
    write_atomic(path, (json.dumps(notes, indent=2, ensure_ascii=False) + "\n").encode())
    return path


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
    values = _numbers(text)
    for problem in _cells(text, ~np.isfinite(values), "error", "not a finite number"):
        raise InputError(f"{path}: {problem.text}")
    return pd.DataFrame(values, index=text.index, columns=text.columns)


def check_submission(
    path: Path | str, *, sample: Path | str | None = None, expected: Expected | None = None
) -> list[Problem]:
    """Return what is wrong with a submission, nothing if it is fine; the order of the rows is free.

    Args:
        path: the file to check.
        sample: a submission with the names and classes, in order, that the file must have. Values are looked at
            only when the file has the sample's classes.
        expected: "stg1" for bare names alone, "final" for both stages. Stages that the sample does not cover are
            checked by the number of their images in the competition.

    Raises:
        InputError: the sample can't be used, as `read_sample`.
    """
    known = None if sample is None else read_sample(sample)
    try:
        text = read_image_table(path)
    except InputError as error:
        return [Problem("error", str(error))]
    problems = [*_duplicates(text.index), *_folders(text.index)]
    if known is not None or expected is not None:
        wanted = pd.Index([], dtype="str") if known is None else known.index
        problems += _name_problems(text.index, wanted, expected)
    header = [] if known is None else _header_problems(list(text.columns), list(known.columns))
    same_classes = known is None or set(text.columns) == set(known.columns)
    return [*header, *problems, *(_value_problems(text) if same_classes else [])]


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
    for problem in _duplicates(table.index):
        raise InputError(f"{name}: {problem.text}")


def _arranged(predictions: pd.DataFrame, sample: pd.DataFrame, path: Path) -> pd.DataFrame:
    for problem in _class_problems(list(predictions.columns), list(sample.columns)):
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
    if all(_twin(name) in predicted for name in missing):
        verb = "add it to" if stage_of(first) == "stg2" else "remove it from"
        raise InputError(
            f"{path}: {first!r} is predicted as {_twin(first)!r}; {len(missing)} names differ by the prefix "
            f"{STAGE2_PREFIX!r} only; {verb} the {KEY} of these predictions"
        )
    raise InputError(
        f"{path}: {first!r} is not predicted{nearest(first, predicted)}; {len(missing)} such images; "
        "predict them, or give the sample of the images predicted"
    )


def _twin(name: str) -> str:
    return name.removeprefix(STAGE2_PREFIX) if stage_of(name) == "stg2" else STAGE2_PREFIX + name


def _digits(value: float) -> str:
    # the shortest text that reads back as the same float64, without an exponent, which not every reader knows
    return np.format_float_positional(value, unique=True, trim="0")


def _header_problems(columns: list[str], classes: list[str]) -> list[Problem]:
    if set(columns) == set(classes) and columns != classes:
        return [Problem("error", f"columns in the order {','.join(columns)}; the sample has {','.join(classes)}")]
    return _class_problems(columns, classes)


def _class_problems(columns: list[str], classes: list[str]) -> list[Problem]:
    missing = [f"no column {name!r}{nearest(name, columns)}" for name in classes if name not in columns]
    extra = [f"column {name!r} is no class{nearest(name, classes)}" for name in columns if name not in classes]
    return [Problem("error", f"{text}; the sample has {','.join(classes)}") for text in missing + extra]


def _duplicates(names: pd.Index) -> list[Problem]:
    return _names(names[names.duplicated()], "occurs more than once", "keep one row of each")


def _folders(names: pd.Index) -> list[Problem]:
    bare = names.str.removeprefix(STAGE2_PREFIX)
    return _names(
        names[bare.str.contains(r"[/\\]")],
        "has a folder in front",
        f"only {STAGE2_PREFIX!r} before the names of stage 2 is known",
    )


def _name_problems(names: pd.Index, sample: pd.Index, expected: Expected | None) -> list[Problem]:
    stages = _stages(sample) if expected is None else STAGES_OF[expected]
    wanted = _of_stages(sample, stages)
    missing, extra = wanted.difference(names, sort=False), set(names.difference(wanted))
    swapped = [name for name in missing if _twin(name) in extra]
    rest = names.difference([_twin(name) for name in swapped], sort=False)
    return [
        *_swapped_problems(swapped),
        *_names(missing.difference(swapped, sort=False), "is missing", "the sample has them"),
        *_names(
            _beyond(rest, wanted), "is not in the sample", f"take the rows out, or add {STAGE2_PREFIX!r} if it lacks"
        ),
        *_stage_problems(rest, stages),
        *_count_problems(rest, [stage for stage in stages if stage not in _stages(wanted)]),
    ]


def _beyond(names: pd.Index, wanted: pd.Index) -> pd.Index:
    return _of_stages(names, _stages(wanted)).difference(wanted, sort=False)


def _stages(names: Iterable[str]) -> tuple[Stage, ...]:
    found = {stage_of(name) for name in names}
    return tuple(stage for stage in STAGES if stage in found)


def _of_stages(names: pd.Index, stages: Iterable[Stage]) -> pd.Index:
    return names[[stage_of(name) in stages for name in names]]


def _swapped_problems(swapped: list[str]) -> list[Problem]:
    lacking = [_twin(name) for name in swapped if stage_of(name) == "stg2"]
    wrongly = [_twin(name) for name in swapped if stage_of(name) == "stg1"]
    return [
        *_names(lacking, f"lacks the prefix {STAGE2_PREFIX!r}", "write the names of stage 2 with it"),
        *_names(wrongly, f"has the prefix {STAGE2_PREFIX!r}", "write the names of stage 1 without it"),
    ]


def _stage_problems(names: pd.Index, stages: tuple[Stage, ...]) -> list[Problem]:
    with_prefix, bare = _of_stages(names, ["stg2"]), _of_stages(names, ["stg1"])
    problems = []
    if "stg2" not in stages:
        problems += _names(with_prefix, f"has the prefix {STAGE2_PREFIX!r}", "no image of stage 2 belongs here")
    if "stg1" not in stages:
        problems += _names(bare, f"lacks the prefix {STAGE2_PREFIX!r}", "no image of stage 1 belongs here")
    return problems


def _count_problems(names: pd.Index, stages: list[Stage]) -> list[Problem]:
    kind = {"stg1": "with bare names", "stg2": f"with the prefix {STAGE2_PREFIX!r}"}
    found = {stage: len(_of_stages(names, [stage])) for stage in stages}
    return [
        Problem("error", f"{found[stage]} images {kind[stage]}; the competition has {STAGE_IMAGES[stage]}")
        for stage in stages
        if found[stage] != STAGE_IMAGES[stage]
    ]


def _names(names: pd.Index | list[str], what: str, remedy: str) -> list[Problem]:
    if len(names) == 0:
        return []
    return [Problem("error", f"{names[0]!r} {what}; {len(names)} such names; {remedy}")]


def _value_problems(text: pd.DataFrame) -> list[Problem]:
    values = _numbers(text)
    sure = (values >= 0) & (values <= CLIP) | (values >= 1 - CLIP) & (values <= 1)
    return [
        *_cells(text, ~np.isfinite(values), "error", "not a finite number"),
        *_cells(text, values < 0, "error", "less than 0"),
        *_cells(text, (values > 1) & (values < np.inf), "error", "more than 1"),
        *_sum_problems(text, values),
        *_cells(text, sure, "warning", f"so sure that an error costs {-math.log(CLIP):.1f} nats; clip it"),
    ]


def _sum_problems(text: pd.DataFrame, values: NDArray[np.float64]) -> list[Problem]:
    distributions = ((values >= 0) & (values <= 1)).all(axis=1)
    names, totals = text.index[distributions], values[distributions].sum(axis=1)
    zero = totals == 0
    problems = _names(names[zero], "sums to 0", "Kaggle can't rescale it")
    off = (np.abs(totals - 1) > 1e-6) & ~zero
    if off.any():
        first = f"{names[off][0]!r} sums to {totals[off][0]:.6g}, not 1"
        problems.append(Problem("warning", f"{first}; {int(off.sum())} such rows; Kaggle rescales them"))
    return problems


def _cells(text: pd.DataFrame, wrong: NDArray[np.bool_], severity: Severity, what: str) -> list[Problem]:
    if not wrong.any():
        return []
    row, column = np.argwhere(wrong)[0]
    where = f"{text.columns[column]} of {text.index[row]!r} is {text.iloc[row, column]!r}"
    return [Problem(severity, f"{where}, {what}; {int(wrong.sum())} such values")]


def _numbers(text: pd.DataFrame) -> NDArray[np.float64]:
    return text.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
