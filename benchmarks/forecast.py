"""Does the forecast hold? Many synthetic worlds, each trained by boat and at random, against the truth of stage 2.

Example: python benchmarks/forecast.py --worlds 20 --out /tmp/forecast
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from rich.table import Table
from worlds import TRAIN_PY, over_worlds

from fisheries.inference.calibration import calibrate
from fisheries.inference.outputs import read_outputs
from fisheries.inference.scoring import read_solution, score_submission

# small and quick: what is judged is the forecast, not the network
RECIPE = ("data.image_hw=[64,112]", "data.batch_size=16", "data.workers=1", "trainer.max_epochs=8", "logger=none")


def main() -> None:
    over_worlds(judge, view=view, summary=summary, about=__doc__, first=100, name="forecast.csv")


def judge(folder: Path) -> dict[str, float]:
    """Return what the runs of one world promise, and what stage 2 then gives."""
    boats = folder / "boats"
    by_boat = run(boats, folder / "by-boat", "fold=all")
    at_random = run(boats, folder / "at-random", "split=random", "fold=0")
    forecast, truth = by_boat["forecast"], by_boat["test"]["stg2"]
    outputs, solution = (
        read_outputs(record_of(folder / "by-boat").with_name("oof.csv")),
        read_solution(boats / "solution.csv"),
    )
    restated = score_submission(calibrate(outputs).outputs.test, solution)
    return {
        "forecast": forecast["log_loss"],
        "low": forecast["low"],
        "high": forecast["high"],
        "truth": truth["log_loss"],
        "prior": truth["prior_log_loss"],
        "calibrated": restated.loc["stg2", "log_loss"],
        "unseen": by_boat["scores"]["unseen"]["log_loss"],
        "seen": by_boat["scores"]["seen"]["log_loss"],
        "random": at_random["scores"]["seen"]["log_loss"],
        "random_truth": at_random["test"]["stg2"]["log_loss"],
    }


def run(root: Path, folder: Path, *overrides: str) -> dict[str, dict]:
    """Train once in `folder`, and return the record of the run."""
    if record_of(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(TRAIN_PY), "data=folder", f"data.root={root.resolve()}", *RECIPE, *overrides]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return json.loads(record_of(folder).read_text())


def record_of(folder: Path) -> Path | None:
    """Return the record of the run in a folder, if it has ended."""
    return next(folder.glob("runs/*/run.json"), None)


def view(table: pd.DataFrame) -> Table:
    """Show a row a world."""
    shown = Table("seed", "forecast", "90 % interval", "stage 2", "prior", "error", "random says", "stage 2 ", "error ")
    for row in table.itertuples():
        shown.add_row(
            f"{row.Index}",
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
    above, change = table["calibrated"] - table["prior"], table["calibrated"] - table["truth"]
    return [
        f"the 90 % interval held the truth in {held:.0%} of {len(table)} worlds",
        f"median relative error of the forecast {error.median():.1%}, of the random split {random_error.median():.1%}",
        f"calibrated, stage 2 changes by {change.mean():+.3f} in the mean, and is at worst {above.max():+.3f} from the constant prior, "
        f"raw {(table['truth'] - table['prior']).max():+.3f}",
    ]


if __name__ == "__main__":
    main()
