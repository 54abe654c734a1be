from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.data.splits import check_folds, make_folds, missing_classes
from fisheries.schema import InputError


def manifest_of(labels: list[str], boats: list[str], **columns) -> pd.DataFrame:
    index = pd.Index([f"img_{number:05}.jpg" for number in range(len(labels))], name="image_id")
    table = pd.DataFrame({"subset": "train", "status": "ok", "label": labels, "boat": boats}, index=index)
    return table.assign(**columns)


FLEET = manifest_of([*"ABAB" * 30], [str(number // 10) for number in range(120)])


@given(seed=st.integers(0, 1000), folds=st.integers(2, 6))
@settings(deadline=None, max_examples=30)
def test_every_boat_is_whole_and_every_image_held_out_once(seed: int, folds: int):
    table = make_folds(FLEET, split="boat", folds=folds, seed=seed)
    assert list(table.index) == list(FLEET.index)
    assert set(table["fold"]) == set(range(folds))
    assert (table["fold"].groupby(FLEET["boat"]).nunique() == 1).all()


def test_a_random_split_keeps_the_class_mix_and_divides_boats():
    table = make_folds(FLEET, split="random", folds=4, seed=0)
    assert (FLEET["label"].groupby(table["fold"]).value_counts() == 15).all()
    assert (table["fold"].groupby(FLEET["boat"]).nunique() > 1).all()


def test_one_seed_gives_one_split_and_another_seed_another():
    first, again, other = (make_folds(FLEET, split="boat", folds=3, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not (first["fold"] == other["fold"]).all()
    assert set(first["seed"]) == {1}
    assert set(first["split"]) == {"boat"}


def test_images_that_cannot_be_used_or_are_test_images_are_in_no_fold():
    status = np.where(np.arange(120) < 7, "truncated", "ok")
    subset = np.where(np.arange(120) >= 110, "test_stg1", "train")
    table = make_folds(FLEET.assign(status=status, subset=subset), split="random", folds=2, seed=0)
    assert list(table.index) == list(FLEET.index[7:110])


def test_images_of_unknown_boats_are_left_out_by_boat_and_kept_at_random():
    unknown = FLEET.assign(boat=FLEET["boat"].mask(FLEET["boat"] == "3", ""))
    assert len(make_folds(unknown, split="boat", folds=2, seed=0)) == 110
    assert len(make_folds(unknown, split="random", folds=2, seed=0)) == 120


@pytest.mark.parametrize(
    ("split", "folds", "message"),
    [
        ("boats", 2, "split.name='boats': expected one of random, boat"),
        ("boat", 13, "split.folds=13: expected 2 to 12, the number of boats; split=random needs no boats"),
        ("boat", 1, "split.folds=1: expected 2 to 12"),
        ("random", 200, "split.folds=200: expected 2 to 120, the number of images"),
        ("random", 61, "split.folds=61: .*use fewer folds"),
    ],
)
def test_impossible_folds_are_one_line(split: str, folds: int, message: str):
    with pytest.raises(InputError, match=message):
        make_folds(FLEET, split=split, folds=folds, seed=0)


def test_classes_that_a_part_lacks_are_named():
    rare = manifest_of(["A"] * 9 + ["C"] * 3, [*"000111222333"])
    lines = missing_classes(make_folds(rare, split="boat", folds=2, seed=0), rare["label"])
    assert len(lines) == 2
    assert any("no C in its training part" in line for line in lines)
    assert any("no C in its held-out part" in line for line in lines)
    assert missing_classes(make_folds(FLEET, split="boat", folds=2, seed=0), FLEET["label"]) == []


def test_a_boat_in_two_folds_is_refused_by_name():
    table = make_folds(FLEET, split="boat", folds=3, seed=0)
    table.loc["img_00045.jpg", "fold"] = (table.loc["img_00045.jpg", "fold"] + 1) % 3
    with pytest.raises(InputError, match=r"boat '4' is in more than one fold, but the split is by boat"):
        check_folds(table, FLEET)
    check_folds(make_folds(FLEET, split="random", folds=3, seed=0), FLEET)


def test_folds_of_other_images_are_refused_by_name():
    with pytest.raises(InputError, match=r"folds: 'img_00119.jpg' is not in the manifest; 1 such images"):
        check_folds(make_folds(FLEET, split="boat", folds=3, seed=0), FLEET.iloc[:-1])
