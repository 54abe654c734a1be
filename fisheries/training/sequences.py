"""Training on sequences of different lengths: frames of a burst, or characters of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from fisheries.progress import track
from fisheries.schema import InputError


@dataclass(frozen=True)
class Recipe:
    """How to fit a network that maps sequences (N, T, I) and their lengths (N,) to logits (N, T, C).

    Attributes:
        epochs: rounds over the sequences.
        batch_size: sequences in a step.
        lr: learning rate of AdamW; it falls to 0 in a half cosine.
        weight_decay: likewise of AdamW.
        seed: of the network's first weights, its dropout, and the order of the sequences.
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 5e-3
    weight_decay: float = 0.1
    seed: int = 0


def fit_sequences(
    create: Callable[[], nn.Module], inputs: Tensor, targets: Tensor, lengths: Tensor, recipe: Recipe
) -> tuple[nn.Module, list[float]]:
    """Train a network to tell the class of each step; what lies after a sequence's end does not count.

    Args:
        create: makes the network.
        inputs: (N, T, I).
        targets: (N, T) class indices.
        lengths: (N,) steps that count, at least 1.
        recipe: how.

    Returns:
        The network, and the mean cross-entropy of the steps of each epoch, in nats.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = create().train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        batches = -(-len(inputs) // recipe.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * batches)
        losses = []
        for _ in range(recipe.epochs):
            total = 0.0
            for rows in torch.split(torch.randperm(len(inputs)), recipe.batch_size):
                loss = _step_losses(net, inputs[rows], targets[rows], lengths[rows])  # (steps that count,)
                optimizer.zero_grad()
                torch.autograd.backward(loss.mean())
                optimizer.step()
                schedule.step()
                total += float(loss.detach().sum())
            losses.append(total / int(lengths.sum()))
    return net.eval(), losses


def predict_out_of_fold(
    create: Callable[[], nn.Module],
    features: pd.DataFrame,
    labels: pd.Series,
    sequence: pd.Series,
    fold: pd.Series,
    *,
    classes: Sequence[str],
    recipe: Recipe,
    progress: bool = False,
) -> pd.DataFrame:
    """Predict each image by a network that has trained on the sequences of the other folds.

    Features are standardized by the images that a fold trains on.

    Args:
        create: makes the network.
        features: (M, I) by `image_id`; the order of the rows is that of the steps.
        labels: of these images.
        sequence: of these images, the name of the sequence that each belongs to; images with names of their own are
            single frames.
        fold: of these images.
        classes: the columns of the predictions.
        recipe: how to fit.
        progress: whether to draw a bar on standard error.

    Returns:
        Probabilities, in the order of `features`.

    Raises:
        InputError: a sequence is in two folds, or a label is no class.
    """
    fold, sequence = fold.loc[features.index], sequence.loc[features.index]
    _check_undivided(sequence, fold)
    numbers = _class_numbers(labels.loc[features.index], classes)  # (M,)
    held_out = pd.DataFrame(np.nan, features.index, list(classes))
    parts = sorted(fold.unique())
    for part in track(parts, "Folds", disable=not progress):
        train = (fold != part).to_numpy(copy=True)
        mean, spread = features[train].mean(), features[train].std()
        values = torch.from_numpy(
            ((features - mean) / spread.clip(lower=1e-6)).to_numpy(np.float32, copy=True)
        )  # (M, I)
        net, _ = fit_sequences(create, *_padded(values[train], numbers[train], sequence[train]), recipe)
        held_out.loc[~train] = _predict(net, values[~train], sequence[~train])
    return held_out


def _check_undivided(sequence: pd.Series, fold: pd.Series) -> None:
    folds = fold.groupby(sequence).nunique()
    if (folds > 1).any():
        name = folds.idxmax()
        raise InputError(f"sequence {name!r} is in {folds[name]} folds, expected 1; split by boat or burst")


def _class_numbers(labels: pd.Series, classes: Sequence[str]) -> Tensor:
    numbers = pd.Index(classes).get_indexer(labels)
    if (numbers < 0).any():
        raise InputError(f"label {labels[numbers < 0].iloc[0]!r} is no class; expected one of {', '.join(classes)}")
    return torch.from_numpy(numbers)


def _step_losses(net: nn.Module, inputs: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    counts = torch.arange(inputs.shape[1]) < lengths[:, None]  # (N, T)
    return functional.cross_entropy(net(inputs, lengths)[counts], targets[counts], reduction="none")


def _places(sequence: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row the number of its sequence, and its step in it."""
    return pd.factorize(sequence)[0], sequence.groupby(sequence).cumcount().to_numpy(copy=True)


def _padded(values: Tensor, numbers: Tensor, sequence: pd.Series) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs (N, T, I), targets (N, T) and lengths (N,)."""
    row, step = _places(sequence)
    inputs = torch.zeros(row.max() + 1, step.max() + 1, values.shape[1])
    targets = torch.zeros(inputs.shape[:2], dtype=torch.int64)
    inputs[row, step], targets[row, step] = values, numbers
    return inputs, targets, torch.from_numpy(np.bincount(row))


@torch.inference_mode()
def _predict(net: nn.Module, values: Tensor, sequence: pd.Series) -> np.ndarray:
    """Return probabilities (M, C) in the order of the rows."""
    inputs, _, lengths = _padded(values, torch.zeros(len(values), dtype=torch.int64), sequence)
    row, step = _places(sequence)
    return net(inputs, lengths)[row, step].double().softmax(dim=1).numpy()
