from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console

from fisheries.analysis.compare import compare_runs, compare_view, differences, flat, markdown, plot_runs
from fisheries.analysis.jobs import compare_jobs, job_folders, job_table, notes_on
from fisheries.inference.evaluation import interval
from fisheries.inference.outputs import Outputs, write_outputs
from fisheries.inference.scoring import accuracy, log_loss, per_image_loss
from fisheries.schema import InputError


def write_run(
    folder: Path,
    *,
    unseen: float,
    lr: float,
    experiment: str = "",
    stage2: float | None = None,
    fold: int = 0,
    command: Sequence[str] = (),
) -> Path:
    folder.mkdir()
    (folder / "fold-0").mkdir()
    (folder / "fold-0" / "oof.csv").touch()
    (folder / "scores.csv").touch()
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"model": {"lr": lr, "backbone": "resnet18"}, "seed": 0, "fold": fold})
    )
    score = {"log_loss": unseen, "low": unseen - 0.1, "high": unseen + 0.1, "prior_log_loss": 1.6, "accuracy": 0.5}
    words = ["train.py", *([f"experiment={experiment}"] if experiment else []), *command]
    record = {"name": folder.name, "command": words, "seconds": 90.0, "folds": "abc", "scores": {"unseen": score}}
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
    assert lines[1].split()[0] == "lr=0.001"
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


@pytest.fixture
def fold_runs(make_outputs, tmp_path: Path) -> tuple[list[Path], Outputs]:
    """Three runs of a fold each, and their tables together."""
    whole, runs = make_outputs(), []
    whole = replace(whole, oof=whole.oof.loc[whole.oof.index.intersection(whole.folds.index)])
    for fold in range(3):
        run = write_run(tmp_path / f"{fold}", unseen=0, lr=1e-3, fold=fold)
        part = replace(whole, oof=whole.oof[whole.folds["fold"].loc[whole.oof.index] == fold])
        write_outputs(part, run, step={})
        record = json.loads((run / "run.json").read_text())
        del record["scores"]["seen"]
        record["scores"]["unseen"] |= {"log_loss": log_loss(part.oof, part.labels), "images": len(part.oof)}
        record["scores"]["unseen"] |= {"accuracy": accuracy(part.oof, part.labels)}
        (run / "run.json").write_text(json.dumps(record))
        runs.append(run)
    return runs, whole


def test_runs_of_a_fold_each_get_a_line_for_all_of_them_as_one_table(fold_runs):
    runs, whole = fold_runs
    table = compare_runs(runs)
    assert table["fold"].tolist() == ["0,1,2", "0", "1", "2"]
    line = table.iloc[0]
    assert table["joined"].tolist() == [True, False, False, False]
    assert table["member"].tolist() == [False, True, True, True]
    assert line["unseen_images"] == len(whole.oof) > table["unseen_images"].iloc[1:].max()
    assert line["unseen_log_loss"] == pytest.approx(log_loss(whole.oof, whole.labels), rel=1e-12)
    assert line["unseen_accuracy"] == pytest.approx(accuracy(whole.oof, whole.labels))
    assert abs(line["unseen_log_loss"] - table["unseen_log_loss"].iloc[1:].mean()) > 1e-4  # not the mean of means
    low, high = interval(per_image_loss(whole.oof, whole.labels), whole.boats, seed=0)
    assert line[["unseen_low", "unseen_high"]].tolist() == pytest.approx([low, high])
    assert line["settings"] == "folds 0,1,2 together"


def test_runs_that_differ_in_more_than_their_fold_are_never_taken_together(fold_runs):
    runs, _ = fold_runs
    changes = {"config.yaml": ("lr: 0.001", "lr: 0.002"), "run.json": ('"folds": "abc"', '"folds": "abd"')}
    for name, (before, after) in changes.items():
        text = (runs[2] / name).read_text()
        assert before in text
        (runs[2] / name).write_text(text.replace(before, after))
        assert compare_runs(runs)["fold"].tolist() == ["0,1", "0", "1", "2"]
        (runs[2] / name).write_text(text)


def test_a_fold_trained_twice_counts_in_no_line_for_all(fold_runs):
    runs, _ = fold_runs
    for name in ("config.yaml", "run.json"):
        text = (runs[0] / name).read_text().replace('"name": "0"', '"name": "again"')
        (runs[1] / name).write_text(text)
    assert not compare_runs(runs)["joined"].any()


