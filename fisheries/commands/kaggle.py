"""Commands that fetch from Kaggle and send to it, with Kaggle's official client (`pip install -e '.[kaggle]'`).

Everything heavy is imported inside the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fisheries.console import make_console

commands = typer.Typer()


@commands.command()
def download(
    folder: Annotated[Path, typer.Argument(help="where to; its archives go below archives/")] = Path("data/ncfm"),
) -> None:
    """Download the competition's files from Kaggle, and unpack them.

    What is there whole is not downloaded or unpacked again. Needs Kaggle's client, a token, and the rules accepted.

    Example: `fisheries download data/ncfm`, then `fisheries manifest data/ncfm`
    """
    from fisheries.data.archives import unpack_zip
    from fisheries.kaggle_client import PAGE, connect, download_file, list_files

    console = make_console()
    client = connect()
    for name in list_files(client):
        place = folder / "archives" if name.endswith((".zip", ".7z")) else folder
        path = download_file(client, name, place, quiet=not console.is_terminal)
        if path.suffix == ".zip":
            written = unpack_zip(path, folder, progress=console.is_terminal)
            console.print(
                f"{path}: {written} files unpacked into {folder}" if written else f"{path}: is unpacked already"
            )
        elif path.suffix == ".7z" and not (folder / path.stem).is_dir():
            console.print(
                f"{path}: encrypted: look its password up on the competition's pages, {PAGE}, and run `7z x {path} -o{folder}`"
            )
        else:
            console.print(f"{path}: downloaded")


@commands.command()
def upload(
    csv_path: Annotated[Path, typer.Argument(metavar="CSV", help="a submission")],
    message: Annotated[str, typer.Option("--message", "-m", help="what to remember it by at Kaggle")],
) -> None:
    """Send a submission to Kaggle, if it passes the check.

    Its scores come with `fisheries submissions --fetch` once Kaggle has them.

    Example: `fisheries upload submissions/RUN.csv -m "three folds, calibrated"`
    """
    from fisheries.inference.submission import read_submission, stages_of
    from fisheries.inference.submission_check import check_submission
    from fisheries.inference.submission_risks import find_risks
    from fisheries.kaggle_client import connect, submit_file
    from fisheries.schema import InputError

    console = make_console()
    table = read_submission(csv_path)
    problems = check_submission(csv_path, expected="stg1" if stages_of(table.index) == ("stg1",) else "final")
    errors = any(problem.severity == "error" for problem in problems)
    for problem in [*problems, *([] if errors else find_risks(table, []))]:
        console.print(f"  {problem.severity}: {problem.text}", markup=False)
    if errors:
        raise InputError(f"{csv_path}: Kaggle would refuse it, for the reasons above; nothing is sent")
    answer = submit_file(connect(), csv_path, message)
    console.print(f"Sent {csv_path}: {answer}", markup=False)
