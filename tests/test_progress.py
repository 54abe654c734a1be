from __future__ import annotations

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from fisheries.progress import IMAGES, track
from fisheries.training import callbacks
from fisheries.training.callbacks import EpochBar

BATCH = {"image_id": ["a", "b", "c", "d"]}


def terminal(*, force: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=force, width=120)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bar_says_how_many_images_a_second_and_the_time_left():
    console = terminal()
    for _ in track(iter("xyz"), "Reading", total=3, console=console, unit=IMAGES, per_step=4):
        time.sleep(0.15)
    last = printed(console).rsplit("Reading", 1)[1]
    assert "3/3" in last
    assert "images/s" in last
    assert "0:00:00" in last


def test_without_a_terminal_nothing_is_shown():
    console = terminal(force=False)
    assert list(track([1, 2], "Reading", console=console, disable=not console.is_terminal)) == [1, 2]
    assert printed(console) == ""


def trainer(**changes: object) -> SimpleNamespace:
    made = {
        "current_epoch": 4,
        "num_training_batches": 2,
        "num_val_batches": [1],
        "world_size": 2,
        "is_global_zero": True,
        "sanity_checking": False,
    }
    return SimpleNamespace(**{**made, **changes})


def run_epoch(bar: EpochBar, state: SimpleNamespace) -> None:
    bar.on_train_epoch_start(state, None)
    for index in range(2):
        bar.on_train_batch_end(state, None, None, BATCH, index)
    bar.on_validation_batch_end(state, None, None, BATCH, 0)


def test_a_long_epoch_shows_how_far_it_is_with_its_held_out_images_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(callbacks, "SHOWN_EVERY_S", 0)
    console = terminal()
    bar = EpochBar(console)
    run_epoch(bar, trainer())
    assert "epoch 5" in printed(console)
    assert "1/3" in printed(console)
    assert "3/3" in printed(console)
    assert "images/s" in printed(console)
    bar.on_train_epoch_end(trainer(), None)
    assert printed(console).endswith("\x1b[2K")  # the line is erased
    assert bar.bar is None


def test_an_interrupted_epoch_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(callbacks, "SHOWN_EVERY_S", 0)
    console = terminal()
    bar = EpochBar(console)
    run_epoch(bar, trainer())
    bar.on_exception(trainer(), None, KeyboardInterrupt())
    assert "\x1b[?25h" in printed(console)


def test_a_check_before_the_first_epoch_shows_nothing():
    console = terminal()
    EpochBar(console).on_validation_batch_end(trainer(sanity_checking=True), None, None, BATCH, 0)
    assert printed(console) == ""


@pytest.mark.parametrize("state", [trainer(is_global_zero=False), trainer()], ids=["another process", "a short epoch"])
def test_no_bar_is_shown(state: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(callbacks, "SHOWN_EVERY_S", 60 if state.is_global_zero else 0)
    console = terminal()
    run_epoch(EpochBar(console), state)
    assert printed(console) == ""
