from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from fisheries.models.recurrent import SequenceGRU
from fisheries.schema import InputError
from fisheries.training.sequences import Recipe, fit_sequences, predict_out_of_fold

ENOUGH = Recipe(epochs=14, batch_size=8, lr=0.03)
ONE = Recipe(epochs=1)
CLASSES = ["blue", "red"]


def bursts(count: int = 36, *, seed: int = 0) -> pd.DataFrame:
    """Frames of bursts of 1 to 3, of which the first alone shows the class of all; rows in no order of bursts."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = int(rng.integers(2))
        for step in range(1 + number % 3):
            sign = (2 * label - 1) * (step == 0)
            rows.append((f"burst_{number}", step, CLASSES[label], number % 2, sign, rng.normal(0, 0.1)))
    table = pd.DataFrame(rows, columns=["burst", "step", "label", "fold", "first", "second"])
    table.index = pd.Index([f"img_{number:03d}" for number in range(len(table))], name="image_id")
    return table.sample(frac=1, random_state=seed).sort_values("step", kind="stable")


def predict(table: pd.DataFrame, *, sequence: pd.Series | None = None, recipe: Recipe = ONE) -> pd.DataFrame:
    return predict_out_of_fold(
        partial(SequenceGRU, 2, hidden=8, classes=2),
        table[["first", "second"]],
        table["label"],
        table["burst"] if sequence is None else sequence,
        table["fold"],
        classes=CLASSES,
        recipe=recipe,
    )


def right(predictions: pd.DataFrame, table: pd.DataFrame) -> pd.Series:
    return predictions.idxmax(axis=1) == table.loc[predictions.index, "label"]


def test_frames_that_show_nothing_are_told_by_an_earlier_frame_of_their_burst():
    table = bursts()
    predictions = predict(table, recipe=ENOUGH)
    assert predictions.index.equals(table.index)
    np.testing.assert_allclose(predictions.sum(axis=1), 1)
    assert right(predictions, table).mean() > 0.95
    alone = predict(table, sequence=pd.Series(table.index, table.index), recipe=ENOUGH)
    assert right(alone, table)[table["step"] == 0].all()
    assert right(alone, table)[table["step"] > 0].mean() < 0.8


def test_labels_of_a_fold_do_not_reach_its_predictions():
    table = bursts()
    before = predict(table)
    held_out = table["fold"] == 1
    table.loc[held_out, "label"] = "red"
    after = predict(table)
    pd.testing.assert_frame_equal(after[held_out], before[held_out])
    assert not after[~held_out].equals(before[~held_out])


def test_features_of_a_fold_do_not_reach_its_networks():
    """Neither training nor the mean and spread that features are standardized by."""
    table = bursts()
    before = predict(table)
    changed = table.index[(table["fold"] == 1) & (table["burst"] != "burst_5")]
    table.loc[changed, ["first", "second"]] += 100
    after = predict(table)
    same = table.index[table["burst"] == "burst_5"]
    pd.testing.assert_frame_equal(after.loc[same], before.loc[same])
    assert not after.loc[changed].equals(before.loc[changed])


def test_joins_are_by_image_id_whatever_the_order_of_the_other_tables():
    table = bursts()
    shuffled = table.sample(frac=1, random_state=5)
    again = predict_out_of_fold(
        partial(SequenceGRU, 2, hidden=8, classes=2),
        table[["first", "second"]],
        shuffled["label"],
        shuffled["burst"],
        shuffled["fold"],
        classes=CLASSES,
        recipe=ONE,
    )
    pd.testing.assert_frame_equal(again, predict(table))


def test_a_sequence_in_two_folds_is_refused():
    table = bursts()
    table.loc[(table["burst"] == "burst_1") & (table["step"] == 1), "fold"] = 0
    with pytest.raises(InputError, match=r"^sequence 'burst_1' is in 2 folds, expected 1; split by boat or burst$"):
        predict(table)


def test_a_label_that_is_no_class_is_refused():
    table = bursts()
    table.loc[table.index[0], "label"] = "green"
    with pytest.raises(InputError, match=r"^label 'green' is no class; expected one of blue, red$"):
        predict(table)


def test_padding_does_not_train():
    torch.manual_seed(0)
    inputs, targets, lengths = torch.randn(8, 3, 2), torch.randint(2, (8, 3)), torch.tensor([1, 2] * 4)
    create = partial(SequenceGRU, 2, hidden=4, classes=2)
    _, before = fit_sequences(create, inputs, targets, lengths, ENOUGH)
    beyond = torch.arange(3) >= lengths[:, None]
    inputs[beyond], targets[beyond] = 99, 1 - targets[beyond]
    _, after = fit_sequences(create, inputs, targets, lengths, ENOUGH)
    assert after == before
    assert after[-1] < after[0]


def test_a_fit_follows_from_its_seed_and_leaves_the_callers_generator_alone():
    inputs, targets, lengths = torch.randn(8, 3, 2), torch.randint(2, (8, 3)), torch.full((8,), 3)
    create = partial(SequenceGRU, 2, hidden=4, classes=2, dropout=0.5)
    state = torch.get_rng_state()
    losses = []
    for seed in (0, 0, 1):
        torch.rand(3)
        before = torch.get_rng_state()
        losses.append(fit_sequences(create, inputs, targets, lengths, Recipe(epochs=2, seed=seed))[1])
        assert torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(state)
    assert losses[0] == losses[1] != losses[2]
