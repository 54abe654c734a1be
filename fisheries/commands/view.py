"""The command that shows photographs and what networks say of them.

Everything heavy is imported inside the command, so that `--help` and completion answer at once.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fisheries.console import make_console

commands = typer.Typer()


@commands.command()
def view(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST|RUN_DIR", help="manifest.csv, or the folder of a run")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="to listen on; 0 takes any that is free")] = 8765,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open it in the browser")] = True,
) -> None:
    """Look through photographs in the browser, and correct boats and labels; a run shows what its networks say, too.

    Filters by boat, class, fold, error and night; a click shows boxes, probabilities and a heat map. The page is for
    this computer alone and changes no photograph. Boats are saved in the boats.csv that the next run reads, labels in a
    labels.csv: a right class counts from the next run on, a note alone is for those who annotate.

    Example: `fisheries view runs/2026-01-31_12-00-00-ab12`, or `fisheries view tables/ncfm-1a2b3c4d/manifest.csv`
    """
    from fisheries.schema import InputError

    if find_spec("nicegui") is None:
        raise InputError("view needs a library that is not installed: pip install -e '.[view]'")
    from fisheries.viewer.server import serve

    serve(source, port=port, browser=browser, console=make_console())
