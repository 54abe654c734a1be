"""Which photograph each worker process is at: what names it where the process was killed or hangs, and can't."""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

from fisheries.schema import InputError

_MOST_WORKERS = 256
_LONGEST_STOP_S = 110  # so that a DataLoader's own limit comes first
_LOOK_S = 5.0
_places: list[tuple[torch.Tensor, Sequence[str]]] = []  # of every dataset watched, and its paths
_killed: set[int] = set()  # of workers that stayed stopped


class Watched(Dataset[Any]):
    """A dataset whose workers write down what they read, where the process that waits for them can see it.

    Args:
        dataset: takes a position, or (epoch, position).
        paths: of its items, by position.
    """

    def __init__(self, dataset: Dataset[Any], paths: Sequence[str]) -> None:
        self.dataset, self.paths = dataset, paths
        # process id, position + 1 or 0
        self.now = torch.zeros(_MOST_WORKERS, 2, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        _places.append((self.now, paths))
        _end_stopped_workers()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Any) -> Any:
        """Return the item; whatever reading it raises has a note with its path."""
        worker = get_worker_info()
        if worker is None:
            return self.dataset[key]
        position = key[1] if isinstance(key, tuple) else key
        self.now[worker.id] = torch.tensor([os.getpid(), position + 1])
        try:
            item = self.dataset[key]
        except InputError:
            raise  # says so itself
        except Exception as error:
            error.add_note(f"while reading {self.paths[position]}")
            raise
        self.now[worker.id, 1] = 0
        return item


def worker_problem(text: str) -> str | None:
    """Return the line for a person where a DataLoader says that workers died or hang, else None."""
    if "DataLoader" not in text or not ("worker" in text or "timed out" in text):
        return None
    dead = " ".join(re.findall(r"\(pid(?:\(s\))? ([\d, ]+)\)", text))
    return _lost({int(pid) for pid in re.findall(r"\d+", dead)}, text)


def stop_problem() -> str | None:
    """Return the line for a person where the connection to a worker broke, since it was killed here, else None."""
    pids = ", ".join(map(str, sorted(_killed)))
    return _lost(_killed, f"DataLoader worker (pid {pids}) stopped and was killed") if _killed else None


def _lost(dead: Collection[int], what: str) -> str:
    """Say what the processes were reading, or all of them where it isn't known which are dead."""
    paths = [path for pid, path in _reading().items() if pid in dead or not dead]
    what = " ".join(what.split())[:120]
    if not paths:
        return f"a process that reads photographs is lost ({what}): is the memory full? Give fewer data.workers"
    return (
        f"{', '.join(sorted(paths)[:3])}: the process that read it is lost ({what}); is the memory full, or the share "
        "it lies on gone? Give fewer data.workers, or leave the file out"
    )


@functools.cache
def _end_stopped_workers() -> None:
    """Kill workers that stay stopped, from a thread of this process.

    A batch is handed over by its worker, and PyTorch waits for that without its limit: if the worker stops in between, without end.
    """
    threading.Thread(target=_look_for_stopped, name="stopped workers", daemon=True).start()


def _look_for_stopped() -> None:
    looks: Counter[int] = Counter()  # in a row, so that nobody is killed who slept with the whole machine
    while True:
        time.sleep(_LOOK_S)
        pids = {int(pid) for now, _ in _places for pid in now[:, 0].tolist() if pid}
        looks = Counter({pid: looks[pid] + 1 for pid in pids if _is_stopped_child(pid)})
        for pid, count in looks.items():
            if count * _LOOK_S > _LONGEST_STOP_S:
                _killed.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _is_stopped_child(pid: int) -> bool:
    """Whether a process is stopped and this one's child; False where the system doesn't tell, as none but Linux hands over so."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return state in "Tt" and int(parent) == os.getpid()


@atexit.register
def _end_workers() -> None:
    """Kill workers that are still there when all is over: Python would wait for one that hangs, and without end."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _reading() -> dict[int, str]:
    """Return what is being read, or was when its process ended, by process id."""
    return {pid: paths[place - 1] for now, paths in _places for pid, place in now.tolist() if place}
