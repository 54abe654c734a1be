"""The page that a finished run ends with, made from the tables in its folder alone."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from fisheries.analysis.page import figure_uri, photo_uri, render_page
from fisheries.analysis.plots import plot_curves, plot_reliability
from fisheries.analysis.score_view import TITLES, leak_line
from fisheries.data.images import read_small
from fisheries.data.tables import read_manifest
from fisheries.inference.evaluation import boats_of
from fisheries.inference.scoring import ALL, per_image_loss
from fisheries.progress import IMAGES, track
from fisheries.schema import BOXES, FOLDS, USABLE, InputError, read_predictions, read_table, write_atomic

REPORT = "report.html"
_FILES = ("config.yaml", "manifest.csv", "boxes.csv", "folds.csv", "oof.csv", "scores.csv", "run.json")
_FACTS = ("name", "git_commit", "command", "seconds", "folds", "manifest", "versions")  # of run.json
_NAMES = ("part", "by", "name")  # the columns of scores.csv that are no numbers
_MISTAKES = 12
_MISTAKES_PER_BOAT = 2
_SIDE_PX = 320
_TRUE, _PREDICTED = (30, 220, 80), (255, 50, 40)  # the page calls them green and red


@dataclass(frozen=True)
class _Run:
    record: dict[str, Any]  # run.json
    scores: pd.DataFrame
    manifest: pd.DataFrame
    folds: pd.DataFrame
    epochs: dict[str, pd.DataFrame]  # name of a fold -> its epochs
    outcomes: dict[str, pd.DataFrame]  # part -> see `_outcomes`; the first one is what counts
    classes: list[str]
    boxes_true: pd.DataFrame
    boxes_predicted: pd.DataFrame  # of the images of the first part
    config: str


def write_report(run_dir: Path, *, progress: bool = False) -> Path:
    """Write `report.html` into the folder of a finished run: its scores, its mistakes, and how it was made.

    The page needs no other file. Of a photograph that is gone it shows the name alone.

    Args:
        run_dir: the run's folder.
        progress: whether to draw a bar on standard error.

    Returns:
        The page's path.

    Raises:
        InputError: the run is not finished, or a table in its folder can't be read.
    """
    run = _read_run(run_dir)
    first = next(iter(run.outcomes))
    page = render_page(
        "report.html",
        title=f"Run {run.record['name']}",
        record=run.record,
        titles=TITLES,
        first=first,
        totals=_totals(run).to_dict("index"),
        leak=leak_line(_totals(run)["log_loss"].to_dict()),
        forecast=run.record.get("forecast") or {},
        test=run.record.get("test") or {},
        groups=_group_rows(run.scores, first),
        boats={part: _boat_rows(run, part) for part in run.outcomes if part in (first, "holdout")},
        confusions={part: confusion(images, run.classes) for part, images in run.outcomes.items()},
        curves=figure_uri(plot_curves(run.epochs, prior_log_loss=float(_totals(run)["prior_log_loss"].iloc[0]))),
        calibration={part: figure_uri(_calibration(run, part)) for part in run.outcomes},
        mistakes=_mistakes(run, first, progress=progress),
        command=shlex.join(run.record["command"]),
        time=str(timedelta(seconds=round(run.record["seconds"]))),
        split=run.folds[["split", "seed"]].iloc[0].to_dict(),
        config=run.config,
    )
    path = run_dir / REPORT
    write_atomic(path, page.encode(errors="xmlcharrefreplace"))  # a word of the command may be no UTF-8
    return path


def confusion(images: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Count the images of each class (rows) that are taken for each class (columns)."""
    counts = pd.crosstab(images["label"], images["guess"])
    return counts.reindex(index=classes, columns=classes, fill_value=0)


