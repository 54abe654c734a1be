"""Look-alikes: near-duplicate frames show the same fish, so their predictions are averaged, if that helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from fisheries.inference.blending import stack
from fisheries.inference.crossfit import cross_fit
from fisheries.inference.outputs import Outputs
from fisheries.inference.scoring import per_image_loss
from fisheries.inference.submission import CLIP
from fisheries.schema import KEY


class Setting(NamedTuple):
    """How look-alikes are averaged.

    Attributes:
        strength: weight of a look-alike, where the image itself has 1; 0 leaves all as it is.
        weights: equal, or similarity: then `strength` is that of a look-alike which differs in nothing.
        mean: arithmetic, or geometric.
    """

    strength: float
    weights: str
    mean: str


STRENGTHS, WEIGHTS, MEANS = (0.25, 0.5, 1.0), ("equal", "similarity"), ("arithmetic", "geometric")
UNCHANGED = "unchanged"
SETTINGS: Mapping[str, Setting] = {  # the simplest first
    UNCHANGED: Setting(0.0, WEIGHTS[0], MEANS[0]),
    **{
        f"{mean} mean, weights {weights}, strength {strength}": Setting(strength, weights, mean)
        for strength, weights, mean in product(STRENGTHS, WEIGHTS, MEANS)
    },
}


@dataclass(frozen=True)
class Lookalikes:
    """Tables with look-alikes averaged, and what that is worth on boats it was not chosen on.

    Attributes:
        outputs: to hand on: `oof` by settings that were chosen on other boats, `test` by the one chosen on all of
            `oof`. As given where averaging does not help, or nothing shows whether it does.
        used: which of `SETTINGS`.
        losses: log loss of each image of `oof`, in nats; a column for each of `SETTINGS`.
        after: likewise, by settings that were chosen on other boats, whether they are used or not.
        oof_images: how many of `oof` have look-alikes.
        test_images: likewise.
    """

    outputs: Outputs
    used: str
    losses: pd.DataFrame
    after: pd.Series
    oof_images: int
    test_images: int


def average_if_better(outputs: Outputs, pairs: pd.DataFrame) -> Lookalikes:
    """Average the predictions of look-alikes, if that is better on boats that strength and weights were not chosen on.

    Args:
        outputs: of a run, or of a step after it.
        pairs: columns image_id, lookalike and similarity in [0, 1]; those that `allowed_pairs` leaves count.
    """
    pairs = allowed_pairs(pairs, outputs)
    tables = {name: average_lookalikes(outputs.oof, pairs, setting) for name, setting in SETTINGS.items()}
    losses = pd.DataFrame({name: per_image_loss(table, outputs.labels) for name, table in tables.items()})
    oof = _chosen_on_other_boats(tables, losses, outputs)
    after = per_image_loss(oof, outputs.labels)
    test_images = _count(pairs, outputs.test)
    helps = after.mean() < losses[UNCHANGED].mean() and test_images > 0
    used = str(losses.mean().idxmin()) if helps else UNCHANGED
    handed_on = outputs
    if used != UNCHANGED:
        test = average_lookalikes(outputs.test, pairs, SETTINGS[used])
        handed_on = Outputs(oof, test, outputs.manifest, outputs.folds)
    return Lookalikes(handed_on, used, losses, after, _count(pairs, outputs.oof), test_images)


def allowed_pairs(pairs: pd.DataFrame, outputs: Outputs) -> pd.DataFrame:
    """Return the pairs that the same networks have predicted: both images held out by one fold, or both of test.

    A network that has trained on an image knows its label, and what it says of a look-alike on the other side of the
    folds would carry that over.
    """
    fold = outputs.folds["fold"].loc[outputs.oof.index].astype(str)
    side = pd.concat([fold, pd.Series("test", outputs.test.index)])
    known = pairs[pairs[KEY].isin(side.index) & pairs["lookalike"].isin(side.index)]
    return known[side.loc[known[KEY]].to_numpy() == side.loc[known["lookalike"]].to_numpy()]


def average_lookalikes(predictions: pd.DataFrame, pairs: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """Return the weighted mean of each image's prediction and those of its look-alikes.

    Args:
        predictions: (N, C) by `image_id`.
        pairs: as in `average_if_better`; those of other images do not count.
        setting: how.

    Returns:
        As `predictions`; rows sum to 1, and those of images without look-alikes are as they were.
    """
    weights = _weights(pairs, predictions.index, setting)  # (N, N)
    total = np.asarray(weights.sum(axis=1)).reshape(-1, 1)  # (N, 1)
    values = predictions.to_numpy(np.float64)
    terms = np.log(values.clip(CLIP)) if setting.mean == "geometric" else values
    mean = (terms + weights @ terms) / (1 + total)
    mean = np.exp(mean) if setting.mean == "geometric" else mean
    averaged = np.where(total > 0, mean / mean.sum(axis=1, keepdims=True), values)
    return pd.DataFrame(averaged, predictions.index, predictions.columns)


def _weights(pairs: pd.DataFrame, image_ids: pd.Index, setting: Setting) -> csr_array:
    here = pairs[pairs[KEY].isin(image_ids) & pairs["lookalike"].isin(image_ids)]
    similarity = here["similarity"].to_numpy(np.float64) if setting.weights == "similarity" else np.ones(len(here))
    rows, columns = image_ids.get_indexer(here[KEY]), image_ids.get_indexer(here["lookalike"])
    return csr_array((setting.strength * similarity, (rows, columns)), shape=(len(image_ids), len(image_ids)))


def _chosen_on_other_boats(tables: Mapping[str, pd.DataFrame], losses: pd.DataFrame, outputs: Outputs) -> pd.DataFrame:
    if outputs.boats.nunique() < 2:
        return outputs.oof

    def fit(stacked: pd.DataFrame, labels: pd.Series, boats: pd.Series) -> Callable[[pd.DataFrame], pd.DataFrame]:
        best = losses.loc[labels.index].mean().idxmin()
        return lambda rows: rows[best]

    return cross_fit(stack(tables), outputs.labels, outputs.boats, fit)


def _count(pairs: pd.DataFrame, predictions: pd.DataFrame) -> int:
    return int(pairs.loc[pairs[KEY].isin(predictions.index), KEY].nunique())
