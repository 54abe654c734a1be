"""The command that says what a run is bound by.

Everything heavy is imported inside the command, so that `--help` and completion answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fisheries.console import make_console

commands = typer.Typer()


@commands.command()
def doctor(
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN_DIR] [OVERRIDE]...", help="folder of a run, or overrides of train.py"),
    ] = None,
) -> None:
    """Say what a run is bound by, and what to change: disk, decoding, augmentation, or the step, in images a second.

    Some of the run's photographs are read, decoded and trained on for some seconds each, as the run would. Of a run's folder
    trainer.*, data.workers and data.cache can be changed. Nothing is written.

    Example: `fisheries doctor data=ncfm data.root=DIR model=resnet50 trainer.gpus=1`, or `fisheries doctor runs/RUN`
    """
    from fisheries.analysis.doctor_view import doctor_view
    from fisheries.doctor.examine import examine
    from fisheries.doctor.words import epoch_rows, header, stage_rates, told
    from fisheries.launch import compose_config

    console, words = make_console(), given or []
    run_dir = Path(words[0]) if words and "=" not in words[0] else None
    found = examine(compose_config(words[1:] if run_dir else words, run_dir), run_dir, console=console)
    console.print(header(found))
    console.print(doctor_view(stage_rates(found), epoch_rows(found)))
    for line in told(found):
        console.print(line, markup=False)
