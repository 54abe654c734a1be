"""A run's scores in wandb: numbers to sort runs by, tables, and figures."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import wandb
from PIL import Image
from rich.console import Console

from fisheries.analysis.page import figure_png
from fisheries.analysis.plots import plot_reliability
from fisheries.analysis.score_view import TITLES
from fisheries.inference.evaluation import MEANS
from fisheries.inference.scoring import ALL, per_image_loss
from fisheries.training.callbacks import MONITOR
from fisheries.training.wandb_runs import steady

_MAX_ROWS = 10_000  # wandb shows no more of a table
_TEXTS = ("part", "by", "name")  # the columns of scores.csv that are no numbers


def send_scores(run: wandb.Run, scores: pd.DataFrame, *, console: Console) -> None:
    """Send a run's scores: as a table, those of all images and of classes as numbers to sort runs by.

    Args:
        run: of wandb.
        scores: as in `scores.csv`.
        console: where to say that wandb fails.
    """
    with steady(console, "gets no scores"):
        run.log({"scores": wandb.Table(dataframe=scores)})
        run.summary.update(score_numbers(scores))


def score_numbers(scores: pd.DataFrame) -> dict[str, float]:
    """Return `<part>/<score>` of all images and `<part>/<class>/<score>` of each class, as far as they are known.

    Of classes these are the means; the others are in the table.
    """
    numbers: dict[str, float] = {}
    for row in scores[scores["by"].isin([ALL, "class"])].to_dict("records"):
        group = row["part"] if row["by"] == ALL else f"{row['part']}/{row['name']}"
        names = [name for name in row if name not in _TEXTS] if row["by"] == ALL else [*MEANS]
        numbers |= {f"{group}/{name}": float(row[name]) for name in names if pd.notna(row.get(name))}
    return numbers


def best_epoch(epochs: pd.DataFrame) -> dict[str, float]:
    """Return the epoch with the lowest held-out log loss, counted from 0, and that loss; {} without held-out batches."""
    if MONITOR not in epochs:
        return {}
    best = epochs.loc[epochs[MONITOR].idxmin()]
    return {"best/epoch": int(best["epoch"]), "best/log_loss": float(best[MONITOR])}


def send_figures(run: wandb.Run, part: str, predictions: pd.DataFrame, labels: pd.Series, *, console: Console) -> None:
    """Send the confusion matrix, the precision-recall curves and the reliability diagram of a part's predictions.

    Args:
        run: of wandb.
        part: a key of `score_view.TITLES`.
        predictions: (N, C) by `image_id`.
        labels: of the same images.
        console: where to say that wandb fails.
    """
    labels = labels.loc[predictions.index]
    confidence, guess = predictions.max(axis=1), predictions.idxmax(axis=1)
    with steady(console, f"gets no figures of {part} boats"):
        reliability = plot_reliability(confidence, (guess == labels).astype(float), title=TITLES[part])
        figures = {
            "confusion": _confusion(labels, guess, list(predictions)),
            "precision_recall": _precision_recall(predictions, labels),
            "reliability": wandb.Image(Image.open(io.BytesIO(figure_png(reliability)))),
        }
        run.log({f"{part}/{name}": figure for name, figure in figures.items()})


def send_images(
    run: wandb.Run, part: str, predictions: pd.DataFrame, manifest: pd.DataFrame, *, console: Console
) -> None:
    """Send a table of what was said of each image, without its picture: the highest loss first."""
    with steady(console, f"gets no table of {part} boats"):
        table = image_rows(predictions, manifest)[:_MAX_ROWS]
        run.log({f"{part}/predictions": wandb.Table(dataframe=table.reset_index())})


def image_rows(predictions: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return boat, true and predicted class, log loss and `p(<class>)` of each image, the highest loss first.

    Args:
        predictions: (N, C) by `image_id`.
        manifest: has their label and boat.
    """
    facts = manifest.loc[predictions.index]
    table = pd.DataFrame({"boat": facts["boat"], "true": facts["label"], "predicted": predictions.idxmax(axis=1)})
    table = table.assign(log_loss=per_image_loss(predictions, facts["label"]))
    return table.join(predictions.add_prefix("p(").add_suffix(")")).sort_values(
        "log_loss", ascending=False, kind="stable"
    )


def _confusion(labels: pd.Series, guess: pd.Series, classes: list[str]) -> Any:
    codes = {name: code for code, name in enumerate(classes)}
    true, predicted = labels.map(codes).tolist(), guess.map(codes).tolist()
    return wandb.plot.confusion_matrix(y_true=true, preds=predicted, class_names=classes)


def _precision_recall(predictions: pd.DataFrame, labels: pd.Series) -> Any:
    """Draw the curves of the classes that occur; wandb takes a column for each of those and no other."""
    present = [name for name in predictions if (labels == name).any()]
    codes = labels.map({name: code for code, name in enumerate(present)})
    return wandb.plot.pr_curve(codes.to_numpy(), predictions[present].to_numpy(), labels=present)
