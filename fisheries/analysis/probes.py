"""Simple classifiers that are fitted on some folds and predict another: how much of a label do given values tell?

All are smoothed by one made-up image a class, the prior too: a class that a fold trains without would otherwise cost
34.5 nats an image, and say nothing of the values.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from fisheries.data.cues import own_bursts
from fisheries.inference.scoring import accuracy, log_loss
from fisheries.schema import InputError

CELLS = 64  # into which numbers are sorted: as many steps for one number, 8 x 8 for two
COMPONENTS = 400  # principal ones, of pictures and features
# how much to smooth, from the most, which leaves the prior alone
_SHRINKAGES = (np.inf, *4.0 ** np.arange(7, -1, -1))  # images by which a category's frequencies are drawn to the prior
_STRENGTHS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # scikit-learn's C
_INNER_FOLDS = 3  # of the training part, to choose between them

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]  # or features
Values = NDArray[Any]  # (N, F)


def held_out_predictions(
    values: pd.DataFrame, labels: pd.Series, fold: pd.Series, bursts: pd.Series, *, kind: str, seed: int = 0
) -> pd.DataFrame:
    """Predict each fold's labels from values, by a classifier fitted on the other folds.

    Args:
        values: (N, F) by `image_id`: text for kind "category", numbers for the others; not looked at for "prior".
        labels: class by `image_id`, for these images.
        fold: the fold that holds each out.
        bursts: images of one are kept together where a part of the training images chooses how much to smooth.
        kind: "prior": the frequencies of the classes. "category": their frequencies where the values are the same,
            drawn to the prior. "number": the same, in cells between quantiles. "picture": multinomial logistic
            regression on principal components, with an L2 penalty.
        seed: of that part, and of the components.

    Returns:
        A prediction table in the order of `labels`, with a column for each class that occurs.
    """
    classes, codes = np.unique(labels.to_numpy(), return_inverse=True)
    held_out_fold = fold.loc[labels.index].to_numpy()
    groups = pd.factorize(bursts.loc[labels.index])[0]
    matrix = values.loc[labels.index].to_numpy()
    probabilities = np.zeros((len(labels), len(classes)))
    for number in np.unique(held_out_fold):
        held_out = held_out_fold == number
        probabilities[held_out] = _predict(
            matrix[~held_out], codes[~held_out], groups[~held_out], matrix[held_out], len(classes), kind=kind, seed=seed
        )
    return pd.DataFrame(probabilities, index=labels.index, columns=classes)


def cells_of(numbers: Floats, fitted_on: Floats) -> Codes:
    """Sort rows of numbers (N, F) into at most `CELLS` cells, between quantiles of the rows `fitted_on` (M, F)."""
    steps = max(2, round(CELLS ** (1 / numbers.shape[1])))
    inner = np.linspace(0, 1, steps + 1)[1:-1]
    columns = [
        np.searchsorted(np.quantile(known, inner), own, side="right")
        for own, known in zip(numbers.T, fitted_on.T, strict=True)
    ]
    return np.stack(columns, axis=1)


def boat_probe(
    features: pd.DataFrame, boats: pd.Series, bursts: pd.Series, *, folds: int = 5, seed: int = 0
) -> dict[str, float]:
    """Measure how well features tell the boat: a linear probe over folds that keep bursts apart.

    Args:
        features: (N, F) by `image_id`.
        boats: boat by `image_id`, "" where it isn't known.
        bursts: burst by `image_id`; "" for an image of which it isn't known.
        folds: how many.
        seed: of the folds and the probe.

    Returns:
        images, boats, accuracy, largest_share (of images on the largest boat, the accuracy of knowing nothing),
        log_loss and prior_log_loss in nats.

    Raises:
        InputError: fewer than two boats are known among the images that have features, or fewer bursts than folds.
    """
    known = boats[(boats != "") & boats.index.isin(features.index)]
    groups = own_bursts(bursts.loc[known.index])
    if known.nunique() < 2:
        raise InputError(
            f"boat probe: {known.nunique()} boats are known among the {len(features)} images with features; "
            "expected at least 2"
        )
    if groups.nunique() < folds:
        raise InputError(
            f"boat probe: {groups.nunique()} bursts of images for {folds} folds; expected as many at least"
        )
    fold = pd.Series(_deal(pd.factorize(groups)[0], folds, seed=seed), known.index)
    predictions = held_out_predictions(features, known, fold, groups, kind="picture", seed=seed)
    prior = held_out_predictions(features, known, fold, groups, kind="prior", seed=seed)
    return {
        "images": len(known),
        "boats": known.nunique(),
        "accuracy": accuracy(predictions, known),
        "largest_share": float(known.value_counts(normalize=True).max()),
        "log_loss": log_loss(predictions, known),
        "prior_log_loss": log_loss(prior, known),
    }


def _predict(
    train: Values, codes: Codes, groups: Codes, held_out: Values, classes: int, *, kind: str, seed: int
) -> Floats:
    if kind == "picture":
        pictures = train.astype(np.float32), held_out.astype(np.float32)
        return _picture(pictures[0], codes, groups, pictures[1], classes, seed=seed)
    prior = _smooth(np.bincount(codes, minlength=classes) / len(codes), len(codes))
    if kind == "prior":
        return np.tile(prior, (len(held_out), 1))
    if kind == "number":
        return _category(cells_of(train, train), codes, groups, cells_of(held_out, train), prior)
    return _category(train, codes, groups, held_out, prior)


def _smooth(probabilities: Floats, images: int) -> Floats:
    """Add one made-up image a class to `images` of the given shares (..., C)."""
    return (images * probabilities + 1) / (images + probabilities.shape[-1])


def _category(train: Values, codes: Codes, groups: Codes, held_out: Values, prior: Floats) -> Floats:
    """Return (M, C): each category's class frequencies, drawn to the prior as if it had so many images more of it."""
    category = _joint_codes(np.concatenate([train, held_out]))
    own, asked = category[: len(train)], category[len(train) :]
    counts = np.zeros((category.max() + 1, len(prior)))
    np.add.at(counts, (own, codes), 1)
    shrinkage = _shrinkage(own, codes, groups, prior)
    shares = _draw(counts, counts.sum(axis=1, keepdims=True), prior, shrinkage)
    return shares[asked]


