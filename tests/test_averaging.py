"""The commands that average, one after another on what two networks might have said of the embedded boats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.data.splits import make_folds
from fisheries.inference.outputs import Outputs, read_outputs, write_outputs
from fisheries.inference.scoring import log_loss, read_solution
from fisheries.schema import InputError, check_predictions


def call(*arguments: object) -> str:
    """What a command prints."""
    answer = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False, terminal_width=200)
    assert answer.exit_code == 0, answer.output
    return " ".join(answer.output.split())


@pytest.fixture(scope="module")
def runs(tables: tuple[pd.DataFrame, pd.DataFrame], world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs a and b, both right more often than not, and each wrong in its own way."""
    manifest, _ = tables
    folds = make_folds(manifest, split="boat", folds=3, seed=0)
    truth = manifest["label"].mask(manifest["subset"] != "train", read_solution(world / "solution.csv")["label"])
    classes = sorted(set(truth))
    root = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("ab"):
        hits = truth.to_numpy()[:, None] == np.array(classes)
        scores = np.exp(2 * hits + np.random.default_rng(seed).normal(0, 1.2, hits.shape))
        said = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), manifest.index, classes)
        oof, test = said.loc[folds.index[folds["fold"] >= 0]], said[manifest["subset"] != "train"]
        write_outputs(Outputs(oof, test, manifest, folds), root / name, step={"step": "drawn"})
    return root


def stage2(folder: Path, world: Path) -> float:
    labels = read_solution(world / "solution.csv")["label"]
    return log_loss(
        read_outputs(folder / "oof.csv").test, labels[labels.index.str.startswith("test_stg2/")], subset=True
    )


def test_two_runs_become_an_ensemble_whose_look_alikes_are_averaged(runs: Path, world: Path, tmp_path: Path):
    printed = call("ensemble", runs / "a", runs / "b", "--out", tmp_path / "both")
    assert "without it" in printed
    assert "better by" in printed
    assert stage2(tmp_path / "both", world) < min(stage2(runs / "a", world), stage2(runs / "b", world))
    step = json.loads((tmp_path / "both/step.json").read_text())
    assert step["from"] == [str(runs / "a"), str(runs / "b")]
    assert sum(step["weights"].values()) == pytest.approx(1)
    printed = call("lookalikes", tmp_path / "both/oof.csv", tmp_path / "both/test.csv")
    assert "Averaged: " in printed
    assert "count alike" not in printed
    averaged = tmp_path / "both/lookalikes"
    assert stage2(averaged, world) < stage2(tmp_path / "both", world)
    before, after = (json.loads((averaged / "step.json").read_text())[name] for name in ("log_loss_before", "log_loss"))
    assert after < before == pytest.approx(step["log_loss"])
    outputs = read_outputs(averaged / "oof.csv")
    assert log_loss(outputs.oof, outputs.labels) == pytest.approx(after)
    check_predictions(outputs.test)


def test_look_alikes_count_alike_where_photographs_are_gone_and_that_is_said(runs: Path, tmp_path: Path):
    given = read_outputs(runs / "a/oof.csv")
    moved = Outputs(given.oof, given.test, given.manifest.assign(path="gone.jpg"), given.folds)
    write_outputs(moved, tmp_path / "moved", step={})
    printed = call("lookalikes", tmp_path / "moved/oof.csv", "--out", tmp_path / "out")
    assert "Look-alikes count alike: " in printed
    assert "--thumbnails takes their similarity" in printed
    assert "Averaged: " in printed


def test_a_run_given_twice_is_refused(runs: Path):
    with pytest.raises(InputError, match="a: given twice"):
        call("ensemble", runs / "a", runs / "a")


def test_a_folder_that_is_no_run_is_refused(runs: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"oof\.csv: no such file"):
        call("ensemble", runs / "a", tmp_path)


def test_a_step_that_does_not_help_hands_the_tables_on_unchanged_and_says_so(runs: Path, tmp_path: Path):
    given = read_outputs(runs / "a/oof.csv")
    sure = Outputs(
        *(pd.DataFrame(np.full(table.shape, 1 / 8), table.index, table.columns) for table in (given.oof, given.test)),
        given.manifest,
        given.folds,
    )
    write_outputs(sure, tmp_path / "uniform", step={})
    printed = call("lookalikes", tmp_path / "uniform/oof.csv", "--out", tmp_path / "same")
    assert "Not averaged" in printed
    pd.testing.assert_frame_equal(read_outputs(tmp_path / "same/oof.csv").test, sure.test, check_exact=True)
    right = given.oof.mask(given.oof >= 0, 0.001).where(
        given.labels.to_numpy()[:, None] != given.oof.columns.to_numpy(), 0.993
    )
    write_outputs(Outputs(right, given.test, given.manifest, given.folds), tmp_path / "right", step={})
    printed = call("ensemble", tmp_path / "uniform", tmp_path / "right", "--out", tmp_path / "best")
    assert f"the tables of {tmp_path / 'right'} are handed on unchanged" in printed.replace("- ", "-")
    pd.testing.assert_frame_equal(read_outputs(tmp_path / "best/oof.csv").oof, right, check_exact=True)
    assert json.loads((tmp_path / "best/step.json").read_text())["from"] == [str(tmp_path / "right")]
