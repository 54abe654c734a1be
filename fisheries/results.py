"""The end of a run: folds' predictions joined, scored, shown, and written as a submission and a report."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from fisheries.analysis.page import figure_png
from fisheries.analysis.plots import plot_curves
from fisheries.analysis.report import write_report
from fisheries.analysis.score_view import class_view, part_view
from fisheries.commit import git_commit
from fisheries.data.pseudo_rows import fold_rows
from fisheries.data.splits import train_ids, usable_images
from fisheries.inference.evaluation import Forecast, averaging_gain, boats_of, forecast, new_boat_images, score_rows
from fisheries.inference.origin import expected_scores
from fisheries.inference.predict import mean_predictions
from fisheries.inference.scoring import (
    ALL,
    class_frequencies,
    constant_predictions,
    image_scores,
    per_image_loss,
    read_solution,
    score_submission,
)
from fisheries.inference.submission import write_submission
from fisheries.inference.submission_notes import Expected, write_submission_notes
from fisheries.material import Material
from fisheries.nets import fold_dir
from fisheries.pseudo import pseudo_gain
from fisheries.schema import (
    BOXES,
    OK,
    read_predictions,
    read_table,
    table_hash,
    write_atomic,
    write_predictions,
)
from fisheries.training.callbacks import EPOCHS

RECORD = "run.json"
UNSEEN, SEEN, HOLDOUT = "unseen", "seen", "holdout"  # boats that a fold has not trained on, has, that no fold has


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
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Join the folds' predictions, score them, write what a person looks at, and return both as `score_folds` does."""
    scores, joined = score_folds(config, material, folds, numbers, run_dir)
    for part, stem in _stems(folds, numbers, run_dir).items():
        write_predictions(joined[part], run_dir / f"{stem}.csv", folds_hash=table_hash(folds))
    write_atomic(run_dir / "scores.csv", scores.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC).encode())
    totals = scores[scores["by"] == ALL].set_index("part")
    _save_curves(run_dir, numbers, prior_log_loss=float(totals["prior_log_loss"].iloc[0]))
    console.print(part_view(scores))
    console.print(class_view(scores))
    record: dict[str, Any] = {
        "name": name,
        "git_commit": git_commit(),
        "command": ["train.py", *config.overrides],
        "seconds": round(seconds, 1),
    }
    record |= {"folds": table_hash(folds), "manifest": material_hash(material.manifest), "versions": _versions()}
    record["scores"] = {part: row.drop(["by", "name"]).dropna().to_dict() for part, row in totals.iterrows()}
    if material.pseudo is not None:
        record["pseudo"] = _pseudo_record(material.pseudo, material, folds, numbers, joined, console=console)
    if UNSEEN in joined:
        record["forecast"] = _forecast(config, material, folds, numbers, run_dir, joined[UNSEEN], console=console)
    if (fold_dir(run_dir, numbers[0]) / "test.csv").is_file():
        expected = expected_scores(record["scores"], record.get("forecast", {}))
        record["test"] = _submit(
            config, material, folds, numbers, run_dir, name=name, expected=expected, console=console
        )
    write_atomic(run_dir / RECORD, json.dumps(record, indent=2).encode())
    console.print(f"Report: {write_report(run_dir, progress=console.is_terminal)}")
    return scores, joined


