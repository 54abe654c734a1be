from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from fisheries.data import cameras
from fisheries.data.boats import COLUMNS, find_boats, merge_boats, read_boats, split_boat, update_boats
from fisheries.data.synthetic import plan_competition
from fisheries.data.thumbnails import load_thumbnails
from fisheries.schema import TRAIN, InputError, write_table

PLAN = plan_competition(train=96, stage1=12, stage2=18, boats=8, new_boats=3, leak=0.5, seed=3)  # as the world's


@pytest.fixture(scope="module")
def manifest(tables) -> pd.DataFrame:
    return tables[0]


@pytest.fixture(scope="module")
def thumbnails(manifest: pd.DataFrame) -> np.ndarray:
    return load_thumbnails(manifest)


@pytest.fixture(scope="module")
def found(manifest: pd.DataFrame, thumbnails: np.ndarray) -> pd.DataFrame:
    return find_boats(manifest, thumbnails)


@pytest.fixture(scope="module")
def table(found: pd.DataFrame, manifest: pd.DataFrame, thumbnails: np.ndarray) -> pd.DataFrame:
    return update_boats(found, None, manifest, thumbnails)


def agreement(boat: pd.Series) -> float:
    return adjusted_rand_score(PLAN.loc[boat.index, "boat"], boat)


def fed_back(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """As it is read on the next run."""
    return read_boats(write_table(table, folder / "boats.csv"))


def test_discovered_boats_are_the_true_ones_by_day_and_by_night(found: pd.DataFrame):
    is_night = PLAN.loc[found.index, "is_night"]
    assert is_night.sum() == 40
    assert agreement(found["boat"]) >= 0.95  # 1.0 is reached
    assert agreement(found["boat"][is_night]) >= 0.9  # likewise


def test_boats_are_found_among_more_images_than_are_compared_with_each_other(
    manifest: pd.DataFrame, thumbnails: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cameras, "_SAMPLE", 8)
    assert agreement(find_boats(manifest, thumbnails)["boat"]) >= 0.95  # 1.0 is reached


def test_images_worked_on_a_few_at_a_time_give_the_same_boats(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cameras, "_CHUNK", 7)
    again = find_boats(manifest, thumbnails)
    pd.testing.assert_series_equal(again["boat"], found["boat"])
    pd.testing.assert_series_equal(again["confidence"], found["confidence"], rtol=1e-3)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=5)
def test_the_order_of_the_rows_does_not_matter(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame, seed: int
):
    order = np.random.default_rng(seed).permutation(len(manifest))
    again = find_boats(manifest.iloc[order], thumbnails[order])
    assert list(again.index) == list(manifest.index[order])
    pd.testing.assert_series_equal(again["boat"].loc[found.index], found["boat"])
    pd.testing.assert_series_equal(again["confidence"].loc[found.index], found["confidence"], rtol=1e-3)


@pytest.mark.parametrize("light", [0.4, 1.6])
def test_light_does_not_matter(manifest: pd.DataFrame, thumbnails: np.ndarray, light: float):
    changed = thumbnails.copy()
    changed[::2] = np.clip(light * thumbnails[::2], 0, 255)
    assert agreement(find_boats(manifest, changed)["boat"]) >= 0.95


def test_boats_are_named_by_the_number_of_their_images(found: pd.DataFrame):
    counts = found["boat"].value_counts().sort_index()
    assert list(counts.index) == [f"cam_{number:03}" for number in range(1, 12)]
    assert counts.is_monotonic_decreasing


def test_unreadable_images_are_absent(manifest: pd.DataFrame, thumbnails: np.ndarray):
    damaged = manifest.assign(status=np.where(np.arange(len(manifest)) % 10 == 0, "truncated", "ok"))
    pictures = np.where((damaged["status"] == "ok").to_numpy()[:, None, None, None], thumbnails, 0).astype(np.uint8)
    table = find_boats(damaged, pictures)
    assert list(table.index) == list(damaged.index[damaged["status"] == "ok"])
    assert agreement(table["boat"]) >= 0.95
    with pytest.raises(InputError, match=r"none of the manifest's 126 photographs can be read; expected some of .*ok"):
        find_boats(manifest.assign(status="empty"), thumbnails)


