"""Pseudo-labels, test images with what an earlier run says of them, and which of them a fold may train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fisheries.data.splits import holdout_ids, seen_ids, train_ids, val_ids
from fisheries.schema import (
    OK,
    TRAIN,
    InputError,
    check_predictions,
    read_folds_hash,
    read_table,
    table_hash,
)

PSEUDO_CSV = "pseudo.csv"
PSEUDO = {
    "fold": "int64",  # for whose training the row is: its target is of a network that has not seen this fold's boats
    "weight": "float64",  # in the loss
    "source": "str",  # folder of the run that its target is of
}
HELD_OUT_BOAT, HELD_OUT_BURST, UNKNOWN_BOAT = "held-out boat", "held-out burst", "unknown boat"


@dataclass(frozen=True)
class FoldRows:
    """What a fold trains on besides its training images.

    Attributes:
        rows: of a manifest, with `weight` and, for each class, a column with its share of the target.
        left_out: by reason, how many rows were given for the fold and may not enter.
    """

    rows: pd.DataFrame
    left_out: dict[str, int]


def read_pseudo(path: Path, classes: Sequence[str], *, manifest: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Read pseudo-labels: a row an image and fold, by `image_id`, with the columns `PSEUDO` and one a class.

    Raises:
        InputError: as `read_table` and `check_predictions`; the targets come from networks of other folds, an image
            occurs twice in a fold or is no readable test image, or a weight is not above 0.
    """
    table = read_table(path, {**PSEUDO, **dict.fromkeys(classes, "float64")}, unique=False)
    check_predictions(table[list(classes)], path)
    found = read_folds_hash(path)
    if found != table_hash(folds):
        raise InputError(
            f"{path}: made with the folds {found or '(not said)'}, this run's are {table_hash(folds)}: its networks may "
            "know boats that are held out here; give split=file split.file=RUN/folds.csv of the run that it was made of"
        )
    usable = manifest.index[(manifest["subset"] != TRAIN) & (manifest["status"] == OK)]
    unknown = table.index[~table.index.isin(usable)]
    if len(unknown):
        raise InputError(
            f"{path}: {unknown[0]!r} is no test image of the manifest that can be read; {len(unknown)} rows"
        )
    twice = table.index[table.reset_index().duplicated(["image_id", "fold"]).to_numpy()]
    if len(twice):
        raise InputError(f"{path}: {twice[0]!r} occurs twice in a fold; {len(twice)} such rows")
    weight = table["weight"]
    if not (np.isfinite(weight) & (weight > 0)).all():
        wrong = table.index[~(np.isfinite(weight) & (weight > 0))][0]
        raise InputError(f"{path}: weight of {wrong!r} is {weight[wrong]}; expected a number above 0")
    return table


def fold_rows(pseudo: pd.DataFrame, manifest: pd.DataFrame, folds: pd.DataFrame, fold: int) -> FoldRows:
    """Return the pseudo-labels that a fold may train on, see `why_left_out`.

    Raises:
        InputError: there are none.
    """
    own = pseudo[pseudo["fold"] == fold].drop(columns=["fold", "source"])
    why = fold_reasons(manifest.loc[own.index], manifest, folds, fold)
    kept = own[why == ""]
    left_out = why[why != ""].value_counts().to_dict()
    if kept.empty:
        reasons = ", ".join(f"{count} of {reason}" for reason, count in left_out.items()) or "the file has none"
        raise InputError(
            f"pseudo: no row that fold {fold} may train on ({reasons}); make the file of a run with fold=all"
        )
    return FoldRows(pd.concat([manifest.loc[kept.index], kept], axis=1), left_out)


def fold_reasons(images: pd.DataFrame, manifest: pd.DataFrame, folds: pd.DataFrame, fold: int) -> pd.Series:
    """Say of each of `images`, rows of a manifest, why a fold may not train on it, see `why_left_out`."""
    return why_left_out(
        images,
        trained=manifest.loc[train_ids(folds, fold)],
        held_out=manifest.loc[val_ids(folds, fold).append(holdout_ids(folds))],
        sampled=manifest.loc[seen_ids(folds, fold)],
    )


def why_left_out(
    images: pd.DataFrame, *, trained: pd.DataFrame, held_out: pd.DataFrame, sampled: pd.DataFrame | None = None
) -> pd.Series:
    """Say of each image why it may not be trained on; "" where it may.

    Whatever the split, nothing of a boat, burst or file that is held out may enter, and nothing of an unknown boat,
    unless it is of a burst in which a known boat is trained on.

    Args:
        images: rows of a manifest, without labels.
        trained: the images that are trained on in any case.
        held_out: those that are scored.
        sampled: those that are scored on boats that are trained on: their bursts and files are kept out, not the boats.
    """
    twins = pd.concat([held_out, *([] if sampled is None else [sampled])])
    of_boat = images["boat"].isin(_known(held_out["boat"]))
    of_burst = images["burst"].isin(_known(twins["burst"])) | images["sha256"].isin(_known(twins["sha256"]))
    told = trained[(trained["boat"] != "") & ~trained["boat"].isin(_known(held_out["boat"]))]
    unknown = (images["boat"] == "") & ~images["burst"].isin(_known(told["burst"]))
    why = np.select([of_boat, of_burst, unknown], [HELD_OUT_BOAT, HELD_OUT_BURST, UNKNOWN_BOAT], default="")
    return pd.Series(why, images.index, dtype="str")


def _known(names: pd.Series) -> set[str]:
    return set(names) - {""}
