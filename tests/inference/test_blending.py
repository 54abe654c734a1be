from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.inference.blending import (
    METHODS,
    SINGLE,
    best_weights,
    combine,
    fit_weights,
    greedy_weights,
    members_of,
    stack,
)
from fisheries.schema import KEY, check_predictions

CLASSES = ["ALB", "BET", "NoF"]
SEEDS = st.integers(0, 2**32 - 1)


def tables(members: int, images: int, seed: int, sharpness: float = 1.0) -> tuple[pd.DataFrame, pd.Series]:
    """Stacked predictions, sharper with a smaller number, and labels."""
    rng = np.random.default_rng(seed)
    index = pd.Index([f"img_{number}.jpg" for number in range(images)], name=KEY)
    rows = [rng.dirichlet(np.full(len(CLASSES), sharpness), images) for _ in range(members)]
    stacked = stack({f"m{number}": pd.DataFrame(row, index, CLASSES) for number, row in enumerate(rows)})
    return stacked, pd.Series(rng.choice(CLASSES, images), index)


@given(
    st.integers(1, 6), st.integers(1, 30), SEEDS, st.sampled_from([*METHODS, SINGLE]), st.sampled_from([0.01, 1, 30])
)
def test_weights_are_not_negative_and_sum_to_1_and_rows_stay_distributions(members, images, seed, method, sharpness):
    stacked, labels = tables(members, images, seed, sharpness)
    weights = fit_weights(stacked, labels, method=method)
    assert list(weights.index) == members_of(stacked)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    mixed = combine(stacked, weights, method=method)
    check_predictions(mixed)
    assert list(mixed.columns) == CLASSES
    assert mixed.index.equals(stacked.index)


@given(st.integers(2, 5), SEEDS)
def test_no_other_weights_have_a_lower_log_loss_than_the_best(members, seed):
    rng = np.random.default_rng(seed)
    own = rng.uniform(0.001, 1, (25, members))
    others = np.concatenate([rng.dirichlet(np.ones(members), 200), np.eye(members)])  # (W, M)
    least = -np.log(own @ best_weights(own)).mean()
    assert least <= -np.log(own @ others.T).mean(axis=0).min() + 1e-6
    greedy = -np.log(own @ greedy_weights(own)).mean()
    assert greedy <= -np.log(own).mean(axis=0).min() + 1e-12  # the best member alone is its first round
    assert least <= greedy + 1e-6
    assert greedy < least + 0.01


@settings(max_examples=15)
@given(SEEDS)
def test_swapped_rows_change_no_blend(seed):
    stacked, labels = tables(3, 20, seed)
    turned = stack({name: stacked[name] if name == "m1" else stacked[name].iloc[::-1] for name in members_of(stacked)})
    for method in METHODS:
        weights = fit_weights(turned, labels, method=method)
        expected = combine(stacked, fit_weights(stacked, labels, method=method), method=method)
        pd.testing.assert_frame_equal(combine(turned, weights, method=method).loc[stacked.index], expected, atol=1e-6)


def test_means_are_those_of_probabilities_and_of_logarithms():
    index = pd.Index(["a.jpg"], name=KEY)
    stacked = stack(
        {"m": pd.DataFrame([[0.9, 0.1]], index, ["A", "B"]), "n": pd.DataFrame([[0.1, 0.9]], index, ["A", "B"])}
    )
    weights = pd.Series([0.75, 0.25], ["m", "n"])
    assert combine(stacked, weights, method="mean").loc["a.jpg"].tolist() == pytest.approx([0.7, 0.3])
    assert combine(stacked, weights, method="weighted").loc["a.jpg"].tolist() == pytest.approx([0.7, 0.3])
    a, b = 0.9**0.75 * 0.1**0.25, 0.1**0.75 * 0.9**0.25
    geometric = combine(stacked, weights, method="geometric").loc["a.jpg"].tolist()
    assert geometric == pytest.approx([a / (a + b), b / (a + b)])


def test_a_member_that_rules_out_a_class_does_not_rule_it_out_for_all_in_a_geometric_mean():
    index = pd.Index(["a.jpg"], name=KEY)
    stacked = stack(
        {"m": pd.DataFrame([[1.0, 0.0]], index, ["A", "B"]), "n": pd.DataFrame([[0.0, 1.0]], index, ["A", "B"])}
    )
    mixed = combine(stacked, pd.Series(0.5, ["m", "n"]), method="geometric")
    assert mixed.loc["a.jpg"].tolist() == pytest.approx([0.5, 0.5])
