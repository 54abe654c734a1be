"""Submissions"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.inference.submission_check import check_submission
from fisheries.schema import KEY
from tests.faults.conftest import refusal
from tests.processes import FISHERIES, call

CLASSES = ["ALB", "BET", "YFT"]
NAMES = [f"img_{number:05d}.jpg" for number in range(6)]
FAULTS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "a row too few": (lambda table: table.iloc[1:], "'img_00000.jpg' is missing"),
    "a row twice": (lambda table: pd.concat([table, table.iloc[:1]]), "'img_00000.jpg' occurs more than once"),
    "another name": (lambda table: table.rename({NAMES[0]: "img_9.jpg"}), "'img_9.jpg' is not in the sample"),
    "columns in another order": (lambda table: table[CLASSES[::-1]], "columns in the order YFT,BET,ALB"),
    "nan": (lambda table: table.where(table.index.to_series() != NAMES[1]), "img_00001.jpg"),
    "another sum": (lambda table: table / 2, "sum"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_submission_with_wrong_rows_or_names_or_order_or_nan_or_sums(tmp_path: Path, fault: str):
    """The check names each problem with its first image, as an error where Kaggle would refuse, else as a warning."""
    table = pd.DataFrame(1 / 3, pd.Index(NAMES, name="image"), CLASSES)
    table.to_csv(tmp_path / "sample.csv")
    assert check_submission(tmp_path / "sample.csv", sample=tmp_path / "sample.csv") == []
    change, said = FAULTS[fault]
    change(table).to_csv(tmp_path / "mine.csv")
    problems = check_submission(tmp_path / "mine.csv", sample=tmp_path / "sample.csv")
    assert {problem.severity for problem in problems} == {"warning" if fault == "another sum" else "error"}
    assert said in " ".join(problem.text for problem in problems)


def test_predictions_that_are_no_probabilities(tmp_path: Path):
    """No submission is written of a table with NaN or wrong sums; one line names the first image."""
    table = pd.DataFrame(1 / 3, pd.Index(NAMES, name=KEY), CLASSES)
    table.iloc[2, 0] = np.nan
    table.to_csv(tmp_path / "test.csv")
    line = refusal(call(FISHERIES, "submit", "test.csv", "--out", "out.csv", cwd=tmp_path, check=False))
    assert line == "test.csv: 'img_00002.jpg' has a value that is no probability; 1 such rows"
    assert not (tmp_path / "out.csv").exists()
