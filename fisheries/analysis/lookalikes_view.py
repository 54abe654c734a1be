"""What averaging look-alikes did, to be printed with rich."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from fisheries.inference.evaluation import boats_of, interval
from fisheries.inference.neighbours import SETTINGS, STRENGTHS, UNCHANGED, Lookalikes


def settings_view(result: Lookalikes) -> Table:
    """Show by how much the log loss on OOF falls with each setting; the one used is bold."""
    columns = (Column(f"strength {strength:g}", justify="right") for strength in STRENGTHS)
    table = Table("mean", "weights", *columns, box=SIMPLE_HEAD)
    gains = result.losses[UNCHANGED].mean() - result.losses.mean()
    rows: dict[tuple[str, str], list[str]] = {}
    for name, setting in SETTINGS.items():
        if name != UNCHANGED:
            cell = f"[bold]{gains[name]:+.5f}[/]" if name == result.used else f"{gains[name]:+.5f}"
            rows.setdefault((setting.mean, setting.weights), []).append(cell)
    for names, cells in rows.items():
        table.add_row(*names, *cells)
    return table


def lookalike_lines(result: Lookalikes, *, seed: int = 0) -> list[str]:
    """Say how many images have look-alikes, what averaging gains on boats it was not chosen on, and what is handed on.

    Args:
        result: as `average_if_better` returns it.
        seed: of the bootstrap.
    """
    before = result.losses[UNCHANGED]
    gains = before - result.after
    low, high = interval(gains, boats_of(result.outputs.manifest.loc[gains.index]), seed=seed)
    lines = [
        f"{result.oof_images} of {len(before)} training and {result.test_images} of {len(result.outputs.test)} test images have "
        "look-alikes that the same networks predicted",
        f"Log loss {before.mean():.4f}, averaged {result.after.mean():.4f}; gain {gains.mean():+.5f}, 90 % interval {low:+.5f} "
        f"to {high:+.5f}, chosen on other boats",
    ]
    if result.used == UNCHANGED:
        return [*lines, "Not averaged: that does not help, or can't be told. The tables are handed on unchanged"]
    return [*lines, f"Averaged: {result.used}"]
