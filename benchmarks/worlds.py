"""What benchmarks over many synthetic worlds share: arguments, worlds, and a table with a row a world."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fisheries.data.synthetic import draw_competition

TRAIN_PY = Path(__file__).resolve().parent.parent / "train.py"
WORLD = {"train": 400, "stage1": 40, "stage2": 240, "boats": 20, "new_boats": 20}


def over_worlds(
    judge: Callable[[Path], dict[str, float]],
    *,
    view: Callable[[pd.DataFrame], Table],
    summary: Callable[[pd.DataFrame], list[str]],
    about: str,
    first: int,
    name: str,
) -> None:
    """Judge worlds as the command line asks, write the table and print it.

    Args:
        judge: takes a world's folder, with its photographs in `boats`, and returns a row.
        view: shows the table.
        summary: says what it amounts to.
        about: for --help.
        first: seed of the first world, by default; the others follow.
        name: of the CSV.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=first, help="seed of the first; the others follow")
    parser.add_argument(
        "--out", type=Path, required=True, help=f"folder for worlds, runs and {name}; goes on with what is there"
    )
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    rows = []
    for seed in track(range(options.first, options.first + options.worlds), "worlds", console=console):
        folder = options.out / f"world-{seed}"
        if not (folder / "boats").is_dir():
            draw_competition(folder / "boats", **WORLD, seed=seed, workers=1)
        rows.append({"seed": seed, **judge(folder)})
    table = pd.DataFrame(rows).set_index("seed")
    table.to_csv(options.out / name)
    console.print(view(table))
    for line in summary(table):
        console.print(line)
