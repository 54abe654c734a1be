from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from fisheries import launch
from fisheries.analysis.jobs import job_table
from fisheries.analysis.search_view import importances, trial_table, write_search_page
from fisheries.schema import InputError
from fisheries.search import (
    check_same_search,
    only_one,
    open_study,
    repeat_killed,
    run_search,
    trial_report,
    trials_left,
)
from fisheries.training.callbacks import MONITOR, EpochReport, Pruned
from hydra_plugins.fisheries_sweeps import to_distribution
from tests.conftest import ROOT
from tests.processes import TRAIN, call

SWEEPS = sorted((ROOT / "conf" / "sweep").glob("*.yaml"))
TINY = ["data.image_hw=[32,48]", "data.workers=0", "split.folds=2", "trainer.max_epochs=1", "logger=none"]
TINY += ["model.options={widths:[4,8],depths:[1,1]}"]
SPACE = {
    "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
    "model.head": CategoricalDistribution(["linear", "dense"]),
}


def loss_of(params: dict[str, Any]) -> float:
    return 1 + abs(np.log10(params["optimizer.lr"]) + 2) + 0.2 * (params["model.head"] == "dense")


def finish_run(folder: Path, params: dict[str, Any], *, log_loss: float | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["train.py", *(f"{key}={value}" for key, value in params.items())]
    scores = {"unseen": {"log_loss": loss_of(params) if log_loss is None else log_loss}}
    (folder / "run.json").write_text(json.dumps({"command": command, "scores": scores}))


def search(folder: Path, *, die_in: int | None = None, n_trials: int = 8, **options: Any):
    """Search with jobs that finish at once; the process "dies" in trial `die_in`."""
    folder.mkdir(exist_ok=True)
    study = open_study(folder)
    repeat_killed(study, folder, space=SPACE)

    def run_jobs(values: dict[int, dict[str, Any]]) -> None:
        for number, params in values.items():
            if number == die_in:
                raise KeyboardInterrupt
            finish_run(folder / str(number), params)

    run_search(study, SPACE, folder, run_jobs, n_trials=n_trials, random_trials=3, **options)
    return study


def tried(study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials if trial.state == TrialState.COMPLETE]


def test_a_search_that_was_killed_goes_on_with_what_it_would_have_tried(tmp_path: Path):
    whole = search(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "killed", die_in=5)
    again = search(tmp_path / "killed")
    assert len(tried(whole)) == 8
    assert tried(again) == tried(whole)
    table = trial_table(again)
    assert table.loc[5, ["state", "killed"]].tolist() == ["fail", True]
    assert table.loc[6, ["state", "repeats"]].tolist() == ["complete", 5]
    assert len(table) == 9
    assert trials_left(again, 8) == 0


def test_a_trial_that_had_finished_when_the_search_was_killed_is_not_run_again(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, die_in=2)
    finish_run(tmp_path / "2", {}, log_loss=0.5)
    study = search(tmp_path, n_trials=4)
    assert study.trials[2].value == 0.5
    assert len(study.trials) == 4


def test_another_seed_tries_other_values_and_a_larger_number_goes_on(tmp_path: Path):
    first, other = tried(search(tmp_path / "a", n_trials=2)), tried(search(tmp_path / "b", n_trials=2, seed=1))
    assert len(first) == len(other) == 2
    assert first != other
    assert tried(search(tmp_path / "a", n_trials=3))[:2] == first


def test_what_a_job_left_in_its_folder_says_how_its_trial_ended(tmp_path: Path):
    study = open_study(tmp_path)

    def run_jobs(values: dict[int, dict[str, Any]]) -> None:
        for number, params in values.items():
            if number == 0:
                finish_run(tmp_path / "0", params)
            elif number == 1:
                (tmp_path / "1").mkdir()
                (tmp_path / "1" / "pruned.txt").write_text("after epoch 1\n")

    run_search(study, SPACE, tmp_path, run_jobs, n_trials=4, n_jobs=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]


def test_a_trial_worse_than_the_median_of_the_others_is_told_to_end(tmp_path: Path):
    study = open_study(tmp_path)
    for number, losses in enumerate(([1.5, 1.0], [1.4, 0.9])):
        study.ask(dict(SPACE))
        report = trial_report(tmp_path, number, startup_trials=2, warmup_epochs=1)
        assert [report(epoch, loss) for epoch, loss in enumerate(losses)] == [None, None]
        study.tell(number, losses[-1])
    study.ask(dict(SPACE))
    report = trial_report(tmp_path, 2, startup_trials=2, warmup_epochs=1)
    assert report(0, 3.0) is None  # it may still warm up
    assert (report(1, 2.0) or "").startswith("after epoch 2: its best held-out log loss is above the median")


def test_an_epoch_is_reported_and_the_last_one_is_too_late_to_stop():
    seen = []

    def report(epoch: int, log_loss: float) -> str:
        seen.append((epoch, log_loss))
        return "enough"

    trainer: Any = SimpleNamespace(callback_metrics={MONITOR: 1.5}, current_epoch=3, max_epochs=4)
    EpochReport(report).on_train_epoch_end(trainer, Any)
    trainer.current_epoch = 2
    with pytest.raises(Pruned, match="enough"):
        EpochReport(report).on_train_epoch_end(trainer, Any)
    trainer.callback_metrics = {}
    EpochReport(report).on_train_epoch_end(trainer, Any)
    assert seen == [(3, 1.5), (2, 1.5)]


def test_a_study_goes_on_with_what_it_was_begun_with_only(tmp_path: Path):
    study = open_study(tmp_path / ".")
    check_same_search(study, {"data.root": "a", "optimizer.lr": "interval"})
    check_same_search(study, {"data.root": "a", "optimizer.lr": "interval"})
    with pytest.raises(InputError, match=r"was begun with data\.root=a, now it is b; give the same, or another"):
        check_same_search(study, {"data.root": "b", "optimizer.lr": "interval"})


def test_two_searches_do_not_share_a_folder(tmp_path: Path):
    code = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="another search is at work in it"), only_one(tmp_path):
            pass
        other.kill()  # and the lock ends with it
    with only_one(tmp_path):
        pass


