"""What the notebooks look at: made by the project's own commands, once, and shared by all of them.

Commands run in the folder `runs/notebooks`, or in the one that the environment variable FISHERIES_NOTEBOOKS names. The
embedded boats are those of `BOATS`, or, as in the tests, fewer ones, by the options in FISHERIES_NOTEBOOKS_BOATS.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
from filelock import FileLock

from fisheries.schema import BOXES, MANIFEST, InputError, read_table

VARIABLE, BOATS_VARIABLE = "FISHERIES_NOTEBOOKS", "FISHERIES_NOTEBOOKS_BOATS"
BOATS = "--train 400 --stage1 40 --stage2 120 --boats 16 --new-boats 8"
SCAN = "fisheries manifest boats --out tables"
_MAIN = "from fisheries.cli import main; main()"
_SHOWN = 5  # lines of what a failed command said


def folder() -> Path:
    """Return the folder that the notebooks' commands run in."""
    return Path(os.environ.get(VARIABLE) or Path(__file__).parent.parent / "runs" / "notebooks").absolute()


def command(line: str, *, makes: str) -> Path:
    """Run a command of `fisheries` in the notebooks' folder, unless what it makes is there already.

    Several notebooks may ask for the same at once: one makes it, and the others wait.

    Args:
        line: such as "fisheries train experiment=l7_dense hydra.run.dir=dense".
        makes: the file or folder that is there once the command has ended well, from that folder on.

    Returns:
        Where it is.

    Raises:
        InputError: it is no command of `fisheries`, it fails, or does not make that.
    """
    program, *words = shlex.split(line)
    if program != "fisheries":
        raise InputError(f"{line}: expected a command of fisheries, such as: fisheries train experiment=l7_dense")
    made = folder() / makes
    folder().mkdir(parents=True, exist_ok=True)
    with FileLock(folder() / f".{makes.replace('/', '-')}.lock"):
        if not made.exists():
            _run(line, words)
    if not made.exists():
        raise InputError(f"{line}: ended well, but there is no {made}; name what it makes")
    return made


def embedded_boats() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the manifest and the boxes of the notebooks' embedded boats, which are drawn on first use."""
    command(f"fisheries synth boats {os.environ.get(BOATS_VARIABLE) or BOATS}", makes="boats")
    tables = command(SCAN, makes="tables/boxes.csv").parent
    return read_table(tables / "manifest.csv", MANIFEST), read_table(tables / "boxes.csv", BOXES, unique=False)


def _run(line: str, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MAIN, *words],
        cwd=folder(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = " | ".join(text.strip() for text in done.stdout.strip().splitlines()[-_SHOWN:])
        raise InputError(
            f"{line}: failed in {folder()}: {said}; mend it, remove what it left there, and run the cell again"
        )
