from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from fisheries.analysis.compare import compare_runs, compare_view, differences, flat, markdown, plot_runs
from fisheries.schema import InputError


def write_run(folder: Path, *, unseen: float, lr: float, experiment: str = "", stage2: float | None = None) -> Path:
    folder.mkdir()
    (folder / "fold-0").mkdir()
    (folder / "fold-0" / "oof.csv").touch()
    (folder / "scores.csv").touch()
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"lr": lr, "backbone": "resnet18"}, "seed": 0}))
    score = {"log_loss": unseen, "low": unseen - 0.1, "high": unseen + 0.1, "prior_log_loss": 1.6, "accuracy": 0.5}
    command = ["train.py", *([f"experiment={experiment}"] if experiment else [])]
    record = {"name": folder.name, "command": command, "seconds": 90.0, "folds": "abc", "scores": {"unseen": score}}
    record["scores"]["seen"] = {**score, "log_loss": unseen / 2}
    if stage2 is not None:
        record["test"] = {"stg2": {"log_loss": stage2, "prior_log_loss": 1.7}}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_runs_are_named_by_their_experiment_or_by_what_differs(tmp_path: Path):
    runs = [
        write_run(tmp_path / "one", unseen=1.2, lr=1e-3),
        write_run(tmp_path / "two", unseen=1.1, lr=1e-4, experiment="l7_fcn", stage2=1.3),
    ]
    table = compare_runs(runs)
    assert table.index.tolist() == ["one", "two"]
    assert table["settings"].tolist() == ["model.lr=0.001", "model.lr=0.0001"]
    assert table.loc["two", ["experiment", "unseen_log_loss", "seen_log_loss", "unseen_prior"]].tolist() == [
        "l7_fcn",
        1.1,
        0.55,
        1.6,
    ]
    assert table.loc["two", "stage2_log_loss"] == 1.3
    assert table["folds"].tolist() == [1, 1]


def test_the_best_on_unseen_boats_comes_first_and_absent_scores_are_dashes(tmp_path: Path):
    runs = [
        write_run(tmp_path / "one", unseen=1.2, lr=1e-3),
        write_run(tmp_path / "two", unseen=1.1, lr=1e-4, experiment="l7_fcn", stage2=1.3),
    ]
    console = Console(width=80, record=True)
    console.print(compare_view(compare_runs(runs)))
    lines = [line for line in console.export_text().splitlines() if "to" in line]
    assert lines[0].split()[0] == "l7_fcn"
    assert lines[1].split()[0] == "model.lr=0.001"
    assert " - " in lines[1]
    assert markdown(compare_runs(runs)).splitlines()[2:] == [
        "| model.lr=0.001 | 1.200 | 1.10 to 1.30 | 1.600 | 0.600 | - | 1.5 |",
        "| l7_fcn | 1.100 | 1.00 to 1.20 | 1.600 | 0.550 | 1.300 | 1.5 |",
    ]


def test_the_plot_has_a_line_for_each_run(tmp_path: Path):
    runs = [write_run(tmp_path / name, unseen=1.2, lr=lr) for name, lr in (("one", 1e-3), ("two", 1e-4))]
    axes = plot_runs(compare_runs(runs)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["model.lr=0.0001", "model.lr=0.001"]


def test_nested_values_are_compared_by_their_whole_name_and_lists_as_one():
    configs = [flat({"a": {"b": 1, "c": [1, 2]}, "d": 3}), flat({"a": {"b": 1, "c": [1, 3]}, "e": 4})]
    assert differences(configs) == [{"a.c": [1, 2], "d": 3}, {"a.c": [1, 3], "e": 4}]


def test_a_folder_without_a_finished_run_is_told_by_name(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no run\.json in it; expected the folder of a finished run"):
        compare_runs([tmp_path / "empty"])
    run = write_run(tmp_path / "one", unseen=1.2, lr=1e-3)
    with pytest.raises(InputError, match="one: given more than once"):
        compare_runs([run, run])
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"one: its run\.json or config\.yaml can't be read"):
        compare_runs([run])


def test_the_file_that_a_multirun_leaves_beside_its_runs_is_passed_over(tmp_path: Path):
    write_run(tmp_path / "0", unseen=1.2, lr=1e-3)
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    assert compare_runs(sorted(tmp_path.iterdir())).index.tolist() == ["0"]