@pytest.mark.parametrize(
    ("said", "distribution"),
    [
        ("interval(0,0.6)", FloatDistribution(0, 0.6)),
        ("tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(2,9))", IntDistribution(2, 9)),
        ("range(1,5)", IntDistribution(1, 4)),
        ("range(8,33,8)", IntDistribution(8, 32, step=8)),
        ("range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("choice(light,heavy)", CategoricalDistribution(["light", "heavy"])),
        ("choice([64,96],[128,192])", CategoricalDistribution(["[64,96]", "[128,192]"])),
        ("a,b", CategoricalDistribution(["a", "b"])),
    ],
)
def test_hydras_words_for_a_sweep_are_what_optuna_draws_from(said: str, distribution):
    (override,) = OverridesParser.create().parse_overrides([f"key={said}"])
    assert to_distribution(override) == distribution


def test_the_page_of_a_search_has_its_best_trial_its_plots_and_every_trial(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, die_in=3)
    study = search(tmp_path)
    page = write_search_page(study, tmp_path).read_text()
    best = study.best_trial
    assert f'<b>{best.value:.3f}</b> on unseen boats by trial <a href="{best.number}/report.html">' in page
    assert f"python train.py optimizer.lr={best.params['optimizer.lr']}" in page
    assert "1 that did not come to an end when the search was interrupted ran again" in page
    assert page.count("data:image/png;base64,") == 4
    assert all(f"<tr><td>{trial.number}</td>" in page for trial in study.trials)
    assert {"search_history.png", "search_importances.png"} < {path.name for path in tmp_path.iterdir()}
    assert pd.read_csv(tmp_path / "trials.csv", index_col="trial")["log_loss"].notna().sum() == 8


def test_the_learning_rate_is_what_matters_where_the_loss_follows_it(tmp_path: Path):
    study = search(tmp_path, n_trials=12)
    assert importances(study).index[0] == "optimizer.lr"
    assert importances(search(tmp_path / "few", n_trials=3)).empty


def test_a_search_in_which_nothing_finished_has_a_page_that_says_so(tmp_path: Path):
    study = open_study(tmp_path)
    run_search(study, SPACE, tmp_path, lambda _: None, n_trials=1)
    assert "No trial has finished." in write_search_page(study, tmp_path).read_text()


@pytest.fixture
def sweep(tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """Run train.py in this process, and return the line that it ends with, or None."""

    def call(*overrides: str) -> str | None:
        data = [] if any(override.startswith("data.root") for override in overrides) else [f"data.root={world}"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *overrides, "data=folder", *data])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.setenv("FISHERIES_RUN_ID", "run")
        GlobalHydra.instance().clear()
        try:
            launch.train()
        except SystemExit as ended:
            return str(ended.code)
        return None

    return call


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hparams_search=optuna"], "hparams_search is a search of many runs: give -m, too"),
        (["-m", "hparams_search=head", "split=random"], "split=random holds out no unseen boats"),
        (["-m", "hparams_search=head", "model=choice(resnet18,resnet5)"], "no model=resnet5 (did you mean"),
        (["-m", "hydra/sweeper=optuna", "hydra.sweeper.study_name=x"], "nothing to search: give an interval, a range"),
        (["-m", "model.head=linear,deep", "data.root=nowhere"], "2 of 2 jobs failed; job 0: "),
        (["-m", "hydra.launcher._target_=hydra_plugins.hydra_moon_launcher.x.Y"], "needs hydra-moon-launcher: pip"),
    ],
)
def test_what_can_not_be_swept_is_one_line(overrides: list[str], message: str, sweep):
    line = sweep(*overrides)
    assert line is not None
    assert line.startswith("fisheries: ")
    assert message in line
    assert "\n" not in line


