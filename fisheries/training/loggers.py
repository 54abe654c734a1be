"""Loggers; the only file that knows wandb."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from rich.console import Console

from fisheries.schema import InputError

# After this, a run goes on offline rather than wait for a server that does not answer.
INIT_TIMEOUT_S = 20
_OURS: dict[str, str] = {}  # the wandb folders of an earlier fold or job, which the next one replaces


def create_logger(
    name: str,
    *,
    folder: Path,
    run_name: str,
    console: Console,
    project: str = "",
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    offline: bool = False,
) -> Logger | bool:
    """Make a logger.

    Args:
        name: "csv", "wandb", or "none".
        folder: of the fold; everything is written there.
        run_name: in wandb the group of its folds, unless `group` is given.
        console: where to say that wandb is offline, and how to send the run later.
        project: of wandb; entity, group and tags likewise.
        entity: see project.
        group: see project.
        tags: see project.
        offline: whether wandb keeps everything in the folder. Without a key it does so anyway, and `WANDB_MODE` wins
            over both; it never asks, and waits 20 seconds at most for its server.
    """
    if name == "none" or (name == "wandb" and getattr(rank_zero_only, "rank", 0) != 0):
        return False  # of the processes that train together one is enough
    if name == "csv":
        return CSVLogger(folder, name="logs")
    return _wandb_logger(
        folder, run_name, console, project=project, entity=entity, group=group, tags=tags, offline=offline
    )


def close_loggers(trainer: pl.Trainer) -> None:
    """End what a logger holds open, so that the next fold or job of a sweep starts one of its own."""
    for logger in trainer.loggers:
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _wandb_logger(
    folder: Path,
    run_name: str,
    console: Console,
    *,
    project: str,
    entity: str | None,
    group: str | None,
    tags: Sequence[str],
    offline: bool,
) -> Logger:
    import wandb

    # artifacts would be staged in the home folder
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        if os.environ.get(variable, _OURS.get(variable)) == _OURS.get(variable):  # or the user has set it
            os.environ[variable] = _OURS[variable] = str(folder.resolve())

    def init(mode: Literal["online", "offline", "disabled", "shared"] | None) -> wandb.Run:
        return wandb.init(
            project=project,
            entity=entity,
            group=group or run_name,
            name=f"{run_name}-{folder.name}",
            tags=list(tags),
            dir=str(folder),
            mode=mode,
            settings=wandb.Settings(init_timeout=INIT_TIMEOUT_S, silent=True),
        )

    mode = os.environ.pop("WANDB_MODE", "")  # wandb refuses an empty one
    if mode not in ("", "online", "offline", "disabled"):
        raise InputError(f"WANDB_MODE={mode!r}: expected online, offline or disabled")
    if mode == "disabled":
        os.environ["WANDB_MODE"] = mode
        return WandbLogger(experiment=init("disabled"))
    if mode == "online" or (mode == "" and not offline):
        try:
            # without verification: that would ask the server, and fail where there is no network
            if wandb.login(prompt=False, verify=False):
                return WandbLogger(experiment=init("online"))
        except (wandb.errors.Error, OSError) as error:
            console.print(f"  wandb can't be reached ({str(error).splitlines()[0]}): going on offline", markup=False)
    run = init("offline")
    console.print(f"  wandb is offline; send the run later with: wandb sync {folder}/wandb/offline-run-*")
    return WandbLogger(experiment=run)
