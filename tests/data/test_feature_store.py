from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fisheries.data import feature_store
from fisheries.data.feature_store import (
    check_space,
    image_keys,
    missing_keys,
    narrowed,
    open_store,
    store_dir,
    view_key,
    view_seed,
    write_shard,
)
from fisheries.schema import InputError


def spread(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def test_arrays_come_back_by_key_whatever_shard_they_lie_in(tmp_path: Path):
    first, second = spread(9, 3, 2), spread(10, 3, 2, seed=1)
    write_shard(tmp_path, [f"a{row}" for row in range(9)], first)
    write_shard(tmp_path, [f"b{row}" for row in range(10)], second)
    stored = open_store(tmp_path)
    assert stored.shape == (3, 2)
    taken = stored.take(stored.locate(["b7", "a2", "b0"]))
    assert taken.dtype == np.float16
    assert np.abs(taken - np.stack([second[7], first[2], second[0]])).max() < 2e-3  # float16 of numbers below 4


def test_only_what_is_not_there_is_missing_and_each_once(tmp_path: Path):
    write_shard(tmp_path, ["a", "b"], spread(2, 4))
    assert missing_keys(open_store(tmp_path), ["c", "a", "c", "d", "b"]) == ["c", "d"]


def test_float16_halves_the_file_and_values_that_it_would_blur_stay_float32():
    features = spread(100, 8)
    assert narrowed(features).dtype == np.float16
    assert narrowed(features + 1000).dtype == np.float32  # the spread drowns in the rounding of the offset
    assert narrowed(features * 1e6).dtype == np.float32  # beyond float16
    assert narrowed(features[:5]).dtype == np.float32  # too few to tell the spread
    dead = np.where(np.arange(8) == 3, np.float32(0.3), features)  # says nothing, so rounding it takes nothing away
    assert narrowed(dead).dtype == np.float16


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(-5, 5))
def test_rounding_is_small_beside_the_spread_of_every_feature(seed: int, scale: float, offset: float):
    features = ((spread(50, 6, seed=seed) + offset) * scale).astype(np.float32)
    error = (narrowed(features).astype(np.float32) - features).std(axis=0)
    spread_of = features.std(axis=0)
    assert (error <= 1e-3 * np.maximum(spread_of, 0.01 * spread_of.mean())).all()


def test_a_full_competition_of_pooled_features_takes_less_than_100_mb(tmp_path: Path):
    images, width, rows = 16_930, 2048, 512
    write_shard(
        tmp_path,
        [hashlib.sha256(bytes([row % 256, row // 256])).hexdigest() for row in range(rows)],
        spread(rows, width),
    )
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert size / rows * images < 100e6


def test_a_shard_without_keys_was_interrupted_and_counts_for_nothing(tmp_path: Path):
    write_shard(tmp_path, ["a", "b"], spread(2, 4))
    write_shard(tmp_path, ["c", "d"], spread(2, 4))
    next(tmp_path.glob("*.keys")).unlink()
    assert len(open_store(tmp_path).places) == 2


def test_a_process_that_is_killed_while_it_writes_leaves_whole_shards_only(tmp_path: Path):
    code = (
        "import sys, numpy as np; from fisheries.data.feature_store import write_shard; from pathlib import Path\n"
        "for n in range(100000):\n"
        "    write_shard(Path(sys.argv[1]), [f'{n}-{i}' for i in range(64)], np.full((64, 2000), n % 100, 'float32'))\n"
        "    print(n, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        for _ in range(3):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    stored = open_store(tmp_path)
    assert len(stored.places) >= 3 * 64
    for key in stored.places:
        assert (stored.take(stored.locate([key])) == int(key.split("-")[0]) % 100).all()


def test_the_folder_follows_from_everything_that_features_depend_on(tmp_path: Path):
    about = {"backbone": "resnet18", "weights": "abc", "image_hw": [96, 160]}
    folders = {store_dir(tmp_path, {**about, **change}) for change in ({}, {"weights": "abd"}, {"image_hw": [96, 161]})}
    assert len(folders) == 3
    assert store_dir(tmp_path, dict(reversed(about.items()))) in folders


def test_keys_follow_the_content_and_views_have_seeds_of_their_own():
    images = pd.DataFrame({"sha256": ["11", "22"]}, index=["a.jpg", "b.jpg"])
    assert image_keys(images) == ["11", "22"]
    assert image_keys(images, "v-0") == [view_key("11", "v-0"), view_key("22", "v-0")]
    assert len({view_seed(sha, view) for sha in ("11", "22") for view in ("", "v-0", "v-1")}) == 6


def test_a_disk_that_is_too_small_is_told_before_hours_go_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    check_space(tmp_path, arrays=10, shape=(100,))
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda _: SimpleNamespace(free=20 << 30))
    with pytest.raises(InputError, match=r"17000 feature arrays \(512, 22, 40\) need up to 30\.6 GB, and 21\.5 GB are"):
        check_space(tmp_path, arrays=17_000, shape=(512, 22, 40))