def test_confidence_is_low_where_half_a_picture_is_of_another_camera(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame
):
    assert found["confidence"].between(0, 1).all()
    mixed = thumbnails.copy()
    mixed[0, :, 48:] = thumbnails[(found["boat"] != found["boat"].iloc[0]).argmax(), :, 48:]
    assert found["confidence"].iloc[0] > 0.8
    assert find_boats(manifest, mixed)["confidence"].iloc[0] < 0.4


def test_an_image_of_its_own_kind_is_a_boat_of_little_confidence(manifest: pd.DataFrame, thumbnails: np.ndarray):
    strange = thumbnails.copy()
    blots = np.random.default_rng(0).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    strange[5] = cv2.resize(blots, (96, 54))
    table = find_boats(manifest, strange)
    assert (table["boat"] == table["boat"].iloc[5]).sum() == 1
    assert 0.1 < table["confidence"].iloc[5] <= 0.38


@pytest.mark.parametrize("upright", [False, True])
def test_black_bars_do_not_make_another_camera(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame, upright: bool
):
    barred = np.flatnonzero(found["boat"] == "cam_001")[::2]
    assert len(barred) == 10
    pictures = thumbnails.copy()
    for row in barred:
        pictures[row] = 4
        inner = pictures[row, 10:-10] if upright else pictures[row, :, 14:-14]
        inner[:] = cv2.resize(thumbnails[row], (inner.shape[1], inner.shape[0]), interpolation=cv2.INTER_AREA)
    size = "height" if upright else "width"
    wider = manifest.assign(**{size: np.where(np.isin(np.arange(len(manifest)), barred), 500, manifest[size])})
    assert agreement(find_boats(wider, pictures)["boat"]) >= 0.95


def test_every_image_knows_whether_its_boat_is_in_training(table: pd.DataFrame, manifest: pd.DataFrame):
    assert list(table.columns) == list(COLUMNS)
    assert (table["boat"] == table["found"]).all()
    subset = manifest.loc[table.index, "subset"]
    expected = {TRAIN: True, "test_stg1": True, "test_stg2": False}
    assert list(table["known"]) == list(subset.map(expected))
    assert (subset == "test_stg2").sum() == 18


def test_a_table_is_read_as_it_was_written(table: pd.DataFrame, tmp_path: Path):
    pd.testing.assert_frame_equal(fed_back(table, tmp_path), table[["boat", "found"]])


def test_names_stay_when_images_come_and_go(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame, tmp_path: Path
):
    early = np.flatnonzero((found["boat"] != "cam_001") | (np.arange(len(found)) % 4 == 0))  # it was the smallest then
    first = update_boats(find_boats(manifest.iloc[early], thumbnails[early]), None, manifest, thumbnails)
    late = np.flatnonzero(found["boat"] != "cam_002")
    second = update_boats(
        find_boats(manifest.iloc[late], thumbnails[late]), fed_back(first, tmp_path), manifest, thumbnails
    )
    both = first.index.intersection(second.index)
    assert len(both) > 80
    assert first.loc[both[found.loc[both, "boat"] == "cam_001"], "boat"].iloc[0] != "cam_001"
    assert list(second.loc[both, "boat"]) == list(first.loc[both, "boat"])


def test_a_new_camera_gets_a_name_that_nobody_had(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame, tmp_path: Path
):
    early = np.flatnonzero(found["boat"] != "cam_001")
    first = update_boats(find_boats(manifest.iloc[early], thumbnails[early]), None, manifest, thumbnails)
    first.loc[first.index[0], "boat"] = "cam_040"
    second = update_boats(found, fed_back(first, tmp_path), manifest, thumbnails)
    assert set(second.loc[found["boat"] == "cam_001", "boat"]) == {"cam_041"}
    assert second["boat"].iloc[0] == "cam_040"


