"""The command that climbs from trainings to the best predictions.

Everything heavy is imported inside the command, so that `--help` and completion answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fisheries.console import make_console

commands = typer.Typer()


@commands.command()
def ladder(
    common: Annotated[list[str] | None, typer.Argument(metavar="[OVERRIDE]...", help="of train.py, for all")] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="overrides of train.py for one network, in quotes; give it twice or more"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder to write; what is there is gone on with")] = Path("runs/ladder"),
    tta: Annotated[str, typer.Option(help="test-time augmentation to try: flips, d4, multiscale, or none")] = "flips",
    solution: Annotated[
        Path | None, typer.Option(help="true classes of test; by default solution.csv beside the photographs, if any")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of intervals")] = 0,
) -> None:
    """Train networks with all folds, and climb: test-time augmentation, ensemble, pseudo-labels, look-alikes, calibration.

    A step is kept only where out-of-fold predictions are the better for it. Printed are their log loss after each step,
    what that forecasts for the new boats of test, and, where it is known, the truth. The best tables are in OUT/best.

    Example: `fisheries ladder split.folds=3 --recipe experiment=finetune_frozen --recipe experiment=resnet_linear`
    """
    from fisheries.analysis.ladder_view import ladder_view
    from fisheries.ladder import climb

    console = make_console()
    table = climb(recipe or [], out, common=common or [], tta=tta, solution=solution, seed=seed, console=console)
    console.print(ladder_view(table))
    console.print(
        f"Wrote {out / 'ladder.csv'}, and the best tables into {out / 'best'}: `fisheries submit {out}/best/test.csv`"
    )
