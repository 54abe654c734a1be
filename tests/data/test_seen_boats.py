"""The samples on which a fold is scored on boats that it has seen, and the boats that none has."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.data.splits import check_folds, holdout_ids, missing_classes, seen_ids, train_ids, val_ids
from tests.data.test_splits import BOATS, BURSTY, FLEET, carriers, drawn, manifest_of


@pytest.mark.parametrize("split", ["boat", "burst", "random"])
def test_holdout_boats_are_trained_on_by_no_fold(split: str):
    table = drawn(BURSTY, split, holdout=3)
    held_out = BURSTY.loc[holdout_ids(table), "boat"]
    assert held_out.nunique() == 3
    assert set(held_out).isdisjoint(BURSTY.loc[table.index.difference(held_out.index), "boat"])
    assert set(table.loc[held_out.index, "seen_fold"]) == {-1}


def test_holdout_boats_are_taken_by_name():
    for holdout in (["3", "11"], [3, 11], ("11", "3")):
        assert set(FLEET.loc[holdout_ids(drawn(FLEET, holdout=holdout)), "boat"]) == {"3", "11"}
    assert set(FLEET.loc[holdout_ids(drawn(FLEET, holdout="11")), "boat"]) == {"11"}
    assert holdout_ids(drawn(FLEET, holdout=[])).empty


def test_what_shares_a_burst_with_a_holdout_boat_is_held_out_too():
    linked = FLEET.assign(burst=FLEET.index.where(~np.isin(np.arange(120), [35, 45]), "shared"))
    assert set(linked.loc[holdout_ids(drawn(linked, holdout=["3"])), "boat"]) == {"3", "4"}
    assert set(linked.loc[holdout_ids(drawn(linked, "random", holdout=["3"])), "boat"]) == {"3", "4"}


def test_the_holdout_never_takes_the_only_boats_of_a_class():
    fleet = carriers(A="pqrstu", B="pqrstu", C="pqr", D="st")
    for seed in range(5):
        table = drawn(fleet, folds=None, holdout=2, seed=seed)
        assert missing_classes(table, fleet["label"]) == []


@given(folds=st.integers(2, 5), share=st.sampled_from([0.05, 0.1, 0.2]), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=10)
def test_seen_samples_are_whole_bursts_in_all_sizes_of_boats_and_classes(folds: int, share: float, seed: int):
    table = drawn(BURSTY, folds=folds, seed=seed, seen_share=share)
    whole = BURSTY.groupby("burst").size()
    for fold in range(folds):
        seen, trained = BURSTY.loc[seen_ids(table, fold)], BURSTY.loc[train_ids(table, fold)]
        sizes = seen.groupby("burst").size()
        assert (sizes == whole[sizes.index]).all()
        assert set(seen["boat"]) <= set(trained["boat"])
        outside = pd.concat([seen, trained])
        assert len(seen) == pytest.approx(share * len(outside), rel=0.15, abs=6)
        wanted = share * outside["label"].value_counts()
        assert (seen["label"].value_counts().reindex(wanted.index, fill_value=0) - wanted).abs().max() < 10
    large = BURSTY["boat"].value_counts() * share > 5
    assert large.sum() > 1
    assert set(large.index[large]) <= set(BURSTY.loc[table["seen_fold"] != -1, "boat"])


def test_every_boat_gives_about_its_share_of_the_seen_samples():
    off = []
    for seed in range(8):
        seen = drawn(BURSTY, seed=seed)["seen_fold"] != -1
        counts = seen.groupby(BURSTY["boat"]).agg(["sum", "size"])
        off += [(counts["sum"] - 0.1 * counts["size"]).abs().mean()]
    assert np.mean(off) < 2.2  # images; bursts drawn at random are off by more


def test_the_last_burst_of_a_class_or_boat_is_trained_on():
    # in each boat one burst of the rare class, and most boats have a single burst of the common one
    rows = [("C", boat, f"C{boat}") for boat in "pqrs" for _ in range(5)]
    rows += [
        ("A", boat, f"A{boat}{moment}")
        for boat, moments in zip("pqrstuvw", (9, 9, 9, 9, 1, 1, 1, 1), strict=True)
        for moment in range(moments)
    ]
    manifest = manifest_of([row[0] for row in rows], [row[1] for row in rows], burst=[row[2] for row in rows])
    for seed in range(10):
        table = drawn(manifest, seed=seed, seen_share=0.6)
        for fold in range(2):
            outside = manifest[(table["fold"] != fold).to_numpy()]
            trained = manifest.loc[train_ids(table, fold)]
            assert set(trained["boat"]) == set(outside["boat"])
            assert "C" in set(trained["label"])
            assert len(seen_ids(table, fold)) > 5


def test_folds_share_alike_where_there_are_too_few_images_for_all_samples():
    table = drawn(BURSTY, folds=5, seen_share=0.5)
    shares = [len(seen_ids(table, fold)) / (BOATS.size - len(val_ids(table, fold))) for fold in range(5)]
    assert shares == pytest.approx([0.25] * 5, abs=0.02)
    assert missing_classes(table, BURSTY["label"]) == []
    check_folds(table, BURSTY)


def test_no_sample_is_drawn_where_none_is_wanted():
    assert set(drawn(BURSTY, seen_share=0)["seen_fold"]) == {-1}
