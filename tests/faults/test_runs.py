"""Runs"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from fisheries.data import datamodule, watch
from fisheries.data.datamodule import predict_loader
from fisheries.data.metadata import fit_sizes
from fisheries.data.transforms import eval_transform
from fisheries.errors import user_error
from fisheries.schema import read_predictions
from tests.conftest import on_small_pictures, run_dir
from tests.faults.conftest import refusal, wait_for_line
from tests.processes import TRAIN, Forked, begin, call

WORKER = ["data.workers=1", "data.cache=none", "trainer.max_epochs=500"]


def children(pid: int) -> list[int]:
    """The processes that a process has forked; not every system lists them, so all are asked for their parent."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            status = (process / "stat").read_text()
            if int(status.rpartition(")")[2].split()[1]) == pid:
                found.append(int(process.name))
    return sorted(found)


def test_worker_raises(tmp_path: Path, world: Path):
    """A photograph that is damaged or gone while a run trains ends it with one line that names it."""
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    process = begin(TRAIN, *on_small_pictures(world, f"data.root={copy}", *WORKER), cwd=tmp_path)
    wait_for_line(process, "epoch 1/500")
    for path in (copy / "train").rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:1000])
    line = refusal(process.wait())
    assert re.fullmatch(rf"{copy}/train/\w+/\w+.jpg: the file ends early or is damaged \(.*\); replace .*", line)


def test_worker_is_killed(tmp_path: Path, world: Path):
    """The run ends at once with one line that names the photograph that the process was reading, if it was at one."""
    process = begin(TRAIN, *on_small_pictures(world, *WORKER), cwd=tmp_path)
    wait_for_line(process, "epoch 1/500")
    (worker, *_) = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    begun = time.monotonic()
    line = refusal(process.wait())
    assert time.monotonic() - begun < 60
    assert re.search(rf"is lost \(.*\(pid(\(s\))? {worker}\)", line)
    assert (run_dir(tmp_path) / "fold-0" / "last.ckpt").is_file()


class Stopping:
    """Stops its own process at the fifth photograph, `after_s` seconds after the fourth."""

    image_hw = (32, 48)

    def __init__(self, after_s: float) -> None:
        self.view, self.after_s, self.seen = eval_transform(image_hw=self.image_hw), after_s, 0

    def __call__(self, image, box, seed):
        view = self.view(image, box, seed)
        self.seen += 1
        if self.seen == 5:
            time.sleep(self.after_s)
            os.kill(os.getpid(), signal.SIGSTOP)
        return view


def stopping_loader(tables: tuple[pd.DataFrame, pd.DataFrame], after_s: float, *, batch_size: int) -> tuple[Any, str]:
    """Return the batches that such a process makes, and the path of the fifth photograph."""
    manifest, boxes = tables
    images = manifest.iloc[:40].assign(label="")
    view, sizes = Stopping(after_s), fit_sizes(images)
    loader = predict_loader(
        images, boxes=boxes, classes=["ALB"], sizes=sizes, transform=view, batch_size=batch_size, workers=1
    )
    return loader, images["path"].iloc[4]


def test_worker_hangs(tables: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch):
    """After 100 seconds without a word from it the run ends, with one line that names the photograph it was at."""
    assert datamodule.WORKER_TIMEOUT_S == 100
    monkeypatch.setattr(datamodule, "WORKER_TIMEOUT_S", 2)
    loader, path = stopping_loader(tables, 0, batch_size=8)
    with pytest.raises(RuntimeError) as caught:
        list(loader)
    line = user_error(caught.value)
    assert line is not None
    assert line.startswith(f"{path}: the process that read it is lost (DataLoader timed out after 2 s")


def take(batches: Any) -> None:
    """Take a batch, and wait for PyTorch to hear of a process that ended: it raises at any moment."""
    try:
        next(batches)
    finally:
        time.sleep(1)


