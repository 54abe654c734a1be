"""Figures made from tables; each function returns one and touches no disk."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure


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
    losses.legend(fontsize="small")
    return figure


def _draw(axes: Axes, table: pd.DataFrame, column: str, *, label: str, color: str, style: str) -> None:
    if column in table:
        axes.plot(table["epoch"] + 1, table[column], style, color=color, label=label)
