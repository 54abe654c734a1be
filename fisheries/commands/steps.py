"""Commands that take prediction tables and give better ones back.

Everything heavy is imported inside the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fisheries.console import make_console

commands = typer.Typer()
OofCsv = Annotated[Path, typer.Argument(metavar="OOF", help="oof.csv of a run with fold=all, or of a step after it")]
TestCsv = Annotated[
    Path | None, typer.Argument(metavar="TEST", help="its test.csv; by default the one beside OOF, if any")
]
Tables = Annotated[
    Path | None, typer.Option(help="folder of the run's manifest.csv and folds.csv; by default that of OOF")
]


class Shift(StrEnum):
    """Which class mix the test predictions are restated for."""

    none = "none"
    robust = "robust"


@commands.command()
def calibrate(
    oof: OofCsv,
    test: TestCsv = None,
    out: Annotated[Path | None, typer.Option(help="folder to write; by default calibrated/ beside OOF")] = None,
    tables: Tables = None,
    expect: Annotated[
        str | None, typer.Option(help="the class mix of test: a CSV with class,share, or published, the competition's")
    ] = None,
    shift: Annotated[Shift, typer.Option(help="robust: be least wrong in the worst class mix that is plausible")] = (
        Shift.none
    ),
    allow_worse: Annotated[bool, typer.Option("--allow-worse", help="even if worse than the constant prior")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of intervals and of plausible mixes")] = 0,
) -> None:
    """Restate probabilities so that they hold on boats never seen; fitted, chosen and judged on out-of-fold predictions.

    Writes the tables for the next step, `reliability.png` and `methods.csv`. A class mix given with `--expect`, or
    `--shift robust`, changes test.csv alone: oof.csv keeps the mix of training, for which it was calibrated.

    Example: `fisheries calibrate runs/RUN/oof.csv runs/RUN/test.csv --out runs/RUN/calibrated`
    """
    from fisheries.analysis.calibration_view import bands_view, methods_view, score_lines
    from fisheries.analysis.page import figure_png
    from fisheries.analysis.reliability import plot_reliability_change
    from fisheries.inference.calibration import calibrate as calibrate_outputs
    from fisheries.inference.calibration import check_better_than_prior
    from fisheries.inference.outputs import read_outputs, write_outputs
    from fisheries.inference.shift_forecast import check_mix, shift_outputs
    from fisheries.schema import InputError, write_atomic

    if expect is not None and shift is Shift.robust:
        raise InputError(f"--expect {expect} and --shift robust: two class mixes; give one of them")
    console = make_console()
    out = out or oof.parent / "calibrated"
    given = read_outputs(oof, test, tables=tables)
    check_mix(expect, given)  # before the half minute that follows
    result = calibrate_outputs(given, progress=console.is_terminal)
    console.print(methods_view(result))
    for line in score_lines(result, seed=seed):
        console.print(line)
    if not allow_worse:
        check_better_than_prior(result)
    shifted = shift_outputs(result.outputs, expect="robust" if shift is Shift.robust else expect, seed=seed)
    console.print(bands_view(shifted))
    step = {
        "step": "calibrate",
        "method": result.method,
        "log_loss_before": result.before.mean(),
        "log_loss": result.after.mean(),
        "prior_log_loss": result.prior.mean(),
        "expected_mix": shifted.expected.round(6).to_dict(),
        "from": [str(path) for path in (oof, test) if path is not None],
    }
    written = write_outputs(shifted.outputs, out, step=step)
    figure = plot_reliability_change(given.oof, result.outputs.oof, given.labels)
    write_atomic(out / "reliability.png", figure_png(figure))
    write_atomic(out / "methods.csv", result.methods.to_csv().encode())
    write_atomic(out / "mixes.csv", shifted.bands.to_csv().encode())
    console.print(f"Wrote {_listed(written)}; reliability.png, methods.csv and mixes.csv beside them")


@commands.command()
def pseudo(
    test: Annotated[
        Path, typer.Argument(metavar="TEST.csv", help="test.csv in a run's folder, not of a step after it")
    ],
    out: Annotated[Path, typer.Option(help="CSV to write, for `python train.py pseudo=FILE`")] = Path("pseudo.csv"),
    threshold: Annotated[float, typer.Option(help="least highest probability of an image; 0 takes all")] = 0.0,
    weight: Annotated[float, typer.Option(help="of the rows in the loss, where a training image has 1")] = 1.0,
    most_per_class_and_boat: Annotated[
        int | None, typer.Option(help="images of one boat that are likeliest of one class: the surest ones only")
    ] = None,
    prior: Annotated[
        bool, typer.Option("--prior/--no-prior", help="bring the mean of the targets to the class mix of training")
    ] = True,
    expect: Annotated[
        str | None, typer.Option(help="to this class mix instead: a CSV with class,share, or published")
    ] = None,
) -> None:
    """Make pseudo-labels for another run: what a run says of test images, as soft targets to train on.

    Each fold's rows come from its own network, which has not seen the boats that the fold holds out, and none is of
    such a boat or its bursts, or of a boat that is not known. The other run must have the same folds. Its own test.csv
    gives the next round.

    Example: `fisheries pseudo runs/RUN/test.csv --out pseudo.csv`, then `python train.py fold=all pseudo=pseudo.csv`
    """
    from rich.table import Table

    from fisheries.pseudo import make_pseudo
    from fisheries.schema import write_predictions

    rows = make_pseudo(
        test, threshold=threshold, weight=weight, most=most_per_class_and_boat, match_prior=prior, expect=expect
    )
    reasons = sorted({reason for counts in rows.attrs["left_out"].values() for reason in counts})
    view = Table("fold", "rows", *(f"left out: {reason}" for reason in reasons))
    for fold, counts in rows.attrs["left_out"].items():
        view.add_row(str(fold), str((rows["fold"] == fold).sum()), *(str(counts.get(reason, 0)) for reason in reasons))
    console = make_console()
    console.print(view)
    write_predictions(rows, out, folds_hash=rows.attrs["folds_hash"])
    console.print(f"Wrote {out} ({len(rows)} rows of {rows.index.nunique()} images)")


@commands.command("ensemble")
def make_ensemble(
    run_dirs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR...", help="folders of runs with fold=all, or of steps after them")
    ],
    method: Annotated[
        str | None, typer.Option(help="mean, geometric, weighted or greedy; by default chosen, if any of them helps")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder to write")] = Path("runs/ensemble"),
    seed: Annotated[int, typer.Option(min=0, help="of intervals")] = 0,
) -> None:
    """Make one of several networks, if that is better on boats never seen; say what each is worth.

    The networks must have been trained on the same folds. Of the methods that are better than the best network alone,
    the simplest counts that is within one standard error of the best, all judged on boats they were not fitted on.

    Example: `fisheries ensemble runs/A runs/B runs/C/calibrated --out runs/ensemble`
    """
    from fisheries.analysis.ensemble_view import ensemble_lines, ensemble_view, members_view
    from fisheries.inference.ensemble import ensemble
    from fisheries.inference.outputs import read_outputs, write_outputs
    from fisheries.schema import InputError

    for number, folder in enumerate(run_dirs):
        if folder in run_dirs[:number]:
            raise InputError(f"{folder}: given twice; a member counts more by its weight, see --method weighted")
    console = make_console()
    members = {str(folder): read_outputs(folder / "oof.csv") for folder in run_dirs}
    result = ensemble(members, method, seed=seed, progress=console.is_terminal)
    console.print(ensemble_view(result))
    console.print(members_view(result))
    for line in ensemble_lines(result, seed=seed):
        console.print(line)
    weights = result.members["weight"]
    step = {
        "step": "ensemble",
        "method": result.method,
        "weights": weights.round(6).to_dict(),
        "log_loss_before": result.before.mean(),
        "log_loss": result.after.mean(),
        "from": [name for name in weights.index if weights[name] > 0],
    }
    console.print(f"Wrote {_listed(write_outputs(result.outputs, out, step=step))}")


@commands.command()
def lookalikes(
    oof: OofCsv,
    test: TestCsv = None,
    out: Annotated[Path | None, typer.Option(help="folder to write; by default lookalikes/ beside OOF")] = None,
    tables: Tables = None,
    thumbnails: Annotated[
        Path | None,
        typer.Option(help="folder that `fisheries manifest` wrote; by default the run's photographs are read"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the interval")] = 0,
) -> None:
    """Average the predictions of near-duplicate frames, if that is better on boats never seen.

    Look-alikes are images of one burst that the same networks predicted: held out by one fold, or both of test. They
    count alike or by the similarity of their photographs; without photographs they count alike.

    Example: `fisheries lookalikes runs/RUN/oof.csv runs/RUN/test.csv --out runs/RUN/lookalikes`
    """
    from fisheries.analysis.lookalikes_view import lookalike_lines, settings_view
    from fisheries.data.lookalikes import burst_pairs, compare_pairs, load_pair_thumbnails, missing_photographs
    from fisheries.inference.neighbours import UNCHANGED, allowed_pairs, average_if_better
    from fisheries.inference.outputs import read_outputs, write_outputs

    console = make_console()
    out = out or oof.parent / "lookalikes"
    given = read_outputs(oof, test, tables=tables)
    pairs = allowed_pairs(burst_pairs(given.manifest), given)
    missing = missing_photographs(pairs, given.manifest)
    if thumbnails is None and len(missing):
        console.print(
            f"[yellow]Look-alikes count alike: {len(missing)} of their photographs are not there, such as {missing.index[0]}; "
            "--thumbnails takes their similarity from the folder that `fisheries manifest` wrote[/]"
        )
    else:
        pictures = load_pair_thumbnails(pairs, given.manifest, thumbnails, progress=console.is_terminal)
        pairs = compare_pairs(pairs, *pictures, progress=console.is_terminal)
    result = average_if_better(given, pairs)
    console.print(settings_view(result))
    for line in lookalike_lines(result, seed=seed):
        console.print(line)
    step = {
        "step": "lookalikes",
        "method": result.used,
        "log_loss_before": result.losses[UNCHANGED].mean(),
        "log_loss": (result.losses[UNCHANGED] if result.used == UNCHANGED else result.after).mean(),
        "from": [str(path) for path in (oof, test) if path is not None],
    }
    console.print(f"Wrote {_listed(write_outputs(result.outputs, out, step=step))}")


def _listed(paths: list[Path]) -> str:
    return " and ".join(map(str, paths))
