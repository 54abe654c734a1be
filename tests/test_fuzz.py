"""The fuzzer finds faults of every kind, and none in what reads files here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fisheries.schema import InputError

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def refuse(text: str) -> Callable[[Path], object]:
    def read(path: Path) -> None:
        raise InputError(text)

    return read


FAULTY: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "reads": (Path.read_bytes, None),
    "refuses": (refuse("x: not a number"), None),
    "raises": (lambda path: {}[path.name], "KeyError"),
    "crashes": (lambda path: os.kill(os.getpid(), 9), "the process ended with -9"),
    "hangs": (lambda path: time.sleep(60), "TimeoutError"),
    "takes memory": (lambda path: bytes(4 << 30), "MemoryError"),
    "says pages": (refuse("x" * 6000), "6000 characters"),
}


def test_faults_of_every_kind_are_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fuzz

    monkeypatch.setattr(fuzz, "LONGEST_S", 3)
    readers = {name: fuzz.Reader(".bin", read, [b"some bytes"]) for name, (read, _) in FAULTY.items()}
    finds, ended = fuzz.fuzz(readers, range(len(readers)), seed=0, out=tmp_path)
    found = dict(find.split(": ", 1) for find in finds)
    assert found.keys() == {name for name, (_, what) in FAULTY.items() if what is not None}
    assert all(found[name].startswith(what) for name, (_, what) in FAULTY.items() if what is not None)
    assert ended["reads: read"] == ended["refuses: refused"] == 1
    assert len(list(tmp_path.iterdir())) == len(found)


def test_no_reader_fails_otherwise_than_documented(tmp_path: Path):
    command = [sys.executable, BENCHMARKS / "fuzz.py", "--inputs", "1000", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout
    rows = dict(re.findall(r"^fuzz, (.*?) +(\d+) ", done.stdout, flags=re.MULTILINE))
    assert rows["finds"] == "0"
    read, refused = ({name.rpartition(": ")[0] for name in rows if name.endswith(how)} for how in ("read", "refused"))
    assert len(read | refused) == 25
    assert len(refused) > 20
    assert len(read) > 15
