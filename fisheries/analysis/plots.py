"""Figures made from tables; each function returns one and touches no disk."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fisheries.data.images import read_image
from fisheries.data.splits import usable_images
from fisheries.schema import USABLE


def plot_curves(epochs: Mapping[str, pd.DataFrame], *, prior_log_loss: float) -> Figure:
    """Draw loss and accuracy over epochs.

    Args:
        epochs: name of a fold -> its `epochs.csv`.
        prior_log_loss: of the constant prior on the held-out images, drawn as a line to stay below.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for number, (name, table) in enumerate(epochs.items()):
        color = f"C{number}"
        _draw(losses, table, "train/cross_entropy", label=f"{name} trained on", color=color, style="--")
        _draw(losses, table, "val/log_loss", label=f"{name} held out", color=color, style="-")
        _draw(accuracies, table, "train/accuracy", label=f"{name} trained on", color=color, style="--")
        _draw(accuracies, table, "val/accuracy", label=f"{name} held out", color=color, style="-")
    losses.axhline(prior_log_loss, color="0.5", linewidth=1, label="constant prior, held out")
    losses.set(xlabel="epoch", ylabel="log loss", ylim=(0, None))
    accuracies.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    losses.legend(fontsize="small")
    return figure


def plot_reliability(confidence: pd.Series, hits: pd.Series, *, title: str, bins: int = 10) -> Figure:
    """Draw how often a network is right where it says to be how sure, and below it how many images say so.

    Args:
        confidence: the highest probability of each image, in [0, 1], by `image_id`.
        hits: 1 where its class was the right one, else 0, by `image_id`.
        title: of the figure.
        bins: a point each, of equally many images as far as that goes; fewer where there are fewer images.
    """
    figure = Figure(figsize=(4.6, 5), layout="constrained")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    points = reliability_points(confidence, hits, bins=bins)
    curve.plot([0, 1], [0, 1], "--", color="0.6", linewidth=1, label="as sure as it is right")
    curve.plot(points["confidence"], points["accuracy"], "o-", label=f"images, in {len(points)} equal parts")
    curve.set(ylabel="accuracy", xlim=(0, 1), ylim=(-0.02, 1.02))
    curve.set_title(title, fontsize="medium")
    curve.legend(fontsize="small")
    counts.hist(confidence, bins=20, range=(0, 1), color="0.6")
    counts.set(xlabel="highest probability", ylabel="images")
    return figure


def reliability_points(confidence: pd.Series, hits: pd.Series, *, bins: int) -> pd.DataFrame:
    """Return the mean confidence and accuracy of each of `bins` equal parts of the images, the least sure first."""
    order = np.array_split(np.argsort(confidence.to_numpy(), kind="stable"), min(bins, len(confidence)))
    table = pd.DataFrame({"confidence": confidence, "accuracy": hits})
    return pd.DataFrame([table.iloc[part].mean() for part in order])


def plot_examples(manifest: pd.DataFrame, boxes: pd.DataFrame, *, per_class: int = 4) -> Figure:
    """Show photographs of every class with their boxes, each from another boat as far as there are boats.

    Args:
        manifest: of which the usable training images are shown.
        boxes: a box table; usable boxes are drawn.
        per_class: how many, side by side.
    """
    images = usable_images(manifest)
    classes = sorted(images["label"].unique())
    figure = Figure(figsize=(2.6 * per_class, 1.6 * len(classes)), layout="constrained")
    rows = figure.subplots(len(classes), per_class, squeeze=False)
    for label, row in zip(classes, rows, strict=True):
        own = images[images["label"] == label]
        turns = (
            own.groupby("boat").cumcount().sort_values(kind="stable")
        )  # each boat's first image, then each one's second
        shown = own.loc[turns.index[:per_class]]
        for axes, (image_id, path, boat) in zip(row, shown[["path", "boat"]].itertuples(), strict=False):
            axes.imshow(read_image(path))
            axes.set_title(f"{label}, {boat}", fontsize="x-small", parse_math=False)
            _draw_boxes(axes, boxes[(boxes.index == image_id) & boxes["status"].isin(USABLE)])
        for axes in row:
            axes.axis("off")
    return figure


def _draw_boxes(axes: Axes, boxes: pd.DataFrame) -> None:
    for left, top, width, height in boxes[["left", "top", "box_width", "box_height"]].itertuples(index=False):
        axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor="red", linewidth=1))


def _draw(axes: Axes, table: pd.DataFrame, column: str, *, label: str, color: str, style: str) -> None:
    if column in table:
        marker = "o" if len(table) == 1 else ""  # a line of one point can't be seen
        fill = "none" if style == "--" else "full"
        axes.plot(table["epoch"] + 1, table[column], style, color=color, label=label, marker=marker, fillstyle=fill)
