"""`fisheries predict`: one decode an image, and answers that are kept, so that a stopped prediction goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fisheries import predict
from fisheries.data import dataset
from fisheries.inference.fast import Choice
from fisheries.schema import InputError, read_predictions
from tests.conftest import run_dir
from tests.processes import FISHERIES, begin, call


@pytest.fixture
def photos(world: Path, tmp_path: Path) -> Path:
    """A folder of 120 photographs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        for path in sorted((world / "test_stg1").iterdir()):
            shutil.copyfile(path, folder / f"{number}_{path.name}")
    return folder


@pytest.fixture
def predicted(finished, world: Path, tmp_path: Path):
    """Predict 12 photographs with both folds, in this process; returns the CSV's bytes and what was said."""

    def run(out: str = "out.csv", **options: object) -> tuple[bytes, str]:
        console, path = Console(record=True, quiet=False, file=(tmp_path / "said").open("w"), width=200), tmp_path / out
        given = {"gpus": "0", "batch_size": 2, "workers": 0, "console": console, **options}
        predict.predict_paths(run_dir(finished[0]), [world / "test_stg1"], path, **given)
        return path.read_bytes(), console.export_text()

    return run


def stop_after(monkeypatch: pytest.MonkeyPatch, reads: int) -> list[Path]:
    """Press Ctrl-C when so many photographs were read; returns the list of those that are read."""
    read: list[Path] = []
    real = dataset.read_shrunk

    def reads_some(path: Path, *arguments: object, **options: object) -> np.ndarray:
        read.append(path)
        if len(read) > reads:
            raise KeyboardInterrupt
        return real(path, *arguments, **options)

    monkeypatch.setattr(dataset, "read_shrunk", reads_some)
    return read


def stopped(monkeypatch: pytest.MonkeyPatch, predict_once: Callable[[], object], *, reads: int = 6) -> None:
    """Predict, and press Ctrl-C before the end."""
    with monkeypatch.context() as patch:
        stop_after(patch, reads)
        with pytest.raises(KeyboardInterrupt):
            predict_once()


def test_each_photograph_is_decoded_once_for_all_folds_and_views(predicted, monkeypatch: pytest.MonkeyPatch):
    read = stop_after(monkeypatch, 1000)
    predicted(tta="d4")
    assert len(read) == len(set(read)) == 12


def test_a_killed_prediction_goes_on_and_ends_as_if_nothing_had_been(finished, photos: Path, tmp_path: Path):
    run = run_dir(finished[0])
    arguments = ["predict", run, photos, "--workers", 0, "--batch-size", 1, "--tta", "d4", "--out"]
    call(FISHERIES, *arguments, "whole.csv", cwd=tmp_path)
    assert not (tmp_path / "whole.csv.partial").exists()
    kept = tmp_path / "killed.csv.partial" / "first"
    for number in range(2):
        before = len(list(kept.glob("*.npz")))
        process = begin(FISHERIES, *arguments, "killed.csv", cwd=tmp_path)
        deadline_s = time.monotonic() + 60
        while len(list(kept.glob("*.npz"))) < before + 2 and time.monotonic() < deadline_s:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait().returncode != 0
        assert not (tmp_path / "killed.csv").exists(), f"too late in turn {number}"
    answer = call(FISHERIES, *arguments, "killed.csv", cwd=tmp_path)
    assert "goes on after" in answer.stdout
    assert "of 120 images, kept in killed.csv.partial/first" in answer.stdout
    for name in ("{}.csv", "{}_boxes.csv"):
        assert (tmp_path / name.format("killed")).read_bytes() == (tmp_path / name.format("whole")).read_bytes()
    assert not kept.parent.exists()


def test_what_is_kept_is_read_and_not_predicted_again(predicted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    stopped(monkeypatch, predicted)
    done = sum(len(np.load(path)["image_id"]) for path in (tmp_path / "out.csv.partial" / "first").glob("*.npz"))
    assert 0 < done <= 6
    read = stop_after(monkeypatch, 1000)
    answer, said = predicted()
    assert f"goes on after {done} of 12 images" in said
    assert len(read) == 12 - done
    assert answer == predicted("other.csv")[0]


@pytest.mark.parametrize("options", [{"tta": "flips"}, {"batch_size": 3}, {"precision": "bfloat16"}])
def test_answers_of_other_settings_are_not_used(predicted, options, monkeypatch: pytest.MonkeyPatch):
    stopped(monkeypatch, predicted)
    answer, said = predicted(**options)
    assert "goes on" not in said
    assert answer == predicted("other.csv", **options)[0]


def test_answers_of_other_networks_and_photographs_are_not_used(
    finished, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, photos = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(run_dir(finished[0]), run)
    shutil.copytree(world / "test_stg1", photos)
    first, second, *_ = sorted(photos.iterdir())

    def said() -> str:
        console = Console(record=True, file=(tmp_path / "said").open("w"), width=200)
        given = {"gpus": "0", "batch_size": 2, "workers": 0, "console": console}
        predict.predict_paths(run, [photos], tmp_path / "out.csv", **given)
        return console.export_text()

    for change in (
        lambda: shutil.copyfile(run / "fold-0" / "best.ckpt", run / "fold-1" / "best.ckpt"),
        lambda: shutil.copyfile(first, second),
    ):
        stopped(monkeypatch, said)
        assert list((tmp_path / "out.csv.partial").rglob("*.npz"))
        change()
        assert "goes on" not in said()


def test_a_damaged_file_of_answers_is_predicted_again(predicted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    stopped(monkeypatch, predicted, reads=10)
    for path in (tmp_path / "out.csv.partial" / "first").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-60])
    answer, said = predicted()
    assert "goes on" not in said
    assert answer == predicted("other.csv")[0]


def test_a_prediction_goes_on_in_the_way_it_began(predicted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    begun = Choice("bfloat16", "as it was when this machine had nothing else to do")
    with monkeypatch.context() as patch:
        patch.setattr(predict, "settled_way", lambda *_, **__: begun)
        stopped(patch, predicted)
    assert json.loads((tmp_path / "out.csv.partial" / "first" / "about.json").read_text())["way"] == "bfloat16"
    answer, said = predicted()
    assert "goes on" in said
    with monkeypatch.context() as patch:
        patch.setattr(predict, "settled_way", lambda *_, **__: begun)
        assert answer == predicted("other.csv")[0]
    assert answer != predicted("plain.csv")[0]


def test_bfloat16_as_told_is_said_and_near_float32(predicted, tmp_path: Path):
    answer, said = predicted(precision="bfloat16")
    assert "prediction: bfloat16 (as told)" in said
    exact, plain_said = predicted("exact.csv", precision="float32")
    assert "prediction:" not in plain_said
    assert answer != exact
    change = read_predictions(tmp_path / "out.csv") - read_predictions(tmp_path / "exact.csv")
    assert change.abs().to_numpy().max() < 0.02


def test_an_unknown_precision_is_refused(predicted):
    with pytest.raises(InputError, match=r"--precision float16: expected auto, float32, bfloat16 \(did you mean"):
        predicted(precision="float16")
