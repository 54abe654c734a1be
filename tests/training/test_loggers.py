from __future__ import annotations

import contextlib
import importlib.util
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import OmegaConf
from rich.console import Console

from fisheries.config import logger_names, read_config, save_config
from fisheries.config_check import check_config
from fisheries.errors import conf_dir
from fisheries.schema import InputError
from fisheries.training import loggers, wandb_runs
from fisheries.training.loggers import SteadyWandbLogger, check_loggers, create_loggers
from fisheries.training.pace import DECAY, Pace
from fisheries.training.wandb_runs import steady, wandb_run

WANDB = {"wandb": True, "project": "p", "entity": None, "group": None, "tags": [], "offline": True}
ABOUT = {"experiment": "e", "part": "fold-0", "job_type": "train", "config": {}}


def composed(*overrides: str):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def recorded() -> Console:
    return Console(record=True, width=200, file=StringIO())


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("logger=csv", ["csv"]),
        ("logger=none", []),
        ("logger=tensorboard", ["tensorboard"]),
        ("logger=[csv,wandb]", ["csv", "wandb"]),
        ("logger=[wandb,tensorboard,csv] logger.offline=true", ["csv", "tensorboard", "wandb"]),
    ],
)
def test_loggers_are_chosen_one_by_one_or_several_at_once(override: str, names: list[str]):
    config = composed(*override.split(" "))
    check_config(config)
    assert logger_names(config) == names
    assert config.logger.get("offline", False) == ("offline" in override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("logger.offline=yes", "logger.offline='yes': expected true or false"),
        ("logger.artifacts=2", "logger.artifacts=2: expected true or false"),
        ("logger.images=-1", "logger.images=-1: expected a whole number from 0 to 1000, or auto"),
        ("logger.images=all", "logger.images='all': expected a whole number from 0 to 1000, or auto"),
    ],
)
def test_a_wrong_value_of_a_logger_is_refused(override: str, message: str):
    with pytest.raises(InputError, match=message):
        check_config(composed("logger=wandb", override))


@pytest.mark.parametrize(("name", "names"), [("csv", ["csv"]), ("none", []), ("wandb", ["wandb"])])
def test_a_run_from_before_there_were_several_loggers_has_the_one_it_named(name: str, names: list[str], tmp_path: Path):
    config = composed(f"logger={name}")
    known = {"project": "p", "entity": None, "group": None, "tags": [], "offline": True} if name == "wandb" else {}
    config.logger = {"name": name, **known}
    save_config(config, tmp_path)
    stored = read_config(tmp_path)
    check_config(stored)
    assert logger_names(stored) == names
    if names == ["wandb"]:
        assert set(stored.logger) == set(composed("logger=wandb").logger)


def test_what_a_logger_lacks_is_said_before_training(monkeypatch: pytest.MonkeyPatch):
    check_loggers(["csv", "tensorboard"])
    monkeypatch.setattr(
        loggers, "find_spec", lambda name: None if name == "tensorboard" else importlib.util.find_spec(name)
    )
    with pytest.raises(InputError, match=r"logger=tensorboard: .* pip install -e '\.\[tensorboard\]'"):
        check_loggers(["tensorboard"])
    monkeypatch.setenv("WANDB_MODE", "silent")
    with pytest.raises(InputError, match="WANDB_MODE='silent': expected online, offline or disabled"):
        check_loggers(["wandb"])


def test_files_and_tensorboard_are_written_into_the_folds_folder(tmp_path: Path):
    for logger in create_loggers(["csv", "tensorboard"], folder=tmp_path, wandb_run=None, console=Console(quiet=True)):
        logger.log_metrics({"train/loss": 1.5}, step=3)
        logger.finalize("success")
    (metrics,) = tmp_path.glob("logs/version_0/metrics.csv")
    assert metrics.read_text().split() == ["step,train/loss", "3,1.5"]
    assert len(list(tmp_path.glob("tensorboard/events.out.tfevents.*"))) == 1


def test_a_failing_wandb_is_one_line_and_the_training_goes_on():
    calls = []

    class Broken:
        def log(self, values: dict[str, float]) -> None:
            calls.append(values)
            raise OSError("[Errno 28] No space left on device\nmore")

    console = recorded()
    logger = SteadyWandbLogger(Broken(), console=console)
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step=step)
    assert len(calls) == 1
    assert console.export_text().split("\n") == [
        "  wandb fails ([Errno 28] No space left on device): it gets no more of this training",
        "",
    ]