def test_corrections_are_kept_and_new_images_follow_those_they_are_most_like(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame, tmp_path: Path
):
    own, other = found.index[found["boat"] == "cam_001"], found.index[found["boat"] == "cam_002"]
    joined = found.assign(boat=found["boat"].replace({"cam_002": "cam_001"}))  # a camera that discovery would not cut
    late = own[::3].append(other[::3])
    early = joined.drop(late)
    first = update_boats(early, None, manifest, thumbnails)
    first.loc[other.difference(late), "boat"] = "port side"
    second = update_boats(joined, fed_back(first, tmp_path), manifest, thumbnails)
    assert set(second.loc[other, "boat"]) == {"port side"}
    assert set(second.loc[own, "boat"]) == {"cam_001"}
    assert set(second.loc[own.append(other), "found"]) == {"cam_001"}
    third = update_boats(joined, fed_back(second, tmp_path), manifest, thumbnails)
    pd.testing.assert_frame_equal(third, second)


def test_boats_of_another_participant_win_and_name_the_cameras(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame, tmp_path: Path
):
    given_ids = found.index[found["boat"] == "cam_002"]
    given_boats = pd.DataFrame({"boat": ["7", "7", "-1", "7", ""]}, given_ids[:5])
    given_boats.loc[found.index[found["boat"] == "cam_003"][0], "boat"] = "7"  # not what is found
    given_boats.loc["img_00999.jpg", "boat"] = "3"  # a photograph that we don't have
    table = update_boats(found, fed_back(given_boats, tmp_path), manifest, thumbnails)
    assert set(table.loc[given_ids, "boat"]) == {"7"}
    assert set(table.loc[given_ids, "found"]) == {"7"}
    assert set(table.loc[found["boat"] == "cam_003", "boat"]) == {"7"}  # the others are like the one given
    assert table.loc[found["boat"] == "cam_003", "found"].nunique() == 1
    assert "7" not in set(table.loc[found["boat"] == "cam_003", "found"])


def test_rows_without_a_boat_are_found_again_in_a_plain_table_and_refused_in_ours(table: pd.DataFrame, tmp_path: Path):
    emptied = table.assign(boat=table["boat"].where(np.arange(len(table)) != 3, ""))
    with pytest.raises(InputError, match=rf"boats.csv: '{table.index[3]}' has no boat; give a name, or delete the row"):
        fed_back(emptied, tmp_path)
    assert list(fed_back(emptied[["boat"]], tmp_path).index) == list(table.index.delete(3))


def test_a_table_without_boats_is_refused(tmp_path: Path):
    (tmp_path / "boats.csv").write_text("image_id,boats\na.jpg,1\n")
    with pytest.raises(InputError, match=r"boats.csv: no column 'boat' \(did you mean 'boats'\?\)"):
        read_boats(tmp_path / "boats.csv")


def test_unknown_ids_are_named_with_the_nearest_known_one(
    manifest: pd.DataFrame, thumbnails: np.ndarray, found: pd.DataFrame, table: pd.DataFrame, tmp_path: Path
):
    strange = table.rename(index={table.index[0]: f"{table.index[0]}x"})
    line = (
        rf"boats: '{table.index[0]}x' is not in the manifest \(did you mean '{table.index[0]}'\?\); correct or delete"
    )
    with pytest.raises(InputError, match=line):
        update_boats(found, fed_back(strange, tmp_path), manifest, thumbnails)
    foreign = pd.DataFrame({"boat": ["1", "2"]}, ["a.png", "b.png"])
    with pytest.raises(InputError, match=r"'a.png' is not in the manifest; .*\(2 such rows\)"):
        update_boats(found, fed_back(foreign, tmp_path), manifest, thumbnails)


