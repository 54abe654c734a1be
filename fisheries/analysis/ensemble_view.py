"""What an ensemble did, to be printed with rich."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from fisheries.inference.blending import SINGLE
from fisheries.inference.ensemble import Ensemble
from fisheries.inference.evaluation import boats_of, interval


def ensemble_view(result: Ensemble) -> Table:
    """Show what each method scores on boats it was not fitted on; the one used is bold."""
    columns = (Column(name, justify="right") for name in ("log loss", "gain over the best member", "90 % interval"))
    table = Table("method", *columns, box=SIMPLE_HEAD)
    for name, row in result.methods.iterrows():
        spread = "" if name == SINGLE else f"{row['low']:+.4f} to {row['high']:+.4f}"
        shown = "the best member" if name == SINGLE else str(name)
        gain = "" if name == SINGLE else f"{row['gain']:+.4f}"
        table.add_row(shown, f"{row['log_loss']:.4f}", gain, spread, style="bold" * (name == result.method))
    return table


def members_view(result: Ensemble) -> Table:
    """Show what each member is worth."""
    columns = (Column(name, justify="right") for name in ("log loss", "weight", "without it"))
    table = Table(Column("member", overflow="fold"), *columns, box=SIMPLE_HEAD)
    for name, row in result.members.iterrows():
        table.add_row(str(name), f"{row['log_loss']:.4f}", f"{row['weight']:.3f}", f"{row['without']:.4f}")
    return table


def ensemble_lines(result: Ensemble, *, seed: int = 0) -> list[str]:
    """Say what is handed on, and by how much it is better than the best member on boats it was not fitted on.

    Args:
        result: as `ensemble` returns it.
        seed: of the bootstrap.
    """
    best = result.members["log_loss"].idxmin()
    if result.method == SINGLE:
        why = "No ensemble is better than its best member"
        if result.chosen != SINGLE:
            gain = result.methods.loc[result.chosen, "gain"]
            why = f"{result.chosen} is better by {gain:.4f}, but not where it is chosen without the boats that judge it"
        return [f"{why}: the tables of {best} are handed on unchanged"]
    gains = result.before - result.after
    boats = boats_of(result.outputs.manifest.loc[gains.index])
    low, high = interval(gains, boats, seed=seed)
    words = "better" if gains.mean() > 0 else "worse"
    return [
        f"{result.method}: log loss {result.after.mean():.4f}, cross-fitted with its choice; {words} by "
        f"{abs(gains.mean()):.4f} than the best member, {best} (gain {low:+.4f} to {high:+.4f}, 90 % interval)"
    ]
