"""Scores of prediction tables, as Kaggle computes them: float64, joined by `image_id`, clipped at 1e-15."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.boxes import iou_xyxy
from fisheries.inference.submission import CLIP, STAGES, read_sample, stage_of
from fisheries.schema import KEY, InputError, largest_boxes, nearest

ALL = "all"
IGNORED = "Ignored"
USAGES = ("Public", "Private", IGNORED)


def log_loss(predictions: pd.DataFrame, labels: pd.Series, *, subset: bool = False) -> float:
    """Return the competition's metric, the mean of `per_image_loss`, in nats."""
    return float(per_image_loss(predictions, labels, subset=subset).mean())


def per_image_loss(predictions: pd.DataFrame, labels: pd.Series, *, subset: bool = False) -> pd.Series:
    """Return -log p(true class) for every image, in nats, at most -log(1e-15) = 34.54.

    As Kaggle does it, each row is rescaled to sum to 1, then clipped to [1e-15, 1 - 1e-15].

    Args:
        predictions: one column a class, indexed by `image_id`; rows need not sum to 1.
        labels: class names, indexed by `image_id`.
        subset: whether predictions may have more images than `labels`, such as those of other folds.

    Returns:
        The losses in the order of `labels`.

    Raises:
        InputError: an id on one side only or twice, a label that is no class, no labels, or a row that can't be
            rescaled: not finite, negative, or all zero.
    """
    joined = _joined(predictions, labels, subset=subset)
    own = _rescaled(joined)[np.arange(len(labels)), joined.columns.get_indexer(labels)]  # (N,)
    return pd.Series(-np.log(own.clip(CLIP, 1 - CLIP)), index=labels.index, name="log_loss")


def accuracy(predictions: pd.DataFrame, labels: pd.Series, *, subset: bool = False) -> float:
    """Return the share of images whose class has the highest probability; of equal ones the first column counts.

    Raises:
        InputError: as `per_image_loss`.
    """
    return float(_hits(predictions, labels, subset=subset).mean())


def class_frequencies(labels: pd.Series, classes: Sequence[str]) -> pd.Series:
    """Return the share of each class in `labels`, in the order of `classes`; 0 for a class that does not occur.

    Raises:
        InputError: no labels, or a label that is no class.
    """
    _check_labels(labels, classes)
    return labels.value_counts(normalize=True).reindex(list(classes), fill_value=0.0).rename("frequency")


def constant_predictions(frequencies: pd.Series, image_ids: Iterable[str]) -> pd.DataFrame:
    """Return a prediction table that says `frequencies` (class -> probability) for every image."""
    index = pd.Index(list(image_ids), name=KEY)
    return pd.DataFrame(np.tile(frequencies, (len(index), 1)), index=index, columns=frequencies.index)


def prior_log_loss(train_labels: pd.Series, labels: pd.Series, classes: Sequence[str]) -> float:
    """Return the log loss of predicting the class frequencies of `train_labels` for every image of `labels`.

    A class that `train_labels` lack has frequency 0 and costs the full 34.54 nats an image, as it would at Kaggle:
    nothing is smoothed, so that a fold which trains without a class shows.

    Raises:
        InputError: as `class_frequencies` and `per_image_loss`.
    """
    return log_loss(constant_predictions(class_frequencies(train_labels, classes), labels.index), labels)