def test_merged_boats_have_the_first_name_and_are_known_if_one_was(table: pd.DataFrame):
    new = table.loc[~table["known"], "boat"].iloc[0]
    merged = merge_boats(table, [new, "cam_001", "cam_003"])
    members = table["boat"].isin([new, "cam_001", "cam_003"])
    assert set(merged.loc[members, "boat"]) == {new}
    assert merged.loc[members, "known"].all()
    pd.testing.assert_frame_equal(merged[~members], table[~members])
    assert list(merged["found"]) == list(table["found"])


def test_merging_takes_two_boats_that_there_are(table: pd.DataFrame):
    with pytest.raises(InputError, match=r"no boat 'cam_0001' \(did you mean 'cam_001'\?\); there are 11"):
        merge_boats(table, ["cam_0001", "cam_002"])
    with pytest.raises(InputError, match=r"merge cam_001,cam_001: expected two or more boats"):
        merge_boats(table, ["cam_001", "cam_001"])


def test_a_split_finds_two_cameras_in_one_boat(table: pd.DataFrame, manifest: pd.DataFrame, thumbnails: np.ndarray):
    merged = merge_boats(table, ["cam_001", "cam_008"])
    cut = split_boat(merged, "cam_001", manifest, thumbnails)
    assert set(cut.loc[table["boat"] == "cam_001", "boat"]) == {"cam_001"}
    assert set(cut.loc[table["boat"] == "cam_008", "boat"]) == {"cam_012"}
    assert list(cut["found"]) == list(table["found"])
    assert list(cut["known"]) == list(table["known"])


def test_a_split_leaves_no_image_alone(table: pd.DataFrame, manifest: pd.DataFrame, thumbnails: np.ndarray):
    merged = merge_boats(table, ["cam_001", "cam_008"])
    hidden = thumbnails.copy()  # most of two pictures, so that at first they fit nowhere
    noise = np.random.default_rng(0).integers(0, 255, (2, 54, 72, 3), dtype=np.uint8)
    hidden[int((table["boat"] == "cam_001").argmax()), :, 24:] = noise[0]
    hidden[int((table["boat"] == "cam_008").argmax()), :, 24:] = noise[1]
    cut = split_boat(merged, "cam_001", manifest, hidden)
    assert set(cut.loc[table["boat"] == "cam_008", "boat"]) == {"cam_012"}
    assert set(cut.loc[table["boat"] == "cam_001", "boat"]) == {"cam_001"}


def test_a_split_cuts_what_discovery_takes_for_one(table: pd.DataFrame, manifest: pd.DataFrame, thumbnails: np.ndarray):
    cut = split_boat(table, "cam_001", manifest, thumbnails)
    parts = cut.loc[table["boat"] == "cam_001", "boat"].value_counts()
    assert parts.sum() == 20
    assert parts.min() >= 2
    assert parts.idxmax() == "cam_001"
    pd.testing.assert_frame_equal(cut[table["boat"] != "cam_001"], table[table["boat"] != "cam_001"])


def test_a_boat_that_cannot_be_split_is_named(table: pd.DataFrame, manifest: pd.DataFrame, thumbnails: np.ndarray):
    alone = table.assign(boat=table["boat"].where(np.arange(len(table)) > 0, "alone"))
    with pytest.raises(InputError, match=r"split alone: its 1 images are too few or too much alike"):
        split_boat(alone, "alone", manifest, thumbnails)
    same = np.broadcast_to(thumbnails[:1], thumbnails.shape)
    with pytest.raises(InputError, match=r"split cam_001: its 20 images are too few or too much alike"):
        split_boat(table, "cam_001", manifest, same)
    with pytest.raises(InputError, match=r"no boat 'cam_1' \(did you mean 'cam_011'\?\)"):
        split_boat(table, "cam_1", manifest, thumbnails)
