"""The end of a run: folds' predictions joined, scored, shown, and written as a submission."""

from __future__ import annotations

import io
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from fisheries.analysis.plots import plot_curves
from fisheries.compose import Material, fold_dir
from fisheries.data.splits import usable_images
from fisheries.inference.predict import mean_predictions
from fisheries.inference.scoring import (
    class_frequencies,
    constant_predictions,
    read_solution,
    score_submission,
    score_table,
)
from fisheries.inference.submission import write_submission, write_submission_notes
from fisheries.schema import BOXES, OK, read_predictions, read_table, table_hash, write_atomic, write_table
from fisheries.training.callbacks import EPOCHS

RECORD = "run.json"


def finish(
    config: Any,
    material: Material,
    folds: pd.DataFrame,
    numbers: Sequence[int],
    run_dir: Path,
    *,
    name: str,
    seconds: float,
    console: Console,
) -> None:
    """Join the folds' predictions, score them, and write what a person looks at."""
    labels = material.manifest["label"]
    predictions = _joined(run_dir, numbers, "oof", material.classes)
    write_table(predictions, run_dir / "oof.csv")
    prior = _prior_predictions(folds, labels, numbers, material.classes)
    scores = score_table(predictions, labels.loc[predictions.index], prior, **_boxes(run_dir, numbers, material))
    write_atomic(run_dir / "scores.csv", scores.to_csv().encode())
    total = scores.loc["all"].dropna().to_dict()
    _save_curves(run_dir, numbers, prior_log_loss=total["prior_log_loss"])
    record = {"name": name, "git_commit": git_commit(), "command": sys.argv, "seconds": round(seconds, 1)}
    record |= {
        "folds": table_hash(folds),
        "manifest": material_hash(material.manifest),
        "scores": total,
        "versions": _versions(),
    }
    console.print(_score_view(scores, split=config.split.name))
    console.print(f"  the best epoch was chosen on these images; all of it is in {run_dir}\n")
    if (fold_dir(run_dir, numbers[0]) / "test.csv").is_file():
        record["test"] = _submit(
            config, material, run_dir, numbers, name=name, folds_hash=table_hash(folds), scores=total, console=console
        )
    write_atomic(run_dir / RECORD, json.dumps(record, indent=2).encode())


def material_hash(manifest: pd.DataFrame) -> str:
    """Return the hash of what a manifest says of the photographs, wherever and whenever they were copied."""
    return table_hash(manifest.drop(columns=["path", "mtime_ns"]))


def _joined(run_dir: Path, numbers: Sequence[int], stem: str, classes: list[str]) -> pd.DataFrame:
    return pd.concat([read_predictions(fold_dir(run_dir, number) / f"{stem}.csv", classes) for number in numbers])


def _prior_predictions(
    folds: pd.DataFrame, labels: pd.Series, numbers: Sequence[int], classes: list[str]
) -> pd.DataFrame:
    """Return what the constant prior of each fold's training part says of its held-out images."""
    parts = []
    for number in numbers:
        held_out = folds["fold"] == number
        frequencies = class_frequencies(labels.loc[folds.index[~held_out]], classes)
        parts.append(constant_predictions(frequencies, folds.index[held_out]))
    return pd.concat(parts)


def _boxes(run_dir: Path, numbers: Sequence[int], material: Material) -> dict[str, pd.DataFrame]:
    files = [fold_dir(run_dir, number) / "oof_boxes.csv" for number in numbers]
    if not all(file.is_file() for file in files):
        return {}
    return {"boxes_true": material.boxes, "boxes_predicted": pd.concat([read_table(file, BOXES) for file in files])}


def _save_curves(run_dir: Path, numbers: Sequence[int], *, prior_log_loss: float) -> None:
    epochs = {f"fold {number}": pd.read_csv(fold_dir(run_dir, number) / EPOCHS) for number in numbers}
    picture = io.BytesIO()
    plot_curves(epochs, prior_log_loss=prior_log_loss).savefig(picture, format="png", dpi=120)
    write_atomic(run_dir / "curves.png", picture.getvalue())


def _versions() -> dict[str, str]:
    packages = ("torch", "pytorch-lightning", "timm", "albumentations", "numpy", "pandas", "scikit-learn")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def _score_view(scores: pd.DataFrame, *, split: str) -> Table:
    title = "Held-out boats" if split == "boat" else "Held-out images of known boats: far better than new boats will be"
    view = Table(title=title, title_justify="left")
    view.add_column("class")
    for column in scores.columns:
        view.add_column(column.replace("_", " "), justify="right")
    for row in scores.itertuples():
        values = [f"{value:.3f}" if pd.notna(value) else "-" for value in row[2:]]
        view.add_row(
            str(row[0]),
            f"{row[1]:.0f}",
            *values,
            end_section=row[0] == scores.index[-2],
            style="bold" * (row[0] == "all"),
        )
    return view


def _submit(
    config: Any,
    material: Material,
    run_dir: Path,
    numbers: Sequence[int],
    *,
    name: str,
    folds_hash: str,
    scores: dict[str, float],
    console: Console,
) -> dict[str, dict[str, float]]:
    """Average the folds' test predictions, write the submission, and score it where the truth is known."""
    tables = [read_predictions(fold_dir(run_dir, number) / "test.csv", material.classes) for number in numbers]
    predictions = mean_predictions(tables)
    write_table(predictions, run_dir / "test.csv")
    test = material.manifest.loc[predictions.index]
    unreadable = test.index[test["status"] != OK]
    if len(unreadable):
        console.print(
            f"  [yellow]{len(unreadable)} test images can't be read, {unreadable[0]} first: they get the prior[/]"
        )
    path = write_submission(predictions, Path(config.submissions_dir) / f"{name}.csv").path
    write_submission_notes(path, run=name, git_commit=git_commit(), folds_hash=folds_hash, scores=scores)
    console.print(f"Submission: {path} ({len(predictions)} rows)")
    return _score_test(config, material, predictions, console=console)


def _score_test(
    config: Any, material: Material, predictions: pd.DataFrame, *, console: Console
) -> dict[str, dict[str, float]]:
    solution_csv = Path(config.data.solution) if config.data.solution else material.root / "solution.csv"
    if config.data.solution is None and not solution_csv.is_file():
        return {}
    prior = class_frequencies(usable_images(material.manifest)["label"], material.classes)
    table = score_submission(predictions, read_solution(solution_csv), prior=prior)
    meanings = {"stg1": "stage 1, boats of training", "stg2": "stage 2, boats never seen"}
    for stage, meaning in meanings.items():
        if stage in table.index:
            loss, constant = table.loc[stage, ["log_loss", "prior_log_loss"]]
            console.print(
                f"  {meaning}: log loss {loss:.3f}, constant prior {constant:.3f} ({loss / constant:.0%} of it)"
            )
    return table.to_dict("index")


def git_commit() -> str:
    """Return the commit of the code, with "+" if files differ from it; "" outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        answer = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