def image_scores(
    predictions: pd.DataFrame,
    labels: pd.Series,
    prior: pd.Series | pd.DataFrame,
    *,
    no_fish: str = "",
    boxes_true: pd.DataFrame | None = None,
    boxes_predicted: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return what the predictions and the prior score on each image.

    Args:
        predictions: as `per_image_loss`.
        labels: as `per_image_loss`.
        prior: class -> frequency in the training data, see `class_frequencies`; or, where the training data differ
            by fold, a table like `predictions` with the frequencies that hold for each image.
        no_fish: the class of images without fish, if there is one.
        boxes_true: a table of `schema.BOXES`; the largest usable box of an image is the one to find.
        boxes_predicted: left, top, box_width, box_height in the same frame pixels, one box an image.

    Returns:
        In the order of `labels`: label; is_fish; log_loss, prior_log_loss (nats); accuracy, 1 where the class with the
        highest probability is the right one; confidence, that probability; fish_accuracy, 1 where fish or no fish is
        told right; with boxes box_iou, NaN where an image has no usable box.

    Raises:
        InputError: as `per_image_loss` and `largest_box_iou`; the prior has other classes; one box table alone.
    """
    constants = prior if isinstance(prior, pd.DataFrame) else constant_predictions(prior, labels.index)
    _check_prior(constants.columns, predictions.columns)
    joined = _joined(predictions, labels, subset=False)
    probabilities = pd.DataFrame(_rescaled(joined), index=joined.index, columns=joined.columns)
    is_fish = labels != no_fish
    says_fish = probabilities[no_fish] < 0.5 if no_fish in probabilities else pd.Series(True, labels.index)
    images = pd.DataFrame(
        {
            "label": labels,
            "is_fish": is_fish,
            "log_loss": per_image_loss(predictions, labels),
            "prior_log_loss": per_image_loss(constants, labels),
            "accuracy": _hits(predictions, labels, subset=False).astype(float),
            "confidence": probabilities.max(axis=1),
            "fish_accuracy": (says_fish == is_fish).astype(float),
        }
    )
    if (boxes_true is None) != (boxes_predicted is None):
        raise InputError("one of boxes_true and boxes_predicted alone; give both, or neither")
    if boxes_true is not None and boxes_predicted is not None:
        images["box_iou"] = largest_box_iou(boxes_true, boxes_predicted, labels.index)
    return images


def largest_box_iou(boxes_true: pd.DataFrame, boxes_predicted: pd.DataFrame, image_ids: pd.Index) -> pd.Series:
    """Return the intersection over union of the largest usable box of each image with the one predicted.

    Args:
        boxes_true: a table of `schema.BOXES`; usable are the boxes with status "ok" or "clipped".
        boxes_predicted: left, top, box_width, box_height in the same frame pixels, indexed by `image_id`.
        image_ids: the images to look at.

    Returns:
        A value in [0, 1] for each of `image_ids` that has a usable box.

    Raises:
        InputError: an image with a usable box has no predicted box, more than one, or one that is not finite.
    """
    truth = largest_boxes(boxes_true[boxes_true.index.isin(image_ids)])
    found = boxes_predicted[boxes_predicted.index.isin(truth.index)]
    _refuse(truth.index.difference(found.index), "has a box but no predicted one", "predict one box an image")
    _refuse(found.index[found.index.duplicated()], "has more than one predicted box", "keep the best one of each")
    first, second = _xyxy_px(truth), _xyxy_px(found.loc[truth.index])  # (N, 4)
    _refuse(truth.index[~np.isfinite(second).all(axis=1)], "has a predicted box that is not finite", "predict it anew")
    return pd.Series(iou_xyxy(first, second), index=truth.index, name="box_iou")


def read_solution(path: Path | str) -> pd.DataFrame:
    """Read the true classes of test images.

    Args:
        path: a CSV with `image,label` and maybe `stage` (stg1 or stg2), or Kaggle's own: `image`, a column of 0 and
            1 a class, and maybe `Usage`, where rows marked Ignored are not scored.

    Returns:
        Columns label and stage, indexed by `image_id`.

    Raises:
        InputError: as `submission.read_sample`; an image without a label or with several; a stage that contradicts
            the name; a Usage other than Public, Private and Ignored; no row that is scored.
    """
    text = _scored_rows(read_sample(path), path)
    label = text["label"] if "label" in text else _one_hot_labels(text, path)
    _refuse(text.index[label == ""], "has no label", "write its class or take the row out", name=path)
    stage = pd.Series([stage_of(name) for name in text.index], index=text.index)
    if "stage" in text:
        wrong = text.index[text["stage"] != stage]
        _refuse(wrong, "has a stage that contradicts its name", "correct one of them", name=path)
    return pd.DataFrame({"label": label, "stage": stage})


def score_submission(
    submission: pd.DataFrame, solution: pd.DataFrame, *, prior: pd.Series | None = None
) -> pd.DataFrame:
    """Return one row a stage of the solution and a last row "all".

    The solution says what is scored, as at Kaggle: rows of the submission beyond it do not count.

    Args:
        submission: as read by `submission.read_submission`.
        solution: as read by `read_solution`.
        prior: class -> frequency in the training data, where that is known.

    Returns:
        Columns images, log_loss, and for comparison uniform_log_loss, best_constant_log_loss, what the best possible
        answer scores that is the same for all of these images, and, with a prior, prior_log_loss (nats).

    Raises:
        InputError: as `per_image_loss`; the prior has other classes.
    """
    stages = [stage for stage in STAGES if (solution["stage"] == stage).any()]
    parts = [*(solution.loc[solution["stage"] == stage, "label"] for stage in stages), solution["label"]]
    table = pd.DataFrame([_submission_scores(submission, labels) for labels in parts], index=[*stages, ALL])
    if prior is not None:
        _check_prior(prior.index, submission.columns)
        table["prior_log_loss"] = [log_loss(constant_predictions(prior, labels.index), labels) for labels in parts]
    return table.rename_axis("stage")


def _submission_scores(submission: pd.DataFrame, labels: pd.Series) -> dict[str, float]:
    classes = list(submission.columns)
    return {
        "images": len(labels),
        "log_loss": log_loss(submission, labels, subset=True),
        "uniform_log_loss": float(np.log(len(classes))),
        "best_constant_log_loss": prior_log_loss(labels, labels, classes),
    }


def _joined(predictions: pd.DataFrame, labels: pd.Series, *, subset: bool) -> pd.DataFrame:
    _check_labels(labels, predictions.columns)
    for ids, name in ((labels.index, "labels"), (predictions.index, "predictions")):
        _refuse(ids[ids.duplicated()], "occurs more than once", "keep one of each", name=name)
    missing = labels.index.difference(predictions.index, sort=False)
    _refuse(missing, "has a label but no prediction", "predict these images, or take their labels out")
    if not subset:
        extra = predictions.index.difference(labels.index, sort=False)
        _refuse(extra, "has a prediction but no label", "with subset=True only the labeled images are scored")
    return predictions.loc[labels.index]


def _refuse(image_ids: pd.Index, problem: str, remedy: str, *, name: Path | str = "scoring") -> None:
    if len(image_ids):
        raise InputError(f"{name}: {image_ids[0]!r} {problem}; {len(image_ids)} such images; {remedy}")


def _check_labels(labels: pd.Series, classes: Iterable[str]) -> None:
    if labels.empty:
        raise InputError("no labels; a score needs at least one labeled image")
    unknown = labels[~labels.isin(list(classes))]
    if len(unknown):
        label = str(unknown.iloc[0])
        raise InputError(
            f"{unknown.index[0]!r} has the label {label!r}{nearest(label, classes)}; {len(unknown)} such images; "
            f"the classes are {','.join(classes)}"
        )


def _check_prior(prior_classes: pd.Index, classes: pd.Index) -> None:
    if set(prior_classes) != set(classes):
        raise InputError(
            f"the prior has the classes {','.join(prior_classes)}, the predictions {','.join(classes)}; "
            "count the frequencies of the classes predicted"
        )


def _rescaled(table: pd.DataFrame) -> NDArray[np.float64]:
    values = table.to_numpy(dtype=np.float64)  # (N, C)
    totals = values.sum(axis=1, keepdims=True)  # (N, 1)
    bad = ~np.isfinite(totals[:, 0]) | (values < 0).any(axis=1) | (totals[:, 0] <= 0)
    _refuse(table.index[bad], "can't be rescaled to sum to 1", "its values must be finite, 0 or more, not all 0")
    return values / totals


def _hits(predictions: pd.DataFrame, labels: pd.Series, *, subset: bool) -> pd.Series:
    joined = _joined(predictions, labels, subset=subset)
    best = joined.columns[_rescaled(joined).argmax(axis=1)]
    return pd.Series(best == labels.to_numpy(), index=labels.index, name="hit")


def _xyxy_px(boxes: pd.DataFrame) -> NDArray[np.float64]:
    left_top = boxes[["left", "top"]].to_numpy(dtype=np.float64)
    return np.concatenate([left_top, left_top + boxes[["box_width", "box_height"]].to_numpy(dtype=np.float64)], axis=1)


def _scored_rows(text: pd.DataFrame, path: Path | str) -> pd.DataFrame:
    if "Usage" not in text:
        return text
    unknown = text.index[~text["Usage"].isin(USAGES)]
    _refuse(unknown, "has an unknown Usage", f"write one of {','.join(USAGES)}", name=path)
    scored = text[text["Usage"] != IGNORED]
    if scored.empty:
        raise InputError(f"{path}: every row is marked {IGNORED}; give a solution with rows to score")
    return scored


def _one_hot_labels(text: pd.DataFrame, path: Path | str) -> pd.Series:
    classes = text[[name for name in text if name not in ("Usage", "stage")]]
    values = classes.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)  # (N, C)
    wrong = classes.index[~np.isin(values, [0, 1]).all(axis=1) | (values.sum(axis=1) != 1)]
    _refuse(wrong, "has not a single 1 and else 0", "give `image,label`, or a column of 0 and 1 a class", name=path)
    return pd.Series(classes.columns[values.argmax(axis=1)], index=classes.index, dtype="str")
