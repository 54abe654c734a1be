from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from fastapi.testclient import TestClient
from rich.console import Console

from fisheries.inference.outputs import Outputs
from fisheries.schema import table_hash, write_predictions, write_table
from fisheries.viewer.catalog import read_catalog
from fisheries.viewer.server import make_app
from fisheries.viewer.store import Store

HOSTILE = "<img src=x onerror=window.hacked=1>"  # a name
OWN = "http://127.0.0.1:8765"


def make_run(folder: Path, outputs: Outputs, boxes: pd.DataFrame, rename: dict[str, str] | None = None) -> Path:
    """Write what a finished run leaves, but for networks; its hand-edited tables lie in `folder`, too."""
    named = {
        name: table.rename(index=rename or {})
        for name, table in {"manifest": outputs.manifest, "folds": outputs.folds, "boxes": boxes}.items()
    }
    for name, table in named.items():
        write_table(table, folder / f"{name}.csv")
    for name, table in {"oof": outputs.oof, "test": outputs.test}.items():
        write_predictions(
            table.rename(index=rename or {}), folder / f"{name}.csv", folds_hash=table_hash(outputs.folds)
        )
    write_table(named["manifest"][["boat"]].assign(note="by hand"), folder / "my_boats.csv")
    given = {"boats": str(folder / "my_boats.csv"), "labels": str(folder / "my_labels.csv")}
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"root": str(folder), **given}}))
    return folder


@pytest.fixture
def run_dir(tmp_path: Path, tables: tuple[pd.DataFrame, pd.DataFrame], make_outputs: Callable[..., Outputs]) -> Path:
    return make_run(tmp_path, make_outputs(), tables[1])


@pytest.fixture
def store(run_dir: Path) -> Store:
    return Store(read_catalog(run_dir))


@pytest.fixture
def client(store: Store) -> TestClient:
    return TestClient(make_app(store, port=8765, console=Console(quiet=True)), base_url=OWN)


def rows_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, index_col="image_id")
