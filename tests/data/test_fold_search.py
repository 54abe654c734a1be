from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from fisheries.data.fold_search import fold_counts, search_folds, search_holdout


def worth(counts: np.ndarray, parts: np.ndarray, folds: int) -> tuple[int, float]:
    """How many classes folds lack, and how far shares and sizes are off."""
    sums = fold_counts(counts, parts, folds)
    columns = np.c_[sums, sums.sum(axis=1)]
    lacking = int((columns == 0).sum() + (columns == columns.sum(axis=0)).sum())
    return lacking, float(((columns * folds / columns.sum(axis=0) - 1) ** 2).mean())


def fleet(seed: int, groups: int, classes: int, *, absent: float = 0.6) -> np.ndarray:
    """Groups of very different size that have few of the classes each."""
    rng = np.random.default_rng(seed)
    counts = np.ceil(rng.lognormal(2, 1.5, (groups, classes))) * (rng.random((groups, classes)) > absent)
    counts[np.arange(groups), rng.integers(classes, size=groups)] += 1
    counts[rng.permutation(groups)[:classes], np.arange(classes)] += 1
    return counts


@given(seed=st.integers(0, 10_000), folds=st.integers(2, 3), groups=st.integers(4, 7))
@settings(deadline=None, max_examples=8)
def test_the_search_is_as_good_as_trying_everything(seed: int, folds: int, groups: int):
    counts = fleet(seed, groups, 3)
    every = (np.array(parts) for parts in itertools.product(range(folds), repeat=groups))
    assert worth(counts, search_folds(counts, folds, seed=seed), folds) == pytest.approx(
        min(worth(counts, parts, folds) for parts in every)
    )


@given(seed=st.integers(0, 10_000), folds=st.integers(2, 8))
@settings(deadline=None, max_examples=8)
def test_folds_that_lack_no_class_are_found_where_there_are_some(seed: int, folds: int):
    rng = np.random.default_rng(seed)
    planted = np.repeat(np.arange(folds), 5)
    counts = np.zeros((5 * folds, 6))
    for fold, label in itertools.product(range(folds), range(6)):
        counts[rng.choice(np.flatnonzero(planted == fold)), label] = rng.integers(1, 500)
    counts = counts[counts.any(axis=1)]
    assert (fold_counts(counts, search_folds(counts, folds, seed=seed), folds) > 0).all()


@pytest.mark.parametrize("folds", [2, 3, 4, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_beats_one_greedy_pass(seed: int, folds: int):
    counts = fleet(seed, 25, 8)
    counts[0] *= 20  # a giant
    images = pd.DataFrame(
        [(boat, label) for (boat, label), count in np.ndenumerate(counts) for _ in range(int(count))],
        columns=["boat", "label"],
    )
    greedy = np.zeros(25, np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(images, images["label"], images["boat"])):
        greedy[images["boat"].iloc[held_out].unique()] = fold
    assert worth(counts, search_folds(counts, folds, seed=seed), folds) < worth(counts, greedy, folds)


@given(seed=st.integers(0, 10_000), groups=st.integers(2, 12), extra=st.integers(0, 10))
@settings(deadline=None, max_examples=8)
def test_no_fold_is_empty(seed: int, groups: int, extra: int):
    folds = max(groups - extra, 2)
    counts = fleet(seed, groups, 2, absent=0.9)
    assert set(search_folds(counts, folds, seed=seed)) == set(range(folds))


def test_thousands_of_bursts_come_out_even():
    rng = np.random.default_rng(0)
    counts = np.zeros((3000, 4))
    counts[np.arange(3000), rng.choice(4, 3000, p=[0.5, 0.3, 0.17, 0.03])] = rng.integers(1, 6, 3000)
    sums = fold_counts(counts, search_folds(counts, 5, seed=0), 5)
    assert np.abs(sums * 5 / sums.sum(axis=0) - 1).max() < 0.03


def test_a_seed_gives_one_search():
    counts = fleet(0, 30, 8)
    assert (search_folds(counts, 4, seed=7) == search_folds(counts, 4, seed=7)).all()
    assert (search_folds(counts, 4, seed=7) != search_folds(counts, 4, seed=8)).any()


def test_the_holdout_looks_like_the_rest():
    counts = np.array([[30, 0, 0], [0, 40, 0], [200, 90, 9], [20, 15, 1], [11, 4, 1], [10, 5, 0]], float)
    assert list(search_holdout(counts, 1, seed=0)) == [3]


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_holdout_leaves_every_class_on_two_others(groups: int):
    counts = np.zeros((8, 3))
    counts[:, 0], counts[:2, 1], counts[2:5, 2] = 50, 10, 10
    chosen = search_holdout(counts, groups, seed=0)
    assert len(chosen) == groups
    assert not set(chosen) & {0, 1}
    assert len(set(chosen) & {2, 3, 4}) <= 1


def test_the_holdout_leaves_two_folds_that_lack_no_class():
    # the last one is the most like all, but of the three others each two share one class, and no more
    counts = np.array([[5, 0, 5], [5, 5, 0], [0, 5, 5], [5, 5, 5]], float)
    chosen = search_holdout(counts, 1, seed=0)
    rest = np.delete(counts, chosen, axis=0)
    assert (fold_counts(rest, search_folds(rest, 2, seed=0), 2) > 0).all()
