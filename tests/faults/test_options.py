"""Options"""

from __future__ import annotations

from pathlib import Path

from tests.conftest import on_small_pictures
from tests.faults.conftest import refusal
from tests.processes import TRAIN, call


def test_no_gpu(tmp_path: Path, world: Path):
    """One line says how many there are, and that trainer.gpus=0 trains on the CPU; nothing is begun."""
    options = on_small_pictures(world, "trainer.gpus=1")
    line = refusal(call(TRAIN, *options, cwd=tmp_path, env={"CUDA_VISIBLE_DEVICES": ""}, check=False))
    assert line == "trainer.gpus=1: this machine has no GPUs; trainer.gpus=0 trains on the CPU"
    assert not list((tmp_path / "runs").iterdir())


def test_unknown_key_or_group(tmp_path: Path):
    """One line names it, and what was probably meant."""
    for word, meant in [
        ("optimizer.l_r=1", "optimizer.lr"),
        ("modell=resnet50", "model"),
        ("model=resnet5", "resnet50"),
    ]:
        line = refusal(call(TRAIN, word, cwd=tmp_path, check=False))
        assert word.split("=")[0] in line
        assert meant in line
        assert "did you mean" in line


def test_values_out_of_range(tmp_path: Path, world: Path):
    """One line lists all of them at once, each with what was expected."""
    wrong = ["optimizer.lr=-1", "data.batch_size=0", "model.dropout=2", "split.folds=1", "tta=all", "data.image_hw=7"]
    line = refusal(call(TRAIN, *on_small_pictures(world, *wrong), cwd=tmp_path, check=False))
    for word in wrong:
        key, value = word.split("=")
        assert f"{key}={value}: expected" in line.replace("'", "")