def test_a_failure_beside_the_training_is_one_line_too():
    console = recorded()
    with steady(console, "gets no pictures"):
        raise ValueError("img_1.jpg [broken]\nmore")
    with steady(console, "gets no scores"):
        raise ConnectionError
    with steady(console, "gets nothing"):
        pass
    assert console.export_text() == (
        "  wandb gets no pictures: img_1.jpg [broken]; the run goes on\n"
        "  wandb gets no scores: ConnectionError; the run goes on\n"
    )


def test_ctrl_c_is_no_failure_of_wandb():
    with pytest.raises(KeyboardInterrupt), steady(Console(quiet=True), "gets nothing"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("reason", ["no wandb", "disabled", "another process"])
def test_no_run_is_started_where_none_is_wanted(reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = {"csv": True} if reason == "no wandb" else WANDB
    monkeypatch.setenv("WANDB_MODE", "disabled" if reason == "disabled" else "offline")
    monkeypatch.setattr(rank_zero_only, "rank", 1 if reason == "another process" else 0, raising=False)
    console = recorded()
    with wandb_run(settings, tmp_path, **ABOUT, console=console) as run:
        assert run is None
    assert list(tmp_path.iterdir()) == []
    assert ("disabled, by WANDB_MODE" in console.export_text()) == (reason == "disabled")


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_run_ends_as_its_training_did(error: type[BaseException] | None, monkeypatch: pytest.MonkeyPatch):
    ended: list[int] = []
    monkeypatch.setattr(wandb_runs, "_start", lambda *given, **about: SimpleNamespace(finish=ended.append))
    with (
        contextlib.suppress(ValueError, KeyboardInterrupt),
        wandb_run(WANDB, Path("run"), **ABOUT, console=Console(quiet=True)),
    ):
        if error:
            raise error
    assert ended == [0 if error is None else 1]


def test_a_wandb_that_does_not_start_or_end_takes_no_training_with_it(monkeypatch: pytest.MonkeyPatch):
    def fail(*given: object, **about: object) -> None:
        raise OSError("no space left")

    console = recorded()
    monkeypatch.setattr(wandb_runs, "_start", fail)
    with wandb_run(WANDB, Path("run"), **ABOUT, console=console) as run:
        assert run is None
    monkeypatch.setattr(wandb_runs, "_start", lambda *given, **about: SimpleNamespace(finish=fail))
    with wandb_run(WANDB, Path("run"), **ABOUT, console=console) as run:
        assert run is not None
    assert console.export_text() == (
        "  wandb does not start fold-0: no space left; the run goes on\n"
        "  wandb does not end fold-0: no space left; the run goes on\n"
    )


def test_loggers_are_told_a_smooth_loss_the_steps_learning_rate_and_the_throughput():
    told: list[dict[str, float]] = []
    logger = SimpleNamespace(log_metrics=lambda values, step: told.append({**values, "step": step}))
    group = {"lr": 0.1}
    trainer = SimpleNamespace(
        world_size=2,
        accumulate_grad_batches=1,
        is_last_batch=False,
        global_step=0,
        optimizers=[SimpleNamespace(param_groups=[group])],
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        loggers=[logger],
    )
    pace = Pace(every_n_steps=2)
    pace.on_train_epoch_start(trainer, None)
    for index, loss in enumerate((1.0, 3.0, 5.0)):
        pace.on_train_batch_start(trainer, None, {}, index)
        group["lr"] /= 2  # as a schedule does at the end of a step
        trainer.global_step, trainer.is_last_batch = index + 1, index == 2
        pace.started_s = time.perf_counter() - 2
        pace.on_train_batch_end(trainer, None, {"loss": torch.tensor(loss)}, {"image_id": ["a"] * 8}, index)
    assert [row["step"] for row in told] == [1, 2]  # every second step, and the last one of the epoch
    assert [row["train/lr"] for row in told] == [0.05, 0.025]
    weights = [DECAY**2, DECAY, 1]
    assert told[1]["train/loss_smooth"] == pytest.approx((weights[0] + 3 * weights[1] + 5) / sum(weights), rel=1e-5)
    assert told[0]["train/images_per_s"] == pytest.approx(2 * 2 * 8 / 2, rel=0.05)
    assert told[1]["train/images_per_s"] == pytest.approx(2 * 8 / 2, rel=0.05)
    assert "gpu/memory_gib" not in told[0]


def test_no_logger_leaves_its_choice_out_of_the_configuration():
    assert OmegaConf.to_container(composed("logger=none").logger) == {}
