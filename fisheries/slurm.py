"""Jobs of Slurm that it ends before their time and starts anew: they go on with the run that they began."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def run_id() -> str | None:
    """Return a run's name that is the same when Slurm starts its job anew; None outside of Slurm."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    command = hashlib.sha256("\0".join(sys.argv[1:]).encode()).hexdigest()[:4]
    return f"slurm-{_job()}-{command}"


def is_restarted() -> bool:
    """Whether Slurm has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0


@contextmanager
def requeued_on_signal() -> Iterator[None]:
    """Where Slurm says with SIGUSR1 that time is up (`sbatch --signal=USR1@120`), have the job started anew, and stop.

    It stops as on SIGTERM, which is how Slurm ends a job that must make room; such a job Slurm starts anew by itself.
    """
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return

    def requeue(number: int, frame: FrameType | None) -> None:
        if os.environ.get("SLURM_PROCID", "0") == "0":  # of processes that train together one is enough
            subprocess.run(["scontrol", "requeue", _job()], check=False)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGUSR1, requeue)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _job() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
