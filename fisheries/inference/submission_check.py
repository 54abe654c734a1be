"""What is wrong with a submission file: names, columns and values, by the competition's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.inference.submission import (
    CLASSES,
    STAGE2_PREFIX,
    STAGES,
    Stage,
    other_name,
    read_image_table,
    read_sample,
    stage_of,
    stages_of,
)
from fisheries.inference.submission_problems import (
    Problem,
    cell_problems,
    class_problems,
    duplicates,
    name_problems,
    numbers,
)
from fisheries.schema import InputError

Expected = Literal["stg1", "stg2", "final"]

STAGES_OF: Mapping[Expected, tuple[Stage, ...]] = {"stg1": ("stg1",), "stg2": ("stg2",), "final": STAGES}
STAGE_IMAGES: Mapping[Stage, int] = {"stg1": 1_000, "stg2": 12_153}
STAGE2_NAME = r"image_\d{5}\.jpg"  # without its prefix


def check_submission(
    path: Path | str, *, sample: Path | str | None = None, expected: Expected | None = None
) -> list[Problem]:
    """Return what is wrong with a submission, nothing if it is fine; the order of the rows is free.

    Args:
        path: the file to check.
        sample: a submission with the names and classes, in order, that the file must have. Values are looked at
            only when the file has the sample's classes.
        expected: what the file is to hold of the competition: "stg1" for bare names alone, "stg2" for names with the
            prefix, "final" for both. Stages that the sample does not cover are checked by the number of their
            images in the competition, and classes, without a sample, by the competition's.

    Raises:
        InputError: the sample can't be used, as `read_sample`.
    """
    known = None if sample is None else read_sample(sample)
    try:
        text = read_image_table(path)
    except InputError as error:
        return [Problem("error", str(error))]
    problems = [*duplicates(text.index), *_folders(text.index)]
    if known is None:
        problems += _without_prefix(text.index)
    if known is not None or expected is not None:
        wanted = pd.Index([], dtype="str") if known is None else known.index
        problems += _missing_and_extra(text.index, wanted, expected)
    classes = _classes(known, expected, text)
    same_classes = set(text.columns) == set(classes)
    return [*_header_problems(text.columns, classes), *problems, *(_value_problems(text) if same_classes else [])]


def count_warnings(names: pd.Index) -> list[Problem]:
    """Return a warning for each stage of which `names` are not as many as the competition has, and for stage 2 alone."""
    stages = stages_of(names)
    counts = [
        Problem("warning", f"{problem.text}: Kaggle takes no such file") for problem in _count_problems(names, stages)
    ]
    alone = "no image of stage 1; the final file has both stages: give the table of stage 1, too"
    return [*counts, *([Problem("warning", alone)] if stages == ("stg2",) else [])]


def _classes(known: pd.DataFrame | None, expected: Expected | None, text: pd.DataFrame) -> list[str]:
    if known is not None:
        return list(known.columns)
    return list(CLASSES) if expected is not None or set(text.columns) == set(CLASSES) else list(text.columns)


def _header_problems(columns: Sequence[str], classes: Sequence[str]) -> list[Problem]:
    if set(columns) == set(classes) and list(columns) != list(classes):
        return [Problem("error", f"columns in the order {','.join(columns)}; the competition's is {','.join(classes)}")]
    return class_problems(list(columns), classes)


def _folders(names: pd.Index) -> list[Problem]:
    bare = names.str.removeprefix(STAGE2_PREFIX)
    return name_problems(
        names[bare.str.contains(r"[/\\]")],
        "has a folder in front",
        f"only {STAGE2_PREFIX!r} before the names of stage 2 is known",
    )


def _without_prefix(names: pd.Index) -> list[Problem]:
    return name_problems(
        names[names.str.fullmatch(STAGE2_NAME)],
        f"lacks the prefix {STAGE2_PREFIX!r}",
        "write it before the image_id of stage 2; those of stage 1 are named img_…",
    )


def _missing_and_extra(names: pd.Index, sample: pd.Index, expected: Expected | None) -> list[Problem]:
    stages = stages_of(sample) if expected is None else STAGES_OF[expected]
    wanted = _of_stages(sample, stages)
    missing, extra = wanted.difference(names, sort=False), set(names.difference(wanted))
    swapped = [name for name in missing if other_name(name) in extra]
    rest = names.difference([other_name(name) for name in swapped], sort=False)
    return [
        *_swapped_problems(swapped),
        *name_problems(missing.difference(swapped, sort=False), "is missing", "the sample has them"),
        *name_problems(
            _beyond(rest, wanted), "is not in the sample", f"take the rows out, or add {STAGE2_PREFIX!r} if it lacks"
        ),
        *_stage_problems(rest, stages),
        *_count_problems(rest, [stage for stage in stages if stage not in stages_of(wanted)]),
    ]


def _beyond(names: pd.Index, wanted: pd.Index) -> pd.Index:
    return _of_stages(names, stages_of(wanted)).difference(wanted, sort=False)


def _of_stages(names: pd.Index, stages: Iterable[Stage]) -> pd.Index:
    return names[[stage_of(name) in stages for name in names]]


def _swapped_problems(swapped: list[str]) -> list[Problem]:
    lacking = [other_name(name) for name in swapped if stage_of(name) == "stg2"]
    wrongly = [other_name(name) for name in swapped if stage_of(name) == "stg1"]
    return [
        *name_problems(lacking, f"lacks the prefix {STAGE2_PREFIX!r}", "write the names of stage 2 with it"),
        *name_problems(wrongly, f"has the prefix {STAGE2_PREFIX!r}", "write the names of stage 1 without it"),
    ]


def _stage_problems(names: pd.Index, stages: tuple[Stage, ...]) -> list[Problem]:
    with_prefix, bare = _of_stages(names, ["stg2"]), _of_stages(names, ["stg1"])
    problems = []
    if "stg2" not in stages:
        problems += name_problems(with_prefix, f"has the prefix {STAGE2_PREFIX!r}", "no image of stage 2 belongs here")
    if "stg1" not in stages:
        problems += name_problems(bare, f"lacks the prefix {STAGE2_PREFIX!r}", "no image of stage 1 belongs here")
    return problems


def _count_problems(names: pd.Index, stages: Sequence[Stage]) -> list[Problem]:
    kind = {"stg1": "with bare names", "stg2": f"with the prefix {STAGE2_PREFIX!r}"}
    found = {stage: len(_of_stages(names, [stage])) for stage in stages}
    return [
        Problem("error", f"{found[stage]} images {kind[stage]}; the competition has {STAGE_IMAGES[stage]}")
        for stage in stages
        if found[stage] != STAGE_IMAGES[stage]
    ]


def _value_problems(text: pd.DataFrame) -> list[Problem]:
    values = numbers(text)
    return [
        *cell_problems(text, ~np.isfinite(values), "error", "not a finite number"),
        *cell_problems(text, values < 0, "error", "less than 0"),
        *cell_problems(text, (values > 1) & (values < np.inf), "error", "more than 1"),
        *_sum_problems(text, values),
    ]


def _sum_problems(text: pd.DataFrame, values: NDArray[np.float64]) -> list[Problem]:
    distributions = ((values >= 0) & (values <= 1)).all(axis=1)
    names, totals = text.index[distributions], values[distributions].sum(axis=1)
    zero = totals == 0
    problems = name_problems(names[zero], "sums to 0", "Kaggle can't rescale it")
    off = (np.abs(totals - 1) > 1e-6) & ~zero
    if off.any():
        first = f"{names[off][0]!r} sums to {totals[off][0]:.6g}, not 1"
        problems.append(Problem("warning", f"{first}; {int(off.sum())} such rows; Kaggle rescales them"))
    return problems
