"""Runs of wandb: they keep to the run's folder, never ask and never wait for long, and no failure ends a training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_utilities.core.rank_zero import rank_zero_only
from rich.console import Console

from fisheries.schema import InputError

if TYPE_CHECKING:
    import wandb

# After this, a run goes on offline rather than wait for a server that does not answer.
INIT_TIMEOUT_S = 20.0
# After this, what is not sent stays in the folder, for `wandb sync`.
FINISH_TIMEOUT_S = 600.0
_MODES = ("", "online", "offline", "disabled")
_OURS: dict[str, str] = {}  # the wandb folders of an earlier job, which the next one replaces
_OFFLINE: set[Path] = set()  # folders of runs that are offline: their other folds don't wait for a server again
_SWEEP = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")  # how an agent of wandb names its run


def check_mode() -> None:
    """Check `WANDB_MODE`.

    Raises:
        InputError: it is none that wandb knows.
    """
    mode = os.environ.get("WANDB_MODE", "")
    if mode not in _MODES:
        raise InputError(f"WANDB_MODE={mode!r}: expected online, offline or disabled")


@contextmanager
def wandb_run(
    settings: Mapping[str, Any],
    run_dir: Path,
    *,
    experiment: str,
    part: str,
    job_type: str,
    config: Mapping[str, Any],
    console: Console,
    is_sweeps: bool = False,
) -> Iterator[wandb.Run | None]:
    """Open a run of wandb for a part of an experiment, and end it in any case.

    It is online if there is a key and the server answers, else offline; `WANDB_MODE` wins over the settings.

    Args:
        settings: the configuration's `logger`.
        run_dir: of the experiment; everything of wandb is written into `wandb/` and `artifacts/` there.
        experiment: its name, and the group of its parts unless the settings name another.
        part: such as "fold-0".
        job_type: what it does, such as "train".
        config: plain values by name.
        console: where to say that wandb is offline or fails, and how to send the runs later.
        is_sweeps: whether this is the run that an agent of wandb asked for, if one did.

    Yields:
        The run, or None where wandb is not among the loggers, is disabled, can't be started, or is another process's.
    """
    run = None
    if (
        settings.get("wandb") and getattr(rank_zero_only, "rank", 0) == 0
    ):  # of processes that train together one is enough
        with steady(console, f"does not start {part}"):
            run = _start(
                settings,
                run_dir,
                group=settings["group"] or experiment,
                name=f"{experiment}-{part}",
                job_type=job_type,
                config=config,
                console=console,
                is_sweeps=is_sweeps,
            )
    exit_code = 1
    try:
        yield run
        exit_code = 0
    finally:
        if run is not None:
            with steady(console, f"does not end {part}"):
                run.finish(exit_code)


@contextmanager
def steady(console: Console, what: str) -> Iterator[None]:
    """Turn any failure of what wandb is told into a line that says what it lacks, such as "does not start fold-0"."""
    try:
        yield
    except Exception as error:
        console.print(f"  [yellow]wandb {what}[/]: ", end="")
        console.print(f"{first_line(error)}; the run goes on", markup=False)


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _start(
    settings: Mapping[str, Any], folder: Path, *, console: Console, is_sweeps: bool, **about: Any
) -> wandb.Run | None:
    import wandb

    def init(mode: Literal["online", "offline"]) -> wandb.Run:
        run = wandb.init(
            **{key: settings[key] for key in ("project", "entity", "tags")},
            **about,
            dir=str(folder),
            mode=mode,
            settings=_wandb_settings(),
        )
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return run

    mode = os.environ.get("WANDB_MODE", "")
    if mode == "disabled":
        console.print("  wandb is disabled, by WANDB_MODE")
        return None
    if mode == "":
        os.environ.pop("WANDB_MODE", None)  # wandb refuses an empty one
    _stay_inside(folder)
    of_agent = {key: os.environ[key] for key in _SWEEP if key in os.environ}
    if of_agent:
        wandb.teardown()  # it reads these once in a process, and several runs are to differ in them
    for key in of_agent if not is_sweeps else ():
        del os.environ[key]
    try:
        if folder not in _OFFLINE and (mode == "online" or (mode == "" and not settings["offline"])):
            try:
                # without verification: that would ask the server, and fail where there is no network
                if wandb.login(prompt=False, verify=False):
                    return init("online")
            except (wandb.errors.Error, OSError) as error:
                console.print(f"  wandb can't be reached ({first_line(error)}): going on offline", markup=False)
        if folder not in _OFFLINE:
            console.print(f"  wandb is offline; send the runs later with: wandb sync {folder}/wandb/offline-run-*")
            _OFFLINE.add(folder)
        return init("offline")
    finally:
        os.environ.update(of_agent)


def _stay_inside(folder: Path) -> None:
    """Let wandb stage artifacts in the run's folder rather than in the home folder."""
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        if os.environ.get(variable, _OURS.get(variable)) == _OURS.get(variable):  # or the user has set it
            os.environ[variable] = _OURS[variable] = str(folder.resolve())


def _wandb_settings() -> wandb.Settings:
    import wandb

    settings = wandb.Settings(silent=True)
    if "WANDB_INIT_TIMEOUT" not in os.environ:
        settings.init_timeout = INIT_TIMEOUT_S
    if "WANDB_FINISH_TIMEOUT" not in os.environ:
        settings.finish_timeout = FINISH_TIMEOUT_S
    return settings
