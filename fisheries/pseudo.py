"""Pseudo-labels: what the networks of a run say of test images, as rows for each fold of the next run to train on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from fisheries.data.pseudo_rows import fold_reasons
from fisheries.data.splits import train_ids
from fisheries.inference.evaluation import boats_of, standard_error
from fisheries.inference.label_shift import published_mix, read_mix
from fisheries.inference.scoring import class_frequencies, per_image_loss
from fisheries.schema import FOLDS, MANIFEST, OK, InputError, read_folds_hash, read_predictions, read_table, table_hash

UNREADABLE, UNSURE, TOO_MANY = "can't be read", "less sure", "more of its boat and class"
_FLOOR = 1e-12  # a target of 0 could not be brought to any prior
_TOLERANCE, _ROUNDS = 1e-6, 1000


def make_pseudo(
    test_csv: Path,
    *,
    threshold: float = 0.0,
    weight: float = 1.0,
    most: int | None = None,
    match_prior: bool = True,
    expect: str | None = None,
) -> pd.DataFrame:
    """Return pseudo-labels for each fold of a run, of its own network alone.

    The mean over folds would not do: all networks but one have trained on the boats that a fold holds out, and would
    teach them to the network that is scored on them. For the same reason a fold gets no image of a held-out boat or
    burst, see `pseudo_rows.why_left_out`.

    Args:
        test_csv: of a run's folder, with the folds' own tables beside it.
        threshold: least highest probability of an image.
        weight: of the rows in the loss.
        most: images of one boat (or burst, where the boat is not known) and likeliest class, the surest ones; None
            for all.
        match_prior: whether the mean of a fold's targets is brought to the class frequencies that it trains on, see
            `match_mean`.
        expect: instead of these, a class mix: a CSV as `read_mix` takes, or "published".

    Returns:
        A row an image and fold, by `image_id`, with the columns `pseudo_rows.PSEUDO` and one a class. Its
        `attrs["folds_hash"]` is that of the folds, `attrs["left_out"]` has how many images were left out, by fold and
        reason.

    Raises:
        InputError: there are no tables of folds, they are of other folds or images, or an argument is out of range.
    """
    if expect is not None and not match_prior:
        raise InputError(f"--expect {expect} and --no-prior: targets are brought to a class mix, or left as they are")
    _check_range("threshold", threshold, low=0, high=1)
    _check_range("weight", weight, low=1e-6, high=100)
    _check_range("most-per-class-and-boat", 1 if most is None else most, low=1, high=np.inf)
    folder, tables, classes = test_csv.parent, *_fold_tables(test_csv)
    manifest, folds = read_table(folder / "manifest.csv", MANIFEST), read_table(folder / "folds.csv", FOLDS)
    _check_folds([test_csv, *(folder / name for name in tables)], folds)
    parts, left_out = [], {}
    for name, table in tables.items():
        fold = int(Path(name).parent.name.removeprefix("fold-"))
        why = _reasons(table, manifest, folds, fold, threshold=threshold, most=most)
        left_out[fold] = dict(Counter(why[why != ""]))
        targets = table[why == ""]
        if match_prior and len(targets):
            trained_on = class_frequencies(manifest["label"].loc[train_ids(folds, fold)], classes)
            targets = match_mean(targets, _mix(expect, trained_on))
        about = {"fold": fold, "weight": weight, "source": str(folder.resolve())}
        parts.append(targets.assign(**about)[[*about, *classes]])
    pseudo = pd.concat(parts)
    if pseudo.empty:
        raise InputError(
            f"{test_csv}: no image is left for any fold ({_said(left_out)}); lower --threshold, or say the boats"
        )
    pseudo.attrs |= {"folds_hash": table_hash(folds), "left_out": left_out}
    return pseudo


def pseudo_gain(pseudo: pd.DataFrame, predictions: pd.DataFrame, manifest: pd.DataFrame) -> dict[str, float]:
    """Say what a run gained on held-out images over the run that its pseudo-labels are of.

    Args:
        pseudo: as `make_pseudo` returns it.
        predictions: of held-out images.
        manifest: has their labels and boats.

    Returns:
        log_loss_before, change (below 0 where it helped) and the change's standard_error over boats, in nats; {} where
        the earlier run's oof.csv is gone or lacks an image.
    """
    oof_csv = Path(pseudo["source"].iloc[0]) / "oof.csv"
    if not oof_csv.is_file():
        return {}
    before = read_predictions(oof_csv, list(predictions.columns))
    if not predictions.index.isin(before.index).all():
        return {}
    images = manifest.loc[predictions.index]
    losses = per_image_loss(before.loc[predictions.index], images["label"])
    change = per_image_loss(predictions, images["label"]) - losses
    error = standard_error(change, boats_of(images))
    return {"log_loss_before": losses.mean(), "change": change.mean(), "standard_error": error}


def match_mean(targets: pd.DataFrame, prior: pd.Series) -> pd.DataFrame:
    """Scale the classes of soft targets so that their mean is the prior, and rows still sum to 1.

    A division of each class by its mean and a multiplication by its prior, repeated until the mean is there: iterative
    proportional fitting (Deming and Stephan 1940), here to rows of 1. Saerens' EM answers another question, which mix
    the predictions point to.

    Args:
        targets: (N, C) distributions.
        prior: (C,) by class.
    """
    prior = prior[targets.columns]
    scaled = targets.clip(lower=_FLOOR)
    for _ in range(_ROUNDS):
        scaled = scaled * (prior / scaled.mean().clip(lower=np.finfo(float).tiny))
        scaled = scaled.div(scaled.sum(axis=1), axis=0)
        if (scaled.mean() - prior).abs().max() < _TOLERANCE:
            break
    return scaled


def _fold_tables(test_csv: Path) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the folds' own tables by their path below the run's folder, and the classes."""
    mean = read_predictions(test_csv)
    classes = list(mean.columns)
    files = sorted(test_csv.parent.glob("fold-*/test.csv"))
    if not files:
        raise InputError(
            f"{test_csv}: no fold-*/test.csv beside it; a fold must not learn from the others' networks, which know the "
            "boats that it holds out, and their mean is all that this table has: give test.csv in the folder of a run"
        )
    tables = {str(file.relative_to(test_csv.parent)): read_predictions(file, classes) for file in files}
    for name, table in tables.items():
        other = table.index.symmetric_difference(mean.index)
        if len(other):
            raise InputError(
                f"{test_csv}: {other[0]!r} is in it or in {name}, not in both; {len(other)} such images; give the run's own"
            )
    return tables, classes


