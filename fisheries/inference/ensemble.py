"""Ensembles: several networks as one, chosen on boats that nothing was fitted on, and what each member is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fisheries.inference.blending import FITTED, METHODS, SINGLE, combine, fit_weights, stack
from fisheries.inference.crossfit import PARTS, boat_parts, cross_fit
from fisheries.inference.evaluation import interval, standard_error
from fisheries.inference.outputs import Outputs
from fisheries.inference.scoring import log_loss, per_image_loss
from fisheries.progress import progress_bar
from fisheries.schema import InputError, nearest, table_hash

CHOICE_PARTS = 5  # of boats, to choose a method
_ROUNDING = 1e-9  # nats; an ensemble of one member alone is no better than this

Change = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Ensemble:
    """Several networks as one, and what each is worth.

    Attributes:
        outputs: to hand on: `oof` cross-fitted over boats, the choice of the method included; `test` by the method and
            weights of all of `oof`. The tables of the best member where no ensemble is better.
        chosen: the method chosen on all of `oof`.
        method: the one that made `outputs`: `chosen`, or `SINGLE` where that did not help.
        methods: by method tried, and `SINGLE`: log_loss on OOF in nats, and by how much it lies below that of
            `SINGLE`: gain, with its 90 % interval low and high.
        members: by name: log_loss of its own, its weight, and the log loss of what `method` makes without it.
        before: log loss of each image of `oof` by the best member, in nats.
        after: of what is handed on.
    """

    outputs: Outputs
    chosen: str
    method: str
    methods: pd.DataFrame
    members: pd.DataFrame
    before: pd.Series
    after: pd.Series


def ensemble(
    members: Mapping[str, Outputs], method: str | None = None, *, seed: int = 0, progress: bool = False
) -> Ensemble:
    """Make one of several networks.

    Args:
        members: two or more by name; labels and boats are those of the first.
        method: one of `blending.METHODS`, which is then used even if the best member is better; by default it is
            chosen, see `choose`.
        seed: of intervals.
        progress: whether to draw a bar on standard error.

    Raises:
        InputError: as `check_members`; an unknown method, or one to be fitted where all images are of one boat.
    """
    check_members(members)
    first = next(iter(members.values()))
    labels, boats = first.labels, first.boats
    _check_method(method, boats)
    stacked = stack({name: member.oof for name, member in members.items()})
    before = per_image_loss(stacked[_best(stacked, labels)], labels)
    losses = _losses(stacked, labels, boats, METHODS if method is None else [method], parts=PARTS)
    chosen = method or choose(losses, boats)
    oof = _handed_on(stacked, labels, boats, method, progress=progress)
    helps = chosen != SINGLE and per_image_loss(oof, labels).mean() < before.mean() - _ROUNDING
    used = chosen if helps or method is not None else SINGLE
    weights = fit_weights(stacked, labels, method=used)
    if used == SINGLE:
        outputs = members[weights.idxmax()]
    else:
        test = combine(stack({name: member.test for name, member in members.items()}), weights, method=used)
        outputs = Outputs(oof, test, first.manifest, first.folds)
    worth = _worth(stacked, labels, boats, weights, used)
    compared = _compared(losses, boats, seed=seed)
    after = per_image_loss(outputs.oof, labels)
    return Ensemble(outputs, chosen, used, compared, worth, before, after)


def check_members(members: Mapping[str, Outputs]) -> None:
    """Check that networks were trained and judged on the same images.

    Raises:
        InputError: less than two members; other folds, classes, images or labels than the first has, by name.
    """
    names = list(members)
    if len(names) < 2:
        raise InputError(f"{', '.join(names) or 'no run'}: an ensemble has two members or more; give more runs")
    for name in names[1:]:
        _check_pair(names[0], members[names[0]], name, members[name])


def choose(losses: pd.DataFrame, boats: pd.Series) -> str:
    """Choose a method: of those better than the best member, the simplest within one standard error of the best.

    Args:
        losses: of each image, cross-fitted over boats, in nats; a column for each method and `SINGLE`.
        boats: of the images; the standard error is that of the difference, over boats.

    Returns:
        One of the methods, or `SINGLE` if none is better.
    """
    means = losses.mean()
    better = [name for name in METHODS if name in means and means[name] < means[SINGLE] - _ROUNDING]
    if not better:
        return SINGLE
    best = min(better, key=lambda name: means[name])
    behind = {name: losses[name] - losses[best] for name in better}
    # not greater: the error of a single boat is NaN
    return next(name for name in better if not behind[name].mean() > standard_error(behind[name], boats))


def _check_method(method: str | None, boats: pd.Series) -> None:
    if method is not None and method not in METHODS:
        raise InputError(f"--method {method}: no such method{nearest(method, METHODS)}; there are {', '.join(METHODS)}")
    if boats.nunique() < 2 and method in FITTED:
        raise InputError(f"--method {method}: its weights can't be judged, all images are of one boat; use mean")


def _check_pair(first_name: str, first: Outputs, name: str, other: Outputs) -> None:
    ours, theirs = table_hash(first.folds), table_hash(other.folds)
    if ours != theirs:
        raise InputError(
            f"{name}: its networks were trained on the folds {theirs}, those of {first_name} on {ours}; an ensemble's "
            f"members need the same: train with split=file split.file={first_name}/folds.csv"
        )
    if set(first.classes) != set(other.classes):
        raise InputError(
            f"{name}: has the classes {','.join(other.classes)}, {first_name} has {','.join(first.classes)}; "
            "an ensemble's members need the same"
        )
    pairs = {"oof.csv": (first.oof.index, other.oof.index), "test.csv": (first.test.index, other.test.index)}
    for table, (ids, other_ids) in pairs.items():
        _refuse_missing(f"{name}/{table}", ids.difference(other_ids), first_name)
        _refuse_missing(f"{first_name}/{table}", other_ids.difference(ids), name)
    others = other.labels.loc[first.labels.index]
    differ = first.labels.index[first.labels != others]
    if len(differ):
        raise InputError(
            f"{name}: {differ[0]!r} is labeled {others[differ[0]]}, in {first_name} {first.labels[differ[0]]}; "
            f"{len(differ)} such images; give runs on the same labels"
        )


def _refuse_missing(path: str, image_ids: pd.Index, other_name: str) -> None:
    if len(image_ids):
        raise InputError(
            f"{path}: lacks {image_ids[0]!r}, which {other_name} has; {len(image_ids)} such images; "
            "give runs on the same photographs, with all folds trained"
        )


def _handed_on(
    stacked: pd.DataFrame, labels: pd.Series, boats: pd.Series, method: str | None, *, progress: bool
) -> pd.DataFrame:
    """Return what a method makes of the members, or one that is chosen, too, on the boats of other parts."""
    if method is not None:
        return _cross_fitted(stacked, labels, boats, method, parts=PARTS)
    if boats.nunique() < 2:
        return _choose_and_fit(stacked, labels, boats)(stacked)
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task("Choosing a method", total=boat_parts(boats).nunique())

        def fit(stacked: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
            bar.advance(task)
            return _choose_and_fit(stacked, labels, boats)

        return cross_fit(stacked, labels, boats, fit)


def _choose_and_fit(stacked: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
    method = choose(_losses(stacked, labels, boats, METHODS, parts=CHOICE_PARTS), boats)
    return _fitting(method)(stacked, labels, boats)


def _fitting(method: str) -> Callable[[pd.DataFrame, pd.Series, pd.Series], Change]:
    def fit(stacked: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Change:
        weights = fit_weights(stacked, labels, method=method)
        return lambda rows: combine(rows, weights, method=method)

    return fit


def _cross_fitted(
    stacked: pd.DataFrame, labels: pd.Series, boats: pd.Series, method: str, *, parts: int
) -> pd.DataFrame:
    if method not in FITTED:
        return combine(stacked, fit_weights(stacked, labels, method=method), method=method)
    return cross_fit(stacked, labels, boats, _fitting(method), parts=parts)


def _losses(
    stacked: pd.DataFrame, labels: pd.Series, boats: pd.Series, methods: Sequence[str], *, parts: int
) -> pd.DataFrame:
    """Return the cross-fitted log loss of each image, one column a method, and `SINGLE` last."""
    judged = [name for name in methods if boats.nunique() > 1 or name not in FITTED]
    tables = {name: _cross_fitted(stacked, labels, boats, name, parts=parts) for name in judged}
    tables[SINGLE] = stacked[_best(stacked, labels)]
    return pd.DataFrame({name: per_image_loss(table, labels) for name, table in tables.items()})


def _best(stacked: pd.DataFrame, labels: pd.Series) -> str:
    return str(fit_weights(stacked, labels, method=SINGLE).idxmax())


def _compared(losses: pd.DataFrame, boats: pd.Series, *, seed: int) -> pd.DataFrame:
    rows = {}
    for name in losses:
        gains = losses[SINGLE] - losses[name]
        low, high = interval(gains, boats, seed=seed)
        rows[name] = {"log_loss": losses[name].mean(), "gain": gains.mean(), "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _worth(stacked: pd.DataFrame, labels: pd.Series, boats: pd.Series, weights: pd.Series, method: str) -> pd.DataFrame:
    rows = {}
    for name in weights.index:
        rest = stacked[[other for other in weights.index if other != name]]
        without = _losses(rest, labels, boats, [] if method == SINGLE else [method], parts=PARTS)
        rows[name] = {
            "log_loss": log_loss(stacked[name], labels),
            "weight": weights[name],
            "without": without.iloc[:, 0].mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("member")
