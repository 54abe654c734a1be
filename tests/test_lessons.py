from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fisheries import lessons
from fisheries.schema import InputError, write_table

LINE = "fisheries score submission.csv solution.csv"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch) -> list[list[str]]:
    """Replace commands by one that writes `made.csv`."""
    lines: list[list[str]] = []

    def run(line: str, words: list[str]) -> None:
        lines.append(words)
        (tmp_path / "made.csv").touch()

    monkeypatch.setenv(lessons.VARIABLE, str(tmp_path))
    monkeypatch.setattr(lessons, "_run", run)
    return lines


def test_a_command_runs_once(asked: list[list[str]], tmp_path: Path):
    made = [lessons.command("fisheries leakage 'a b.csv'", makes="made.csv") for _ in range(2)]
    assert made == [tmp_path / "made.csv"] * 2
    assert asked == [["leakage", "a b.csv"]]


def test_commands_run_in_a_folder_of_the_repository_by_default(monkeypatch):
    monkeypatch.delenv(lessons.VARIABLE, raising=False)
    assert lessons.folder() == Path(__file__).resolve().parent.parent / "runs" / "notebooks"


def test_other_programs_are_refused(asked: list[list[str]]):
    with pytest.raises(InputError, match="rm -r runs: expected a command of fisheries"):
        lessons.command("rm -r runs", makes="made.csv")
    assert asked == []


def test_a_command_that_makes_something_else_is_refused(asked: list[list[str]]):
    with pytest.raises(InputError, match=r"leakage a.csv: ended well, but there is no .*other.csv; name what it makes"):
        lessons.command("fisheries leakage a.csv", makes="other.csv")


def test_a_failed_command_says_why_in_a_line(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(lessons.VARIABLE, str(tmp_path))
    with pytest.raises(InputError) as failed:
        lessons.command(LINE, makes="made.csv")
    said = str(failed.value)
    assert said.startswith(f"{LINE}: failed in {tmp_path}: fisheries: submission.csv: no such file")
    assert said.endswith("run the cell again")
    assert "\n" not in said


def test_the_embedded_boats_are_drawn_then_scanned_and_then_read(tables, tmp_path: Path, monkeypatch):
    manifest, boxes = tables
    lines: list[str] = []

    def run(line: str, words: list[str]) -> None:
        lines.append(line)
        if words[0] == "synth":
            (tmp_path / "boats").mkdir()
        else:
            write_table(manifest, tmp_path / "tables" / "manifest.csv")
            write_table(boxes, tmp_path / "tables" / "boxes.csv")

    monkeypatch.setenv(lessons.VARIABLE, str(tmp_path))
    monkeypatch.setenv(lessons.BOATS_VARIABLE, "--train 80")
    monkeypatch.setattr(lessons, "_run", run)
    for _ in range(2):
        read = lessons.embedded_boats()
        pd.testing.assert_frame_equal(read[0], manifest)
        pd.testing.assert_frame_equal(read[1], boxes)
    assert lines == ["fisheries synth boats --train 80", lessons.SCAN]
