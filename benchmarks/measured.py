"""What benchmarks side by side share: arguments, turns that are taken in each repetition, medians of ratios, a table and JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from fisheries.console import make_console
from fisheries.memory import set_thresholds
from fisheries.progress import track

Row = dict[str, Any]  # part, name, value, unit, ratio (None where there is nothing to compare with), against


def arguments(about: str | None, *, repetitions: int) -> argparse.ArgumentParser:
    """Return a parser of what every such benchmark takes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=repetitions, help="of each way, in turn")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--quick", action="store_true", help="as little as possible, to try it out")
    return parser


def in_turn(ways: Mapping[str, Callable[[], float]], *, repetitions: int, about: str) -> dict[str, list[float]]:
    """Measure each way once in every repetition, so that what disturbs one disturbs its neighbors."""
    console = make_console()
    turns = [name for _ in range(repetitions) for name in ways]
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for name in track(turns, f"  {about}", console=console, disable=not console.is_terminal):
        measured[name].append(ways[name]())
    return measured


def give_blocks_back_as_others() -> None:
    """Undo `keep_large_blocks`: give memory back at those sizes that glibc by itself comes to, so that a peer is not slowed down."""
    set_thresholds(mapped=32 << 20, trimmed=64 << 20)


def rows_of(
    measured: Mapping[str, Sequence[float]], *, part: str, unit: str, against: str | Mapping[str, str]
) -> list[Row]:
    """Return a row of each way: its median, and the median of its ratios to another in the same repetition.

    Args:
        measured: by way, a value each repetition.
        part: of the report.
        unit: of the values.
        against: which way the others are compared with, or which way each is.
    """
    base = dict.fromkeys(measured, against) if isinstance(against, str) else against
    return [
        {
            "part": part,
            "name": name,
            "value": median(values),
            "unit": unit,
            "ratio": median(value / other for value, other in zip(values, measured[base[name]], strict=True)),
            "against": base[name],
        }
        for name, values in measured.items()
    ]


def report(rows: Sequence[Row], path: Path | None) -> None:
    """Print the rows, and write them if there is a file for them."""
    console = make_console()
    for part in dict.fromkeys(row["part"] for row in rows):
        table = Table(title=part, title_justify="left", title_style="bold")
        table.add_column("")
        for heading in ("median", "", "ratio", "to"):
            table.add_column(heading, justify="right" if heading in ("median", "ratio") else "left")
        for row in rows:
            if row["part"] == part:
                ratio = "" if row["ratio"] is None else f"{row['ratio']:.3f}"
                to = "" if row["name"] == row["against"] else row["against"]
                table.add_row(row["name"], f"{row['value']:.4g}", row["unit"], ratio, to)
        console.print(table)
    if path is not None:
        path.write_text(json.dumps(list(rows), indent=1) + "\n")