def _check_folds(files: list[Path], folds: pd.DataFrame) -> None:
    for file in files:
        found = read_folds_hash(file)
        if found != table_hash(folds):
            raise InputError(
                f"{file}: its network was trained on the folds {found or '(not said)'}, folds.csv beside it is "
                f"{table_hash(folds)}; give test.csv in the folder of the run that made it"
            )


def _reasons(
    table: pd.DataFrame, manifest: pd.DataFrame, folds: pd.DataFrame, fold: int, *, threshold: float, most: int | None
) -> pd.Series:
    """Say of each image why the fold gets no row of it; "" where it does."""
    images = manifest.loc[table.index]
    why = fold_reasons(images, manifest, folds, fold).mask(images["status"] != OK, UNREADABLE)
    sureness = table.max(axis=1)
    why = why.mask((why == "") & (sureness < threshold), UNSURE)
    left = why.index[why == ""]
    # of equally sure ones the first by name
    ordered = left[np.lexsort([left.to_numpy(), -sureness[left].to_numpy()])]
    rank = pd.Series(0, ordered).groupby([boats_of(images).loc[ordered], table.loc[ordered].idxmax(axis=1)]).cumcount()
    return why if most is None else why.mask(why.index.isin(rank.index[rank >= most]), TOO_MANY)


def _mix(expect: str | None, trained_on: pd.Series) -> pd.Series:
    if expect is None:
        return trained_on
    return published_mix(trained_on) if expect == "published" else read_mix(Path(expect), trained_on)


def _check_range(name: str, value: float, *, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"--{name} {value}: expected a number from {low:g} to {high:g}")


def _said(left_out: dict[int, dict[str, int]]) -> str:
    total = sum((Counter(reasons) for reasons in left_out.values()), Counter())
    return ", ".join(f"{count} {reason}" for reason, count in total.items())
