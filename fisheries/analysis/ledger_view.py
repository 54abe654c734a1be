"""The ledger of submissions as a table to read."""

from __future__ import annotations

import math

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table


def ledger_view(ledger: pd.DataFrame) -> Table:
    """Return a row for each submission: what was expected of it, what Kaggle gave, and how far off that was.

    Args:
        ledger: as `inference.ledger.read_ledger` returns it.
    """
    view = Table(Column("submission\ncreated (UTC)", overflow="fold"), Column("runs", overflow="fold"), box=SIMPLE_HEAD)
    for name in ("expected of\nboats seen", "public\noff by", "expected of\nnew boats", "private\noff by"):
        view.add_column(name, justify="right", no_wrap=True)
    for name, row in ledger.iterrows():
        created = _text(row["created_utc"])[:16].replace("T", " ")
        cells = ["\n".join(filter(None, [str(name), created, _text(row["mark"])])), _text(row["runs"])]
        view.add_row(*map(escape, [*cells, *_scores(row, "seen", "public"), *_scores(row, "unseen", "private")]))
    return view


def expected_text(log_loss: float, low: float, high: float, *, between: str = ", 90 % interval ") -> str:
    """Return a log loss and its interval, as far as they are known; "" without."""
    if math.isnan(log_loss):
        return ""
    return f"{log_loss:.3f}" + ("" if math.isnan(low) else f"{between}{low:.2f} to {high:.2f}")


def _scores(row: pd.Series, boats: str, real: str) -> list[str]:
    log_loss, low, high = (float(row[f"{boats}_{name}"]) for name in ("log_loss", "low", "high"))
    given = float(row[real])
    outside = "!" if given < low or given > high else ""  # of an interval that is known: comparing with NaN is false
    off = "" if math.isnan(given - log_loss) else f"{given - log_loss:+.3f}{outside}"
    return [expected_text(log_loss, low, high, between="\n"), "" if math.isnan(given) else f"{given:.3f}\n{off}"]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
