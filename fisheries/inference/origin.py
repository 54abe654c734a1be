"""Where a prediction table comes from and what it should score, as far as the folder it lies in knows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fisheries.inference.calibration_fit import fit_prior
from fisheries.inference.crossfit import cross_fit
from fisheries.inference.evaluation import forecast, interval, new_boat_images
from fisheries.inference.outputs import STEP, Outputs, read_outputs
from fisheries.inference.scoring import log_loss, per_image_loss
from fisheries.inference.submission import Stage, stages_of
from fisheries.schema import FOLDS, MANIFEST, InputError, read_folds_hash, read_table, table_hash

RUN = "run.json"
BOATS_OF_STAGE: Mapping[str, Stage] = {"seen": "stg1", "unseen": "stg2"}


@dataclass(frozen=True)
class Origin:
    """What is known of a prediction table.

    Attributes:
        table: its path.
        stages: of the images in it.
        runs: name, git_commit and folds_hash of those that it goes back to, through all steps; of none where its folder
            does not say, or a folder on the way is gone.
        folds_hash: of the folds that its networks were trained on; "" where that is not known.
        folds_beside: the hash of the folds.csv in its folder; "" without one.
        manifest: the manifest.csv in its folder.
        expected: log_loss, low and high in nats (90 % interval), by "seen" and "unseen" boats.
        oof_log_loss: on boats that the networks had not seen; None where that is not known.
        prior_log_loss: of the constant prior, counted on other boats, on the same images.
    """

    table: Path
    stages: tuple[Stage, ...]
    runs: Sequence[Mapping[str, str]]
    folds_hash: str
    folds_beside: str
    manifest: pd.DataFrame | None
    expected: Mapping[str, Mapping[str, float]]
    oof_log_loss: float | None
    prior_log_loss: float | None


def read_origin(table: Path) -> Origin:
    """Look at what lies beside a prediction table: run.json or step.json, oof.csv, manifest.csv and folds.csv.

    A table of other folds than those beside it has nothing to expect: what is known there is about other networks.

    Raises:
        InputError: one of these files is not what its name says.
    """
    folder = table.parent
    manifest_csv, folds_csv = folder / "manifest.csv", folder / "folds.csv"
    folds_hash = read_folds_hash(table)
    folds_beside = table_hash(read_table(folds_csv, FOLDS)) if folds_csv.is_file() else ""
    expected, losses = _scores(table) if folds_hash == folds_beside != "" else ({}, {})
    return Origin(
        table=table,
        stages=stages_of(read_table(table, {}).index),
        runs=_runs(folder),
        folds_hash=folds_hash,
        folds_beside=folds_beside,
        manifest=read_table(manifest_csv, MANIFEST) if manifest_csv.is_file() else None,
        expected=expected,
        oof_log_loss=losses.get("log_loss"),
        prior_log_loss=losses.get("prior_log_loss"),
    )


def expected_scores(
    scores: Mapping[str, Mapping[str, float]], forecast: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Return what a run expects of boats that it has seen and of new ones.

    Args:
        scores: of its parts "seen" and "unseen", as in run.json.
        forecast: for the new boats in test; empty where these are not known, and the score on unseen boats counts.

    Returns:
        log_loss and, where they are known, low and high of seen and of unseen boats, and new_boats, how many.
    """
    parts = {**scores, **({"unseen": forecast} if forecast else {})}
    names = ("log_loss", "low", "high", "new_boats")
    return {
        part: {name: parts[part][name] for name in names if name in parts[part]}
        for part in ("seen", "unseen")
        if part in parts
    }


def expected_together(origins: Sequence[Origin]) -> dict[str, Mapping[str, float]]:
    """Return what a submission made of several tables expects: of seen boats by the table of stage 1, of new by stage 2's.

    What is known of a stage's images in part, because they are in two tables, is not said of all.
    """
    if len(origins) == 1:
        return dict(origins[0].expected)
    makers: dict[str, list[Origin]] = {
        boats: [origin for origin in origins if stage in origin.stages] for boats, stage in BOATS_OF_STAGE.items()
    }
    return {
        boats: made[0].expected[boats] for boats, made in makers.items() if len(made) == 1 and boats in made[0].expected
    }


def forecast_unseen(outputs: Outputs, *, seed: int = 0) -> dict[str, float]:
    """Forecast the log loss on the new boats of test; where these are not known, the interval is that of the mean.

    Args:
        outputs: of a run, or of a step after it.
        seed: of the bootstrap over boats.

    Returns:
        log_loss, low, high (90 % interval; left out with less than two boats) in nats, and new_boats where known.
    """
    count = new_boat_images(outputs.manifest, outputs.folds)["boat"].nunique()
    if not count:
        return mean_and_interval(outputs, seed=seed)
    losses = per_image_loss(outputs.oof, outputs.labels)
    said = asdict(forecast(losses, outputs.boats, new_boats=count, seed=seed))
    return _known({**said, "new_boats": count})


def mean_and_interval(outputs: Outputs, *, seed: int = 0) -> dict[str, float]:
    """Return the log loss of the OOF table in nats, and its 90 % interval, low and high, with two boats or more."""
    losses = per_image_loss(outputs.oof, outputs.labels)
    low, high = interval(losses, outputs.boats, seed=seed)
    return _known({"log_loss": float(losses.mean()), "low": low, "high": high})


def _known(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if not math.isnan(value)}


def _runs(folder: Path, after: tuple[Path, ...] = ()) -> list[dict[str, str]]:
    """Return the runs that a folder goes back to, once each; `after` are those that came from it."""
    run = _read_run(folder)
    if run:
        return [{"name": run["name"], "git_commit": run["git_commit"], "folds_hash": run["folds"]}]
    given = [Path(path) for path in _read_json(folder / STEP).get("from", [])]
    before = {(path if path.is_dir() else path.parent).resolve(): None for path in given}
    after = (*after, folder.resolve())
    runs = [run for place in before if place not in after for run in _runs(place, after)]
    return [run for number, run in enumerate(runs) if run not in runs[:number]]


def _read_run(folder: Path) -> dict[str, Any]:
    run = _read_json(folder / RUN)
    for name in ("name", "git_commit", "folds", "scores"):
        if run and name not in run:
            raise InputError(f"{folder / RUN}: no {name!r}; it is of another version of fisheries: train the run anew")
    return run


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not what its name says ({error}); write it anew with what made it") from error


def _scores(table: Path) -> tuple[dict[str, dict[str, float]], Mapping[str, float]]:
    """Return what to expect, and log_loss and prior_log_loss on unseen boats where they are known."""
    run = _read_run(table.parent)
    if run:
        return expected_scores(run["scores"], run.get("forecast", {})), run["scores"].get("unseen", {})
    oof_csv = table.with_name("oof.csv")
    if not oof_csv.is_file():
        return {}, {}
    outputs = read_outputs(oof_csv, table)
    if not (outputs.folds["split"] == "boat").all():  # their boats are on both sides
        return {"seen": mean_and_interval(outputs)}, {}
    prior = cross_fit(outputs.oof, outputs.labels, outputs.boats, fit_prior)
    losses = {"log_loss": log_loss(outputs.oof, outputs.labels), "prior_log_loss": log_loss(prior, outputs.labels)}
    return {"unseen": forecast_unseen(outputs)}, losses
