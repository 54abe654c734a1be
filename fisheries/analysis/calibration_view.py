"""What a calibration did, to be printed with rich."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from fisheries.inference.calibration import NONE, Calibration
from fisheries.inference.evaluation import boats_of, interval
from fisheries.inference.scoring import prior_log_loss
from fisheries.inference.shift_forecast import Shifted


def methods_view(calibration: Calibration) -> Table:
    """Show what each method scores on boats it was not fitted on; the chosen one is bold."""
    columns = (Column(name, justify="right") for name in ("log loss", "behind the best", "standard error"))
    table = Table("method", *columns, box=SIMPLE_HEAD)
    for name, row in calibration.methods.iterrows():
        cells = [f"{row['log_loss']:.4f}", f"{row['behind']:.4f}", f"{row['standard_error']:.4f}"]
        table.add_row(str(name), *cells, style="bold" * (name == calibration.chosen))
    return table


def score_lines(calibration: Calibration, *, seed: int = 0) -> list[str]:
    """Say what was chosen, and the log loss before and after with 90 % intervals over boats, beside the prior's.

    Args:
        calibration: as `calibrate` returns it.
        seed: of the bootstrap.
    """
    boats = boats_of(calibration.outputs.manifest.loc[calibration.before.index])
    lines = [f"Chosen: {calibration.chosen}, the simplest within one standard error of the best"]
    if calibration.chosen == NONE:
        lines = ["Nothing is better than the tables as they are, which are handed on unchanged"]
    elif calibration.method == NONE:
        lines = [f"{lines[0]}; but choosing did not help boats left out of it: the tables are handed on unchanged"]
    for name, losses in (("before", calibration.before), ("after", calibration.after), ("prior", calibration.prior)):
        lines.append(f"  {name + ':':8}{_score(losses, boats, seed=seed)}")
    own = prior_log_loss(calibration.outputs.labels, calibration.outputs.labels, calibration.outputs.classes)
    lines[-1] += f"; counted on the boats that it is judged on {own:.4f}"
    gain = calibration.before - calibration.after
    return [*lines, f"  {'gain:':8}{_score(gain, boats, seed=seed)}"]


def bands_view(shifted: Shifted) -> Table:
    """Show what to expect of the test predictions in each class mix."""
    names = ("as calibrated", "as handed on", "5 %", "50 %", "95 %")
    title = "Expected log loss if the classes of test come"
    table = Table("", *(Column(name, justify="right") for name in names), title=title, box=SIMPLE_HEAD)
    for name, row in shifted.bands.iterrows():
        table.add_row(str(name), *(f"{value:.3f}" for value in row))
    return table


def _score(losses: pd.Series, boats: pd.Series, *, seed: int) -> str:
    low, high = interval(losses, boats, seed=seed)
    return f"{losses.mean():.4f}, 90 % interval {low:.3f} to {high:.3f}"
