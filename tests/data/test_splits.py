from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.data.splits import (
    check_folds,
    holdout_ids,
    make_folds,
    missing_classes,
    seen_ids,
    train_ids,
    val_ids,
)
from fisheries.schema import FOLDS, InputError


def manifest_of(labels: list[str], boats: list[str], **columns) -> pd.DataFrame:
    index = pd.Index([f"img_{number:05}.jpg" for number in range(len(labels))], name="image_id")
    table = pd.DataFrame({"subset": "train", "status": "ok", "label": labels, "boat": boats}, index=index)
    return table.assign(**{"burst": index, "sha256": "", **columns})


def carriers(**boats: str) -> pd.DataFrame:
    """Six images of each class on each of its boats, each boat a letter."""
    rows = [(label, boat) for label, names in boats.items() for boat in names for _ in range(6)]
    return manifest_of([label for label, _ in rows], [boat for _, boat in rows])


def drawn(manifest: pd.DataFrame, split: str = "boat", folds: int | None = 2, seed: int = 0, **options) -> pd.DataFrame:
    return make_folds(manifest, split=split, folds=folds, seed=seed, **options)


def chosen(manifest: pd.DataFrame, split: str = "boat", **options) -> tuple[int, str]:
    """How many folds are found, and why."""
    table = drawn(manifest, split, None, **options)
    return table["fold"].max() + 1, table.attrs["notes"][0]


