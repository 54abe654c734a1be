"""`fisheries <command>`; thin, one function a command.

Everything heavy is imported inside the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fisheries.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Tell the species of fish in photographs from fishing boats, with a score that holds on boats never seen.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
DataDir = Annotated[Path, typer.Argument(help="folder with train/<class>/ and test*/ in it")]


def main() -> None:
    """Run a command of `fisheries`."""
    one_line(app)


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


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="where to; must not exist yet")],
    train: Annotated[int, typer.Option(help="training images")] = 800,
    stage1: Annotated[int, typer.Option(help="test images of the training boats")] = 100,
    stage2: Annotated[int, typer.Option(help="test images of boats never seen")] = 200,
    boats: Annotated[int, typer.Option(help="boats of the training images")] = 20,
    new_boats: Annotated[int, typer.Option(help="boats of stage 2")] = 10,
    leak: Annotated[
        float, typer.Option(help="0: every boat catches all classes; 1: classes keep to their boats")
    ] = 0.8,
    seed: Annotated[int, typer.Option(help="another seed is another world")] = 0,
) -> None:
    """Draw the embedded boats: a small competition with everything that makes the real one hard.

    Example: `fisheries synth data/boats --leak 1`
    """
    from fisheries.data.synthetic import draw_competition

    console = _console()
    draw_competition(
        folder,
        train=train,
        stage1=stage1,
        stage2=stage2,
        boats=boats,
        new_boats=new_boats,
        leak=leak,
        seed=seed,
        progress=console.is_terminal,
    )
    console.print(f"{folder}: {train} training images of {boats} boats, {stage1} + {stage2} test images")


@app.command()
def manifest(
    data_dir: DataDir,
    out: Annotated[Path | None, typer.Option(help="folder for them; by default one below tables/")] = None,
    annotations: Annotated[list[Path] | None, typer.Option(help="box files; by default those in DATA_DIR")] = None,
    boats: Annotated[Path | None, typer.Option(help="CSV image_id,boat; by default DATA_DIR/boats.csv")] = None,
    no_fish: Annotated[str, typer.Option(help="class whose boxes are not fish")] = "NoF",
) -> None:
    """Check every photograph and box once, and write `manifest.csv` and `boxes.csv`.

    Example: `fisheries manifest data/ncfm`
    """
    from fisheries.analysis.summary import summary
    from fisheries.data.manifest import load_or_scan, tables_dir_of

    console = _console()
    out = out or tables_dir_of(data_dir, Path("tables"))
    images, boxes = load_or_scan(
        data_dir, annotations=annotations, boats=boats, no_fish=no_fish, tables_dir=out, progress=console.is_terminal
    )
    console.print(summary(images, boxes))
    console.print(f"Wrote {out / 'manifest.csv'} and {out / 'boxes.csv'}")


@app.command()
def predict(
    run_dir: Annotated[Path, typer.Argument(help="folder of a run")],
    paths: Annotated[list[Path], typer.Argument(help="folders or files")],
    out: Annotated[Path, typer.Option(help="CSV to write: image_id and a probability for each class")] = Path(
        "predictions.csv"
    ),
    gpus: Annotated[str, typer.Option(help="0 for the CPU, 1, or auto")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0, help="processes that read photographs")] = 2,
) -> None:
    """Predict photographs with the networks of a run.

    Example: `fisheries predict runs/2026-01-31_12-00-00-ab12 photos/ --out photos.csv`
    """
    from fisheries.predict import predict_paths

    console = _console()
    table = predict_paths(run_dir, paths, out, gpus=gpus, batch_size=batch_size, workers=workers, console=console)
    console.print(f"Wrote {out} ({len(table)} rows)")


@app.command()
def submit(
    table: Annotated[Path, typer.Argument(help="prediction table, such as test.csv of a run")],
    sample: Annotated[Path | None, typer.Option(help="the competition's sample: its names, in its order")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write; by default submissions/<run>-<table>.csv")] = None,
) -> None:
    """Write a submission from a prediction table, and check it.

    Example: `fisheries submit runs/RUN/test.csv --sample sample_submission_stg1.csv`
    """
    from fisheries.inference.submission import check_submission, write_submission
    from fisheries.schema import InputError, read_predictions

    console = _console()
    out = out or Path("submissions") / f"{table.resolve().parent.name}-{table.stem}.csv"
    written = write_submission(read_predictions(table), out, sample=sample)
    console.print(f"Wrote {written.path} ({written.rows} rows)")
    if written.left_out:
        console.print(
            f"  {written.left_out} predictions of the other stage are left out: the sample does not have them"
        )
    problems = check_submission(out, sample=sample)
    for problem in problems:
        console.print(f"  {problem.severity}: {problem.text}", highlight=False, markup=False)
    if any(problem.severity == "error" for problem in problems):
        raise InputError(f"{out}: not fit to be submitted, for the reasons above")
    console.print("  names, columns, values and sums are as the competition wants them")


@app.command()
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
    _console().print(view)


def _console() -> Console:
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)
