"""Folds: which images are held out together, and what each fold trains on and is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fisheries.data.fold_draw import draw_folds
from fisheries.data.fold_file import check_number, read_folds
from fisheries.data.fold_groups import BURST, CLAIMS, draw_seen, linked_boats
from fisheries.data.holdout import choose_holdout
from fisheries.schema import FOLDS, OK, TRAIN, InputError, nearest

SPLITS = (*CLAIMS, "file")
HOLDOUT = -1  # the fold of images that no fold trains on
NEVER = -1  # the seen_fold of images that are in no such sample
MOST = 10  # folds that are tried for the largest number


def usable_images(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the training images of a manifest that can be read and are counted once."""
    return manifest[(manifest["subset"] == TRAIN) & (manifest["status"] == OK)]


def make_folds(
    manifest: pd.DataFrame,
    *,
    split: str,
    folds: int | None,
    seed: int,
    holdout: int | str | Sequence[str] = 0,
    seen_share: float = 0.1,
    file: Path | None = None,
    most: int = MOST,
) -> pd.DataFrame:
    """Divide the usable training images into folds that have about the same share of every class.

    Args:
        manifest: see `usable_images`.
        split: "random": images one by one. "burst": bursts and identical files stay together. "boat": boats too, and
            images of unknown boats are left out. "file": as `file` says.
        folds: how many; None for the largest number, 2 to `most`, for which the search finds folds without a class
            missing from the training or held-out part of one. Classes of a single boat (burst, image) do not count,
            since they are missing in any case; where no number will do, it is 2. For "file", None or what it has.
        seed: of the search.
        holdout: how many boats no fold shall train on, or their names, see `choose_holdout`.
        seen_share: for folds by boat, about how much of the images outside of a fold is taken out of its training, to
            score it on boats that it has seen; see `draw_seen`.
        file: for "file": a CSV with image_id, fold (-1: held out of all) and perhaps split, what the folds claim to
            separate, "boat" if it doesn't say. Images that are not in it are left out.
        most: see above.

    Returns:
        A fold table, see `schema.FOLDS`, in the manifest's order. Its `attrs["notes"]` say, a sentence each, why there
        are so many folds, and what was kept together or left out.

    Raises:
        InputError: an argument is out of range or contradicts another, there are too few images, bursts or boats, a
            boat for the holdout is unknown, or the file is no fold table of this manifest.
    """
    _check_options(split, holdout=holdout, seen_share=seen_share, file=file, most=most)
    images = usable_images(manifest)
    if file is not None:
        table, notes = read_folds(
            file, images.index, manifest.index[manifest["subset"] == TRAIN].difference(images.index)
        )
        check_folds(table.assign(seen_fold=NEVER), manifest, file)
        check_number(table, folds, file)
    else:
        images = images[images["boat"] != ""] if split == "boat" else images
        held_out = choose_holdout(images, holdout, seed=seed)
        fold, reason = draw_folds(images[~held_out], split=split, folds=folds, most=most, seed=seed)
        table = pd.DataFrame({"fold": fold.reindex(images.index, fill_value=HOLDOUT), "split": split})
        notes = [reason, *_links(images, split)]
    table = table.assign(seen_fold=np.int64(NEVER), seed=np.int64(seed))[list(FOLDS)]
    if table["split"].iloc[0] == "boat":
        table["seen_fold"] = draw_seen(images.loc[table.index], table["fold"], share=seen_share, seed=seed)
    table.attrs["notes"] = notes
    return table


def train_ids(folds: pd.DataFrame, fold: int) -> pd.Index:
    """Return the images that a fold trains on: those of the other folds, without its sample of seen boats."""
    return folds.index[(folds["fold"] != fold) & (folds["fold"] != HOLDOUT) & (folds["seen_fold"] != fold)]


def val_ids(folds: pd.DataFrame, fold: int) -> pd.Index:
    """Return the images that a fold holds out."""
    return folds.index[folds["fold"] == fold]


def seen_ids(folds: pd.DataFrame, fold: int) -> pd.Index:
    """Return a fold's sample of seen boats: images that it does not train on, though it does on others of their boats."""
    return folds.index[folds["seen_fold"] == fold]


def holdout_ids(folds: pd.DataFrame) -> pd.Index:
    """Return the images that no fold trains on."""
    return folds.index[folds["fold"] == HOLDOUT]


def missing_classes(folds: pd.DataFrame, labels: pd.Series) -> list[str]:
    """Say, a line each, which classes a fold's training or held-out part lacks.

    Args:
        folds: a fold table.
        labels: class by `image_id`, for every image of `folds`.
    """
    classes = set(labels.loc[folds.index])
    lines = []
    for fold in range(folds["fold"].max() + 1):
        for part, ids in (("training", train_ids(folds, fold)), ("held-out", val_ids(folds, fold))):
            lacking = sorted(classes - set(labels.loc[ids]))
            if lacking:
                lines.append(f"fold {fold}: no {', '.join(lacking)} in its {part} part")
    return lines


