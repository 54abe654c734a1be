"""Services and sweeps"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, on_small_pictures
from tests.faults.conftest import refusal
from tests.processes import TRAIN, call

KEY = "c0ffee" * 6 + "0000"
# starts two runs as a training does, and says at once what is amiss
TWO_RUNS = """
from pathlib import Path
from rich.console import Console
from fisheries.training.wandb_runs import wandb_run
settings = {"wandb": True, "project": "p", "entity": None, "group": None, "tags": [], "offline": False}
for part in ("fold-0", "fold-1"):
    about = {"experiment": "e", "job_type": "train", "config": {}, "console": Console(width=200)}
    with wandb_run(settings, Path("run"), part=part, **about) as run:
        run.log({"loss": 1.0})
"""


@pytest.mark.parametrize("reason", ["no key", "no network"])
def test_wandb_without_key_or_network(reason: str, tmp_path: Path):
    """It never asks and never hangs: the run goes on offline, one line says how to send it later, and no key is written."""
    key = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://localhost:9"} if reason == "no network" else {}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env = {**kept, **key, "WANDB_MODE": "", "WANDB_INIT_TIMEOUT": "2", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    env |= {"NETRC": str(tmp_path / "none")}
    ours, terminal = pty.openpty()  # a terminal, since wandb asks there only
    started_s = time.monotonic()
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", TWO_RUNS]
    answer = subprocess.run(command, cwd=tmp_path, env=env, stdin=terminal, capture_output=True, text=True, timeout=60)
    os.close(ours)
    os.close(terminal)
    assert answer.returncode == 0, answer.stderr
    assert time.monotonic() - started_s < 50
    assert ("wandb can't be reached" in answer.stdout) == (reason == "no network")
    assert answer.stdout.count("wandb sync run/wandb/offline-run-*") == 1
    assert answer.stdout.count("can't be reached") <= 1  # the second fold does not wait for it again
    assert len(list(tmp_path.glob("run/wandb/offline-run-*/*.wandb"))) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"run"}, "something lies in the home folder"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not written
    assert KEY not in answer.stdout + answer.stderr


def test_one_job_of_a_sweep_fails(tmp_path: Path, world: Path):
    """The others run to their end; the failed one is named with its reason, and the exit code is 1."""
    answer = call(TRAIN, *on_small_pictures(world, "-m", "model.head=linear,deep,dense"), cwd=tmp_path, check=False)
    assert refusal(answer).startswith("1 of 3 jobs failed; job 1: model.head='deep'")
    assert "Job 1 failed: model.head='deep'" in answer.stdout
    (sweep,) = (tmp_path / "multirun").iterdir()
    assert (sweep / "0" / "oof.csv").is_file()
    assert (sweep / "2" / "oof.csv").is_file()
    assert "model.head='deep'" in (sweep / "1" / "error.txt").read_text()
