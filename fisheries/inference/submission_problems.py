"""How what is wrong with a submission is said: the first of its kind, how many there are, and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.schema import nearest

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a submission: Kaggle refuses or misreads an error, a warning is only likely to cost."""

    severity: Severity
    text: str


def class_problems(columns: Sequence[str], classes: Sequence[str]) -> list[Problem]:
    """Return an error for each class that `columns` lack, and for each column that is no class."""
    missing = [f"no column {name!r}{nearest(name, columns)}" for name in classes if name not in columns]
    extra = [f"column {name!r} is no class{nearest(name, classes)}" for name in columns if name not in classes]
    return [Problem("error", f"{text}; the classes are {','.join(classes)}") for text in missing + extra]


def duplicates(names: pd.Index) -> list[Problem]:
    """Return an error if a name occurs twice."""
    return name_problems(names[names.duplicated()], "occurs more than once", "keep one row of each")


def name_problems(names: pd.Index | list[str], what: str, remedy: str) -> list[Problem]:
    """Return an error that tells the first of `names` and how many there are; nothing if there are none."""
    if len(names) == 0:
        return []
    return [Problem("error", f"{names[0]!r} {what}; {len(names)} such names; {remedy}")]


def cell_problems(text: pd.DataFrame, wrong: NDArray[np.bool_], severity: Severity, what: str) -> list[Problem]:
    """Return a problem that tells the first cell of `text` where `wrong` holds, and how many; nothing if none does."""
    if not wrong.any():
        return []
    row, column = np.argwhere(wrong)[0]
    where = f"{text.columns[column]} of {text.index[row]!r} is {text.iloc[row, column]!r}"
    return [Problem(severity, f"{where}, {what}; {int(wrong.sum())} such values")]


def numbers(text: pd.DataFrame) -> NDArray[np.float64]:
    """Return the values of a table of texts; NaN for what is no number."""
    return text.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
