from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from fisheries import compose
from fisheries.cli import app
from fisheries.config import save_config
from fisheries.data import dataset
from fisheries.doctor import examine as doctor
from fisheries.doctor import feed, step
from fisheries.doctor.diagnosis import (
    AUGMENT,
    BATCH,
    DECODE,
    DISK,
    FETCH,
    STEP,
    Limits,
    Machine,
    Pass,
    Plan,
    advice,
    bound_by,
    enough_workers,
    epoch_s,
    idle_share,
    image_s,
    proposals,
    run_s,
    spoken,
    warnings,
    with_workers,
)
from fisheries.doctor.examine import Findings, examine
from fisheries.doctor.words import stage_rates, told
from fisheries.errors import user_error
from fisheries.launch import compose_config
from fisheries.material import load_material, settle
from fisheries.schema import InputError, write_table
from tests.conftest import on_small_pictures

SILENT = Console(quiet=True)
SECONDS = st.floats(1e-5, 1.0)
GPU, CPU = Machine(cores=16, threads=0), Machine(cores=2, threads=2)
ROOM = Limits(None, 0, cache=0, cache_limit=0, cache_free=0, memory=1, memory_needed=0)


def one(decode_s: float, step_s: float, *, workers: int = 2, read_s: float = 0.0, augment_s: float = 1e-4) -> Pass:
    pieces = {DECODE: decode_s, AUGMENT: augment_s, BATCH: 1e-5}
    feed_s = max(sum(pieces.values()) / max(1, workers), read_s)
    return Pass(1000, pieces, read_s, feed_s, step_s, workers)


def plan(first: Pass, later: Pass | None = None, *, epochs: int = 10) -> Plan:
    return Plan([first], [later or first], epochs)


@given(SECONDS, SECONDS, st.integers(0, 32), st.sampled_from([GPU, CPU]))
def test_an_image_takes_at_least_as_long_as_each_of_those_that_work_on_it(decode_s, step_s, workers, machine):
    photographs = one(decode_s, step_s, workers=workers)
    assert image_s(photographs, machine) >= max(photographs.feed_s, step_s)
    assert 0 <= idle_share([photographs], machine) <= 1


@given(SECONDS, SECONDS, st.integers(0, 16))
def test_more_workers_never_make_a_run_slower_by_prediction_and_as_many_as_it_has_change_nothing(decode_s, step_s, has):
    epoch = [one(decode_s, step_s, workers=has)]
    took = [epoch_s(with_workers(epoch, count, GPU), GPU) for count in range(1, 17)]
    assert took == sorted(took, reverse=True) or max(took) - min(took) < 1e-6
    assert with_workers(epoch, has, GPU) == epoch


@given(SECONDS, SECONDS, SECONDS, SECONDS, st.integers(0, 16), st.sampled_from([GPU, CPU]))
def test_what_is_proposed_makes_the_run_faster_and_the_best_comes_first(
    decode_s, step_s, kept_s, share, workers, machine
):
    now = plan(one(decode_s, step_s, workers=workers))
    found = proposals(now, machine, steps={"x=1": share}, kept_s=kept_s, frozen=None)
    took = [run_s(other, machine) for _, other in found]
    assert took == sorted(took)
    assert all(seconds < run_s(now, machine) for seconds in took)
    assert len(advice(now, machine, found)) == 1 + max(1, len(found))


@pytest.mark.parametrize(
    ("photographs", "machine", "binds"),
    [
        (one(0.02, 0.001), GPU, DECODE),
        (one(0.02, 0.05), GPU, STEP),
        (one(0.02, 0.001, read_s=0.1), GPU, DISK),
        (one(0.001, 0.001, augment_s=0.02), GPU, AUGMENT),
        (one(0.02, 0.001, workers=0), CPU, DECODE),
        (one(0.001, 0.02, workers=0), CPU, STEP),
        (one(0.01, 0.02), CPU, STEP),
        (one(0.05, 0.003), CPU, DECODE),
    ],
)
def test_what_takes_longest_binds(photographs: Pass, machine: Machine, binds: str):
    assert bound_by([photographs], machine) == binds


