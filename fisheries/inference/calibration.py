"""Calibration: the way to restate probabilities that holds on boats it was not fitted on, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from fisheries.inference.calibration_fit import (
    Fit,
    fit_clip,
    fit_confusion,
    fit_none,
    fit_prior,
    fit_prior_mix,
    fit_temperature,
    fit_temperature_prior_mix,
    fit_vector,
)
from fisheries.inference.calibration_math import Change
from fisheries.inference.crossfit import boat_parts, cross_fit
from fisheries.inference.evaluation import standard_error
from fisheries.inference.outputs import Outputs
from fisheries.inference.scoring import per_image_loss
from fisheries.progress import progress_bar
from fisheries.schema import InputError

NONE = "none"
# The simplest first; of those with one parameter the one that errs towards the prior: where networks know little, a
# temperature in its place scored up to 0.1 nats worse on new boats.
METHODS: Mapping[str, Fit] = {
    NONE: fit_none,
    "prior mix": fit_prior_mix,
    "temperature": fit_temperature,
    "clip": fit_clip,
    "temperature + prior mix": fit_temperature_prior_mix,
    "confusion": fit_confusion,
    "vector": fit_vector,
}
CHOICE_PARTS = 5  # of boats, to choose a method


@dataclass(frozen=True)
class Calibration:
    """Calibrated tables, and what they are worth on boats that nothing was fitted on.

    Attributes:
        outputs: to hand on: `oof` cross-fitted over boats, the choice of the method included; `test` changed by the
            method fitted on all of `oof`. As given where `method` is none.
        chosen: the method chosen on all of `oof`.
        method: the method that `outputs` were changed by: `chosen`, or none where that did not help.
        methods: as `choose` returns them.
        before: log loss of each image of `oof` as given, in nats.
        after: of what is handed on.
        prior: of the constant prior, counted on the boats of other parts.
    """

    outputs: Outputs
    chosen: str
    method: str
    methods: pd.DataFrame
    before: pd.Series
    after: pd.Series
    prior: pd.Series


def calibrate(outputs: Outputs, *, methods: Mapping[str, Fit] = METHODS, progress: bool = False) -> Calibration:
    """Choose a method on all images, and judge the choice on boats that had no part in it.

    For each part of the boats a method is chosen and fitted on the other parts anew. Where what this gives is no
    better than the tables as they are, they are handed on unchanged.

    Args:
        outputs: the tables.
        methods: name -> fit, the simplest first.
        progress: whether to show a bar.
    """
    oof, labels, boats = outputs.oof, outputs.labels, outputs.boats
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task("Calibrating", total=boat_parts(boats).nunique() + 1)

        def fit_choice(predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
            name, _ = choose(predictions, labels, boats, methods)
            bar.advance(task)
            return methods[name](predictions, labels, boats)

        calibrated = cross_fit(oof, labels, boats, fit_choice)
        chosen, table = choose(oof, labels, boats, methods)
        bar.advance(task)
    before, after = per_image_loss(oof, labels), per_image_loss(calibrated, labels)
    prior = per_image_loss(cross_fit(oof, labels, boats, fit_prior), labels)
    if chosen == NONE or after.mean() >= before.mean():
        return Calibration(outputs, chosen, NONE, table, before, before, prior)
    changed = replace(outputs, oof=calibrated, test=methods[chosen](oof, labels, boats)(outputs.test))
    return Calibration(changed, chosen, chosen, table, before, after, prior)


def choose(
    predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series, methods: Mapping[str, Fit] = METHODS
) -> tuple[str, pd.DataFrame]:
    """Choose the simplest method within one standard error of the best, by log loss cross-fitted over boats.

    Leaving predictions as they are has no such bonus: it is chosen where it scores no worse than the method chosen.

    Args:
        predictions: (N, C) by `image_id`.
        labels: true classes, by `image_id`.
        boats: by `image_id`.
        methods: name -> fit, the simplest first, with "none" among them.

    Returns:
        The method's name, and a row a method: log_loss, what it lies above the best (behind), and the standard error
        of that difference where boats are drawn; nats.
    """
    losses = {
        name: per_image_loss(cross_fit(predictions, labels, boats, fit, parts=CHOICE_PARTS), labels)
        for name, fit in methods.items()
    }
    table = pd.DataFrame({"log_loss": pd.Series({name: loss.mean() for name, loss in losses.items()})})
    best = losses[table["log_loss"].drop(NONE).idxmin()]
    table["behind"] = table["log_loss"] - best.mean()
    table["standard_error"] = [standard_error(loss - best, boats) for loss in losses.values()]
    within = ~(table["behind"] > table["standard_error"].fillna(0)).drop(NONE)
    chosen = within.index[within][0]
    worse = table.loc[NONE, "log_loss"] > table.loc[chosen, "log_loss"]
    return chosen if worse else NONE, table.rename_axis("method")


def check_better_than_prior(calibration: Calibration) -> None:
    """Refuse tables that are worth less than knowing nothing.

    Raises:
        InputError: the log loss of what is to be handed on is above that of the constant prior.
    """
    after, prior = calibration.after.mean(), calibration.prior.mean()
    if after > prior:
        raise InputError(
            f"log loss {after:.3f} on boats not fitted on, the constant prior has {prior:.3f}: expected to be below it; "
            "train a better network, or hand the tables on all the same with --allow-worse"
        )
