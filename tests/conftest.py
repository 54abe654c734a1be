"""One small world of synthetic boats for all tests, and ways to build the pieces of a run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and their threads would wait for one another

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fisheries.data.splits import make_folds
from fisheries.data.synthetic import draw_competition
from fisheries.data.tables import load_or_scan
from fisheries.inference.outputs import Outputs

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition of 8 boats and 3 new ones."""
    root = tmp_path_factory.mktemp("world") / "boats"
    draw_competition(root, train=96, stage1=12, stage2=18, boats=8, new_boats=3, leak=0.5, seed=3, workers=1)
    return root


@pytest.fixture(scope="session")
def tables(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Its manifest and boxes."""
    folder = tmp_path_factory.mktemp("tables")
    return load_or_scan(world, annotations=None, boats=None, no_fish="NoF", tables_dir=folder, progress=False)


@pytest.fixture(scope="session")
def make_outputs(tables: tuple[pd.DataFrame, pd.DataFrame]) -> Callable[..., Outputs]:
    """Make tables of a run on it with three folds, of which `said` tells what is said of images (the rows' index)."""
    manifest, _ = tables

    def make(said: Callable[[pd.Index, list[str]], np.ndarray] | None = None, *, split: str = "boat") -> Outputs:
        folds = make_folds(manifest, split=split, folds=3, seed=0)
        classes = sorted(set(manifest["label"]) - {""})
        rng = np.random.default_rng(0)

        def table(index: pd.Index) -> pd.DataFrame:
            values = rng.dirichlet(np.ones(len(classes)), len(index)) if said is None else said(index, classes)
            return pd.DataFrame(values, index, classes)

        test = manifest.index[manifest["subset"] != "train"]
        return Outputs(table(folds.index[folds["fold"] >= 0]), table(test), manifest, folds)

    return make


@pytest.fixture
def train_py(tmp_path: Path, world: Path):
    """Run train.py as a process in an empty folder, on a network and pictures that are small."""

    def call(
        *overrides: str, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        tiny = ["data=folder", f"data.root={world}", "data.image_hw=[32,48]", "data.workers=0", "split.folds=2"]
        tiny += ["trainer.max_epochs=1", "model.options={widths:[4,8],depths:[1,1]}"]
        given = {override.split("=")[0] for override in overrides}
        defaults = [override for override in tiny if override.split("=")[0] not in given]
        command = [sys.executable, str(ROOT / "train.py"), *overrides, *defaults]
        answer = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=240, env={**os.environ, **(env or {})}
        )
        assert not check or answer.returncode == 0, answer.stdout + answer.stderr
        return answer

    return call