def test_runs_of_one_fold_stay_under_their_line_however_well_they_do(fold_runs, tmp_path: Path):
    runs, _ = fold_runs
    better = write_run(tmp_path / "3", unseen=0.1, lr=1e-4, fold=0)
    table = compare_runs([*runs, better])
    console = Console(width=120, record=True)
    console.print(compare_view(table))
    said = console.export_text()
    places = [
        said.index(text)
        for text in ("3: fold=0 lr", "lr=0.001 folds 0,1,2 together", *map("{0}: fold={0}".format, "012"))
    ]
    assert places == sorted(places)
    assert len(plot_runs(table).axes[0].get_yticklabels()) == 5
    assert "Not all hold out the same boats" in notes_on(table)[0]


def test_jobs_that_did_not_finish_are_listed_with_the_reason(tmp_path: Path):
    for name, lr in (("0", 1e-3), ("10", 1e-4)):
        write_run(tmp_path / name, unseen=1.2, lr=lr, command=(f"optimizer.lr={lr}",))
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
    (tmp_path / "1" / "error.txt").write_text("[no] such value\npython train.py optimizer.lr=fast\n\nTraceback")
    (tmp_path / "2" / "pruned.txt").write_text("after epoch 4: hopeless\n")
    config = {"overrides": ["optimizer.lr=3"], "find_lr": False, "trainer": {"fast_dev_run": False}}
    (tmp_path / "3" / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    (tmp_path / "4").mkdir()  # nothing has begun there
    console = Console(width=200, record=True)
    jobs = compare_jobs(job_folders([tmp_path]), tmp_path / "compare.csv", console=console)
    assert jobs["state"].to_dict() == {
        "0": "finished", "1": "failed", "2": "pruned", "3": "unfinished", "10": "finished"
    }  # fmt: skip
    said = console.export_text()
    assert "1 failed optimizer.lr=fast: [no] such value\n" in said
    assert "2 pruned after epoch 4: hopeless\n" in said
    assert f"go on with: python train.py resume={tmp_path / '3'}\n" in said
    page = (tmp_path / "compare.html").read_text()
    assert "[no] such value" in page
    assert "10: optimizer.lr=0.0001" in page
    assert (tmp_path / "compare.md").is_file()
    assert pd.read_csv(tmp_path / "compare.csv", index_col="run").index.tolist() == [0, 10]


def test_a_search_for_the_learning_rate_is_no_failure(tmp_path: Path):
    config = {"find_lr": True, "trainer": {"fast_dev_run": False}}
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "config.yaml").write_text(yaml.safe_dump(config))
    assert job_table([tmp_path / "0"])["state"].tolist() == ["unscored"]


def test_a_folder_that_is_no_run_is_told_by_name_and_files_are_passed_over(tmp_path: Path):
    write_run(tmp_path / "0", unseen=1.2, lr=1e-3)
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    assert job_folders(sorted(tmp_path.iterdir())) == [tmp_path / "0"]
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"other: no run\.json in it; expected the folder of a run or multirun"):
        job_table(job_folders([tmp_path / "0", tmp_path / "other"]))
    with pytest.raises(InputError, match="no runs to compare; give run folders"):
        job_table([])


def test_drawn_values_are_short_in_titles(tmp_path: Path):
    runs = [
        write_run(
            tmp_path / name, unseen=1.2, lr=lr, command=(f"optimizer.lr={lr}", "split.name=a", f"model.name={name}")
        )
        for name, lr in (("one", 0.0012345678901234), ("two", 1e-4))
    ]
    assert compare_runs(runs)["settings"].tolist() == [
        "model.name=one optimizer.lr=0.00123",
        "model.name=two optimizer.lr=0.0001",
    ]


def test_the_page_leads_to_a_report_whatever_its_folder_is_called(tmp_path: Path):
    folder = write_run(tmp_path / "javascript:1#?%", unseen=1.2, lr=1e-3)
    (folder / "report.html").touch()
    compare_jobs([folder], tmp_path / "compare.csv", console=Console(quiet=True))
    assert '<a href="javascript%3A1%23%3F%25/report.html">' in (tmp_path / "compare.html").read_text()
