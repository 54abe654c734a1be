"""What predictions are worth if the classes of test come in another mix than training's: a band for each mix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fisheries.inference.label_shift import (
    correct,
    mix_concentration,
    mix_log_loss,
    plausible_mixes,
    published_mix,
    read_mix,
    robust_mix,
)
from fisheries.inference.outputs import Outputs
from fisheries.inference.scoring import class_frequencies, per_image_loss

PUBLISHED = "published"
ROBUST = "robust"
DRAWS = 4000
BAND = {"low": 0.05, "median": 0.5, "high": 0.95}


@dataclass(frozen=True)
class Shifted:
    """Test predictions for another class mix, and what they are worth in that and in others.

    Attributes:
        outputs: `test` restated for `expected`; `oof` as it was.
        expected: class -> share, that `test` is stated for.
        bands: a row a mix that may come true: as_given and log_loss, the expected log loss without and with the
            correction, importance-weighted over `oof`; and low, median, high of the latter, see `score_bands`.
    """

    outputs: Outputs
    expected: pd.Series
    bands: pd.DataFrame


def shift_outputs(outputs: Outputs, *, expect: str | None = None, seed: int = 0) -> Shifted:
    """Restate test predictions for another class mix, and judge that on the out-of-fold ones.

    Args:
        outputs: calibrated tables.
        expect: `published`; `robust`, the mix whose worst case is the best one; a CSV with class,share; or None, the
            mix of training.
        seed: of plausible mixes and of bands.

    Raises:
        InputError: as `read_mix`.
    """
    labels, boats = outputs.labels, outputs.boats
    train = class_frequencies(labels, outputs.classes)
    mixes = plausible_mixes(train, mix_concentration(labels, boats, outputs.classes), seed=seed)
    expected = _expected(expect, outputs.oof, labels, train, mixes)
    oof, test = (correct(table, expected, train) for table in (outputs.oof, outputs.test))
    if expect is None:
        oof, test = outputs.oof, outputs.test
    cases = {"as trained": train, PUBLISHED: published_mix(train)}
    if expect not in (None, PUBLISHED, ROBUST):
        cases["expected"] = expected
    cases["worst plausible"] = worst_mix(oof, labels, mixes)
    bands = score_bands(oof, labels, boats, cases, seed=seed)
    bands.insert(0, "as_given", [mix_log_loss(outputs.oof, labels, mix) for mix in cases.values()])
    bands.insert(1, "log_loss", [mix_log_loss(oof, labels, mix) for mix in cases.values()])
    return Shifted(replace(outputs, test=test), expected, bands)


def check_mix(expect: str | None, outputs: Outputs) -> None:
    """Check what `shift_outputs` will be asked to expect.

    Raises:
        InputError: as `read_mix`.
    """
    if expect not in (None, PUBLISHED, ROBUST):
        read_mix(Path(str(expect)), class_frequencies(outputs.labels, outputs.classes))


def _expected(
    expect: str | None, oof: pd.DataFrame, labels: pd.Series, train: pd.Series, mixes: pd.DataFrame
) -> pd.Series:
    if expect is None:
        return train
    if expect == PUBLISHED:
        return published_mix(train)
    return robust_mix(oof, labels, mixes) if expect == ROBUST else read_mix(Path(expect), train)


def worst_mix(predictions: pd.DataFrame, labels: pd.Series, mixes: pd.DataFrame) -> pd.Series:
    """Return the one of `mixes` with the highest expected log loss."""
    losses = per_image_loss(predictions, labels).groupby(labels).mean()
    return mixes.iloc[int((mixes[losses.index].to_numpy() @ losses.to_numpy()).argmax())].rename("share")


def score_bands(
    predictions: pd.DataFrame, labels: pd.Series, boats: pd.Series, mixes: Mapping[str, pd.Series], *, seed: int = 0
) -> pd.DataFrame:
    """Simulate the log loss on as many other boats like these, whose classes come in other mixes.

    Boats are resampled; a class that a draw lacks has its mean loss over all boats.

    Args:
        predictions: of training images by networks that have not seen their boats, (N, C) by `image_id`.
        labels: their true classes.
        boats: of these images.
        mixes: name -> class -> share.
        seed: of the draws.

    Returns:
        A row a mix: low, median and high, the quantiles 0.05, 0.5 and 0.95 of the log loss, in nats.
    """
    loss = per_image_loss(predictions, labels)
    table = pd.DataFrame({"loss": loss, "label": labels, "boat": boats.loc[loss.index]})
    sums, counts = (
        table.pivot_table("loss", "boat", "label", aggfunc=name, fill_value=0) for name in ("sum", "count")
    )  # (B, C)
    times = np.random.default_rng([seed, 3]).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
    drawn = times @ counts.to_numpy()  # (DRAWS, C)
    means = np.where(drawn > 0, times @ sums.to_numpy() / np.maximum(drawn, 1), (sums.sum() / counts.sum()).to_numpy())
    rows = {}
    for name, mix in mixes.items():
        shares = mix.loc[sums.columns].to_numpy()
        rows[name] = np.quantile(means @ shares / shares.sum(), list(BAND.values()))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(BAND)).rename_axis("mix")