def test_without_optuna_a_search_says_what_to_install(sweep, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert sweep("-m", "hparams_search=head") == "fisheries: hparams_search needs Optuna: pip install -e '.[sweeps]'"


def test_a_search_goes_on_after_trials_that_failed_or_were_pruned(sweep, tmp_path: Path, monkeypatch, capsys):
    def run(config: Any, run_dir: Path, **given: Any) -> None:
        number = int(run_dir.name)
        assert given["report"](0, number) is None
        if number == 1:
            raise Pruned("after epoch 1: hopeless")
        if number == 2:
            raise InputError("the loss is nan")
        finish_run(run_dir, {"optimizer.lr": config.optimizer.lr, "model.head": config.model.head})
        assert not any(word.startswith("hparams_search") for word in config.overrides)

    monkeypatch.setattr("fisheries.run.run", run)
    monkeypatch.setattr("fisheries.analysis.jobs.compare_jobs", lambda folders, *_, **__: job_table(folders))
    given = ["-m", "hparams_search=head", "optimizer.lr=choice(1e-3,1e-4)", "model.pool=max"]
    assert sweep(*given, "hydra.sweeper.n_trials=4") is None  # though one failed
    folder = tmp_path / "multirun" / "head"
    trials = pd.read_csv(folder / "trials.csv", index_col="trial")
    assert trials["state"].tolist() == ["complete", "pruned", "fail", "complete"]
    assert set(trials["optimizer.lr"]) <= {1e-3, 1e-4}  # the command line wins
    assert "model.pool" not in trials
    assert (folder / "1" / "pruned.txt").read_text() == "after epoch 1: hopeless\n"
    assert (folder / "2" / "error.txt").read_text().startswith("the loss is nan\npython train.py ")
    said = capsys.readouterr().out
    assert "Study head: 4 of 4 trials to go" in said
    assert "Job 1 pruned after epoch 1: hopeless" in said
    assert "Trials: 2 finished, 1 pruned, 1 failed" in said
    assert "the study head was begun with model.pool=max, now it is " in str(sweep(*given[:-1]))
    assert sweep(*given, "hydra.sweeper.n_trials=4", "logger=none") is None
    assert "Study head: 0 of 4 trials to go" in capsys.readouterr().out


def hydra_config(*overrides: str):
    OmegaConf.register_new_resolver("fisheries.run_dir", launch._run_dir, replace=True)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=True)


@pytest.mark.filterwarnings("ignore:.*validated against ConfigStore schema")
@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm"])
def test_a_launcher_is_given_what_it_knows(name: str):
    from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

    known = {"joblib": JobLibLauncherConf, "submitit_local": LocalQueueConf, "submitit_slurm": SlurmQueueConf}[name]
    launcher = hydra_config(f"hydra/launcher={name}").hydra.launcher
    assert launcher._target_ == known._target_
    assert set(launcher) <= set(known.__dataclass_fields__)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_what_wandb_would_start_composes(path: Path):
    from wandb.apis.public.sweeps import _validate_config_and_fill_distribution
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args, load_sweep_config

    config = load_sweep_config(str(path))
    assert config is not None
    _validate_config_and_fill_distribution(config)
    assert (ROOT / config["program"]).is_file()
    assert config["command"][-2:] == ["${program}", "${args_no_hyphens}"]
    assert config["method"] in ("bayes", "grid", "random")
    first = {key: {"value": first_value(parameter)} for key, parameter in config["parameters"].items()}
    overrides = create_sweep_command_args({"args": first})["args_no_hyphens"]
    assert len(overrides) > 4
    composed = hydra_config(*overrides)
    from fisheries.config_check import check_config

    check_config(composed)


