"""What the rows of `leakage` mean, in words and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from fisheries.data.cues import KINDS

TITLES: Mapping[str, str] = {"random": "random folds", "seen": "seen boats", "unseen": "unseen boats"}
SHOW_FISH = ("color histogram", "8 x 8 thumbnail", "fish alone", "linear probe")  # may know the class by right
LITTLE = 0.02  # nats; what is less is nothing


def verdict(name: str, row: Mapping[str, Any]) -> str:
    """Say in words what a row of `leakage` means."""
    if not _is_sure(row, "gain_seen"):
        return _verdict_of_little(row)
    where = "on boats seen in training" if "seen_log_loss" in row else "under random folds"
    seen = f"by {row['gain_seen']:.2f} nats {where}"
    if "gain_unseen" not in row:
        return f"Helps {seen}; how much of that unseen boats leave can't be told without boats"
    unseen = row["gain_unseen"]
    if -unseen >= LITTLE:
        worse = f"On unseen boats the {name} is worse than knowing nothing, by {-unseen:.2f} nats{_doubt(row)}"
        return f"{worse}, though it helps {seen}: {_advice(name)}"
    if unseen < LITTLE:
        return f"Helps {seen} only: that is memory of boats"
    if not _is_sure(row, "gain_unseen"):
        return f"Helps {seen}; the {unseen:.2f} on unseen boats may be chance"
    if row["leak_low"] > 0:
        return f"Helps {seen} and by {unseen:.2f} on unseen boats: the rest is leak"
    return f"Helps {seen} and by {unseen:.2f} on unseen boats: no leak"


def headline(table: pd.DataFrame) -> str:
    """Say in words what all rows of `leakage` mean together."""
    blind = table[~table.index.isin(SHOW_FISH)]
    if blind.empty:
        return "No leak is measured: all cues that are known show the fish"
    helping = blind[[_is_sure(row, "gain_seen") for _, row in blind.iterrows()]]
    if helping.empty:
        return f"No leak: of {len(blind)} cues that don't show the fish, none tells the class"
    best = helping.loc[helping["gain_seen"].idxmax()]
    part, where = (
        ("seen", "on boats seen in training") if "seen_log_loss" in table else ("random", "under random folds")
    )
    promise = (
        f"Without a look at the fish, the {best.name} takes the log loss from {best[f'{part}_prior_log_loss']:.2f} to "
        f"{best[f'{part}_log_loss']:.2f} {where}"
    )
    if "leak" not in table:
        return f"{promise}; how much of that unseen boats leave can't be told without boats"
    leaking = helping[helping["leak_low"] > 0]
    if leaking.empty:
        return f"No leak for sure: {promise[0].lower()}{promise[1:]}, but no cue surely tells less on unseen boats"
    metadata = ", and metadata out of the model" if (leaking["kind"] != "picture").any() else ""
    return (
        f"{promise}; on unseen boats it scores {best['unseen_log_loss']:.2f}, where knowing nothing scores "
        f"{best['unseen_prior_log_loss']:.2f}. Cues that leak: {', '.join(leaking.index)}. "
        f"Keep boats apart in validation{metadata}"
    )


def leakage_view(table: pd.DataFrame) -> Group:
    """Show the rows of `leakage`, to be printed with rich."""
    parts = [part for part in TITLES if f"{part}_log_loss" in table]
    names = [*(TITLES[part] for part in parts), "information", *(["leak"] if "leak" in table else [])]
    view = Table("cue", *(Column(name, justify="right") for name in names))
    for name, row in table.iterrows():
        scores = [_score_cell(row, part) for part in parts]
        leak = [_leak_cell(row)] if "leak" in table else []
        view.add_row(str(name), *scores, f"{row['mutual_information']:.3f}\np {row['p_value']:.3f}", *leak)
    legend = "Log loss, accuracy and (log loss of the constant prior)."
    legend += " The leak is what of the gain is lost on unseen boats." if "leak" in table else ""
    lines = [f"{name}: {row['verdict']}" for name, row in table.iterrows()]
    lines += [f"{name}: no row, {reason}" for name, reason in table.attrs["left_out"].items()]
    return Group(
        view,
        *(Text(line) for line in [legend, *lines, *table.attrs["notes"]]),
        Text(headline(table), style="bold"),
    )


def _verdict_of_little(row: Mapping[str, Any]) -> str:
    if "gain_unseen" in row and _is_sure(row, "gain_unseen"):
        return f"Helps by {row['gain_unseen']:.2f} nats on unseen boats: no leak"
    if "seen_log_loss" in row and row["random_prior_log_loss"] - row["random_log_loss"] >= LITTLE:
        return "Helps under random folds only, where frames of one burst are on both sides"
    if row.get("gain_unseen", 0) <= -LITTLE and row["gain_unseen_high"] < 0:
        return f"Tells nothing on boats seen in training, and misleads by {-row['gain_unseen']:.2f} nats on unseen ones"
    return "Tells nothing"


def _advice(name: str) -> str:
    if name in ("fish alone", "linear probe"):
        return "judge what is built on it by boats kept apart"
    return "a network that sees it can learn it" if KINDS[name] == "picture" else "leave it off"


def _doubt(row: Mapping[str, Any]) -> str:
    high = row["gain_unseen_high"]
    return "" if high < 0 else f" (or, at the end of the interval, better by {high:.2f})"


def _is_sure(row: Mapping[str, Any], gain: str) -> bool:
    return row[gain] >= LITTLE and not row[f"{gain}_low"] <= 0  # with one boat there is no interval


def _score_cell(row: pd.Series, part: str) -> str:
    loss, prior = row[f"{part}_log_loss"], row[f"{part}_prior_log_loss"]
    return f"{loss:.3f} {row[f'{part}_accuracy']:.0%}\n({prior:.3f})"


def _leak_cell(row: pd.Series) -> str:
    ends = "" if np.isnan(row["leak_low"]) else f"\n{_signed(row['leak_low'])} to {_signed(row['leak_high'])}"
    return _signed(row["leak"]) + ends


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # no negative zero