def check_folds(folds: pd.DataFrame, manifest: pd.DataFrame, name: Path | str = "folds") -> None:
    """Check that folds keep apart what their split claims to, and that their images are in the manifest.

    Folds by boat keep boats, bursts and identical files on one side, folds by burst all but boats, random ones nothing.
    Where the manifest does not know a boat, burst or file ("") there is nothing to check. The sample on which a fold is
    scored on seen boats shares no burst and no file with its training part, whatever the split.

    Args:
        folds: a fold table.
        manifest: of the photographs.
        name: of the folds, for the message.

    Raises:
        InputError: a boat, burst or file on two sides, an image that is no training image of the manifest, a number
            that is no fold, or a fold without images, by name.
    """
    columns = CLAIMS[_claim(folds, name)]
    _check_images(folds.index, manifest, name)
    _check_numbers(folds, name)
    images = manifest.loc[folds.index]
    side = folds["fold"].map(lambda fold: "the holdout" if fold == HOLDOUT else f"fold {fold}")
    for column in columns:
        _check_apart(side, images[column], name)
    for fold in sorted(set(folds["seen_fold"]) - {NEVER}):
        seen = pd.Series(f"the sample of seen boats of fold {fold}", seen_ids(folds, fold))
        side = pd.concat([seen, pd.Series("its training part", train_ids(folds, fold))])
        for column in BURST:
            _check_apart(side, images.loc[side.index, column], name)


def _links(images: pd.DataFrame, split: str) -> list[str]:
    linked = linked_boats(images) if split == "boat" else []
    if not linked:
        return []
    example = " and ".join(linked[0][:3])
    return [f"boats that share a burst or a file stay together, such as {example} ({len(linked)} such groups)"]


def _check_options(
    split: str, *, holdout: int | str | Sequence[str], seen_share: float, file: Path | None, most: int
) -> None:
    if split not in SPLITS:
        raise InputError(f"split.name={split!r}: expected one of {', '.join(SPLITS)}{nearest(split, SPLITS)}")
    if file is None and split == "file":
        raise InputError("split=file: split.file is missing; give a CSV with image_id,fold")
    if file is not None and split != "file":
        raise InputError(f"split.file={file}: split={split} draws its own folds; give split=file to read them")
    if file is not None and holdout:
        raise InputError(f"split.holdout={holdout}: split=file takes it from the file, where its images have fold -1")
    if not 0 <= seen_share < 1:
        raise InputError(f"split.seen_share={seen_share}: expected a share from 0 to below 1")
    if most < 2:
        raise InputError(f"most={most}: expected at least 2 folds")


def _claim(folds: pd.DataFrame, name: Path | str) -> str:
    """Return what the folds keep apart."""
    claims = sorted(set(folds["split"]))
    if not claims:
        raise InputError(f"{name}: no images; expected a fold for each training image")
    for claim in claims:
        if claim not in CLAIMS:
            raise InputError(f"{name}: split is {claim!r}; expected one of {', '.join(CLAIMS)}{nearest(claim, CLAIMS)}")
    if len(claims) != 1:
        raise InputError(f"{name}: split is {' and '.join(claims)}; expected the same in each row")
    return claims[0]


def _check_images(image_ids: pd.Index, manifest: pd.DataFrame, name: Path | str) -> None:
    unknown = image_ids[~image_ids.isin(manifest.index)]
    if len(unknown):
        raise InputError(f"{name}: {unknown[0]!r} is not in the manifest; {len(unknown)} such images")
    test = image_ids[manifest.loc[image_ids, "subset"] != TRAIN]
    if len(test):
        raise InputError(f"{name}: {test[0]!r} is a test image; {len(test)} such images; folds divide training images")


def _check_numbers(folds: pd.DataFrame, name: Path | str) -> None:
    fold, seen_fold = folds["fold"], folds["seen_fold"]
    if (fold < HOLDOUT).any():
        wrong = folds.index[fold < HOLDOUT][0]
        raise InputError(f"{name}: fold of {wrong!r} is {fold[wrong]}; expected 0 or more, or -1 for the holdout")
    numbers = sorted(set(fold) - {HOLDOUT})
    if len(numbers) < 2:
        raise InputError(f"{name}: {len(numbers)} folds; expected at least 2")
    gaps = sorted(set(range(len(numbers))) - set(numbers))
    if gaps:
        raise InputError(f"{name}: no image is in fold {gaps[0]}; number the folds from 0 without a gap")
    odd = (seen_fold != NEVER) & (~seen_fold.isin(numbers) | (seen_fold == fold) | (fold == HOLDOUT))
    if odd.any():
        wrong = folds.index[odd][0]
        raise InputError(
            f"{name}: seen_fold of {wrong!r} is {seen_fold[wrong]}; expected -1, or a fold that trains on its boat"
        )


def _check_apart(side: pd.Series, value: pd.Series, name: Path | str) -> None:
    """Check that all images of one value are on one side."""
    value = value[value != ""]
    side = side.loc[value.index]
    divided = side.groupby(value).transform("nunique") > 1
    if divided.any():
        first = divided.index[divided][0]
        second = side.index[(value == value[first]) & (side != side[first])][0]
        shared = {"boat": f"boat {value[first]!r}", "burst": "a burst", "sha256": "their content"}[str(value.name)]
        raise InputError(
            f"{name}: {first!r} in {side[first]} and {second!r} in {side[second]} share {shared}, which "
            "such folds keep together; draw them anew"
        )
