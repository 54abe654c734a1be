from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fisheries.data import bursts
from fisheries.data.bursts import find_bursts
from fisheries.data.manifest import scan
from fisheries.data.synthetic import plan_competition
from fisheries.data.thumbnails import load_thumbnails

Photographs = tuple[pd.DataFrame, np.ndarray]


@pytest.fixture(scope="module")
def photographs(world: Path) -> Photographs:
    manifest = scan(world, previous=None, workers=1, progress=False)
    return manifest, load_thumbnails(manifest, workers=1)


@pytest.fixture(scope="module")
def plan() -> pd.DataFrame:
    return plan_competition(train=96, stage1=12, stage2=18, boats=8, new_boats=3, leak=0.5, seed=3)


def table(names: list[str], **columns: object) -> pd.DataFrame:
    """A manifest of sound photographs of one size."""
    index = pd.Index(names, name="image_id", dtype="str")
    return pd.DataFrame({"height": 72, "width": 128, "sha256": "", "status": "ok", **columns}, index=index)


def scene(seed: int) -> np.ndarray:
    """A thumbnail (54, 96, 3) of patches, unlike that of another seed."""
    patches = np.random.default_rng(seed).integers(40, 216, (6, 8, 3))
    return patches.repeat(9, axis=0).repeat(12, axis=1).astype(np.uint8)


def pairs(groups: pd.Series) -> set[tuple[str, str]]:
    members = groups.index.groupby(groups).values()
    return {(one, other) for names in members for one in names for other in names if one < other}


def test_bursts_are_the_moments_that_were_drawn(photographs: Photographs, plan: pd.DataFrame):
    found, drawn = pairs(find_bursts(*photographs)), pairs(plan["burst"])
    assert len(drawn) > 40
    assert len(found & drawn) >= 0.95 * len(drawn)
    assert len(found & drawn) >= 0.95 * len(found)


def test_no_burst_is_on_two_boats(photographs: Photographs, plan: pd.DataFrame):
    manifest, thumbnails = photographs
    burst = find_bursts(manifest.assign(height=72, width=128), thumbnails)
    assert burst.duplicated().sum() > 20
    assert (plan.loc[burst.index, "boat"].groupby(burst).nunique() == 1).all()


def test_a_burst_is_called_after_its_alphabetically_first_frame(photographs: Photographs):
    burst = find_bursts(*photographs)
    assert burst.duplicated().sum() > 20
    assert all(min(names) == name for name, names in burst.index.groupby(burst).items())


def test_the_order_of_the_rows_changes_nothing(photographs: Photographs):
    manifest, thumbnails = photographs
    order = np.random.default_rng(0).permutation(len(manifest))
    burst = find_bursts(manifest.iloc[order], thumbnails[order])
    assert burst.index.equals(manifest.index[order])
    pd.testing.assert_series_equal(burst.loc[manifest.index], find_bursts(manifest, thumbnails))


def test_a_copy_under_another_name_and_in_test_is_of_the_same_burst(photographs: Photographs):
    manifest, thumbnails = photographs
    before = find_bursts(manifest, thumbnails)
    copies = manifest.head(5).assign(subset="test_stg2")
    copies.index = pd.Index([f"test_stg2/{number}.jpg" for number in range(5)], name="image_id", dtype="str")
    after = find_bursts(pd.concat([manifest, copies]), np.concatenate([thumbnails, thumbnails[:5]]))
    assert after.loc[copies.index].tolist() == after.loc[manifest.index[:5]].tolist()
    pd.testing.assert_series_equal(after.loc[manifest.index], before)


@pytest.mark.parametrize("status", ["duplicate", "conflict", "truncated"])
def test_files_of_the_same_content_are_of_one_burst_whatever_their_status(status: str):
    manifest = table(["c", "a", "b"], sha256=["1", "1", "2"], status=["ok", status, "ok"])
    thumbnails = np.stack([scene(0), np.zeros_like(scene(0)), scene(1)])
    assert find_bursts(manifest, thumbnails).to_dict() == {"c": "a", "a": "a", "b": "b"}


def test_frames_of_different_sizes_are_of_different_bursts():
    manifest = table(["a", "b", "c"], width=[128, 128, 129], height=[72, 72, 72])
    assert find_bursts(manifest, np.stack([scene(0)] * 3)).to_dict() == {"a": "a", "b": "a", "c": "c"}


def test_photographs_that_cannot_be_read_stay_alone():
    manifest = table(["a", "b", "c"], status=["truncated", "ok", "truncated"])
    assert find_bursts(manifest, np.stack([scene(0)] * 3)).tolist() == ["a", "b", "c"]


def test_no_photograph_that_can_be_read_gives_no_burst():
    manifest = table(["a", "b"], status="empty")
    assert find_bursts(manifest, np.zeros((2, 54, 96, 3), np.uint8)).tolist() == ["a", "b"]
    assert find_bursts(manifest.head(0), np.zeros((0, 54, 96, 3), np.uint8)).empty


def test_pictures_that_show_nothing_stay_alone():
    noise = np.random.default_rng(0).normal(5, 2, (4, 54, 96, 3)).clip(0, 255).astype(np.uint8)
    assert find_bursts(table(list("abcd")), noise).tolist() == list("abcd")


def test_light_and_shake_do_not_divide_a_burst():
    brighter = (scene(0) * 1.15).clip(0, 255).astype(np.uint8)
    shaken = np.pad(scene(0), ((2, 0), (2, 0), (0, 0)), mode="edge")[:54, :96]
    found = find_bursts(table(list("abcd")), np.stack([scene(0), brighter, shaken, scene(1)]))
    assert found.tolist() == ["a", "a", "a", "d"]


