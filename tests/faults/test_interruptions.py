"""Interruptions"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import on_small_pictures, run_dir
from tests.faults.conftest import wait_for_line
from tests.processes import TRAIN, begin, call

OPTIONS = ["trainer.max_epochs=4", "optimizer.lr=1e-3", "model.dropout=0.5"]
PHASED = ["finetune=phased", "finetune.batch_norm=train", "ema=0.5", "mix.mixup=0.4", "data.workers=2"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train without a stop, once for the same options, and return the run's folder."""

    @cache
    def trained(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("uninterrupted")
        call(TRAIN, *options, cwd=folder)
        return run_dir(folder)

    return trained


def assert_same_end(run: Path, whole: Path) -> None:
    assert (run / "oof.csv").read_bytes() == (whole / "oof.csv").read_bytes()
    first, second = (pd.read_csv(folder / "fold-0" / "epochs.csv").drop(columns="seconds") for folder in (whole, run))
    assert list(second["epoch"]) == [0, 1, 2, 3]
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert list(run.parent.iterdir()) == [run]
    assert not [path for path in run.rglob(".*") if path.is_file()]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_or_ctrl_c(stop: signal.Signals, uninterrupted: Callable[..., Path], tmp_path: Path, world: Path):
    """It exits with 143 or 130 and says how to go on; the run then ends bit for bit as without the stop."""
    options = on_small_pictures(world, *OPTIONS)
    process = begin(TRAIN, *options, cwd=tmp_path)
    wait_for_line(process, "epoch 2/4")
    os.kill(process.pid, stop)
    answer, run = process.wait(), run_dir(tmp_path)
    assert answer.returncode == 128 + stop, answer.stdout + answer.stderr
    assert f"Interrupted. Go on with: python train.py resume={run}" in answer.stdout
    assert (run / "fold-0" / "last.ckpt").is_file()
    assert not (run / "oof.csv").exists()
    resumed = call(TRAIN, f"resume={run}", cwd=tmp_path)
    assert "epoch 1/4" not in resumed.stdout
    assert "epoch 4/4" in resumed.stdout
    assert_same_end(run, uninterrupted(*options))


def test_repeated_sigkill(uninterrupted: Callable[..., Path], tmp_path: Path, world: Path):
    """Killed again and again the run goes on from its last epoch, and ends bit for bit as without."""
    options = on_small_pictures(world, *PHASED, *OPTIONS)
    command = options
    for epoch in (2, 3):
        process = begin(TRAIN, *command, cwd=tmp_path)
        wait_for_line(process, f"epoch {epoch}/4")
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
        command = [f"resume={run_dir(tmp_path)}"]
        assert not (run_dir(tmp_path) / "oof.csv").exists()
    resumed = call(TRAIN, *command, cwd=tmp_path, fresh=True)
    run = run_dir(tmp_path)
    assert "epoch 4/4  phase 3/3" in resumed.stdout
    assert list(pd.read_csv(run / "fold-0" / "epochs.csv")["phase"]) == [1, 2, 3, 3]
    assert_same_end(run, uninterrupted(*options))


def test_slurm_ends_a_job_before_its_time(uninterrupted: Callable[..., Path], tmp_path: Path, world: Path):
    """On SIGUSR1 the job is put into the queue again; started anew, it goes on with its run by itself."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    job |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost"}
    job |= {"PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    options = on_small_pictures(world, *OPTIONS)
    process = begin(TRAIN, *options, cwd=tmp_path, env=job)
    wait_for_line(process, "epoch 2/4")
    os.kill(process.pid, signal.SIGUSR1)
    assert process.wait().returncode == 143
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    again = call(TRAIN, *options, cwd=tmp_path, env={**job, "SLURM_RESTART_COUNT": "1"})
    assert "epoch 1/4" not in again.stdout
    assert_same_end(run_dir(tmp_path), uninterrupted(*options))
