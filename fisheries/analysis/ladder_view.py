"""The ladder of steps after training, to be printed with rich."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

STAGES = {"stg1": "stage 1", "stg2": "stage 2"}


def ladder_view(ladder: pd.DataFrame) -> Table:
    """Show what each step gives on boats held out, the 90 % interval that this forecasts for new boats, and the truth where it is known.

    Args:
        ladder: as `ladder.climb` returns it; steps that are not kept are dim.
    """
    stages = [name for name in STAGES if name in ladder]
    names = ["OOF log loss", "90 % of new boats", *(STAGES[name] for name in stages)]
    view = Table("step", "kept", *(Column(name, justify="right") for name in names), box=SIMPLE_HEAD)
    for row in ladder.to_dict("records"):
        spread = "" if pd.isna(row["low"]) else f"{row['low']:.2f} to {row['high']:.2f}"
        truth = [f"{row[name]:.4f}" for name in stages]
        kept = "yes" if row["kept"] else "no"
        style = "" if row["kept"] else "dim"
        view.add_row(row["step"], kept, f"{row['oof_log_loss']:.4f}", spread, *truth, style=style)
    return view
