"""What a submission may lose its place by although Kaggle takes it, each with a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from fisheries.inference.label_shift import published_mix
from fisheries.inference.origin import Origin
from fisheries.inference.scoring import class_frequencies
from fisheries.inference.submission import CLASSES, CLIP, stage_of
from fisheries.inference.submission_problems import Problem, name_problems
from fisheries.schema import OK, TRAIN

LEAST = 1e-3  # at a lower probability a wrong class gains less than 0.001 nats, and the true one costs 6.9 or more
# Of 30 real boats, the mix of twenty lies within 0.3 nats of that of all, KL(twenty || all), in 95 of 100 bootstrap draws.
MOST_NATS = 0.3
# Of the probability of a frame, what may lie elsewhere than in the mean over its burst: a total variation distance.
MOST_APART = 0.25
TRAIN_IMAGES = pd.Series([1719, 200, 117, 67, 465, 299, 176, 734], index=list(CLASSES))  # of the competition


def find_risks(predictions: pd.DataFrame, origins: Sequence[Origin]) -> list[Problem]:
    """Return what is likely to cost a submission its place, nothing if nothing is.

    Args:
        predictions: as they are submitted, one probability a class, by `image_id`.
        origins: of the tables that they come from; a manifest beside a table tells which frames are near-duplicates.
    """
    manifest = _manifest(origins)
    by_origin = [problem for origin in origins for problem in (*_other_folds(origin), *_worse_than_prior(origin))]
    return [*_sure(predictions), *_far_mix(predictions, manifest), *_unlike_twins(predictions, manifest), *by_origin]


def missing_images(predictions: pd.DataFrame, origins: Sequence[Origin]) -> list[Problem]:
    """Return an error if test images in the manifests beside the tables are of a stage predicted, and are not."""
    manifest, stages = _manifest(origins), {stage_of(name) for name in predictions.index}
    test = manifest.index[manifest["subset"] != TRAIN]
    wanted = test[[stage_of(name) in stages for name in test]]
    missing = wanted.difference(predictions.index, sort=False)
    return name_problems(missing, "is missing", "the manifest.csv beside the table has them: predict them, too")


def _manifest(origins: Sequence[Origin]) -> pd.DataFrame:
    known = [origin.manifest for origin in origins if origin.manifest is not None]
    if not known:
        return pd.DataFrame({"subset": [], "label": [], "status": [], "burst": []}, dtype="str")
    table = pd.concat(known)
    return table[~table.index.duplicated()]


def _sure(predictions: pd.DataFrame) -> list[Problem]:
    low = predictions < LEAST
    if not low.to_numpy().any():
        return []
    image = predictions.min(axis=1).idxmin()
    name, value = predictions.loc[image].idxmin(), predictions.loc[image].min()
    count = int(low.any(axis=1).sum())
    cost = -np.log(np.clip(value, CLIP, 1))
    text = (
        f"{name} of {image!r} is {value:.2g}: where it is right that image alone costs {cost:.1f} nats; {count} of "
        f"{len(predictions)} images have a probability below {LEAST:g}; clip them: `fisheries calibrate`"
    )
    return [Problem("warning", text)]


def _far_mix(predictions: pd.DataFrame, manifest: pd.DataFrame) -> list[Problem]:
    mixes = _plausible_mixes(list(predictions.columns), manifest)
    stages = predictions.groupby([stage_of(name)[-1] for name in predictions.index])
    return [problem for stage, rows in stages for problem in _far_mean(rows.mean(), mixes, stage=stage)]


def _far_mean(mean: pd.Series, mixes: Mapping[str, pd.Series], *, stage: str) -> list[Problem]:
    nats = pd.Series({name: rel_entr(mean, mix[mean.index]).sum() for name, mix in mixes.items()})
    if nats.min() <= MOST_NATS:
        return []
    most = ", ".join(f"{name} {share:.2f}" for name, share in mean.nlargest(3).items())
    text = (
        f"the mean prediction of stage {stage} ({most}, …) is {nats.min():.2f} nats from {nats.idxmin()}, the nearest "
        f"plausible class mix; those of twenty boats rarely differ by more than {MOST_NATS:g}: look for mixed-up classes, "
        "or `fisheries calibrate`"
    )
    return [Problem("warning", text)]


def _plausible_mixes(classes: list[str], manifest: pd.DataFrame) -> dict[str, pd.Series]:
    mixes = {"the uniform one": pd.Series(1 / len(classes), index=classes)}
    images = manifest[(manifest["subset"] == TRAIN) & (manifest["status"] == OK) & (manifest["label"].isin(classes))]
    if len(images):
        mixes["that of the training images"] = class_frequencies(images["label"], classes)
    if set(classes) == set(CLASSES):
        train = TRAIN_IMAGES / TRAIN_IMAGES.sum()
        mixes["that of the competition's training images"] = train
        mixes["that published of its test images"] = published_mix(train)
    return mixes


def _unlike_twins(predictions: pd.DataFrame, manifest: pd.DataFrame) -> list[Problem]:
    frames = predictions[predictions.index.isin(manifest.index)]
    burst = manifest["burst"].loc[frames.index]
    frames, burst = frames[burst != ""], burst[burst != ""]
    apart = (frames - frames.groupby(burst).transform("mean")).abs().sum(axis=1) / 2
    if not (apart > MOST_APART).any():
        return []
    worst = apart.idxmax()
    twins = frames[burst == burst[worst]].drop(index=worst)
    other = (twins - frames.loc[worst]).abs().sum(axis=1).idxmax()
    count = burst[apart > MOST_APART].nunique()
    text = (
        f"{worst!r} ({_top(frames.loc[worst])}) and {other!r} ({_top(frames.loc[other])}) are frames of one burst; "
        f"{count} bursts disagree so; average them: `fisheries lookalikes`"
    )
    return [Problem("warning", text)]


def _top(row: pd.Series) -> str:
    return f"{row.idxmax()} {row.max():.2f}"


def _other_folds(origin: Origin) -> list[Problem]:
    if origin.folds_beside in ("", origin.folds_hash):
        return []
    text = (
        f"{origin.table}: made from the folds {origin.folds_hash or '(not said)'}, folds.csv beside it is "
        f"{origin.folds_beside}: what its folder says of scores is not of this table; take the table of that run"
    )
    return [Problem("warning", text)]


def _worse_than_prior(origin: Origin) -> list[Problem]:
    loss, prior = origin.oof_log_loss, origin.prior_log_loss
    if loss is None or prior is None or loss < prior:
        return []
    text = (
        f"{origin.table}: on unseen boats its log loss is {loss:.3f} (OOF), the constant prior's {prior:.3f}: "
        "`fisheries calibrate` first, or submit the prior"
    )
    return [Problem("warning", text)]
