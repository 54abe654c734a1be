"""Folds: which images are held out together."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from fisheries.schema import OK, TRAIN, InputError

SPLITS = ("random", "boat")


def usable_images(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the training images of a manifest that can be read and are counted once."""
    return manifest[(manifest["subset"] == TRAIN) & (manifest["status"] == OK)]


def make_folds(manifest: pd.DataFrame, *, split: str, folds: int, seed: int) -> pd.DataFrame:
    """Divide the usable training images into folds, stratified by class.

    Args:
        manifest: see `usable_images`.
        split: "random", or "boat": a boat's images are held out together, and images of unknown boats are left out.
        folds: how many.
        seed: of the shuffle.

    Returns:
        A fold table, see `schema.FOLDS`, in the manifest's order.

    Raises:
        InputError: `split` is unknown, or there are too few images or boats for that many folds.
    """
    if split not in SPLITS:
        raise InputError(f"split.name={split!r}: expected one of {', '.join(SPLITS)}")
    images = usable_images(manifest)
    if split == "boat":
        images = images[images["boat"] != ""]
    groups = images["boat"] if split == "boat" else images.index
    most = groups.nunique()
    if not 2 <= folds <= most:
        raise InputError(
            f"split.folds={folds}: expected 2 to {most}, the number of {'boats' if split == 'boat' else 'images'}"
            + ("; split=random needs no boats" if split == "boat" else "")
        )
    fold = pd.Series(-1, index=images.index, dtype="int64")
    for number, held_out in enumerate(_held_out(images, split=split, folds=folds, seed=seed)):
        fold.iloc[held_out] = number
    return pd.DataFrame({"fold": fold, "split": split, "seed": np.int64(seed)})


def missing_classes(folds: pd.DataFrame, labels: pd.Series) -> list[str]:
    """Say, a line each, which classes a fold's training or held-out part lacks.

    Args:
        folds: a fold table.
        labels: class by `image_id`, for every image of `folds`.
    """
    labels = labels.loc[folds.index]
    lines = []
    for number in sorted(folds["fold"].unique()):
        held_out = folds["fold"] == number
        for part, present in (("training", labels[~held_out]), ("held-out", labels[held_out])):
            lacking = sorted(set(labels) - set(present))
            if lacking:
                lines.append(f"fold {number}: no {', '.join(lacking)} in its {part} part")
    return lines


def check_folds(folds: pd.DataFrame, manifest: pd.DataFrame) -> None:
    """Check that folds drawn by boat keep every boat whole, and that their images are in the manifest.

    Raises:
        InputError: a boat on both sides, or an unknown image, by name.
    """
    unknown = folds.index.difference(manifest.index)
    if len(unknown):
        raise InputError(f"folds: {unknown[0]!r} is not in the manifest; {len(unknown)} such images")
    if (folds["split"] == "boat").all():
        counts = folds["fold"].groupby(manifest.loc[folds.index, "boat"]).nunique()
        if (counts > 1).any():
            raise InputError(
                f"folds: boat {counts.index[counts > 1][0]!r} is in more than one fold, but the split is by boat"
            )


def _held_out(images: pd.DataFrame, *, split: str, folds: int, seed: int) -> list[np.ndarray]:
    with warnings.catch_warnings():
        # a class with fewer images than folds: `missing_classes` tells where it lacks
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        try:
            if split == "boat":
                splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
                return [part for _, part in splitter.split(images, images["label"], images["boat"])]
            splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
            return [part for _, part in splitter.split(images, images["label"])]
        except ValueError as error:
            raise InputError(f"split.folds={folds}: {error}; use fewer folds") from error
