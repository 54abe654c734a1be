"""Mutual information, and permutations of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from fisheries.analysis.independence import mutual_information, permutation_test


@given(codes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=60))
@settings(deadline=None, max_examples=60)
def test_mutual_information_is_the_textbook_s(codes: list[tuple[int, int]]):
    values, labels = np.array(codes).T
    information = mutual_information(values, labels)
    assert information == pytest.approx(mutual_info_score(values, labels), abs=1e-9)
    assert information == pytest.approx(mutual_information(labels, values), abs=1e-9)


def test_permutations_tell_dependence_from_chance():
    rng = np.random.default_rng(5)
    labels, own = rng.integers(3, size=300), np.arange(300)
    chance, p_value = permutation_test(labels, labels, own, permutations=199, seed=0)
    assert p_value == 1 / 200
    assert 0 < chance < 0.05
    draws = [
        permutation_test(rng.integers(4, size=300), labels, own, permutations=99, seed=seed)[1] for seed in range(40)
    ]
    assert np.mean(np.array(draws) <= 0.1) < 0.3
    assert 0.3 < np.mean(draws) < 0.7


def test_permuting_whole_bursts_does_not_take_twins_for_evidence():
    rng = np.random.default_rng(6)
    bursts = np.repeat(np.arange(40), 10)
    alone, together = [], []
    for seed in range(20):
        values, labels = rng.integers(4, size=40)[bursts], rng.integers(3, size=40)[bursts]
        alone.append(permutation_test(values, labels, np.arange(400), permutations=99, seed=seed)[1])
        together.append(permutation_test(values, labels, bursts, permutations=99, seed=seed)[1])
    assert np.mean(np.array(alone) <= 0.05) > 0.8
    assert np.mean(np.array(together) <= 0.05) < 0.3
