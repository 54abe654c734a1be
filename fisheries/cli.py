"""`fisheries <command>`: training, and the commands in `commands/`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from fisheries.commands import doctor, kaggle, ladder, runs, steps, submissions, tables, view
from fisheries.errors import one_line

app = typer.Typer(
    help="Tell the species of fish in photographs from fishing boats, with a score that holds on boats never seen.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run a command of `fisheries`; a wrong word on its line is a line, and exit code 2."""
    one_line(_run)


def _run() -> None:
    try:
        sys.exit(app(standalone_mode=False, prog_name="fisheries"))  # or Typer would draw a box around what is wrong
    except typer.TyperException as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # which has printed the help
            command = getattr(error, "ctx", None)
            where = "fisheries" if command is None else command.command_path
            print(f"fisheries: {error.format_message().rstrip('.')} (see {where} --help)", file=sys.stderr)
        sys.exit(2)


@app.command(
    "train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def train_command(context: typer.Context) -> None:
    """Train, score on held-out boats and write a submission, as `python train.py` does.

    Example: `fisheries train data=ncfm data.root=DIR model=resnet50 trainer.gpus=1`
    """
    from fisheries.launch import launch

    # processes that train together are started anew from this file
    sys.argv = [str(Path(__file__).with_name("__main__.py")), *context.args]
    launch()


app.add_typer(tables.commands)
app.add_typer(runs.commands)
app.add_typer(steps.commands)
app.add_typer(ladder.commands)
app.add_typer(doctor.commands)
app.add_typer(submissions.commands)
app.add_typer(kaggle.commands)
app.add_typer(view.commands)
