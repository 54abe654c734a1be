"""Does the forecast hold? Many synthetic worlds, each trained by boat and at random, against the truth of stage 2.

Example: python benchmarks/forecast.py --worlds 20 --out /tmp/forecast
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fisheries.data.synthetic import draw_competition

TRAIN_PY = Path(__file__).resolve().parent.parent / "train.py"
# small and quick: what is judged is the forecast, not the network
WORLD = {"train": 400, "stage1": 40, "stage2": 240, "boats": 20, "new_boats": 20}
RECIPE = ("data.image_hw=[64,112]", "data.batch_size=16", "data.workers=1", "trainer.max_epochs=8", "logger=none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=100, help="seed of the first; the others follow")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for worlds, runs and forecast.csv; goes on with it"
    )
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    rows = [
        judge(seed, options.out / f"world-{seed}")
        for seed in track(range(options.first, options.first + options.worlds), "worlds", console=console)
    ]
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "forecast.csv", index=False)
    console.print(view(table))
    for line in summary(table):
        console.print(line)


def judge(seed: int, folder: Path) -> dict[str, float]:
    """Return what the runs of one world promise, and what stage 2 then gives."""
    boats = folder / "boats"
    if not boats.is_dir():
        draw_competition(boats, **WORLD, seed=seed, workers=1)
    by_boat = run(boats, folder / "by-boat", "fold=all")
    at_random = run(boats, folder / "at-random", "split=random", "fold=0")
    forecast, truth = by_boat["forecast"], by_boat["test"]["stg2"]
    return {
        "seed": seed,
        "forecast": forecast["log_loss"],
        "low": forecast["low"],
        "high": forecast["high"],
        "truth": truth["log_loss"],
        "prior": truth["prior_log_loss"],
        "unseen": by_boat["scores"]["unseen"]["log_loss"],
        "seen": by_boat["scores"]["seen"]["log_loss"],
        "random": at_random["scores"]["seen"]["log_loss"],
        "random_truth": at_random["test"]["stg2"]["log_loss"],
    }


def run(root: Path, folder: Path, *overrides: str) -> dict[str, dict]:
    """Train once in `folder`, and return the record of the run."""
    if not list(folder.glob("runs/*/run.json")):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(TRAIN_PY), "data=folder", f"data.root={root.resolve()}", *RECIPE, *overrides]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return json.loads(next(folder.glob("runs/*/run.json")).read_text())


def view(table: pd.DataFrame) -> Table:
    """Show a row a world."""
    shown = Table("seed", "forecast", "90 % interval", "stage 2", "prior", "error", "random says", "stage 2 ", "error ")
    for row in table.itertuples():
        shown.add_row(
            f"{row.seed}",
            f"{row.forecast:.3f}",
            f"{row.low:.3f} to {row.high:.3f}",
            f"{row.truth:.3f}",
            f"{row.prior:.3f}",
            f"{row.forecast / row.truth - 1:+.0%}",
            f"{row.random:.3f}",
            f"{row.random_truth:.3f}",
            f"{row.random / row.random_truth - 1:+.0%}",
        )
    return shown


def summary(table: pd.DataFrame) -> list[str]:
    """Say how often the interval held, and how far off forecasts were."""
    held = ((table["low"] <= table["truth"]) & (table["truth"] <= table["high"])).mean()
    error = (table["forecast"] / table["truth"] - 1).abs()
    random_error = (table["random"] / table["random_truth"] - 1).abs()
    return [
        f"the 90 % interval held the truth in {held:.0%} of {len(table)} worlds",
        f"median relative error of the forecast {error.median():.1%}, of the random split {random_error.median():.1%}",
    ]


if __name__ == "__main__":
    main()
