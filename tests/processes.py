"""`train.py` and `fisheries` as processes: fresh ones, and those that `fork_server.py` starts.

A fresh process spends eight seconds on importing torch, so only what is about the start itself is worth one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TRAIN = str(Path(__file__).resolve().parent.parent / "train.py")
FISHERIES = str(Path(sys.executable).with_name("fisheries"))
TIMEOUT_S = 240


@cache
def _server() -> subprocess.Popen[bytes]:
    """It ends when its standard input does, with us."""
    command = [sys.executable, str(Path(__file__).with_name("fork_server.py"))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def _told(word: str) -> int:
    """The number that the server says with this word, after what is left of a process that nobody waited for."""
    while True:
        said, number = _server().stdout.readline().split()
        if said.decode() == word:
            return int(number)


@dataclass(frozen=True)
class Forked:
    """A process that has begun."""

    argv: list[str]
    pid: int
    out: Path
    err: Path

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end, which comes at once where a test gives up: the next one begins when this one has ended."""
        ended = False
        try:
            ended = bool(select.select([_server().stdout], [], [], TIMEOUT_S)[0])
        finally:
            if not ended:
                os.kill(self.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(self.argv, _told("ended"), self.out.read_text(), self.err.read_text())


def begin(program: str, *arguments: object, cwd: Path, env: Mapping[str, str] | None = None) -> Forked:
    """Start `TRAIN` or `FISHERIES`; wait for its end before the next one begins."""
    folder = Path(tempfile.mkdtemp(prefix=f"{cwd.name}-", dir=cwd.parent))
    argv, out, err = [program, *map(str, arguments)], folder / "out", folder / "err"
    for file in (out, err):
        file.touch()
    request = {"argv": argv, "cwd": str(cwd), "env": {**os.environ, **(env or {})}, "out": str(out), "err": str(err)}
    _server().stdin.write(json.dumps(request).encode() + b"\n")
    return Forked(argv, _told("began"), out, err)


def call(
    program: str,
    *arguments: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `TRAIN` or `FISHERIES` to its end; `fresh` starts Python anew."""
    if fresh:
        command, own = [sys.executable, program, *map(str, arguments)], {**os.environ, **(env or {})}
        answer = subprocess.run(command, cwd=cwd, env=own, capture_output=True, text=True, timeout=TIMEOUT_S)
    else:
        answer = begin(program, *arguments, cwd=cwd, env=env).wait()
    assert not check or answer.returncode == 0, answer.stdout + answer.stderr
    return answer
