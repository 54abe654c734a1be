"""What wandb is sent when a fold is trained, and when all are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from rich.console import Console

from fisheries.dashboard.scores import best_epoch, send_figures, send_images, send_scores
from fisheries.inference.submission_notes import sha256_of
from fisheries.training.callbacks import BEST, EPOCHS
from fisheries.training.wandb_runs import steady


def send_fold(
    run: wandb.Run,
    folder: Path,
    scores: pd.DataFrame,
    predictions: Mapping[str, pd.DataFrame],
    manifest: pd.DataFrame,
    *,
    name: str,
    artifacts: bool,
    about: Mapping[str, Any],
    console: Console,
) -> None:
    """Send a trained fold: its scores, figures and tables, its best epoch, and as artifacts checkpoint and predictions.

    Args:
        run: of wandb.
        folder: of the fold, such as `fold-0`, which is an alias of its artifacts.
        scores: as in `scores.csv`, of this fold.
        predictions: (N, C) by part, such as "unseen", with the fold's images.
        manifest: of these images.
        name: of the experiment.
        artifacts: whether to send them.
        about: their metadata.
        console: where to say that wandb fails.
    """
    _send_parts(run, scores, predictions, manifest, console=console)
    with steady(console, "is not told the best epoch"):
        run.summary.update(best_epoch(pd.read_csv(folder / EPOCHS)))
    if artifacts:
        own: dict[str, Any] = {"aliases": ["best", folder.name], "about": about, "console": console}
        checkpoint = [folder / BEST, folder / "sizes.json", folder.parent / "config.yaml"]
        tables = [folder / f"{stem}.csv" for stem in ("oof", "seen", "holdout", "test")]
        send_files(run, checkpoint, name=f"{name}-{folder.name}", kind="checkpoint", **own)
        send_files(run, tables, name=f"{name}-{folder.name}-predictions", kind="predictions", **own)


def send_experiment(
    run: wandb.Run,
    run_dir: Path,
    scores: pd.DataFrame,
    predictions: Mapping[str, pd.DataFrame],
    manifest: pd.DataFrame,
    *,
    name: str,
    submission: Path,
    artifacts: bool,
    numbers: Mapping[str, float],
    about: Mapping[str, Any],
    console: Console,
) -> None:
    """Send what concerns all trained folds: their scores together, and as artifacts OOF table, report and submission.

    Args:
        run: of wandb.
        run_dir: of the experiment.
        scores: as in `scores.csv`.
        predictions: (N, C) by part, such as "unseen", of all folds.
        manifest: of these images.
        name: of the experiment.
        submission: its file, if there is one.
        artifacts: whether to send them.
        numbers: others to sort runs by, such as what the submission scores.
        about: metadata of the artifacts.
        console: where to say that wandb fails.
    """
    _send_parts(run, scores, predictions, manifest, console=console)
    with steady(console, "gets no test scores"):
        run.summary.update(dict(numbers))
    if artifacts:
        own: dict[str, Any] = {"aliases": ["best", "all-folds"], "about": about, "console": console}
        tables = [
            run_dir / file for file in ("oof.csv", "seen.csv", "holdout.csv", "test.csv", "folds.csv", "scores.csv")
        ]
        send_files(run, tables, name=f"{name}-predictions", kind="predictions", **own)
        send_files(
            run, [submission, submission.with_suffix(".json")], name=f"{name}-submission", kind="submission", **own
        )


def _send_parts(
    run: wandb.Run,
    scores: pd.DataFrame,
    predictions: Mapping[str, pd.DataFrame],
    manifest: pd.DataFrame,
    *,
    console: Console,
) -> None:
    send_scores(run, scores, console=console)
    for part, table in predictions.items():
        send_figures(run, part, table, manifest["label"], console=console)
        send_images(run, part, table, manifest, console=console)


def send_files(
    run: wandb.Run,
    files: Sequence[Path],
    *,
    name: str,
    kind: str,
    aliases: Sequence[str],
    about: Mapping[str, Any],
    console: Console,
) -> None:
    """Send files as an artifact, with the SHA-256 of each beside what else is known of them.

    They must stay as they are until they are sent, since they are not copied.

    Args:
        run: of wandb.
        files: those that are not there are left out.
        name: of the artifact; what wandb does not take in a name becomes a hyphen.
        kind: such as "checkpoint".
        aliases: by which a version of it is found.
        about: its other metadata.
        console: where to say that wandb fails.
    """
    found = [path for path in files if path.is_file()]
    if not found:
        return
    with steady(console, f"gets no {name}"):
        hashes = {path.name: sha256_of(path) for path in found}
        artifact = wandb.Artifact(artifact_name(name), kind, metadata={**about, "sha256": hashes})
        for path in found:
            artifact.add_file(str(path.resolve()), name=path.name, policy="immutable")
        run.log_artifact(artifact, aliases=list(aliases))


def artifact_name(name: str) -> str:
    """Return a name that wandb takes: letters, digits, `_`, `-` and `.`, at most 128 of them."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[-128:]
