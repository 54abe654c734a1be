"""What do the steps after training give on new boats? Many synthetic worlds; each step chosen on OOF, judged on stage 2.

Example: python benchmarks/steps.py --worlds 20 --out /tmp/steps
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
from rich.table import Table
from worlds import TRAIN_PY, over_worlds

from fisheries.data.lookalikes import burst_pairs, compare_pairs, load_pair_thumbnails
from fisheries.inference.calibration import calibrate
from fisheries.inference.evaluation import is_clear_gain
from fisheries.inference.neighbours import allowed_pairs, average_if_better
from fisheries.inference.outputs import Outputs, read_outputs
from fisheries.inference.scoring import constant_predictions, log_loss, per_image_loss, read_solution
from fisheries.pseudo import make_pseudo
from fisheries.schema import write_predictions

# the small network with its own weights, learned on other boats: a head on its features trains in seconds
RECIPE = ("model=small_residual", "model.pretrained=true", "model.backbone_frozen=true", "transform=none")
QUICK = ("data.image_hw=[96,168]", "data.workers=1", "model.epochs=20", "split.folds=3", "fold=all", "logger=none")
STEPS = ("calibrated", "lookalikes", "pseudo")


def main() -> None:
    over_worlds(judge, view=view, summary=summary, about=__doc__, first=200, name="steps.csv")


def judge(folder: Path) -> dict[str, float]:
    """Return what one world's tables score after each step, alone after the training: on OOF, and on stage 2."""
    boats = folder / "boats"
    solution = read_solution(boats / "solution.csv")
    truth = solution.loc[solution["stage"] == "stg2", "label"]
    raw = train(boats, folder / "raw")
    steps = {"raw": raw, "calibrated": calibrate(raw).outputs, "lookalikes": lookalikes(raw)}
    rows = make_pseudo(folder / "raw" / "test.csv")
    write_predictions(rows, folder / "pseudo.csv", folds_hash=rows.attrs["folds_hash"])
    steps["pseudo"] = train(boats, folder / "pseudo", f"pseudo={folder / 'pseudo.csv'}")
    prior = constant_predictions(raw.prior, truth.index)
    row = {"prior": log_loss(prior, truth)}
    for name, outputs in steps.items():
        row[f"{name}_oof"] = log_loss(outputs.oof, outputs.labels)
        row[name] = log_loss(outputs.test, truth, subset=True)
        row[f"{name}_on"] = outputs is not raw and row[f"{name}_oof"] < row["raw_oof"]
    losses = (per_image_loss(outputs.oof, raw.labels) for outputs in (raw, steps["pseudo"]))
    row["pseudo_on"] = is_clear_gain(*losses, boats=raw.boats)  # it is not judged on boats apart, as the others are
    return row


def train(root: Path, run_dir: Path, *overrides: str) -> Outputs:
    """Train once, and return what the run predicted."""
    if not (run_dir / "run.json").is_file():
        where = [
            f"data.root={root.resolve()}",
            f"hydra.run.dir={run_dir}",
            f"submissions_dir={run_dir}",
            f"tables_dir={root.parent}",
        ]
        command = [sys.executable, str(TRAIN_PY), "data=folder", *where, *RECIPE, *QUICK, *overrides]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return read_outputs(run_dir / "oof.csv")


def lookalikes(outputs: Outputs) -> Outputs:
    """Average near-duplicate frames, if OOF is the better for it."""
    pairs = allowed_pairs(burst_pairs(outputs.manifest), outputs)
    return average_if_better(outputs, compare_pairs(pairs, *load_pair_thumbnails(pairs, outputs.manifest))).outputs


def view(table: pd.DataFrame) -> Table:
    """Show a row a world: stage 2 by the prior and by the networks, then what each step changes, and in brackets on OOF."""
    shown = Table("seed", "prior", "raw", *STEPS)
    for seed, row in table.iterrows():
        changes = [f"{row[name] - row['raw']:+.3f} ({row[f'{name}_oof'] - row['raw_oof']:+.3f})" for name in STEPS]
        shown.add_row(f"{seed}", f"{row['prior']:.3f}", f"{row['raw']:.3f}", *changes)
    return shown


def summary(table: pd.DataFrame) -> list[str]:
    """Say how far calibration lies above the prior at worst, and what each step gives where OOF switched it on."""
    worst = (table["calibrated"] - table["prior"]).max()
    lines = [f"calibrated, the worst of {len(table)} worlds is {worst:+.3f} from the constant prior"]
    for name in STEPS:
        on, change = table[f"{name}_on"].astype(bool), table[name] - table["raw"]
        lines.append(
            f"{name}: switched on in {on.sum()} of {len(table)} worlds, and stage 2 is better in {(change[on] < 0).sum()} of "
            f"these; it changes by {change.where(on, 0).mean():+.4f} in the mean of all, {change.mean():+.4f} were it always on"
        )
    return lines


if __name__ == "__main__":
    main()
