"""Runs that were moved or finished, and are gone on with by `resume=`; tests/faults has those that were interrupted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from tests.conftest import run_dir
from tests.processes import TRAIN, call


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