def test_something_else_in_one_corner_is_another_moment():
    other = scene(0)
    other[:18, :24] = 255 - other[:18, :24]
    assert find_bursts(table(list("ab")), np.stack([scene(0), other])).tolist() == ["a", "b"]


def test_a_long_chain_is_not_one_burst():
    frames = np.repeat(scene(0)[None], 30, axis=0)
    for number, frame in enumerate(frames):
        frame[20:40, 3 * number : 3 * number + 8] = 255
    found = find_bursts(table([f"{number:02}" for number in range(30)]), frames)
    assert found.duplicated().any()
    assert found.nunique() > 2
    assert found["00"] != found["29"]


@pytest.mark.parametrize(("known", "joins"), [(4, True), (5, False)])
def test_a_frame_joins_a_burst_if_a_quarter_of_it_shows_its_moment(known: int, joins: bool):
    frames = np.array([(one, other) for other in range(known + 1) for one in range(other)])
    is_other = (frames[:, 1] == known) & (frames[:, 0] != known - 1)
    differences = np.where(is_other, np.inf, 0.1 + 0.01 * frames[:, 1]).astype(np.float32)
    burst = bursts._join(frames, differences, count=known + 1)
    assert burst.tolist() == [0] * known + [0 if joins else known]
    backwards = bursts._join(known - frames[:, ::-1], differences, count=known + 1)
    assert backwards.tolist() == [0] + [0 if joins else 1] * known


def test_only_frames_that_a_chain_could_join_vote():
    frames = np.array([(0, 1), (0, 2), (1, 2), (2, 3)])
    votes = bursts._votes(frames, np.array([True, False, False, True]), count=4)
    assert votes == {0: {1: 3}, 1: {0: 3}, 2: {3: 3}, 3: {2: 3}}


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.floats(0, 0.5)), max_size=40))
def test_bursts_are_joined_as_if_all_frames_of_both_were_counted(compared: list[tuple[int, int, float]]):
    known = {(min(pair), max(pair)): np.float32(value) for *pair, value in compared if pair[0] != pair[1]}
    same = sorted((value, pair) for pair, value in known.items() if value < bursts.SAME_TONES)
    burst = list(range(12))
    for _, pair in same:
        one, other = (burst[frame] for frame in pair)
        between = [value for pair, value in known.items() if {burst[frame] for frame in pair} == {one, other}]
        if one != other and 4 * sum(value < bursts.SAME_TONES for value in between) >= len(between):
            burst = [min(one, other) if name in (one, other) else name for name in burst]
    pairs = np.array(sorted(known), np.int64).reshape(-1, 2)
    differences = np.array([known[pair] for pair in sorted(known)], np.float32)
    assert bursts._join(pairs, differences, count=12).tolist() == burst


def test_a_limit_changes_nothing_about_pairs_below_it(photographs: Photographs):
    pictures = bursts._pictures(photographs[1], np.arange(len(photographs[1])))
    frames = bursts._candidates(pictures, [np.arange(len(pictures))], progress=False)
    whole = bursts._differences(pictures, frames, progress=False)
    quick = bursts._differences(pictures, frames, below=bursts.SAME_TONES, progress=False)
    same = whole < bursts.SAME_TONES
    assert same.sum() > 40
    assert (quick[same] == whole[same]).all()
    assert (quick[~same] >= whole[~same]).all()
    assert np.isinf(quick).sum() > np.isinf(whole).sum()


@given(st.integers(0, 300), st.integers(0, 2**32 - 1), st.booleans())
def test_hashes_are_shared_by_few(count: int, seed: int, alike: bool):
    rng = np.random.default_rng(seed)
    features = np.zeros((count, 5), np.float32) if alike else rng.normal(size=(count, 5)).astype(np.float32)
    sizes = np.unique(bursts._hash(features, rng=rng), return_counts=True)[1]
    assert sizes.sum() == count
    assert (sizes <= bursts._BUCKET).all()
    assert len(sizes) <= max(1, 4 * count // bursts._BUCKET)


@given(st.lists(st.integers(0, 4), max_size=30))
def test_pairs_are_those_of_the_same_bucket(bucket: list[int]):
    found = [tuple(sorted(pair)) for pair in bursts._pairs_within(np.array(bucket, np.int64)).tolist()]
    every = [(one, other) for other in range(len(bucket)) for one in range(other) if bucket[one] == bucket[other]]
    assert sorted(found) == sorted(every)


def test_twins_share_a_hash_among_many_frames_of_one_camera():
    rng = np.random.default_rng(0)
    frames = np.repeat(scene(0)[None], 600, axis=0)
    for frame in frames:
        top, left = rng.integers(0, 40), rng.integers(0, 80)
        frame[top : top + 14, left : left + 16] = rng.integers(0, 256, 3)
    twins = (frames[:50] * 0.97).astype(np.uint8)
    pictures = bursts._pictures(np.concatenate([frames, twins]), np.arange(650))
    found = bursts._candidates(pictures, [np.arange(650)], progress=False)
    assert len(found) < 0.6 * 650 * 649 / 2
    assert len({(n, 600 + n) for n in range(50)} & set(map(tuple, found.tolist()))) >= 48


def test_a_bar_is_drawn_on_standard_error_if_asked(photographs: Photographs, capfd: pytest.CaptureFixture[str]):
    find_bursts(*photographs)
    assert capfd.readouterr() == ("", "")
    find_bursts(*photographs, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Hashing frames" in err
    assert "Comparing frames" in err
    manifest, thumbnails = photographs
    find_bursts(manifest.assign(status="truncated"), thumbnails, progress=True)
    assert capfd.readouterr() == ("", "")