def test_a_gpu_behind_two_workers_is_told_how_many_more_it_needs():
    now = plan(one(0.008, 0.001))
    assert enough_workers(now, GPU) == 8  # 8.1 ms of work in time for a step of 1 ms, but for a twentieth
    said = " ".join(advice(now, GPU, proposals(now, GPU, steps={}, kept_s=None, frozen=None)))
    assert "bound by decoding" in said
    assert "data.workers=8: 10 s rather than 41 s" in said


def test_nothing_is_proposed_where_nothing_helps():
    now = plan(one(0.001, 0.1))
    assert proposals(now, GPU, steps={"x=1": 0.95}, kept_s=1e-4, frozen=None) == []
    assert "Nothing that was tried" in advice(now, GPU, [])[-1]


def test_accuracy_is_given_away_for_long_runs_only():
    steps, frozen = {"data.image_hw=[64,96]": 0.5, "x=1": 0.6}, plan(one(0.001, 0.001), epochs=1)
    short, long = (plan(one(0.001, 0.04), epochs=epochs) for epochs in (10, 100))
    for now, names in (
        (short, ["x=1"]),
        (long, ["model.backbone_frozen=true transform=none", "data.image_hw=[64,96]", "x=1"]),
    ):
        found = proposals(now, GPU, steps=steps, kept_s=None, frozen=frozen)
        assert [name for name, _ in found] == names
    assert "data.image_hw=[64,96]: 33 min rather than 67 min, but the network sees less of a fish" in advice(
        long, GPU, found
    )


def test_a_step_that_has_too_few_threads_is_noticed():
    machine = Machine(cores=8, threads=1)
    lines = warnings(plan(one(0.001, 0.1)), machine, ROOM, workers=2, start_s=0.0)
    assert lines == ["the step takes 1 of 8 cores: see OMP_NUM_THREADS"]
    assert warnings(plan(one(0.1, 0.001)), machine, ROOM, workers=2, start_s=0.0) == []


@pytest.mark.parametrize(
    ("limits", "workers", "start_s", "said"),
    [
        (replace(ROOM, shared=64 << 20, shared_needed=128 << 20), 4, 0.0, "/dev/shm has 67 MB free"),
        (replace(ROOM, cache=10**10, cache_limit=8 * 10**9, cache_free=10**12), 2, 0.0, "data.cache_gb=10.1"),
        (replace(ROOM, cache=10**10, cache_limit=8 * 10**12, cache_free=10**9), 2, 0.0, "1.0 GB are free"),
        (replace(ROOM, memory=8 * 10**9, memory_needed=9 * 10**9), 2, 0.0, "needs about 9.0 GB of memory"),
        (ROOM, 32, 0.0, "data.workers=32 on 16 cores"),
        (ROOM, 2, 3.0, "starting workers takes 6.0 s"),
    ],
)
def test_what_a_run_would_run_into_is_said(limits: Limits, workers: int, start_s: float, said: str):
    lines = warnings(plan(one(0.001, 0.001)), GPU, limits, workers=workers, start_s=start_s)
    assert len(lines) == 1
    assert said in lines[0]
    assert warnings(plan(one(0.001, 0.001)), GPU, ROOM, workers=2, start_s=0.01) == []


@pytest.mark.parametrize(("seconds", "said"), [(0.5, "0.5 s"), (42, "42 s"), (240, "4 min"), (7200, "2.0 h")])
def test_times_are_said_as_a_person_says_them(seconds: float, said: str):
    assert spoken(seconds) == said


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: Path) -> Path:
    """Measure for moments, in an empty folder."""
    monkeypatch.setattr(feed, "PIECE_S", 0.05)
    monkeypatch.setattr(step, "STEP_S", 0.05)
    monkeypatch.setattr(doctor, "LEAST", 16)
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    return world


