"""Other class mixes than training's: correct predictions for one, or for the worst of many, and say what to expect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import gammaln, logsumexp, softmax

from fisheries.inference.scoring import class_frequencies, per_image_loss
from fisheries.inference.submission import CLIP
from fisheries.schema import InputError, nearest

Array = NDArray[np.float64]

PUBLISHED = {"BET": 0.108, "LAG": 0.047, "SHARK": 0.012, "NoF": 0.076}  # of the competition's test images
DRAWS = 1000
PLAUSIBLE = 0.9  # of the draws, those nearest to training
SOFTNESS = 0.005  # nats; the worst of many losses has no slope, a maximum this soft has one


def published_mix(train: pd.Series) -> pd.Series:
    """Return the class mix of the competition's test images as far as it is known; the rest keep their proportions.

    Args:
        train: class -> share in training. Shares of classes that it lacks are left out.
    """
    known = pd.Series(PUBLISHED)
    inside = known[known.index.isin(train.index)] / (1 - known[~known.index.isin(train.index)].sum())
    rest = train.drop(inside.index)
    return pd.concat([inside, rest / rest.sum() * (1 - inside.sum())])[train.index].rename("share")


def read_mix(path: Path, train: pd.Series) -> pd.Series:
    """Read a class mix.

    Args:
        path: a CSV with class,share; a class that it lacks has share 0.
        train: class -> share in training.

    Raises:
        InputError: the file is missing or no such table; an unknown class, or one twice; a share that is no number in
            [0, 1]; shares that do not sum to 1 within 1e-3; a class with a share that training lacks.
    """
    if not path.is_file():
        raise InputError(f"--expect {path}: no such file; give a CSV with class,share, or published")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV table ({str(error).strip()}); give one with class,share") from error
    if not {"class", "share"} <= set(table.columns):
        raise InputError(f"{path}: columns {','.join(table.columns)}; expected class,share")
    for name in table["class"]:
        if name not in train.index:
            raise InputError(
                f"{path}: no class {name!r}{nearest(name, train.index)}; there are {','.join(train.index)}"
            )
    if table["class"].duplicated().any():
        raise InputError(f"{path}: {table['class'][table['class'].duplicated()].iloc[0]!r} occurs twice; give it once")
    shares = pd.to_numeric(table["share"], errors="coerce")
    wrong = ~shares.between(0, 1)
    if wrong.any():
        raise InputError(f"{path}: share {table['share'][wrong].iloc[0]!r}; expected a number from 0 to 1")
    if abs(shares.sum() - 1) > 1e-3:
        raise InputError(f"{path}: shares sum to {shares.sum():.4g}; expected 1")
    mix = pd.Series((shares / shares.sum()).to_numpy(), table["class"]).reindex(train.index, fill_value=0.0)
    for name in mix.index[(mix > 0) & (train == 0)]:
        raise InputError(f"{path}: {name!r} has a share, but no training image to tell it by; give it 0")
    return mix.rename("share")


def correct(predictions: pd.DataFrame, expected: pd.Series, train: pd.Series) -> pd.DataFrame:
    """Restate predictions for another class mix: p_j * expected_j / train_j, rescaled to sum to 1.

    Saerens et al. 2002, "Adjusting the outputs of a classifier to new a priori probabilities".

    Args:
        predictions: (N, C) by `image_id`, calibrated for the mix of training.
        expected: class -> share.
        train: class -> share; 0 only where `expected` is.
    """
    ratio = (expected / train.where(train > 0, 1.0)).loc[predictions.columns]
    values = predictions.to_numpy(np.float64).clip(CLIP) * ratio.to_numpy()
    return pd.DataFrame(values / values.sum(axis=1, keepdims=True), predictions.index, predictions.columns)


def mix_log_loss(predictions: pd.DataFrame, labels: pd.Series, mix: pd.Series) -> float:
    """Return the log loss if classes came in another mix: each class's mean loss, weighted by its share.

    That is the importance-weighted mean over images. Classes without images are left out, and the rest of `mix`
    rescaled.
    """
    losses = per_image_loss(predictions, labels).groupby(labels).mean()
    shares = mix.loc[losses.index]
    return float((losses * shares).sum() / shares.sum())


def mix_concentration(labels: pd.Series, boats: pd.Series, classes: list[str]) -> float:
    """Return how near to training's a mix of other boats is: the concentration of a Dirichlet distribution around it.

    A boat's mix is a draw around training's with the concentration that makes the boats' counts most likely
    (Dirichlet-multinomial). A mix of n equal boats is their mean, whose variance is an n-th of that; n is the
    effective number of training boats, (sum of sizes)^2 / sum of squares.
    """
    counts = pd.crosstab(boats.loc[labels.index], labels).reindex(columns=classes, fill_value=0).to_numpy(np.float64)
    counts = counts[:, counts.sum(axis=0) > 0]
    shares, sizes = counts.sum(axis=0) / counts.sum(), counts.sum(axis=1)

    def loss(log_size: float) -> float:
        alpha = np.exp(log_size) * shares
        own = gammaln(counts + alpha).sum(axis=1) - gammaln(alpha).sum()
        return -float((own + gammaln(alpha.sum()) - gammaln(sizes + alpha.sum())).sum())

    one_boat = np.exp(optimize.minimize_scalar(loss, bounds=(-5, 10), method="bounded").x)
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    return float(effective * (one_boat + 1) - 1)


def plausible_mixes(train: pd.Series, concentration: float, *, seed: int = 0) -> pd.DataFrame:
    """Return the likelier ones (K, C) of mixes drawn around training's, nearest first (Kullback-Leibler).

    Args:
        train: class -> share.
        concentration: as `mix_concentration` returns it.
        seed: of the draws.
    """
    known = train[train > 0]
    draws = np.random.default_rng([seed, 2]).dirichlet(concentration * known.to_numpy(), DRAWS).clip(1e-12)
    distance = (draws * np.log(draws / known.to_numpy())).sum(axis=1)
    nearest_first = np.argsort(distance, kind="stable")[: int(PLAUSIBLE * DRAWS)]
    mixes = pd.DataFrame(draws[nearest_first], columns=known.index).reindex(columns=train.index, fill_value=0.0)
    return mixes.div(mixes.sum(axis=1), axis=0)


def robust_mix(predictions: pd.DataFrame, labels: pd.Series, mixes: pd.DataFrame) -> pd.Series:
    """Return the mix to correct for so that the worst expected log loss over `mixes` is lowest.

    Args:
        predictions: of training images by networks that have not seen their boats, (N, C) by `image_id`.
        labels: their true classes.
        mixes: as `plausible_mixes` returns them.
    """
    train = class_frequencies(labels, list(predictions.columns))
    known = train.index[train > 0]
    shares = mixes[known].to_numpy()

    def losses(logits: Array) -> Array:
        mix = pd.Series(softmax(logits), known).reindex(train.index, fill_value=0.0)
        loss = per_image_loss(correct(predictions, mix, train), labels).groupby(labels).mean()
        return shares @ loss.loc[known].to_numpy()

    def soft_worst(logits: Array) -> float:
        return float(SOFTNESS * logsumexp(losses(logits) / SOFTNESS))

    start = np.log(train[known].to_numpy())
    found = optimize.minimize(soft_worst, start, method="L-BFGS-B", bounds=[(x - 4, x + 4) for x in start]).x
    best = min((start, found), key=lambda logits: losses(logits).max())
    return pd.Series(softmax(best), known).reindex(train.index, fill_value=0.0).rename("share")
