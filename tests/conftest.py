"""One small world of synthetic boats for all tests, and ways to build the pieces of a run on it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and their threads would wait for one another

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest

from fisheries.data.splits import make_folds
from fisheries.data.synthetic import draw_competition
from fisheries.data.tables import load_or_scan
from fisheries.inference.outputs import Outputs
from tests.processes import TRAIN, call

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

    @cache
    def folds_by(split: str) -> pd.DataFrame:
        return make_folds(manifest, split=split, folds=3, seed=0)

    def make(said: Callable[[pd.Index, list[str]], np.ndarray] | None = None, *, split: str = "boat") -> Outputs:
        folds = folds_by(split)
        classes = sorted(set(manifest["label"]) - {""})
        rng = np.random.default_rng(0)

        def table(index: pd.Index) -> pd.DataFrame:
            values = rng.dirichlet(np.ones(len(classes)), len(index)) if said is None else said(index, classes)
            return pd.DataFrame(values, index, classes)

        test = manifest.index[manifest["subset"] != "train"]
        return Outputs(table(folds.index[folds["fold"] >= 0]), table(test), manifest, folds.copy())

    return make


TINY = ("data=folder", "data.image_hw=[32,48]", "data.workers=0", "split.folds=2", "trainer.max_epochs=1")
TINY += ("model.options={widths:[4,8],depths:[1,1]}",)


def on_small_pictures(world: Path, *overrides: str) -> list[str]:
    """Overrides for a run on `world`, with those of a network and pictures that are small where nothing else is said."""
    given = {override.split("=")[0] for override in overrides}
    defaults = (f"data.root={world}", *TINY)
    return [*overrides, *(override for override in defaults if override.split("=")[0] not in given)]


@pytest.fixture
def train_py(tmp_path: Path, world: Path):
    """Run train.py as a process in an empty folder, on a network and pictures that are small."""

    def run(
        *overrides: str, check: bool = True, env: dict[str, str] | None = None, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return call(TRAIN, *on_small_pictures(world, *overrides), cwd=tmp_path, env=env, check=check, fresh=fresh)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, world: Path) -> tuple[Path, str]:
    """A run over all folds with both heads and the size as input: its folder's parent, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    overrides = ["fold=all", "model.predict_box=true", "model.metadata=onehot", "model.head=dense"]
    return folder, call(TRAIN, *on_small_pictures(world, *overrides), cwd=folder).stdout


def run_dir(folder: Path) -> Path:
    """Return the one run that was begun in `folder`."""
    (found,) = (folder / "runs").iterdir()
    return found