def worst_mistakes(images: pd.DataFrame, manifest: pd.DataFrame, *, most: int, per_boat: int) -> pd.DataFrame:
    """Return the images with the highest loss among those taken for another class: one of a burst, few of a boat.

    Args:
        images: label, guess and log_loss by `image_id`.
        manifest: has their boat and burst.
        most: how many to return.
        per_boat: how many of these may be of one boat.
    """
    wrong = images[images["guess"] != images["label"]].sort_values("log_loss", ascending=False, kind="stable")
    facts = manifest.loc[wrong.index]
    facts = facts[~facts["burst"].duplicated()]
    few = facts.index[facts.groupby(boats_of(facts)).cumcount() < per_boat]
    return wrong.loc[few[:most]]


def _read_run(run_dir: Path) -> _Run:
    folders = _fold_folders(run_dir)
    record = _read_record(run_dir)
    scores = _read_scores(run_dir / "scores.csv")
    manifest = read_manifest(run_dir / "manifest.csv")
    tables = {part: _read_known(run_dir / f"{stem}.csv", manifest) for part, stem in _stems(scores).items()}
    found = [read_table(file, BOXES) for folder in folders for file in folder.glob("oof_boxes.csv")]
    return _Run(
        record=record,
        scores=scores,
        manifest=manifest,
        folds=read_table(run_dir / "folds.csv", FOLDS),
        epochs={folder.name.replace("-", " "): pd.read_csv(folder / "epochs.csv") for folder in folders},
        outcomes={part: _outcomes(table, manifest["label"].loc[table.index]) for part, table in tables.items()},
        classes=list(next(iter(tables.values())).columns),
        boxes_true=read_table(run_dir / "boxes.csv", BOXES, unique=False),
        boxes_predicted=pd.concat(found) if found else pd.DataFrame(columns=list(BOXES)),
        config=(run_dir / "config.yaml").read_text(encoding="utf-8"),
    )


def _fold_folders(run_dir: Path) -> list[Path]:
    """Return the folders of a finished run's folds."""
    if not run_dir.is_dir():
        raise InputError(f"{run_dir}: no such folder; expected the folder of a run, such as runs/<name>")
    folders = sorted((file.parent for file in run_dir.glob("fold-*/epochs.csv")), key=lambda path: int(path.name[5:]))
    missing = [name for name in _FILES if not (run_dir / name).is_file()] + ["fold-*/epochs.csv"] * (not folders)
    if missing:
        raise _unfinished(run_dir, f"it lacks {', '.join(missing)}")
    return folders


