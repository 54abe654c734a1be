"""A run's scores, to be printed with rich."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

TITLES = {
    "unseen": "boats it has not trained on",
    "seen": "boats it has trained on",
    "holdout": "boats that no fold has trained on, nor chosen its epoch by",
}


def part_view(scores: pd.DataFrame) -> Group:
    """Show what a run scores on unseen and on seen boats, side by side.

    Args:
        scores: `scores.csv` of a run: the rows of `evaluation.score_rows`, with the name of their part in `part`.
    """
    names = ("images", "count", "log loss", "90 % interval", "prior", "accuracy", "ECE")
    columns = [Column(name, justify="right", no_wrap=True) for name in names]
    table = Table(Column("boats", no_wrap=True), *columns, box=SIMPLE_HEAD)  # without lines it fits 80 columns
    totals = scores[scores["by"] == "all"]
    for row in totals.to_dict("records"):
        table.add_row(
            row["part"],
            f"{row['images']:.0f}",
            f"{row['boats']:.0f}",
            f"{row['log_loss']:.3f}",
            "-" if pd.isna(row["low"]) else f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['prior_log_loss']:.3f}",
            f"{row['accuracy']:.3f}",
            f"{row['ece']:.2f}",
            style="bold" * (row["part"] == "unseen"),
        )
    return Group(table, Text(leak_line(totals.set_index("part")["log_loss"].to_dict())))


def leak_line(losses: dict[str, float]) -> str:
    """Say in words what the log losses of seen and unseen boats, by name, mean together."""
    if "unseen" not in losses:
        return "No boat is kept apart, so new boats will score far worse than this: use split=boat."
    if "seen" not in losses:
        return "The best epoch was chosen on the unseen boats."
    gap = losses["unseen"] - losses["seen"]
    if gap <= 0:
        return "No leak to be seen: unseen boats score no worse. The best epoch was chosen on them."
    return (
        f"The leak is {gap:.3f}: a split that knows the boats would have promised {losses['seen']:.3f}. "
        "The best epoch was chosen on the unseen boats."
    )


def class_view(scores: pd.DataFrame) -> Table:
    """Show the rows of classes, of fish and no fish and of day and night, of a run's first part."""
    part = scores["part"].iloc[0]
    own = scores[scores["part"] == part].dropna(axis="columns", how="all")
    columns = [name for name in ("log_loss", "prior_log_loss", "accuracy", "box_iou") if name in own]
    names = ("images", *(name.replace("_", " ").replace("iou", "IoU") for name in columns))
    title = f"On {TITLES[part]}"
    table = Table("", *(Column(name, justify="right") for name in names), title=title, title_justify="left")
    for by in ("class", "fish", "light"):
        rows = own[own["by"] == by]
        if by == "fish":
            rows = rows.assign(accuracy=rows["fish_accuracy"])
        for number, row in enumerate(rows.to_dict("records")):
            values = ["-" if pd.isna(row[name]) else f"{row[name]:.3f}" for name in columns]
            table.add_row(row["name"], f"{row['images']:.0f}", *values, end_section=number == len(rows) - 1)
    return table
