"""Commands that look at runs and predict with them.

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
    run_dirs: Annotated[list[Path], typer.Argument(help="folders of runs, or of a multirun")],
    out: Annotated[Path, typer.Option(help="CSV to write; a plot, a page and a Markdown table go beside it")] = Path(
        "compare.csv"
    ),
) -> None:
    """Print and plot runs side by side: what they score on unseen and on seen boats, and in what they differ.

    Runs that differ in their fold only get a line for all of them together; what failed is listed with the reason.

    Example: `fisheries compare runs/* --out lesson7.csv`
    """
    from fisheries.analysis.jobs import compare_jobs, job_folders
    from fisheries.schema import InputError

    if out.suffix != ".csv":
        raise InputError(f"--out {out}: expected a name that ends in .csv")
    compare_jobs(job_folders(run_dirs), out, console=make_console())


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
    tta: Annotated[
        str | None,
        typer.Option(help="views to average: none, flips, d4 or multiscale; by default what the run predicted with"),
    ] = None,
    fold_mean: Annotated[
        str | None, typer.Option(help="mean of the folds: arithmetic or geometric; by default the run's own")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: what is fastest here without moving the log loss")
    ] = "auto",
    gpus: Annotated[str, typer.Option(help="0 for the CPU, 1, or auto")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0, help="processes that read photographs")] = 2,
) -> None:
    """Predict photographs with the networks of a run, or in two stages with those of two.

    In two stages, fish are cut out as the crops that the second run was trained on. Whether there is no fish is for the
    first run to say; which one it is, for the second, or for its prior where the first sees no fish: no box with an area,
    or a probability of no fish above one half. Several fish in a photograph are averaged by their boxes' score.

    Stopped before its end, the same command goes on with what it kept in `<out>.partial`.

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
        tta=tta,
        fold_mean=fold_mean,
        precision=precision,
        console=console,
    )
    console.print(f"Wrote {out} ({len(table)} rows)")


@commands.command()
def dashboard(
    project: Annotated[str, typer.Option(help="of Weights & Biases, such as logger.project of the runs")] = "fisheries",
    entity: Annotated[str | None, typer.Option(help="user or team that has it; by default the key's own")] = None,
) -> None:
    """Lay out a project of Weights & Biases, as a new saved view: scores, smoothed curves, held-out pictures.

    It needs a key and the network. Runs are sent there by `logger=wandb`, or later by `wandb sync`.

    Example: `fisheries dashboard --project fisheries --entity our-team`
    """
    from importlib.util import find_spec

    from fisheries.schema import InputError

    if find_spec("wandb_workspaces") is None:
        raise InputError("wandb-workspaces is not installed: pip install -e '.[dashboard]'")
    from fisheries.dashboard.workspace import save_workspace

    make_console().print(f"Saved {save_workspace(project, entity)}", markup=False, soft_wrap=True)