def score_folds(
    config: Any, material: Material, folds: pd.DataFrame, numbers: Sequence[int], run_dir: Path
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return the scores of some trained folds, as in `scores.csv`, and their predictions (N, C) by part of the boats."""
    joined = _join_folds(material, folds, numbers, run_dir, how=config.fold_mean)
    return _score_parts(config, material, folds, numbers, run_dir, joined), joined


def material_hash(manifest: pd.DataFrame) -> str:
    """Return the hash of what a manifest says of the photographs, wherever and whenever they were copied."""
    return table_hash(manifest.drop(columns=["path", "mtime_ns"]))


def _stems(folds: pd.DataFrame, numbers: Sequence[int], run_dir: Path) -> dict[str, str]:
    """Return, by what is known of their boats, the name of the prediction tables of images with labels."""
    by_boat = bool((folds["split"] == "boat").all())
    stems = {UNSEEN: "oof", SEEN: "seen", HOLDOUT: "holdout"} if by_boat else {SEEN: "oof", HOLDOUT: "holdout"}
    return {part: stem for part, stem in stems.items() if (fold_dir(run_dir, numbers[0]) / f"{stem}.csv").is_file()}


def _join_folds(
    material: Material, folds: pd.DataFrame, numbers: Sequence[int], run_dir: Path, *, how: str
) -> dict[str, pd.DataFrame]:
    """Return the prediction tables of images with labels by what is known of their boats."""
    tables = {}
    for part, stem in _stems(folds, numbers, run_dir).items():
        parts = _fold_tables(run_dir, numbers, stem, material.classes)
        tables[part] = mean_predictions(parts, how) if part == HOLDOUT else pd.concat(parts)
    return tables


def _fold_tables(run_dir: Path, numbers: Sequence[int], stem: str, classes: list[str]) -> list[pd.DataFrame]:
    return [read_predictions(fold_dir(run_dir, number) / f"{stem}.csv", classes) for number in numbers]


def _score_parts(
    config: Any,
    material: Material,
    folds: pd.DataFrame,
    numbers: Sequence[int],
    run_dir: Path,
    joined: dict[str, pd.DataFrame],
) -> pd.DataFrame:
    """Return the rows of `score_rows` for each part, named in a first column."""
    tables = []
    for part, stem in _stems(folds, numbers, run_dir).items():
        predictions = joined[part]
        images = image_scores(
            predictions,
            material.manifest["label"].loc[predictions.index],
            _priors(material, folds, numbers, predictions.index, column="seen_fold" if stem == "seen" else "fold"),
            no_fish=config.data.no_fish or "",
            **_boxes(run_dir, numbers, stem, material),
        )
        rows = score_rows(images, material.manifest, classes=material.classes, seed=config.seed)
        rows.insert(0, "part", part)
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def _priors(
    material: Material, folds: pd.DataFrame, numbers: Sequence[int], image_ids: pd.Index, *, column: str
) -> pd.DataFrame:
    """Return what the constant prior of each image's fold says of it, or the mean of all folds' for holdout boats."""
    labels, classes = material.manifest["label"], material.classes
    by_fold = {number: class_frequencies(labels.loc[train_ids(folds, number)], classes) for number in numbers}
    mean = sum(by_fold.values()) / len(numbers)
    fold = folds.loc[image_ids, column]
    parts = [constant_predictions(by_fold.get(number, mean), ids) for number, ids in fold.groupby(fold).groups.items()]
    return pd.concat(parts).loc[image_ids]


def _boxes(run_dir: Path, numbers: Sequence[int], stem: str, material: Material) -> dict[str, pd.DataFrame]:
    files = [fold_dir(run_dir, number) / f"{stem}_boxes.csv" for number in numbers]
    if stem == "holdout" or not all(file.is_file() for file in files):
        return {}  # of a holdout boat each fold has boxes of its own
    return {"boxes_true": material.boxes, "boxes_predicted": pd.concat([read_table(file, BOXES) for file in files])}


def _pseudo_record(
    pseudo: pd.DataFrame,
    material: Material,
    folds: pd.DataFrame,
    numbers: Sequence[int],
    joined: dict[str, pd.DataFrame],
    *,
    console: Console,
) -> dict[str, Any]:
    """Return how many pseudo-labels each fold trained on or left out, and what they gained on unseen boats."""
    entered = {number: fold_rows(pseudo, material.manifest, folds, number) for number in numbers}
    counts = {str(number): {"rows": len(rows.rows), "left_out": rows.left_out} for number, rows in entered.items()}
    gain = pseudo_gain(pseudo, joined[UNSEEN], material.manifest) if UNSEEN in joined else {}
    if gain:
        console.print(
            f"Pseudo-labels changed the log loss on unseen boats by {gain['change']:+.3f} (standard error over boats "
            f"{gain['standard_error']:.3f}), from {gain['log_loss_before']:.3f}"
        )
    return {"source": pseudo["source"].iloc[0], "folds": counts, **gain}


def _save_curves(run_dir: Path, numbers: Sequence[int], *, prior_log_loss: float) -> None:
    epochs = {f"fold {number}": pd.read_csv(fold_dir(run_dir, number) / EPOCHS) for number in numbers}
    write_atomic(run_dir / "curves.png", figure_png(plot_curves(epochs, prior_log_loss=prior_log_loss)))


def _versions() -> dict[str, str]:
    packages = ("torch", "pytorch-lightning", "timm", "albumentations", "numpy", "pandas", "scikit-learn")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def _forecast(
    config: Any,
    material: Material,
    folds: pd.DataFrame,
    numbers: Sequence[int],
    run_dir: Path,
    predictions: pd.DataFrame,
    *,
    console: Console,
) -> dict[str, float]:
    """Say what the boats of test that are new will give; {} where there are none, or test boats are not known."""
    manifest = material.manifest
    new = new_boat_images(manifest, folds)
    if new.empty:
        return {}
    losses = per_image_loss(predictions, manifest["label"].loc[predictions.index])
    count = new["boat"].nunique()
    said = forecast(losses, boats_of(manifest.loc[losses.index]), new_boats=count, seed=config.seed)
    tables = [table.loc[new.index] for table in _fold_tables(run_dir, numbers, "test", material.classes)]
    # the submission is the folds' mean, the losses are single folds'
    gain = averaging_gain(tables, mean_predictions(tables, config.fold_mean))
    shrunk = Forecast(*(value - gain for value in asdict(said).values()))
    console.print(
        f"Forecast for the {count} new boats in test: log loss {shrunk.log_loss:.3f}, "
        f"90 % interval {shrunk.low:.3f} to {shrunk.high:.3f}"
    )
    return {**asdict(shrunk), "new_boats": count, "averaging_gain": gain}


def _submit(
    config: Any,
    material: Material,
    folds: pd.DataFrame,
    numbers: Sequence[int],
    run_dir: Path,
    *,
    name: str,
    expected: Expected,
    console: Console,
) -> dict[str, dict[str, float]]:
    """Average the folds' test predictions, write the submission, and score it where the truth is known."""
    predictions = mean_predictions(_fold_tables(run_dir, numbers, "test", material.classes), config.fold_mean)
    write_predictions(predictions, run_dir / "test.csv", folds_hash=table_hash(folds))
    test = material.manifest.loc[predictions.index]
    unreadable = test.index[test["status"] != OK]
    if len(unreadable):
        console.print(
            f"  [yellow]{len(unreadable)} test images can't be read, {unreadable[0]} first: they get the prior[/]"
        )
    if config.data.crops is not None:
        console.print(
            "Crops are no images of the competition: `fisheries predict FRAME_RUN … --crops-run` makes its answers of them"
        )
        return {}
    path = write_submission(predictions, Path(config.submissions_dir) / f"{name}.csv").path
    made_from = {"name": name, "git_commit": git_commit(), "folds_hash": table_hash(folds)}
    write_submission_notes(
        path, tables=[run_dir / "test.csv"], runs=[made_from], git_commit=made_from["git_commit"], expected=expected
    )
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    console.print(f"Submission: {shown} ({len(predictions)} rows)")
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
