"""Runs that were interrupted, moved or finished, and are gone on with by `resume=`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from tests.conftest import on_small_pictures, run_dir
from tests.processes import TRAIN, Forked, begin, call


def wait_for_line(process: Forked, text: str, *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while text not in process.out.read_text():
        assert time.monotonic() < end, process.out.read_text() + process.err.read_text()
        time.sleep(0.02)


OPTIONS = ["trainer.max_epochs=4", "optimizer.lr=1e-3", "model.dropout=0.5"]
WAYS = {
    "at once": [],
    "in phases": ["finetune=phased", "finetune.batch_norm=train", "ema=0.5", "mix.mixup=0.4", "data.workers=2"],
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train without a stop, once for the same options, and return the run's folder."""

    @cache
    def trained(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("uninterrupted")
        call(TRAIN, *options, cwd=folder)
        return run_dir(folder)

    return trained


@pytest.mark.parametrize(
    ("stop", "way"), [(signal.SIGINT, "at once"), (signal.SIGTERM, "at once"), (signal.SIGKILL, "in phases")]
)
def test_an_interrupted_run_goes_on_and_ends_as_the_uninterrupted_one(
    stop: signal.Signals, way: str, uninterrupted: Callable[..., Path], tmp_path: Path, world: Path
):
    options = on_small_pictures(world, *WAYS[way], *OPTIONS)
    whole = uninterrupted(*options)
    process = begin(TRAIN, *options, cwd=tmp_path)
    wait_for_line(process, "epoch 2/4")
    os.kill(process.pid, stop)
    answer = process.wait()
    run = run_dir(tmp_path)
    if stop == signal.SIGKILL:
        assert answer.returncode == -signal.SIGKILL
    else:
        assert answer.returncode == 128 + stop, answer.stdout + answer.stderr
        assert f"Interrupted. Go on with: python train.py resume={run}" in answer.stdout
    assert (run / "fold-0" / "last.ckpt").is_file()
    assert not (run / "oof.csv").exists()
    resumed = call(TRAIN, f"resume={run}", cwd=tmp_path, fresh=stop == signal.SIGKILL)
    assert "epoch 1/4" not in resumed.stdout
    assert "epoch 4/4" in resumed.stdout
    assert (run / "oof.csv").read_bytes() == (whole / "oof.csv").read_bytes()
    first, second = (pd.read_csv(folder / "fold-0" / "epochs.csv").drop(columns="seconds") for folder in (whole, run))
    assert list(second["epoch"]) == [0, 1, 2, 3]
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    if way == "in phases":
        assert list(second["phase"]) == [1, 2, 3, 3]
        assert "epoch 4/4  phase 3/3" in resumed.stdout
    assert list((tmp_path / "runs").iterdir()) == [run]


def test_the_last_state_knows_which_epoch_was_best_so_far(train_py, tmp_path: Path):
    train_py("trainer.max_epochs=3")
    fold = run_dir(tmp_path) / "fold-0"
    epochs = pd.read_csv(fold / "epochs.csv")
    states = torch.load(fold / "last.ckpt", weights_only=True)["callbacks"]
    (score,) = [float(state["best_model_score"]) for name, state in states.items() if "val/log_loss" in name]
    assert score == pytest.approx(epochs["val/log_loss"].min(), rel=1e-5)


def test_a_run_that_was_moved_keeps_its_best_weights(train_py, tmp_path: Path):
    train_py("trainer.max_epochs=2")
    moved = run_dir(tmp_path).rename(tmp_path / "moved")
    (moved / "fold-0" / "oof.csv").unlink()
    best = (moved / "fold-0" / "best.ckpt").read_bytes()
    checkpoint = torch.load(moved / "fold-0" / "last.ckpt", weights_only=True)
    for state in checkpoint["callbacks"].values():
        if "best_model_score" in state:  # so good that no later epoch is better
            state["best_model_score"] = state["current_score"] = state["kth_value"] = torch.tensor(-1.0)
            state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(-1.0))
    torch.save(checkpoint, moved / "fold-0" / "last.ckpt")
    answer = call(TRAIN, f"resume={moved}", "trainer.max_epochs=3", cwd=tmp_path)
    assert "epoch 3/3" in answer.stdout
    assert (moved / "fold-0" / "best.ckpt").read_bytes() == best
    assert yaml.safe_load((moved / "config.yaml").read_text())["trainer"]["max_epochs"] == 3


def test_a_resumed_run_refuses_another_configuration(finished, train_py, tmp_path: Path):
    run = run_dir(finished[0])
    answer = train_py(f"resume={run}", "model.dropout=0.9", check=False)
    assert answer.returncode == 1
    assert (
        "a resumed run keeps its configuration, only trainer.*, logger, data.workers and data.cache may change"
        in answer.stderr
    )


def test_a_finished_run_is_not_trained_again(finished):
    folder, _ = finished
    run = run_dir(folder)
    before = (run / "fold-0" / "best.ckpt").stat().st_mtime_ns
    answer = call(TRAIN, f"resume={run}", cwd=folder)
    assert "Fold 0: already trained" in answer.stdout
    assert (run / "fold-0" / "best.ckpt").stat().st_mtime_ns == before
