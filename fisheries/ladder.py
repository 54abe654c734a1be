"""The ladder: from trainings to the best predictions, each step kept only where out-of-fold predictions say so."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from fisheries.config import CONFIG, IMPORTED, read_config
from fisheries.data.lookalikes import burst_pairs, compare_pairs, load_pair_thumbnails, missing_photographs
from fisheries.inference.calibration import calibrate
from fisheries.inference.calibration_fit import fit_prior
from fisheries.inference.crossfit import cross_fit
from fisheries.inference.ensemble import ensemble
from fisheries.inference.evaluation import is_clear_gain
from fisheries.inference.neighbours import allowed_pairs, average_if_better
from fisheries.inference.origin import forecast_unseen
from fisheries.inference.outputs import Outputs, read_outputs, write_outputs
from fisheries.inference.scoring import constant_predictions, log_loss, per_image_loss, read_solution, score_submission
from fisheries.inference.tta import VIEWS
from fisheries.predict import check_choice, predict_folds
from fisheries.pseudo import make_pseudo
from fisheries.schema import InputError, write_atomic, write_predictions

LADDER = "ladder.csv"
NO_TTA = "none"
RECORD = "run.json"  # a run has it when it has ended


@dataclass(frozen=True)
class Rung:
    """A step: what it is, the tables it gives, and whether they are better on OOF than those before it."""

    step: str
    outputs: Outputs
    kept: bool


def climb(
    recipes: Sequence[str],
    out: Path,
    *,
    common: Sequence[str] = (),
    tta: str = "flips",
    solution: Path | None = None,
    seed: int = 0,
    console: Console,
) -> pd.DataFrame:
    """Train recipes, and improve what they say step by step.

    The steps are test-time augmentation, an ensemble, one round of pseudo-labels, look-alikes, calibration. One is kept
    where the log loss of its out-of-fold predictions is lower than that of those before it: by more than a standard error
    over boats for views and pseudo-labels; for the others at all, since theirs are of boats that neither they nor their
    choice were fitted on. Test predictions and the truth have no part in this. What is there in `out` already is not trained again.

    Args:
        recipes: overrides of `train.py` for each network, such as "model=resnet50 optimizer.lr=1e-4".
        out: the folder to write; the kept tables are in its `best`.
        common: overrides for all of them.
        tta: test-time augmentation to try, of the networks that are trained; none for none.
        solution: true classes of test images; by default solution.csv in the folder of the photographs, if it is there.
        seed: of intervals.
        console: where to say what happens.

    Returns:
        A row a step: step, kept, oof_log_loss, which is the forecast for the new boats of test, with low and high, its
        90 % interval; and, where the truth is known, stg1 and stg2, the log loss of the stages; nats.

    Raises:
        InputError: fewer than two recipes, an unknown `tta`, or a training fails.
    """
    if len(recipes) < 2:
        raise InputError(f"--recipe was given {len(recipes)} times; an ensemble is made of two recipes or more")
    check_choice("--tta", tta, list(VIEWS))
    runs = {f"{number}": [*common, *shlex.split(recipe), "fold=all"] for number, recipe in enumerate(recipes, start=1)}
    plain = {name: _train(out / f"run-{name}", given, console=console) for name, given in runs.items()}
    best = min(plain, key=lambda name: _oof_loss(plain[name]))
    rungs = [Rung("constant prior", _prior(plain[best]), kept=False), Rung(f"recipe {best}", plain[best], kept=True)]
    folders, members = {name: out / f"run-{name}" for name in runs}, dict(plain)
    if tta != NO_TTA and read_config(folders[best]).model.backbone != IMPORTED:  # which has no photographs to look at
        for name in runs:
            folder = out / f"run-{name}-{tta}"
            seen = _look_again(folders[name], folder, tta, console=console)
            kept = _is_clearly_better(seen, plain[name])
            if name == best:
                rungs.append(Rung(f"tta={tta}", seen, kept))
            if kept:
                folders[name], members[name] = folder, seen
    used = _blend(rungs, f"ensemble of {len(runs)}", members, [best], console=console)
    made_of = [folders[name] for name in used]
    pseudo = f"pseudo={_write_pseudo(folders[best], out / 'pseudo.csv')}"
    for name, given in runs.items():
        views = NO_TTA if members[name] is plain[name] else tta
        folder = out / f"run-{name}-pseudo"
        again = _train(folder, [*given, pseudo, f"tta={views}"], console=console)
        if _is_clearly_better(again, members[name]):
            folders[name], members[name] = folder, again
    used = _blend(rungs, "pseudo-labels", members, [], console=console)
    made_of = [folders[name] for name in used] or made_of
    _add(rungs, "look-alikes", _lookalikes(_top(rungs), console=console))
    _add(rungs, "calibration", calibrate(_top(rungs), progress=console.is_terminal).outputs)
    table = _table(rungs, _truth(out / "run-1", solution), seed=seed)
    steps = [rung.step for rung in rungs if rung.kept]
    write_outputs(
        _top(rungs), out / "best", step={"step": "ladder", "kept": steps, "from": [str(path) for path in made_of]}
    )
    write_atomic(out / LADDER, table.to_csv(index=False).encode())
    return table


def _train(run_dir: Path, overrides: Sequence[str], *, console: Console) -> Outputs:
    """Train in a process of its own, or go on with what is there, and return what it predicted."""
    given = [*overrides, f"submissions_dir={run_dir}"]
    began = list(read_config(run_dir).overrides) if (run_dir / CONFIG).is_file() else None
    if began not in (None, given):
        raise InputError(
            f"{run_dir}: was begun with {shlex.join(began or [])}, now it is {shlex.join(given)}; give another --out"
        )
    if not (run_dir / RECORD).is_file():
        arguments = [*given, f"hydra.run.dir={run_dir}"] if began is None else [f"resume={run_dir}"]
        console.print(f"[bold]{run_dir.name}[/]: python train.py {shlex.join(arguments)}")
        done = subprocess.run([sys.executable, "-m", "fisheries", *arguments], check=False)
        if done.returncode:
            raise InputError(
                f"{run_dir}: its training ended with {done.returncode}, for the reason above; mend it and start again"
            )
    return read_outputs(run_dir / "oof.csv")


def _look_again(run_dir: Path, out: Path, tta: str, *, console: Console) -> Outputs:
    """Predict with the networks of a run, unless that is there already."""
    if (out / "oof.csv").is_file():
        return read_outputs(out / "oof.csv")
    console.print(f"[bold]{out.name}[/]: the networks of {run_dir.name} with tta={tta}")
    return predict_folds(run_dir, out, tta=tta, console=console)


def _oof_loss(outputs: Outputs) -> float:
    return log_loss(outputs.oof, outputs.labels)


def _is_clearly_better(after: Outputs, before: Outputs) -> bool:
    labels = before.labels
    return is_clear_gain(per_image_loss(before.oof, labels), per_image_loss(after.oof, labels), before.boats)


def _top(rungs: Sequence[Rung]) -> Outputs:
    return next(rung.outputs for rung in reversed(rungs) if rung.kept)


def _add(rungs: list[Rung], step: str, outputs: Outputs) -> None:
    rungs.append(Rung(step, outputs, kept=_oof_loss(outputs) < _oof_loss(_top(rungs))))


def _prior(outputs: Outputs) -> Outputs:
    """Return the constant prior as tables, on OOF counted on other boats."""
    oof = cross_fit(outputs.oof, outputs.labels, outputs.boats, fit_prior)
    return Outputs(oof, constant_predictions(outputs.prior, outputs.test.index), outputs.manifest, outputs.folds)


def _blend(
    rungs: list[Rung], step: str, members: Mapping[str, Outputs], otherwise: list[str], *, console: Console
) -> list[str]:
    """Add an ensemble; return the members that count in it, or `otherwise` where it is not kept."""
    result = ensemble(members, progress=console.is_terminal)
    _add(rungs, step, result.outputs)
    weights = result.members["weight"]
    return list(weights.index[weights > 0]) if rungs[-1].kept else otherwise


def _lookalikes(outputs: Outputs, *, console: Console) -> Outputs:
    pairs = allowed_pairs(burst_pairs(outputs.manifest), outputs)
    if missing_photographs(pairs, outputs.manifest).empty:
        pictures = load_pair_thumbnails(pairs, outputs.manifest, None, progress=console.is_terminal)
        pairs = compare_pairs(pairs, *pictures, progress=console.is_terminal)
    return average_if_better(outputs, pairs).outputs


def _write_pseudo(run_dir: Path, path: Path) -> Path:
    rows = make_pseudo(run_dir / "test.csv")
    write_predictions(rows, path, folds_hash=rows.attrs["folds_hash"])
    return path


def _truth(run_dir: Path, solution: Path | None) -> pd.DataFrame | None:
    path = solution or Path(read_config(run_dir).data.root) / "solution.csv"
    return read_solution(path) if solution is not None or path.is_file() else None


def _table(rungs: Sequence[Rung], solution: pd.DataFrame | None, *, seed: int) -> pd.DataFrame:
    rows = []
    for rung in rungs:
        said = forecast_unseen(rung.outputs, seed=seed)
        row = {"step": rung.step, "kept": rung.kept, "oof_log_loss": _oof_loss(rung.outputs)}
        row |= {"low": said.get("low"), "high": said.get("high")}
        if solution is not None:
            row |= score_submission(rung.outputs.test, solution)["log_loss"].drop("all").to_dict()
        rows.append(row)
    return pd.DataFrame(rows)