def examined(world: Path, *overrides: str) -> Findings:
    return examine(compose_config(on_small_pictures(world, "data.batch_size=8", *overrides)), None, console=SILENT)


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_slow_photographs_are_what_binds_and_a_cache_helps(quick: Path, monkeypatch: pytest.MonkeyPatch):
    def slowly(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.02)
        return read_shrunk(*args, **kwargs)

    read_shrunk = feed.read_shrunk
    monkeypatch.setattr(feed, "read_shrunk", slowly)
    monkeypatch.setattr(dataset, "read_shrunk", slowly)
    before = tree(quick)
    found = examined(quick, "data.cache=none", "trainer.max_epochs=20")
    said = told(found)
    assert "Every epoch is bound by decoding." in said[0]
    assert any(line.startswith("data.cache=disk: ") for line in said)
    assert found.faster == {}  # other steps are not tried where the step does not bind
    assert not found.sample.is_scanned
    assert found.sample.train == 48  # half of 96, as split.folds=2 has it
    kept = told(examined(quick, "trainer.max_epochs=20"))
    assert "The first epoch is bound by decoding" in kept[0]
    assert not any("data.cache" in line for line in kept)
    assert tree(quick) == before
    assert tree(Path.cwd()) == {}


def test_a_heavy_network_is_bound_by_its_step_and_other_steps_are_tried(quick: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "SLOW_STEP_S", 1e-6)  # any step is
    wide = ["model.options={widths:[32,64],depths:[2,2]}", "data.image_hw=[64,96]", "trainer.precision=32-true"]
    wide += ["model.pretrained=true"]
    found = examined(quick, *wide)
    assert "bound by the step" in told(found)[0]
    assert set(found.faster) == {"trainer.precision=auto", "data.image_hw=[32,64]"}
    assert 0 < found.faster["data.image_hw=[32,64]"] < 1
    assert found.frozen is not None
    assert found.step_images < found.config.data.batch_size
    assert found.steps.val_s < found.steps.train_s


def test_a_frozen_network_computes_its_features_once_and_then_fetches_them(quick: Path):
    found = examined(quick, "model.backbone_frozen=true", "transform=none", "trainer.max_epochs=5")
    assert {"the frozen backbone, once", "fetching stored features"} < set(stage_rates(found).index)
    once, *later = found.plan.first
    assert once.images == 126  # those of test, too
    assert once.workers == 0
    assert later == list(found.plan.later)
    assert all(set(part.pieces) == {FETCH} for part in later)
    views = examined(quick, "model.backbone_frozen=true", "model.views=3")
    assert views.plan.first[0].images == 126 + 3 * 96


def test_a_run_is_measured_by_its_own_tables_and_stays_as_it_is(quick: Path, tmp_path_factory: pytest.TempPathFactory):
    run_dir = begun(quick, tmp_path_factory.mktemp("run"))
    before = tree(run_dir)
    answer = CliRunner().invoke(app, ["doctor", str(run_dir), "data.workers=1"], catch_exceptions=False)
    assert answer.exit_code == 0
    for word in ("decoding and shrinking", "the loader, later epochs", "training step", "bound by", "1 workers"):
        assert word in answer.stdout
    assert tree(run_dir) == before
    assert tree(Path.cwd()) == {}
    with pytest.raises(InputError, match=r"model=resnet50: a resumed run keeps its configuration"):
        compose_config(["model=resnet50"], run_dir)


def begun(world: Path, run_dir: Path) -> Path:
    """Write what a run begins with."""
    config = compose_config(on_small_pictures(world, f"tables_dir={run_dir / 'tables'}"))
    material = load_material(config, console=SILENT)
    folds = compose.draw_folds(config, material)
    settle(config, material)
    save_config(config, run_dir)
    for name, table in (("manifest", material.manifest), ("boxes", material.boxes), ("folds", folds)):
        write_table(table, run_dir / f"{name}.csv")
    return run_dir


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.l_r=1"], "did you mean 'optimizer.lr'?"),
        (["data=ncfm"], "data.root is missing: give data.root=DIR"),
        (["data=ncfm", "data.root=nowhere"], "nowhere: no such folder"),
        (["nowhere"], "nowhere: no config.yaml in it; expected the folder of a run"),
        (["trainer.gpus=64"], "trainer.gpus=64: this machine has"),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], said: str, quick: Path):
    answer = CliRunner().invoke(app, ["doctor", *words])
    line = user_error(answer.exception) if answer.exception else None
    assert line is not None
    assert said in line
    assert "\n" not in line