def _draw(alike: Values, all_labels: Values, prior: Floats, shrinkage: float) -> Floats:
    return prior + (alike - all_labels * prior) / (all_labels + shrinkage)


def _shrinkage(category: Codes, codes: Codes, groups: Codes, prior: Floats) -> float:
    """Choose what predicts each training image from those of its category that are in no burst with it."""
    table = pd.DataFrame({"category": category, "label": codes, "group": groups})
    alike, all_labels = _others(table, ["category", "label"]), _others(table, ["category"])
    losses = np.stack([-np.log(_draw(alike, all_labels, prior[codes], shrinkage)) for shrinkage in _SHRINKAGES])
    return float(_SHRINKAGES[_smoothest(losses, groups)])


def _smoothest(losses: Floats, groups: Codes) -> int:
    """Choose the first row of losses (S, N) that is not worse than the best by more than its standard error."""
    more = losses - losses[losses.mean(axis=1).argmin()]
    off = pd.DataFrame((more - more.mean(axis=1, keepdims=True)).T).groupby(groups).sum()  # images of one are alike
    error = np.sqrt((off**2).sum()).to_numpy() / losses.shape[1]
    return int((more.mean(axis=1) <= error).argmax())


def _others(table: pd.DataFrame, columns: list[str]) -> NDArray[np.int64]:
    """Count, for each row, the rows that agree with it in `columns` and are of another group."""
    same = table.groupby(columns)["group"].transform("size")
    return (same - table.groupby([*columns, "group"])["group"].transform("size")).to_numpy()


def _joint_codes(values: Values) -> Codes:
    return pd.DataFrame(values).groupby(list(range(values.shape[1])), sort=False).ngroup().to_numpy()


def _picture(train: Pixels, codes: Codes, groups: Codes, held_out: Pixels, classes: int, *, seed: int) -> Floats:
    """Return (M, C) of a logistic regression whose penalty is chosen among the training images, by folds of bursts."""
    train, held_out = _components(train, held_out, seed=seed)
    inner = _deal(groups, _INNER_FOLDS, seed=seed)
    losses: list[Floats] = []
    for strength in _STRENGTHS:
        losses.append(_inner_losses(train, codes, inner, classes, strength))
        if losses[-1].mean() > losses[max(len(losses) - 2, 0)].mean():
            break  # it only gets worse, and slower, from here
    return _logistic(train, codes, held_out, classes, _STRENGTHS[_smoothest(np.stack(losses), groups)])


def _inner_losses(train: Pixels, codes: Codes, fold: Codes, classes: int, strength: float) -> Floats:
    losses = np.zeros(len(codes))
    for number in np.unique(fold):
        asked = fold == number
        found = _logistic(train[~asked], codes[~asked], train[asked], classes, strength)
        losses[asked] = -np.log(found[np.arange(len(found)), codes[asked]])
    return losses


def _deal(groups: Codes, folds: int, *, seed: int) -> Codes:
    """Deal whole groups, in random order, into folds."""
    names, rows = np.unique(groups, return_inverse=True)
    return np.random.default_rng(seed).permutation(np.arange(len(names)) % folds)[rows]


def _components(train: Pixels, held_out: Pixels, *, seed: int) -> tuple[Pixels, Pixels]:
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1
    train, held_out = (((part - mean) / deviation).astype(np.float32) for part in (train, held_out))
    pca = PCA(min(COMPONENTS, *train.shape), random_state=seed)
    train, held_out = pca.fit_transform(train), pca.transform(held_out)
    scale = max(float(train[:, 0].std()), 1e-6)  # one for all, so that small components stay small
    return train / scale, held_out / scale


def _logistic(train: Pixels, codes: Codes, held_out: Pixels, classes: int, strength: float) -> Floats:
    present, counts = np.unique(codes, return_counts=True)
    probabilities = np.zeros((len(held_out), classes))
    probabilities[:, present] = counts / len(codes)
    if strength and len(present) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a penalty too weak to settle is rarely chosen
            model = LogisticRegression(C=strength, tol=1e-3, max_iter=300).fit(train, codes)
        probabilities[:, present] = model.predict_proba(held_out)
    return _smooth(probabilities, len(train))