def first_value(parameter: dict[str, Any]) -> Any:
    return parameter.get("value", parameter.get("values", [parameter.get("min")])[0])


def test_every_file_for_wandb_is_found():
    assert len(SWEEPS) >= 2


def test_jobs_side_by_side_are_summed_up_and_a_failed_one_takes_no_other_with_it(sweep, tmp_path: Path, capfd):
    line = sweep("-m", "hydra/launcher=joblib", "model.head=linear,deep", "fold=0,1", *TINY)
    assert str(line).startswith("fisheries: 2 of 4 jobs failed; job 2: model.head='deep': did you mean 'dense'?")
    said, folder = capfd.readouterr().out, tmp_path / "multirun" / "run"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["0", "1", "2", "3"]
    for job in ("2", "3"):
        assert (folder / job / "error.txt").read_text().startswith("model.head='deep'")
        assert f"Job {job} failed: model.head='deep': did you mean 'dense'?" in said
        assert f"{job} failed fold={int(job) - 2} model.head=deep: model.head='deep': did you mean" in said
    assert "epoch 1/1" in (folder / "1" / "log.txt").read_text()
    assert "epoch 1/1" not in said  # what jobs say side by side is not mixed
    table = pd.read_csv(folder / "compare.csv", dtype={"fold": str}).set_index("fold")
    assert table.index.tolist() == ["0,1", "0", "1"]
    images, losses = table["unseen_images"], table["unseen_log_loss"]
    assert losses["0,1"] == pytest.approx((losses * images)[["0", "1"]].sum() / images[["0", "1"]].sum())
    assert "folds 0,1 together" in said
    page = (folder / "compare.html").read_text()
    assert 'href="0/report.html"' in page
    assert "did you mean" in page
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "submissions").glob("*.csv"))) == 2


def test_a_job_of_submitit_says_why_it_failed(sweep, tmp_path: Path):
    line = sweep("-m", "hydra/launcher=submitit_local", "model.head=deep", *TINY)
    assert line == "fisheries: 1 of 1 jobs failed; job 0: model.head='deep': did you mean 'dense'?"
    folder = tmp_path / "multirun" / "run"
    assert (folder / "0" / "error.txt").is_file()
    assert list((folder / ".submitit").rglob("*_log.out"))


def test_a_search_killed_with_sigkill_goes_on_with_the_same_command(tmp_path: Path, world: Path):
    asked = ["-m", "hparams_search=optuna", f"data.root={world}", *TINY]
    asked += ["data=folder", "transform=none", "hydra.sweeper.n_trials=2"]
    with subprocess.Popen([sys.executable, TRAIN, *asked], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Job 1:"):
                process.kill()
    folder = tmp_path / "multirun" / "optuna"
    assert not (folder / "1" / "run.json").is_file()
    first = (folder / "0" / "oof.csv").stat().st_mtime_ns
    answer = call(TRAIN, *asked, cwd=tmp_path)
    assert "1 of 2 trials to go, among them 1 that had been killed" in answer.stdout
    assert (folder / "0" / "oof.csv").stat().st_mtime_ns == first
    trials = pd.read_csv(folder / "trials.csv", index_col="trial")
    assert trials["state"].tolist() == ["complete", "fail", "complete"]
    assert trials.loc[2, "repeats"] == 1
    assert trials.loc[2, "optimizer.lr"] == trials.loc[1, "optimizer.lr"]
    best = trials["log_loss"].idxmin()
    config = yaml.safe_load((folder / str(best) / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == trials.loc[best, "optimizer.lr"]
    assert f"Best of optuna: trial {best}, " in answer.stdout
    assert "interrupted" not in answer.stdout  # the killed one has been run again
    assert (folder / "search.html").is_file()