def test_worker_hangs_before_its_batch_is_taken(
    tables: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
):
    """One that stops for 110 seconds is killed, and the run ends with a line that names its photograph."""
    assert watch._LONGEST_STOP_S == 110
    monkeypatch.setattr(watch, "_LONGEST_STOP_S", 2)
    monkeypatch.setattr(watch, "_LOOK_S", 0.5)
    loader, path = stopping_loader(tables, 1, batch_size=4)
    others = set(multiprocessing.active_children())
    batches = iter(loader)
    (worker,) = set(multiprocessing.active_children()) - others
    while not watch._is_stopped_child(worker.pid):
        time.sleep(0.1)
    with pytest.raises((RuntimeError, ConnectionError)) as caught:
        take(batches)
    line = user_error(caught.value)
    assert line is not None
    assert line.startswith(f"{path}: the process that read it is lost (DataLoader worker (pid")


@pytest.mark.slow
def test_worker_hangs_in_a_whole_run(tmp_path: Path, world: Path):
    """Within two minutes the run ends, with its last epoch kept; the process that hangs is killed."""
    process = begin(TRAIN, *on_small_pictures(world, *WORKER), cwd=tmp_path)
    wait_for_line(process, "epoch 1/500")
    (worker, *_) = children(process.pid)
    os.kill(worker, signal.SIGSTOP)
    begun = time.monotonic()
    line = refusal(process.wait())
    assert 90 < time.monotonic() - begun < 120
    assert re.search(r"is lost \(DataLoader (timed out after 100 seconds|worker)", line)
    assert not Path(f"/proc/{worker}").exists()
    assert (run_dir(tmp_path) / "fold-0" / "last.ckpt").is_file()


def test_nan_loss(tmp_path: Path, world: Path):
    """The run stops before the optimizer's step; one line names step, learning rate and the images of the batch."""
    wild = ["optimizer.name=sgd", "optimizer.lr=100", "trainer.gradient_clip_val=null", "schedule=constant"]
    wild += ["schedule.warmup=0", "trainer.max_epochs=50"]
    line = refusal(call(TRAIN, *on_small_pictures(world, *wild), cwd=tmp_path, check=False))
    assert re.match(
        r"the loss is (nan|inf|-inf) in epoch \d+, step \d+, at learning rate 1e\+02, of (\w+\.jpg, )+", line
    )
    assert not (run_dir(tmp_path) / "oof.csv").exists()


LARGE = ["data.image_hw=[512,512]", "data.batch_size=32", "data.cache=none", "split.seen_share=0"]


def short_of_memory(process: Forked, *, more: int) -> None:
    """Leave a process so many bytes more than it has when it begins to train."""
    wait_for_line(process, "Fold 0:")
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    resource.prlimit(process.pid, resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + more,) * 2)


def test_out_of_memory(tmp_path: Path, world: Path):
    """One line says which batch size to try, and how many batches to a step keep the same training."""
    process = begin(TRAIN, *on_small_pictures(world, *LARGE), cwd=tmp_path)
    short_of_memory(process, more=200 << 20)
    line = refusal(process.wait())
    assert line.startswith(
        "out of memory with data.batch_size=32: try data.batch_size=16 trainer.accumulate_grad_batches=2"
    )
    assert "trainer.on_oom=halve" in line


def test_out_of_memory_where_halving_is_allowed(tmp_path: Path, world: Path):
    """With trainer.on_oom=halve it goes on from its last epoch with half the batch, twice as many of them to a step."""
    process = begin(TRAIN, *on_small_pictures(world, *LARGE, "trainer.on_oom=halve"), cwd=tmp_path)
    short_of_memory(process, more=400 << 20)
    answer = process.wait()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert (
        "out of memory with data.batch_size=32: going on with 16, and twice as many batches to a step" in answer.stdout
    )
    config = (run_dir(tmp_path) / "config.yaml").read_text()
    batch, steps = (int(re.search(rf"{key}: (\d+)", config)[1]) for key in ("batch_size", "accumulate_grad_batches"))
    assert batch * steps == 32
    assert batch < 32
    assert len(read_predictions(run_dir(tmp_path) / "oof.csv")) > 30


