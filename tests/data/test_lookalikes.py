from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.data import lookalikes
from fisheries.data.lookalikes import burst_pairs, compare_pairs, load_pair_thumbnails, missing_photographs
from fisheries.data.tables import read_photographs
from fisheries.schema import KEY, InputError, write_table

Tables = tuple[pd.DataFrame, pd.DataFrame]


def test_pairs_are_those_of_one_burst_each_way_round(tables: Tables):
    manifest, _ = tables
    pairs = burst_pairs(manifest)
    assert len(pairs) > 50
    assert (pairs[KEY] != pairs["lookalike"]).all()
    burst = manifest["burst"]
    assert (burst[pairs[KEY]].to_numpy() == burst[pairs["lookalike"]].to_numpy()).all()
    sizes = burst.value_counts()
    assert len(pairs) == (sizes * (sizes - 1)).sum()
    assert not pairs.duplicated().any()
    assert set(zip(pairs[KEY], pairs["lookalike"], strict=True)) == set(
        zip(pairs["lookalike"], pairs[KEY], strict=True)
    )


def test_images_that_can_not_be_read_or_whose_burst_is_not_known_have_no_look_alikes():
    index = pd.Index(list("abcdef"), name=KEY)
    status = ["ok", "ok", "truncated", "ok", "ok", "ok"]
    manifest = pd.DataFrame({"burst": ["a", "a", "a", "", "", "f"], "status": status}, index)
    pairs = burst_pairs(manifest)
    assert pairs[[KEY, "lookalike"]].to_numpy().tolist() == [["a", "b"], ["b", "a"]]
    assert list(pairs["similarity"]) == [1.0, 1.0]


def test_frames_of_one_moment_are_more_similar_than_others_of_the_same_camera(tables: Tables):
    manifest, _ = tables
    moments = burst_pairs(manifest)
    cameras = burst_pairs(manifest.assign(burst=manifest["boat"]))
    similar = compare_pairs(moments, *load_pair_thumbnails(moments, manifest))
    camera = compare_pairs(cameras, *load_pair_thumbnails(cameras, manifest))
    assert similar["similarity"].between(0.3, 1).all()
    others = camera.merge(moments[[KEY, "lookalike"]], how="left", indicator=True)
    others = others[others["_merge"] == "left_only"]
    assert len(others) > 200
    assert (others["similarity"] < 0.37).mean() > 0.99
    pd.testing.assert_series_equal(similar[KEY], moments[KEY])


def test_similarity_is_the_same_both_ways_and_1_for_the_same_picture():
    rng = np.random.default_rng(0)
    scene = rng.integers(40, 216, (6, 8, 3)).repeat(9, axis=0).repeat(12, axis=1).astype(np.uint8)
    changed = scene.copy()
    changed[:9, :12] = 255 - changed[:9, :12]
    pairs = pd.DataFrame({KEY: list("abac"), "lookalike": list("baca"), "similarity": 1.0})
    found = compare_pairs(pairs, pd.Index(list("cab")), np.stack([changed, scene, scene]))
    assert list(found["similarity"][:2]) == [1, 1]
    assert found["similarity"][2] == found["similarity"][3] < 0.5


def test_thumbnails_that_are_kept_are_not_read_again(tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    manifest, _ = tables
    write_table(manifest.iloc[::-1], tmp_path / "manifest.csv")
    read_photographs(tmp_path / "manifest.csv", progress=False)
    pairs = burst_pairs(manifest)
    fresh = compare_pairs(pairs, *load_pair_thumbnails(pairs, manifest))
    nowhere = manifest.assign(path="")
    kept = compare_pairs(pairs, *load_pair_thumbnails(pairs, nowhere, tmp_path))
    pd.testing.assert_frame_equal(kept, fresh)


def test_an_image_that_the_tables_lack_is_refused_by_name(tables: Tables, tmp_path: Path):
    manifest, _ = tables
    pairs = burst_pairs(manifest)
    lost = min(pairs[KEY])
    write_table(manifest.drop(lost), tmp_path / "manifest.csv")
    with pytest.raises(InputError, match=f"lacks '{lost}'; 1 such images; give the tables of the same photographs"):
        load_pair_thumbnails(pairs, manifest, tmp_path)


def test_photographs_that_are_gone_are_named(tables: Tables):
    manifest, _ = tables
    pairs = burst_pairs(manifest)
    assert missing_photographs(pairs, manifest).empty
    moved = manifest.assign(path=manifest["path"].mask(manifest.index == pairs[KEY][0], "nowhere.jpg"))
    assert missing_photographs(pairs, moved).to_dict() == {pairs[KEY][0]: "nowhere.jpg"}
    assert len(missing_photographs(pairs, manifest.assign(path=""))) == pairs[KEY].nunique()


def test_no_pairs_need_no_photographs(tables: Tables):
    manifest, _ = tables
    none = burst_pairs(manifest)[:0]
    assert compare_pairs(none, *load_pair_thumbnails(none, manifest)).empty
    assert lookalikes.missing_photographs(none, manifest).empty