FLEET = manifest_of([*"ABAB" * 30], [str(number // 10) for number in range(120)])
RNG = np.random.default_rng(0)
BOATS = RNG.choice(12, 900, p=RNG.dirichlet(np.ones(12)))
BURSTY = manifest_of(
    RNG.choice([*"ABCD"], 900, p=[0.6, 0.2, 0.15, 0.05]),
    [f"boat {number}" for number in BOATS],
    burst=[f"{boat}-{moment}" for boat, moment in zip(BOATS, RNG.integers(60, size=900), strict=True)],
)


@st.composite
def manifests(draw) -> pd.DataFrame:
    """Small manifests in which bursts and identical files link some boats."""
    count = draw(st.integers(12, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    manifest = manifest_of(
        rng.choice([*"ABC"], count),
        rng.choice(["", *"pqrstuvw"], count),
        burst=[f"burst {number}" for number in rng.integers(3 * count, size=count)],
        sha256=[str(number) if number < count else "" for number in rng.integers(4 * count, size=count)],
    )
    alone = manifest_of(["A", "B"], ["x", "y"]).rename(index="other_{}".format)
    return pd.concat([manifest, alone.assign(burst=alone.index)])


@given(manifest=manifests(), split=st.sampled_from(["boat", "burst"]), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=8)
def test_what_belongs_together_is_held_out_together_and_every_image_once(manifest: pd.DataFrame, split: str, seed: int):
    table = drawn(manifest, split, None, seed)
    known = manifest[manifest["boat"] != ""] if split == "boat" else manifest
    assert list(table.index) == list(known.index)
    assert list(table.columns) == list(FOLDS)
    assert set(table["fold"]) == set(range(table["fold"].max() + 1))
    for column in ("boat", "burst", "sha256")[split == "burst" :]:
        value = known.loc[known[column] != "", column]
        assert (table.loc[value.index, "fold"].groupby(value).nunique() == 1).all()
    check_folds(table, manifest)


def test_a_random_split_keeps_the_class_mix_and_divides_boats():
    table = drawn(FLEET, "random", 4)
    assert (FLEET["label"].groupby(table["fold"]).value_counts() == 15).all()
    assert (table["fold"].groupby(FLEET["boat"]).nunique() > 1).all()
    assert set(table["seen_fold"]) == {-1}


@given(labels=st.text("ABC", min_size=7, max_size=60), folds=st.integers(2, 7), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_a_random_split_is_even_to_the_image(labels: str, folds: int, seed: int):
    manifest = manifest_of([*labels], [""] * len(labels))
    table = drawn(manifest, "random", folds, seed)
    counts = pd.crosstab(table["fold"], manifest["label"])
    assert len(counts) == folds
    assert (np.ptp(counts.to_numpy(), axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_a_burst_split_keeps_bursts_and_divides_boats():
    table = drawn(BURSTY, "burst", 3)
    assert (table["fold"].groupby(BURSTY["burst"]).nunique() == 1).all()
    assert (table["fold"].groupby(BURSTY["boat"]).nunique() > 1).any()
    assert set(table["seen_fold"]) == {-1}


def test_one_seed_gives_one_split_and_another_seed_another():
    first, again, other = (drawn(FLEET, folds=3, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not (first["fold"] == other["fold"]).all()
    assert set(first["seed"]) == {1}
    assert set(first["split"]) == {"boat"}


def test_images_that_cannot_be_used_or_are_test_images_are_in_no_fold():
    status = np.where(np.arange(120) < 7, "truncated", "ok")
    subset = np.where(np.arange(120) >= 110, "test_stg1", "train")
    table = drawn(FLEET.assign(status=status, subset=subset), "random")
    assert list(table.index) == list(FLEET.index[7:110])


def test_images_of_unknown_boats_are_left_out_by_boat_and_kept_otherwise():
    unknown = FLEET.assign(boat=FLEET["boat"].mask(FLEET["boat"] == "3", ""))
    assert [len(drawn(unknown, split)) for split in ("boat", "burst", "random")] == [110, 120, 120]


def test_boats_that_share_a_burst_or_a_file_stay_together_and_are_told():
    linked = FLEET.assign(burst=FLEET.index.where(~FLEET["boat"].isin(["1", "2"]), "one"))
    linked["sha256"] = np.where(np.isin(np.arange(120), [25, 35, 45]), "same", "")
    table = drawn(linked, folds=3)
    assert table.loc[FLEET["boat"].isin([*"1234"]), "fold"].nunique() == 1
    assert table.attrs["notes"][1] == (
        "boats that share a burst or a file stay together, such as 1 and 2 and 3 (1 such groups)"
    )
    assert len(drawn(FLEET).attrs["notes"]) == 1


NO_BOATS = FLEET.assign(boat="")
ONE_BOAT = FLEET.assign(boat="7")
ONE_BURST = FLEET.assign(burst="one")


@pytest.mark.parametrize(
    ("manifest", "options", "message"),
    [
        (
            FLEET,
            {"split": "boats"},
            "split.name='boats': expected one of random, burst, boat, file (did you mean 'boat'?)",
        ),
        (FLEET, {"folds": 13}, "split.folds=13: expected 2 to 12, the number of boats; split=random divides images"),
        (FLEET, {"folds": 1}, "split.folds=1: expected 2 to 12"),
        (FLEET, {"split": "random", "folds": 200}, "split.folds=200: expected 2 to 120, the number of images"),
        (FLEET, {"split": "burst", "folds": 200}, "split.folds=200: expected 2 to 120, the number of bursts"),
        (NO_BOATS, {"folds": None}, "split=boat: expected at least 2 boats, there is none; split=random divides"),
        (ONE_BOAT, {"folds": None}, "split=boat: expected at least 2 boats, there is 1; split=random divides"),
        (ONE_BOAT, {"folds": 2}, "split=boat: expected at least 2 boats, there is 1; split=random divides"),
        (
            ONE_BURST,
            {},
            "split=boat: expected at least 2 boats (those that share a burst or a file count as one), there is 1",
        ),
        (FLEET[:1], {"split": "random"}, "split=random: expected at least 2 images, there is 1"),
        (FLEET.assign(status="empty"), {"split": "burst"}, "split=burst: expected at least 2 bursts, there is none"),
        (FLEET, {"seen_share": 1.0}, "split.seen_share=1.0: expected a share from 0 to below 1"),
        (FLEET, {"most": 1}, "most=1: expected at least 2 folds"),
        (FLEET, {"holdout": 11}, "split.holdout=11: expected 0 to 10, so that of 12 boats 2 are left for the folds"),
        (FLEET, {"holdout": -1}, "split.holdout=-1: expected 0 to 10"),
        (NO_BOATS, {"holdout": 1, "split": "random"}, "split.holdout=1: expected 0 to 0, so that of 0 boats"),
        (FLEET, {"holdout": ["3", "99"]}, "boat '99' has no usable training image (did you mean '9'?)"),
        (
            NO_BOATS,
            {"holdout": "3", "split": "random"},
            "boat '3' is asked for, but no usable training image has a boat",
        ),
        (FLEET, {"holdout": [*"123456789"], "folds": 4}, "split.folds=4: expected 2 to 3, the number of boats"),
        (FLEET, {"split": "file"}, "split=file: split.file is missing; give a CSV with image_id,fold"),
        (FLEET, {"file": Path("x.csv")}, "split.file=x.csv: split=boat draws its own folds; give split=file"),
    ],
)
def test_impossible_wishes_are_one_line(manifest: pd.DataFrame, options: dict, message: str):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        drawn(manifest, **options)
    assert "\n" not in str(caught.value)


def test_the_largest_number_of_folds_is_found_and_proven():
    fleet = carriers(A="pqrstuvw", B="pqrs", C="tuv", D="wvp")
    assert chosen(fleet) == (3, "3 folds, the most that can be: C is on 3 boats only")
    assert missing_classes(drawn(fleet, folds=None), fleet["label"]) == []


def test_no_more_folds_are_tried_than_asked_for():
    assert chosen(FLEET) == (10, "10 folds, the most that are tried")
    assert chosen(FLEET, most=4) == (4, "4 folds, the most that are tried")


def test_a_number_that_the_counts_allow_but_no_division_reaches_is_told():
    # in 3 folds p, q and r are apart for A, which leaves s the fold of r for B, but that of q for C
    count, reason = chosen(carriers(A="pqr", B="pqs", C="prs", D="pqrs"))
    assert count == 2
    assert reason == "2 folds, the most that the search found: A is on 3 boats, which does not rule out 3"


def test_a_class_on_one_boat_does_not_limit_the_folds_but_is_told():
    fleet = carriers(A="pqrs", B="pqrs", LAG="p")
    count, reason = chosen(fleet)
    assert count == 4
    assert reason == (
        "4 folds, the most that can be: A is on 4 boats only; "
        "in a single one of the boats, so that one fold can't train on it: LAG"
    )
    assert len(missing_classes(drawn(fleet, folds=None), fleet["label"])) == 4


def test_two_folds_are_drawn_where_nothing_will_do():
    triangle = carriers(A="pq", B="qr", C="rp")
    assert chosen(triangle) == (2, "2 folds, though the search found no way to have every class in both")
    apart = carriers(A="p", B="q", C="r")
    count, reason = chosen(apart)
    assert count == 2
    assert reason.startswith("2 folds, since no class is shared by 2 boats; in a single one")


def test_as_many_folds_as_asked_for_are_drawn_and_what_they_lack_is_named():
    fleet = carriers(A="pqrs", B="pq", C="qrs")
    table = drawn(fleet, folds=4)
    assert table.attrs["notes"] == ["4 folds, as asked for, but B is on 2 boats only"]
    assert sum("B" in line for line in missing_classes(table, fleet["label"])) == 2
    assert sum("C" in line for line in missing_classes(table, fleet["label"])) == 1


def test_classes_that_a_part_lacks_are_named():
    rare = manifest_of(["A"] * 9 + ["C"] * 3, [*"000111222333"])
    lines = missing_classes(drawn(rare), rare["label"])
    assert len(lines) == 2
    assert any("no C in its training part" in line for line in lines)
    assert any("no C in its held-out part" in line for line in lines)
    assert missing_classes(drawn(FLEET), FLEET["label"]) == []


def test_images_of_the_holdout_and_of_the_seen_sample_are_not_training_images():
    labels = pd.Series([*"AABABC"], name="label")
    folds = pd.DataFrame({"fold": [0, 1, 0, 1, 1, -1], "seen_fold": [-1, -1, -1, 0, -1, -1]})
    assert missing_classes(folds, labels) == [
        "fold 0: no C in its training part",
        "fold 0: no C in its held-out part",
        "fold 1: no C in its training part",
        "fold 1: no C in its held-out part",
    ]
    folds.loc[4, "seen_fold"] = 0
    assert missing_classes(folds, labels)[0] == "fold 0: no B, C in its training part"


def test_a_fold_sees_each_image_in_one_part_only():
    table = drawn(BURSTY, folds=3, holdout=2)
    for fold in range(3):
        parts = [train_ids(table, fold), val_ids(table, fold), seen_ids(table, fold), holdout_ids(table)]
        assert all(len(part) for part in parts)
        assert sorted(image_id for part in parts for image_id in part) == sorted(table.index)
