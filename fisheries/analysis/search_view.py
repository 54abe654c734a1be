"""What a search tried: a table of its trials, plots, and a page of both."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from fisheries.analysis.page import figure_png, figure_uri, render_page
from fisheries.schema import write_atomic

if TYPE_CHECKING:
    from optuna import Study

COMPLETE, PRUNED = "complete", "pruned"
_FACTS = (
    "state",
    "log_loss",
    "epochs",
    "seconds",
    "repeats",
    "killed",
)  # columns of `trial_table` beside what was tried
_LOSS = "log loss, unseen boats"


def trial_table(study: Study) -> pd.DataFrame:
    """Return the trials of a study.

    Returns:
        By number: state (complete, pruned, fail, running, waiting), log_loss (NaN where it did not finish), epochs (of which
        it was told), seconds, repeats (the trial in whose place it ran, or -1), killed, and a column for each value tried.
    """
    rows = []
    for trial in study.get_trials(deepcopy=False):
        began, ended = trial.datetime_start, trial.datetime_complete
        row: dict[str, Any] = {"trial": trial.number, "state": trial.state.name.lower()}
        row["log_loss"] = trial.value if row["state"] == COMPLETE else float("nan")
        row["epochs"] = len(trial.intermediate_values)
        row["seconds"] = (ended - began).total_seconds() if began and ended else float("nan")
        row |= {"repeats": trial.user_attrs.get("repeats", -1), "killed": trial.user_attrs.get("killed", False)}
        rows.append({**row, **trial.params})
    return pd.DataFrame(rows).set_index("trial")


def count_line(trials: pd.DataFrame) -> str:
    """Say how the trials ended, but for those that were killed and ran again."""
    counts = trials.loc[~trials["killed"].astype(bool), "state"].replace({COMPLETE: "finished", "fail": "failed"})
    return ", ".join(f"{count} {state}" for state, count in counts.value_counts().items())


def importances(study: Study) -> pd.Series:
    """Return the share of each value in the variance of the log loss (fANOVA, Hutter et al. 2014), highest first.

    Empty with fewer than four finished trials, or where all score the same: that says nothing.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    losses = trial_table(study)["log_loss"].dropna()
    if len(losses) < 4 or losses.nunique() < 2:
        return pd.Series(dtype=float)
    return pd.Series(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)), dtype=float)


def plot_history(trials: pd.DataFrame) -> Figure:
    """Draw the log loss of each trial that finished, the best so far, and where others were pruned or failed."""
    figure, axes = _figure(5.5)
    losses = trials["log_loss"].dropna()
    axes.plot(losses.index, losses, "D", color="C3", label="finished")
    axes.step(losses.index, losses.cummin(), where="post", color="C3", alpha=0.5, label="best so far")
    for state, marker in ((PRUNED, "v"), ("fail", "x")):
        numbers = trials.index[(trials["state"] == state) & ~trials["killed"].astype(bool)]
        axes.plot(
            numbers,
            np.full(len(numbers), losses.max()),
            marker,
            color="0.5",
            label="failed" if state == "fail" else state,
        )
    axes.set(xlabel="trial", ylabel=_LOSS)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")
    return figure


def plot_epochs(study: Study) -> Figure:
    """Draw the held-out log loss of each trial over its epochs; the best in color, those that were pruned dashed."""
    figure, axes = _figure(5.5)
    for trial in study.get_trials(deepcopy=False):
        steps = sorted(trial.intermediate_values)
        losses = [trial.intermediate_values[step] for step in steps]
        epochs, style = [step + 1 for step in steps], "--" if trial.state.name.lower() == PRUNED else "-"
        best = trial.number == study.best_trial.number
        color, label = ("C3", "best") if best else ("0.6", None)
        axes.plot(epochs, losses, style, marker=".", color=color, zorder=2 + best, label=label)
    axes.plot([], [], "--", marker=".", color="0.6", label="pruned")
    axes.set(xlabel="epoch", ylabel="held-out log loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")
    return figure


def plot_importances(shares: pd.Series) -> Figure:
    """Draw the shares of `importances`."""
    figure, axes = _figure(5.5, height=0.9 + 0.35 * len(shares))
    bars = axes.barh(shares.index[::-1], shares[::-1], color="C0")
    axes.bar_label(bars, fmt=" %.2f", fontsize="small")
    axes.set(xlabel="share of the variance of the log loss", xlim=(0, shares.max() * 1.15))
    return figure


def plot_values(trials: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Draw the log loss over each value that was tried, on a log scale where that spans an order of magnitude."""
    figure = Figure(figsize=(2.8 * max(len(names), 2), 2.8), layout="constrained")
    finished = trials[trials["log_loss"].notna()]
    for axes, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        values = finished[name]
        if pd.api.types.is_numeric_dtype(values):
            is_wide = 0 < values.min() <= values.max() / 10
            axes.set_xscale("log" if is_wide else "linear")
            axes.xaxis.set_major_locator(LogLocator() if is_wide else MaxNLocator(3))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            values = values.astype(str)
        axes.plot(values, finished["log_loss"], "D", color="C3", alpha=0.7)
        axes.set_xlabel(name, fontsize="small")
        axes.tick_params(labelsize="small")
    figure.axes[0].set_ylabel(_LOSS, fontsize="small")
    return figure


def write_search_page(study: Study, folder: Path) -> Path:
    """Write `search.html`, `trials.csv` and the plots of a study, of a trial or more, into the folder of its multirun.

    Returns:
        The path of the page.
    """
    trials = trial_table(study)
    names = [name for name in trials if name not in _FACTS]
    shares, finished = importances(study), trials["log_loss"].notna().any()
    figures = {"history": plot_history(trials), "epochs": plot_epochs(study)} if finished else {}
    figures |= {"importances": plot_importances(shares)} if len(shares) else {}
    figures |= {"values": plot_values(trials, names)} if finished else {}
    best = trials["log_loss"].idxmin() if finished else None
    page = render_page(
        "search.html",
        title=f"Search {study.study_name}",
        counts=count_line(trials),
        finished=int(trials["log_loss"].notna().sum()),
        killed=int(trials["killed"].sum()),
        names=names,
        rows=trials.sort_values(["log_loss"], kind="stable").reset_index().to_dict("records"),
        best=best,
        command=None if best is None else command_of(folder / str(best)),
        plots={name: figure_uri(figure, dpi=90) for name, figure in figures.items()},
    )
    write_atomic(folder / "trials.csv", trials.to_csv().encode())
    for name, figure in figures.items():
        write_atomic(folder / f"search_{name}.png", figure_png(figure))
    write_atomic(folder / "search.html", page.encode())
    return folder / "search.html"


def command_of(run_dir: Path) -> str:
    """Return the command that a finished run would be trained with by itself."""
    return shlex.join(["python", *json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["command"]])


def _figure(width: float, *, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
