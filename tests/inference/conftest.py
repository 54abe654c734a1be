from __future__ import annotations

from pathlib import Path

import pytest
from submission_files import STAGE1, STAGE2, predicted

from fisheries.inference.submission import write_submission


@pytest.fixture
def stage1(tmp_path: Path) -> Path:
    return write_submission(predicted(STAGE1), tmp_path / "stage1.csv").path


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return write_submission(predicted(STAGE1 + STAGE2), tmp_path / "final.csv").path
