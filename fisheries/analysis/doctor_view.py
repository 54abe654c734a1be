"""What a run is bound by, to be printed with rich."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Column, Table


def doctor_view(stages: pd.DataFrame, epochs: pd.DataFrame) -> Group:
    """Show how fast each stage is, and what epochs take.

    Args:
        stages: by stage `one_core` and `all`, images a second, NaN where there is no such thing.
        epochs: by name `images_per_s`, `time` in words, `idle` share and `bound_by`.
    """
    names = ("images/s a core", "images/s in all")
    rates = Table("stage", *(Column(name, justify="right") for name in names), box=SIMPLE_HEAD)
    for stage, one, every in stages[["one_core", "all"]].itertuples():
        rates.add_row(
            stage, *("" if pd.isna(rate) else f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" for rate in (one, every))
        )
    times = Table(
        "epoch", *(Column(name, justify="right") for name in ("images/s", "takes", "idle")), "bound by", box=SIMPLE_HEAD
    )
    for name, row in epochs.iterrows():
        times.add_row(str(name), f"{row['images_per_s']:,.1f}", row["time"], f"{row['idle']:.0%}", row["bound_by"])
    return Group(rates, times)
