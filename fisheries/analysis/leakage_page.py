"""The leak meter's page: what each cue tells, with a picture of what is left of it on unseen boats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fisheries.analysis.leakage_words import LITTLE, SHOW_FISH, TITLES, headline
from fisheries.analysis.page import figure_uri, render_page
from fisheries.data.cues import labeled_images
from fisheries.data.manifest import size_as_boat

COLORS: Mapping[str, str] = {"random": "0.55", "seen": "#2a6fbb", "unseen": "#c0392b"}
_LEAST = 0.2  # nats shown on each side, so that chance does not fill the picture
_ROWS = 40  # of a table of counts; the rest becomes one row


def leakage_page(
    table: pd.DataFrame,
    manifest: pd.DataFrame,
    *,
    boat_probe: Mapping[str, float] | None = None,
    title: str = "How much of the label can be had without a look at the fish?",
) -> str:
    """Return one HTML page, which needs no other file.

    Args:
        table: as `analysis.leakage.leakage` returns it.
        manifest: that it was made from.
        boat_probe: what `analysis.probes.boat_probe` says of a run's features.
        title: of the page.
    """
    images = labeled_images(manifest)
    groups = {"boat": images["boat"], "image size": size_as_boat(images)["boat"]}
    counts = {name: class_counts(names, images["label"]) for name, names in groups.items() if names.nunique() > 1}
    return render_page(
        "leakage.html",
        title=title,
        headline=headline(table),
        figure=figure_uri(plot_leakage(table)),
        parts={part: name for part, name in TITLES.items() if f"{part}_log_loss" in table},
        rows=table.reset_index().to_dict("records"),
        left_out=table.attrs["left_out"],
        notes=table.attrs["notes"],
        counts=counts,
        probe=boat_probe,
        little=LITTLE,
    )


def plot_leakage(table: pd.DataFrame) -> Figure:
    """Draw each cue's log loss from random folds over seen to unseen boats, less that of the constant prior.

    Args:
        table: as `analysis.leakage.leakage` returns it.
    """
    figure = Figure(figsize=(10, 1.4 + 0.42 * len(table)), layout="constrained")
    axes = figure.subplots()
    parts = [part for part in TITLES if f"{part}_log_loss" in table]
    axes.axvline(0, color="0.2", linewidth=1)
    for place, (_, row) in enumerate(table.iterrows()):
        _draw_cue(axes, row, parts, place=place)
    names = [f"{name} (shows fish)" if name in SHOW_FISH else str(name) for name in table.index]
    axes.set_yticks(range(len(table)), labels=names)
    axes.set_ylim(len(table) - 0.4, -0.6)
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, -_LEAST), max(right, _LEAST))
    axes.set_xlabel("log loss less that of the constant prior, in nats: to the right, it is worse than knowing nothing")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    marks = [Line2D([], [], color=COLORS[part], marker="o", linewidth=2, label=TITLES[part]) for part in parts]
    figure.legend(handles=marks, loc="outside upper right", ncols=len(parts), frameon=False)
    return figure


def class_counts(groups: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """Count the images of each group, a row each, and class, a column each; the largest groups first, few in all."""
    counts = pd.crosstab(groups.replace("", "unknown"), labels)
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    rest = counts.iloc[_ROWS:].sum().to_frame(f"{len(counts) - _ROWS} others").T
    return counts if len(counts) <= _ROWS else pd.concat([counts.iloc[:_ROWS], rest])


def _draw_cue(axes: Axes, row: pd.Series, parts: list[str], *, place: int) -> None:
    gains = {part: row[f"{part}_log_loss"] - row[f"{part}_prior_log_loss"] for part in parts}
    axes.plot(list(gains.values()), [place] * len(gains), color="0.8", linewidth=1, zorder=1)
    for part, value in gains.items():
        ends = _ends(row, part, parts)
        axes.plot(ends, [place, place], color=COLORS[part], linewidth=3, alpha=0.45, solid_capstyle="butt")
        axes.plot(value, place, "o", color=COLORS[part], markersize=7)


def _ends(row: pd.Series, part: str, parts: list[str]) -> Any:
    """Return both ends of a part's interval, as far as there is one."""
    gain = {"unseen": "gain_unseen", "seen": "gain_seen", "random": "gain_seen" if "seen" not in parts else ""}[part]
    return -np.array([row[f"{gain}_low"], row[f"{gain}_high"]], dtype=np.float64) if gain else [np.nan, np.nan]
