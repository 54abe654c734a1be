"""Commands that look at runs, predict with them, and hand in what they say.

Everything heavy is imported inside the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fisheries.console import make_console

commands = typer.Typer()
RunDir = Annotated[Path, typer.Argument(help="folder of a run")]


@commands.command()
def report(run_dir: RunDir) -> None:
    """Write `report.html` of a run anew: its two scores with intervals, curves, boats, worst mistakes, calibration.

    Example: `fisheries report runs/2026-01-31_12-00-00-ab12`
    """
    from fisheries.analysis.report import write_report

    console = make_console()
    console.print(f"Wrote {write_report(run_dir, progress=console.is_terminal)}")


@commands.command()
def compare(
    run_dirs: Annotated[list[Path], typer.Argument(help="folders of finished runs")],
    out: Annotated[Path, typer.Option(help="CSV to write; a plot and a Markdown table go beside it")] = Path(
        "compare.csv"
    ),
) -> None:
    """Print and plot runs side by side: what they score on unseen and on seen boats, and in what they differ.

    Example: `fisheries compare runs/* --out lesson7.csv`
    """
    from fisheries.analysis.compare import compare_runs, compare_view, markdown, plot_runs
    from fisheries.analysis.page import figure_png
    from fisheries.schema import InputError, write_atomic

    console = make_console()
    if out.suffix != ".csv":
        raise InputError(f"--out {out}: expected a name that ends in .csv")
    table = compare_runs(run_dirs)
    console.print(compare_view(table))
    if table["folds_hash"].nunique() > 1:
        console.print("[yellow]The runs hold out different images (their folds differ): compare with care[/]")
    write_atomic(out, table.to_csv().encode())
    write_atomic(out.with_suffix(".md"), markdown(table).encode())
    write_atomic(out.with_suffix(".png"), figure_png(plot_runs(table)))
    console.print(f"Wrote {out}, {out.with_suffix('.md')} and {out.with_suffix('.png')}")


@commands.command()
def explain(
    run_dir: RunDir,
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="photographs, or names of the run's images; by default one held-out image of each class"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder to write into; by default RUN_DIR/explain")] = None,
    layer: Annotated[
        str | None, typer.Option(help="whose activations and patterns to draw; by default the last of the backbone")
    ] = None,
    most: Annotated[
        int, typer.Option(min=0, help="images of unseen and of seen boats that are measured; 0: pictures only")
    ] = 100,
    seed: Annotated[int, typer.Option(min=0, help="of choices, and of the noise that patterns start from")] = 0,
    gpus: Annotated[str, typer.Option(help="0 for the CPU, 1, or auto")] = "auto",
) -> None:
    """Show what a network looks at: heat maps, activations, filters, and numbers: is it the fish, or the boat?

    Writes `explain.html`, and, if the run has boxes, the tables `heat.csv` and `changes.csv`: how much of the heat lies
    inside the fish's box, and what the network says when the fish is painted out or lies on another boat's deck.

    Example: `fisheries explain runs/2026-01-31_12-00-00-ab12 img_00003.jpg photos/new.jpg`
    """
    from fisheries.explain import explain_run

    console = make_console()
    out = out or run_dir / "explain"
    page = explain_run(run_dir, images or [], out, layer=layer, most=most, seed=seed, gpus=gpus, console=console)
    console.print(f"Wrote {page}")


@commands.command()
def predict(
    run_dir: RunDir,
    paths: Annotated[list[Path], typer.Argument(help="folders or files")],
    out: Annotated[Path, typer.Option(help="CSV to write: image_id and a probability for each class")] = Path(
        "predictions.csv"
    ),
    crops_run: Annotated[
        Path | None, typer.Option(help="a run trained on crops, to say which fish the first run's boxes show")
    ] = None,
    boxes: Annotated[
        list[Path] | None, typer.Option(help="with --crops-run: box tables in place of the first run's boxes")
    ] = None,
    gpus: Annotated[str, typer.Option(help="0 for the CPU, 1, or auto")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0, help="processes that read photographs")] = 2,
) -> None:
    """Predict photographs with the networks of a run, or in two stages with those of two.

    In two stages, fish are cut out as the crops that the second run was trained on. Whether there is no fish is for the
    first run to say; which one it is, for the second, or for its prior where the first sees no fish: no box with an area,
    or a probability of no fish above one half. Several fish in a photograph are averaged by their boxes' score.

    Example: `fisheries predict runs/2026-01-31_12-00-00-ab12 photos/ --out photos.csv`, or with a second stage
    `fisheries predict runs/FRAMES photos/ --crops-run runs/CROPS`
    """
    from fisheries.schema import InputError

    if boxes and crops_run is None:
        raise InputError("--boxes says where to cut for a second stage: give --crops-run, too")
    from fisheries.predict import predict_paths

    console = make_console()
    table = predict_paths(
        run_dir,
        paths,
        out,
        crops_run=crops_run,
        boxes=boxes or [],
        gpus=gpus,
        batch_size=batch_size,
        workers=workers,
        console=console,
    )
    console.print(f"Wrote {out} ({len(table)} rows)")


@commands.command()
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

    console = make_console()
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
