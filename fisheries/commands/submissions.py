"""Commands that write submissions, keep count of them, and score them.

Everything heavy is imported inside the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fisheries.console import make_console

if TYPE_CHECKING:
    from rich.console import Console

    from fisheries.inference.origin import Origin
    from fisheries.inference.submission_problems import Problem

commands = typer.Typer()
SUBMISSIONS = Path("submissions")

BOATS = {"seen": "boats like training's", "unseen": "new boats"}


class Stages(StrEnum):
    """Whose images a submission is to have."""

    one = "1"
    two = "2"
    all = "all"


EXPECTED: Mapping[Stages, Literal["stg1", "stg2", "final"]] = {
    Stages.one: "stg1",
    Stages.two: "stg2",
    Stages.all: "final",
}
SUFFIX = {Stages.one: "-stage1", Stages.two: "-stage2", Stages.all: "-final"}


@commands.command()
def submit(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="prediction tables of different images, such as test.csv of a run"),
    ],
    sample: Annotated[Path | None, typer.Option(help="the competition's sample: its names, in its order")] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV to write; by default submissions/RUN-TABLE.csv, with the stage")
    ] = None,
    stage: Annotated[
        Stages | None,
        typer.Option(
            help="take these images only, and ask for as many as the competition has; by default what the tables have"
        ),
    ] = None,
) -> None:
    """Write a submission from prediction tables and a json beside it, and check it.

    The check knows the competition's rules, and what has cost others their place: probabilities near 0, a mean far from
    every plausible class mix, near-duplicate frames that disagree, tables of other folds, and worse than the prior.

    Example: `fisheries submit runs/RUN/test.csv --sample sample_submission_stg1.csv`, or of two runs
    `fisheries submit runs/A/stage1.csv runs/B/stage2.csv --stage all`
    """
    from fisheries.analysis.ledger_view import expected_text
    from fisheries.commit import git_commit
    from fisheries.inference.origin import expected_together, read_origin
    from fisheries.inference.submission import STAGES, join_tables, read_submission, write_submission
    from fisheries.inference.submission_check import STAGES_OF, check_submission, count_warnings
    from fisheries.inference.submission_notes import write_submission_notes
    from fisheries.inference.submission_risks import find_risks, missing_images

    console = make_console()
    expected = None if stage is None else EXPECTED[stage]
    predictions = join_tables(tables, stages=STAGES if expected is None else STAGES_OF[expected])
    origins = [read_origin(table) for table in tables]
    out = out or SUBMISSIONS / f"{'+'.join(map(_name, origins))}{'' if stage is None else SUFFIX[stage]}.csv"
    written = write_submission(predictions, out, sample=sample)
    console.print(f"Wrote {written.path} ({written.rows} rows)")
    if written.left_out:
        console.print(
            f"  {written.left_out} predictions of the other stage are left out: the sample does not have them"
        )
    submitted = read_submission(out)
    problems = check_submission(out, sample=sample, expected=expected)
    if sample is None:
        problems += missing_images(submitted, origins)
        problems += count_warnings(submitted.index) if expected is None else []
    _say(console, out, problems, find_risks(submitted, origins))
    together = expected_together(origins)
    for boats, scores in together.items():
        said = expected_text(*(scores.get(name, float("nan")) for name in ("log_loss", "low", "high")))
        console.print(f"  expected of {BOATS[boats]}: log loss {said}")
    if not together:
        console.print(
            "  no score is expected of it: no run.json, and no oof.csv of the same folds, is beside the tables"
        )
    runs = list({tuple(run.items()): run for origin in origins for run in origin.runs}.values())
    notes = write_submission_notes(out, tables=tables, runs=runs, git_commit=git_commit(), expected=together)
    console.print(f"Wrote {notes}")


@commands.command()
def submissions(
    which: Annotated[
        Path, typer.Argument(metavar="[DIR | NAME]", help="folder of submissions, or a submission in submissions/")
    ] = SUBMISSIONS,
    public: Annotated[
        float | None, typer.Option(help="log loss that Kaggle gave NAME on the public leaderboard")
    ] = None,
    private: Annotated[float | None, typer.Option(help="and on the private one")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="ask Kaggle for the scores of DIR's submissions")] = False,
) -> None:
    """Print what submissions were expected to score and what Kaggle gave them, or write down the latter.

    Kaggle's public score is of stage 1, boats like training's, and the private one of stage 2, new boats. An exclamation
    mark says that a score lies outside the 90 % interval expected.

    Example: `fisheries submissions`, and once it is known `fisheries submissions NAME --public 1.23 --private 1.34`
    """
    from fisheries.analysis.ledger_view import ledger_view
    from fisheries.inference.ledger import find_notes, match_scores, read_ledger
    from fisheries.inference.submission_notes import note_real_scores
    from fisheries.kaggle_client import connect, fetch_scores
    from fisheries.schema import InputError

    console = make_console()
    real = {name: value for name, value in {"public": public, "private": private}.items() if value is not None}
    if real and which == SUBMISSIONS:
        raise InputError(
            "--public and --private are of one submission: give its name, as `fisheries submissions` lists it"
        )
    names = None
    if real or not (which.is_dir() or which == SUBMISSIONS):
        notes = find_notes(which, SUBMISSIONS)
        if fetch:
            raise InputError("--fetch is for a folder of submissions: leave the name out")
        which, names = notes.parent, [notes.stem]
        if real:
            note_real_scores(notes, real)
    if fetch:
        scored = fetch_scores(connect())
        found = match_scores(which, scored)
        for name, scores in found.items():
            note_real_scores(which / f"{name}.json", scores)
        console.print(f"Kaggle has scored {len(scored)} submissions, {len(found)} of those in {which}")
    ledger = read_ledger(which)
    console.print(ledger_view(ledger if names is None else ledger.loc[names]))


@commands.command()
def score(
    submission: Annotated[Path, typer.Argument(help="image,<classes>")],
    solution: Annotated[Path, typer.Argument(help="image,label[,stage], or Kaggle's one-hot form")],
) -> None:
    """Score a submission as Kaggle does.

    Example: `fisheries score submissions/RUN.csv data/boats/solution.csv`
    """
    from rich.table import Table

    from fisheries.inference.scoring import read_solution, score_submission
    from fisheries.inference.submission import read_submission

    scores = score_submission(read_submission(submission), read_solution(solution))
    view = Table("stage", *(name.replace("_", " ") for name in scores.columns))
    for row in scores.itertuples():
        view.add_row(str(row[0]), f"{row[1]:.0f}", *(f"{value:.5f}" for value in row[2:]))
    make_console().print(view)


def _say(console: Console, path: Path, problems: list[Problem], risks: list[Problem]) -> None:
    """Print what the check found, and stop where it is an error."""
    from fisheries.schema import InputError

    for problem in [*problems, *risks]:
        console.print(f"  {problem.severity}: {problem.text}", markup=False)
    if any(problem.severity == "error" for problem in problems):
        raise InputError(f"{path}: Kaggle would refuse it, for the reasons above")
    if not problems:
        console.print("  names, columns, values and sums are as the competition wants them")


def _name(origin: Origin) -> str:
    """Return <run>-<table>, or <run>-<step>-<table>."""
    folder = origin.table.resolve().parent.name
    run = [origin.runs[0]["name"]] if len(origin.runs) == 1 and origin.runs[0]["name"] != folder else []
    return "-".join([*run, folder, origin.table.stem])
