"""Runs of one fold each, taken together: what one run over all of their folds would have scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from fisheries.inference.evaluation import boats_of, interval
from fisheries.inference.scoring import per_image_loss
from fisheries.schema import MANIFEST, read_predictions, read_table


def with_fold_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Put a row before the rows of runs that differ in nothing but their fold, for all of them together.

    Their held-out images are other ones in each, so the rows join by `image_id` into one table, and each image counts once.
    Holdout boats and test images, which every fold predicts, are left to `fold=all`.

    Args:
        runs: see `compare.compare_runs`.

    Returns:
        The rows, with `joined` (whether it is such a row) and `member` (whether it is part of one).
    """
    groups = [rows for _, rows in runs.groupby("recipe", sort=False) if _is_joinable(rows)]
    lines = pd.DataFrame([_line(rows) for rows in groups], index=[_name(rows) for rows in groups])
    table = pd.concat([lines, runs]) if groups else runs.copy()
    members = [name for rows in groups for name in rows.index]
    table["joined"], table["member"] = table.index.isin(lines.index), table.index.isin(members)
    return table.rename_axis("run")


def _is_joinable(rows: pd.DataFrame) -> bool:
    return len(rows) > 1 and bool(rows["fold"].str.isdigit().all()) and rows["fold"].is_unique


def _name(rows: pd.DataFrame) -> str:
    return f"folds {_folds(rows)} of {rows['recipe'].iloc[0]}"


def _folds(rows: pd.DataFrame) -> str:
    return ",".join(sorted(rows["fold"], key=int))


def _line(rows: pd.DataFrame) -> dict[str, Any]:
    first = rows.iloc[0]
    line = {"run_dir": "", "fold": _folds(rows), **first[["recipe", "folds_hash"]].to_dict()}
    line |= {"experiment": _for_all(first["experiment"], rows) if first["experiment"] else ""}
    line |= {"settings": _for_all(first["settings"], rows), "folds": len(rows), "seconds": rows["seconds"].sum()}
    has_unseen = "unseen_log_loss" in rows and bool(rows["unseen_log_loss"].notna().all())
    stems = {"unseen": "oof", "seen": "seen"} if has_unseen else {"seen": "oof"}
    for part, stem in stems.items():
        if f"{part}_images" in rows and rows[f"{part}_images"].notna().all():
            line |= _scores(rows, part, stem)
    return line


def _for_all(words: str, rows: pd.DataFrame) -> str:
    kept = [word for word in words.split(" ") if word and not word.startswith("fold=")]
    return " ".join([*kept, f"folds {_folds(rows)} together"])


def _scores(rows: pd.DataFrame, part: str, stem: str) -> Mapping[str, float]:
    run_dirs = [Path(run_dir) for run_dir in rows["run_dir"]]
    predictions = pd.concat([read_predictions(folder / f"{stem}.csv") for folder in run_dirs], verify_integrity=True)
    images = read_table(run_dirs[0] / "manifest.csv", MANIFEST).loc[predictions.index]
    losses = per_image_loss(predictions, images["label"])
    seed = yaml.safe_load((run_dirs[0] / "config.yaml").read_text(encoding="utf-8"))["seed"]
    low, high = interval(losses, boats_of(images), seed=seed)
    counts = rows[f"{part}_images"]
    means = {key: (rows[f"{part}_{key}"] * counts).sum() / counts.sum() for key in ("prior", "accuracy")}
    scores = {"images": len(losses), "log_loss": losses.mean(), "low": low, "high": high, **means}
    return {f"{part}_{key}": value for key, value in scores.items()}
