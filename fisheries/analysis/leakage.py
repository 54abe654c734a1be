"""The leak meter: how much of the label can be had without a look at the fish, and is it still there on unseen boats?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.analysis.independence import mutual_information, permutation_test
from fisheries.analysis.leakage_words import verdict
from fisheries.analysis.probes import cells_of, held_out_predictions
from fisheries.data.cues import KINDS, labeled_images
from fisheries.data.fold_groups import CLAIMS, connect
from fisheries.data.photo_cues import BOX_CUES, FILE_CUES, PICTURE_CUES
from fisheries.data.splits import make_folds, usable_images
from fisheries.inference.evaluation import boats_of, interval
from fisheries.inference.scoring import accuracy, per_image_loss
from fisheries.progress import track
from fisheries.schema import InputError

# What folds keep apart -> what a score under them says, the columns' first word.
PARTS: Mapping[str, str] = {"random": "random", "burst": "seen", "boat": "unseen"}

_NEEDED: Mapping[str, str] = {
    **dict.fromkeys((*FILE_CUES, *PICTURE_CUES), "it takes photographs"),
    **dict.fromkeys(BOX_CUES, "it takes photographs and boxes"),
    "linear probe": "it takes features",
}


def leakage(
    manifest: pd.DataFrame,
    cues: Mapping[str, pd.DataFrame],
    folds: Mapping[str, pd.Series],
    *,
    permutations: int = 999,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Measure what each cue tells of the label, on images held out at random, by burst and by boat.

    The same images are scored under all folds: those with a label that no fold table lacks or keeps in its holdout. The
    prior is that of each fold's training part, and smoothed as the cues' classifiers are, see `probes`.

    Args:
        manifest: with label, boat and burst of its usable training images.
        cues: name -> table by `image_id`, see `data.cues.collect_cues`.
        folds: "random", and "burst" and "boat" where there are some, -> the fold that holds each image out, by
            `image_id`; below 0 for none.
        permutations: of the labels, for the p-value.
        seed: of the permutations, the bootstrap and the classifiers.
        progress: whether to draw a bar on standard error.

    Returns:
        One row a cue, in the order of `data.cues.KINDS`: kind, images, boats; for random, seen (folds by burst) and
        unseen (by boat), as far as there are such folds, <part>_log_loss, <part>_prior_log_loss (nats), <part>_accuracy,
        <part>_prior_accuracy; mutual_information with the label (nats; of a picture's predicted class on seen boats, of
        other cues themselves), chance_information (its mean over permutations of whole bursts' labels) and p_value;
        gain_seen, gain_unseen (log loss of the prior less that of the cue; seen by random folds where there are none by
        burst) and leak, the first less the second, each with _low and _high, the ends of a 90 % interval over boats
        (over bursts where boats are unknown); verdict, in words. Its `attrs` hold "left_out", cue -> why it has no row,
        and "notes", sentences on what is missing.

    Raises:
        InputError: as `labeled_images`; an unknown cue or kind of folds; no random folds; too few images are in all
            folds; no cue can be measured.
    """
    _check_names(cues, folds)
    images = _scored_images(manifest, folds)
    used = {split: folds[split].loc[images.index] for split in PARTS if split in folds}
    left_out = {name: reason for name in KINDS if (reason := _unusable(name, cues, images, used))}
    measured = [name for name in KINDS if name not in left_out]
    if not measured:
        raise InputError(f"no cue can be measured: {'; '.join(f'{name}: {why}' for name, why in left_out.items())}")
    rows = {
        name: _row(name, cues[name], images, used, permutations=permutations, seed=seed)
        for name in track(measured, "Measuring the leak", disable=not progress)
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("cue")
    table["verdict"] = [verdict(name, rows[name]) for name in measured]
    table.attrs.update(left_out=left_out, notes=[*_missing(manifest, folds), *_partial(table, len(images))])
    return table


def leakage_folds(manifest: pd.DataFrame, *, folds: int = 5, seed: int = 0) -> dict[str, pd.Series]:
    """Draw the folds for `leakage`: at random, by burst if one has several images, and by boat if there are several.

    Args:
        manifest: its usable training images that have a label are divided.
        folds: how many; as many as there are boats, if these are fewer.
        seed: of the search.

    Raises:
        InputError: as `data.splits.make_folds`, such as fewer images than folds.
    """
    images = labeled_images(manifest)
    known = images[images["boat"] != ""]
    boats = len(np.unique(connect(known, CLAIMS["boat"])))  # those that share a burst can't be kept apart
    numbers = {"random": folds, **({"burst": folds} if images["burst"].duplicated().any() else {})}
    numbers |= {"boat": min(folds, boats)} if boats > 1 else {}
    return {
        split: make_folds(images, split=split, folds=number, seed=seed, seen_share=0.0)["fold"]
        for split, number in numbers.items()
    }


def _check_names(cues: Mapping[str, pd.DataFrame], folds: Mapping[str, pd.Series]) -> None:
    for given, known, what in ((cues, KINDS, "cue"), (folds, PARTS, "kind of folds")):
        strange = [name for name in given if name not in known]
        if strange:
            raise InputError(f"{strange[0]!r}: no such {what}; expected some of {', '.join(known)}")
    if "random" not in folds:
        raise InputError("folds: none are drawn at random; the leak is measured against such folds")


def _scored_images(manifest: pd.DataFrame, folds: Mapping[str, pd.Series]) -> pd.DataFrame:
    images = labeled_images(manifest)
    for fold in folds.values():
        images = images[images.index.isin(fold.index[fold >= 0])]
    classes = images["label"].nunique()
    if classes < 2:
        raise InputError(
            f"folds: {len(images)} labeled images of {classes} classes are in all of {', '.join(folds)}; "
            "expected images of two classes or more"
        )
    return images


def _unusable(
    name: str, cues: Mapping[str, pd.DataFrame], images: pd.DataFrame, folds: Mapping[str, pd.Series]
) -> str | None:
    """Return why a cue has no row, or None if it has one."""
    if name not in cues:
        return _NEEDED.get(name, "it isn't given")
    values = cues[name].loc[images.index.intersection(cues[name].index)]
    if values.empty:
        return "not known for any image"
    if (values == values.iloc[0]).all(axis=None):
        return f"the same for all {len(values)} images"
    labels = images.loc[values.index, "label"]
    if labels.nunique() < 2:
        return f"known for {len(values)} images, all of one class"
    for split, fold in folds.items():
        if fold.loc[values.index].nunique() < 2:
            return f"known for {len(values)} images, all in one fold by {split}"
    return None


def _row(
    name: str,
    cue: pd.DataFrame,
    images: pd.DataFrame,
    folds: Mapping[str, pd.Series],
    *,
    permutations: int,
    seed: int,
) -> dict[str, Any]:
    images = images[images.index.isin(cue.index)]
    labels, bursts, kind = images["label"], images["burst"], KINDS[name]
    row: dict[str, Any] = {"kind": kind, "images": len(images), "boats": images["boat"].replace("", None).nunique()}
    losses: dict[str, pd.Series] = {}
    for split, fold in folds.items():
        part = PARTS[split]
        predicted = held_out_predictions(cue, labels, fold, bursts, kind=kind, seed=seed)
        prior = held_out_predictions(cue, labels, fold, bursts, kind="prior", seed=seed)
        losses[part], losses[f"{part}_prior"] = per_image_loss(predicted, labels), per_image_loss(prior, labels)
        row |= _scores(part, losses, accuracies=(accuracy(predicted, labels), accuracy(prior, labels)))
        if part in ("random", "seen"):
            known_boats = predicted
    values = _codes(cue.loc[images.index], known_boats, kind)
    row |= _dependence(values, labels, bursts, permutations=permutations, seed=seed)
    return row | _gains(losses, boats_of(images), seed=seed)


def _scores(part: str, losses: Mapping[str, pd.Series], *, accuracies: tuple[float, float]) -> dict[str, float]:
    return {
        f"{part}_log_loss": float(losses[part].mean()),
        f"{part}_prior_log_loss": float(losses[f"{part}_prior"].mean()),
        f"{part}_accuracy": accuracies[0],
        f"{part}_prior_accuracy": accuracies[1],
    }


def _gains(losses: Mapping[str, pd.Series], boats: pd.Series, *, seed: int) -> dict[str, float]:
    seen = "seen" if "seen" in losses else "random"
    differences = {"gain_seen": losses[f"{seen}_prior"] - losses[seen]}
    if "unseen" in losses:
        differences["gain_unseen"] = losses["unseen_prior"] - losses["unseen"]
        differences["leak"] = differences["gain_seen"] - differences["gain_unseen"]
    gains: dict[str, float] = {}
    for name, values in differences.items():
        low, high = interval(values, boats, seed=seed)
        gains |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
    return gains


def _codes(cue: pd.DataFrame, predicted: pd.DataFrame, kind: str) -> NDArray[np.int64]:
    """Return codes (N,) of what a cue says of each image."""
    if kind == "picture":
        return predicted.to_numpy().argmax(axis=1)
    values = cells_of(cue.to_numpy(), cue.to_numpy()) if kind == "number" else cue.to_numpy()
    return pd.DataFrame(values).groupby(list(range(values.shape[1]))).ngroup().to_numpy()


def _dependence(
    values: NDArray[np.int64], labels: pd.Series, bursts: pd.Series, *, permutations: int, seed: int
) -> dict[str, float]:
    codes, groups = pd.factorize(labels)[0], pd.factorize(bursts)[0]
    chance, p_value = permutation_test(values, codes, groups, permutations=permutations, seed=seed)
    return {
        "mutual_information": mutual_information(values, codes),
        "chance_information": chance,
        "p_value": p_value,
    }


def _missing(manifest: pd.DataFrame, folds: Mapping[str, pd.Series]) -> list[str]:
    usable = usable_images(manifest)
    boats = usable.loc[usable["boat"] != "", "boat"]
    counts = {"without a label": (usable["label"] == "").sum()}
    if "boat" in folds:
        counts["of unknown boats"] = (usable["boat"] == "").sum()
    notes = [f"{count:,} images {what} are left out" for what, count in counts.items() if count]
    if "boat" not in folds:
        why = {0: "no boat is known", 1: "all known boats are one"}
        reason = why.get(boats.nunique(), f"no folds keep the {boats.nunique()} boats apart")
        notes.append(f"nothing on unseen boats, since {reason}")
    if "burst" not in folds:
        notes.append("seen boats are measured by random folds, since there are none by burst")
    return notes


def _partial(table: pd.DataFrame, images: int) -> list[str]:
    fewer = table.loc[table["images"] < images, "images"]
    return [f"the {name} is known for {count:,} of {images:,} images" for name, count in fewer.items()]