def test_disk_full(tmp_path: Path, world: Path):
    """One line names the file; what was there before stays whole, nothing else is left, and the run can go on."""
    options = on_small_pictures(world, "trainer.max_epochs=50", "logger=none")
    process = begin(TRAIN, *options, cwd=tmp_path)
    wait_for_line(process, "epoch 2/50")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10_000, 10_000))  # as if so many bytes were left
    line = refusal(process.wait())
    run = run_dir(tmp_path)
    assert re.match(rf"{run}/fold-0/(last|best).ckpt: File too large; make room", line)
    names = {path.name for path in (run / "fold-0").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "epochs.csv", "sizes.json"}
    begun = torch.load(run / "fold-0" / "last.ckpt", weights_only=True)["epoch"]
    printed = call(TRAIN, f"resume={run}", f"trainer.max_epochs={begun + 2}", cwd=tmp_path).stdout
    assert f"epoch {begun + 2}/{begun + 2}" in printed
    assert json.loads((run / "run.json").read_text())


@pytest.mark.slow
def test_disk_full_for_good(tmp_path: Path, world: Path):
    """On a file system of its own that fills up, too, one line names the file and nothing half-written is left."""
    (tmp_path / "small").mkdir()
    options = on_small_pictures(
        world, "trainer.max_epochs=50", "logger=none", "model.options={widths:[32,64],depths:[1,1]}"
    )
    options += ["hydra.run.dir=small/run", "data.cache=none"]
    train = shlex.join([sys.executable, TRAIN, *options])
    script = f"mount -t tmpfs -o size=1m none small && {{ {train}; ls -A small/run/fold-0; }}"
    answer = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    if "unshare" in answer.stderr or "mount:" in answer.stderr:
        pytest.skip("needs a mount of its own")
    line = answer.stderr.strip().splitlines()[-1]
    assert re.match(r"fisheries: \S*small/run/fold-0/\S+: No space left on device; make room", line), answer.stderr
    left = set(answer.stdout.split("epoch")[-1].splitlines()[1:])
    assert left <= {"best.ckpt", "last.ckpt", "epochs.csv", "sizes.json"}


@pytest.mark.slow
def test_rank_of_several_dies(tmp_path: Path, world: Path):
    """The others end within two minutes with one line, no process is left, and the run goes on from its last epoch."""
    several = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "data.workers=0"]
    options = on_small_pictures(world, *several, "data.cache=none", "trainer.max_epochs=500", "logger=none")
    process = begin(TRAIN, *options, cwd=tmp_path)
    wait_for_line(process, "epoch 2/500", seconds=240)
    (rank, *_) = children(process.pid)
    os.kill(rank, signal.SIGKILL)
    begun = time.monotonic()
    answer = process.wait()
    assert time.monotonic() - begun < 120
    assert answer.returncode != 0
    assert "Traceback" not in answer.stderr, answer.stderr
    assert re.search(r"fisheries: a process of this run is lost .*resume=", answer.stderr), answer.stderr
    run = run_dir(tmp_path)
    epoch = torch.load(run / "fold-0" / "last.ckpt", weights_only=True)["epoch"]
    printed = call(TRAIN, f"resume={run}", f"trainer.max_epochs={epoch + 2}", cwd=tmp_path).stdout
    assert f"epoch {epoch + 2}/{epoch + 2}" in printed


def test_share_with_the_run_is_gone(tmp_path: Path, world: Path):
    """One line names what can't be written; once the share is back, the run goes on from its last epoch."""
    options = on_small_pictures(world, "trainer.max_epochs=500", "logger=none", "hydra.run.dir=share/run")
    (tmp_path / "share").mkdir()
    process = begin(TRAIN, *options, cwd=tmp_path)
    wait_for_line(process, "epoch 2/500")
    (tmp_path / "share").rename(tmp_path / "away")
    line = refusal(process.wait())
    assert re.match(rf"{tmp_path}/share/run/fold-0: is gone; bring back the disk or share .*resume=", line)
    assert not (tmp_path / "share").exists()
    (tmp_path / "away").rename(tmp_path / "share")
    run = tmp_path / "share" / "run"
    epoch = torch.load(run / "fold-0" / "last.ckpt", weights_only=True)["epoch"]
    printed = call(TRAIN, f"resume={run}", f"trainer.max_epochs={epoch + 2}", cwd=tmp_path).stdout
    assert f"epoch {epoch + 2}/{epoch + 2}" in printed