def _read_record(run_dir: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise _unfinished(run_dir, f"its run.json is no JSON ({error})") from error
    missing = [name for name in _FACTS if name not in record]
    if missing:
        raise _unfinished(run_dir, f"its run.json lacks {', '.join(missing)}")
    return record


def _unfinished(run_dir: Path, reason: str) -> InputError:
    return InputError(f"{run_dir}: no finished run, {reason}; finish it with `python train.py resume={run_dir}`")


def _read_scores(path: Path) -> pd.DataFrame:
    text = pd.read_csv(path, dtype=str, keep_default_na=False)  # a boat may be called "NA"
    return text.assign(**{name: pd.to_numeric(text[name]) for name in text if name not in _NAMES})


def _stems(scores: pd.DataFrame) -> dict[str, str]:
    """Return the names of the prediction tables by part, the one that counts first."""
    parts = scores["part"].unique()
    stems = {"unseen": "oof", "seen": "seen" if "unseen" in parts else "oof", "holdout": "holdout"}
    return {part: stem for part, stem in stems.items() if part in parts}


def _read_known(path: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    predictions = read_predictions(path)
    unknown = predictions.index.difference(manifest.index)
    if len(unknown):
        raise InputError(
            f"{path}: {unknown[0]!r} is not in the run's manifest.csv; {len(unknown)} such images; "
            "both must come from one run"
        )
    return predictions


def _outcomes(predictions: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Return label, guess, confidence, hit and log_loss of each image."""
    guess = predictions.idxmax(axis=1)
    confidence, hit = predictions.max(axis=1), (guess == labels).astype(float)
    losses = per_image_loss(predictions, labels)
    return pd.DataFrame({"label": labels, "guess": guess, "confidence": confidence, "hit": hit, "log_loss": losses})


def _totals(run: _Run) -> pd.DataFrame:
    """Return the scores of all images, by part."""
    return run.scores[run.scores["by"] == ALL].set_index("part").loc[list(run.outcomes)]


def _group_rows(scores: pd.DataFrame, first: str) -> list[dict[str, Any]]:
    """Return the rows of classes, fish and no fish, day and night, each with its log loss on seen boats beside it."""
    rows = scores[(scores["part"] == first) & scores["by"].isin(["class", "fish", "light"])]
    losses = scores[scores["part"] == "seen"].set_index(["by", "name"])["log_loss"].to_dict()
    seen = [losses.get(names, np.nan) for names in zip(rows["by"], rows["name"], strict=True)]
    told = rows["accuracy"].mask(rows["by"] == "fish", rows["fish_accuracy"])
    return rows.assign(accuracy=told, seen=seen, box_iou=rows.get("box_iou", np.nan)).to_dict("records")


def _boat_rows(run: _Run, part: str) -> list[dict[str, Any]]:
    rows = run.scores[(run.scores["part"] == part) & (run.scores["by"] == "boat")]
    labels = run.outcomes[part]["label"]
    mixes = {boat: _mix(own) for boat, own in labels.groupby(run.manifest["boat"].loc[labels.index])}
    worse = rows["log_loss"] > rows["prior_log_loss"]
    return rows.assign(mix=[mixes[boat] for boat in rows["name"]], worse=worse).to_dict("records")


def _mix(labels: pd.Series, most: int = 3) -> str:
    counts = labels.value_counts()
    shown = ", ".join(f"{name} {count}" for name, count in counts[:most].items())
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")


def _calibration(run: _Run, part: str) -> Figure:
    images = run.outcomes[part]
    title = f"{TITLES[part]}\nexpected calibration error {_totals(run).loc[part, 'ece']:.3f}"
    return plot_reliability(images["confidence"], images["hit"], title=title)


def _mistakes(run: _Run, first: str, *, progress: bool) -> list[dict[str, Any]]:
    """Return the worst mistakes, each with its picture, or None where the photograph can't be read."""
    worst = worst_mistakes(run.outcomes[first], run.manifest, most=_MISTAKES, per_boat=_MISTAKES_PER_BOAT)
    facts = run.manifest.loc[worst.index, ["boat"]].join(worst)
    rows = track(
        facts.reset_index().to_dict("records"),
        description="Reading photographs",
        disable=not progress,
        unit=IMAGES,
    )
    return [{**row, "picture": _picture(run, row["image_id"])} for row in rows]


def _picture(run: _Run, image_id: str) -> Markup | None:
    photo = run.manifest.loc[image_id]
    if not photo["path"]:
        return None  # trained on features alone
    scale = _SIDE_PX / max(photo["width"], photo["height"])
    image_hw = (max(1, round(photo["height"] * scale)), max(1, round(photo["width"] * scale)))
    try:
        picture = Image.fromarray(read_small(photo["path"], image_hw=image_hw))
    except InputError:
        return None  # the page names it
    for boxes, color in ((run.boxes_true, _TRUE), (run.boxes_predicted, _PREDICTED)):
        own = boxes[(boxes.index == image_id) & boxes["status"].isin(USABLE)]
        _draw_boxes(picture, own, scale=scale, color=color)
    return photo_uri(np.asarray(picture))


def _draw_boxes(picture: Image.Image, boxes: pd.DataFrame, *, scale: float, color: tuple[int, int, int]) -> None:
    pen = ImageDraw.Draw(picture)
    scaled = boxes[["left", "top", "box_width", "box_height"]].astype(float) * scale
    for left, top, width, height in scaled.itertuples(index=False):
        pen.rectangle((left, top, left + width, top + height), outline=color, width=2)
