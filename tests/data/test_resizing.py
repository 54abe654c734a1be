from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fisheries.data.dataset import FishDataset, Rows, make_rows, one_hot
from fisheries.data.image_cache import memory_cache
from fisheries.data.metadata import fit_sizes
from fisheries.data.resizing import part_sizes, smaller_epochs
from fisheries.data.transforms import eval_transform, train_transform

FULL_HW = (96, 160)


@pytest.fixture(scope="module")
def rows(tables: tuple[pd.DataFrame, pd.DataFrame]) -> Rows:
    manifest, boxes = tables
    images = manifest[(manifest["subset"] == "train") & manifest.index.isin(boxes.index)].head(6)
    targets = one_hot(images["label"], sorted(set(images["label"])))
    return make_rows(images, targets=targets, weights=np.ones(6, np.float32), boxes=boxes, sizes=fit_sizes(images))


def test_sides_are_multiples_of_32_and_the_last_part_is_whole():
    assert part_sizes([0.5, 0.75, 1.0], (224, 384)) == [(128, 192), (160, 288), (224, 384)]
    assert part_sizes([0.1, 1], (100, 20)) == [(32, 20), (100, 20)]


@given(
    shares=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4).map(lambda shares: [*sorted(shares), 1.0]),
    image_hw=st.tuples(st.integers(16, 700), st.integers(16, 700)),
    epochs=st.integers(0, 40),
)
def test_parts_are_as_long_and_their_pictures_never_shrink(shares: list[float], image_hw: tuple[int, int], epochs: int):
    epochs += len(shares)
    sizes = part_sizes(shares, image_hw)
    by_epoch = [smaller_epochs(shares, image_hw, epochs=epochs).get(epoch, image_hw) for epoch in range(epochs)]
    lengths = np.bincount([epoch * len(shares) // epochs for epoch in range(epochs)])
    assert by_epoch == [size for size, length in zip(sizes, lengths, strict=True) for _ in range(length)]
    assert max(lengths) - min(lengths) <= 1
    assert by_epoch[-1] == image_hw
    assert all(small[side] <= large[side] for small, large in pairwise(sizes) for side in (0, 1))


@pytest.mark.parametrize("is_cached", [False, True])
def test_early_epochs_show_the_same_pictures_smaller(rows: Rows, is_cached: bool):
    keys = rows.images["sha256"].tolist()
    data = FishDataset(
        rows,
        transform=eval_transform(image_hw=FULL_HW),
        seed=0,
        epoch_transforms={0: eval_transform(image_hw=(48, 80))},
        cache=memory_cache(keys, image_hw=FULL_HW, limit_bytes=1 << 30) if is_cached else None,
    )
    for _ in range(2):  # the second time from the cache
        small, full = data[0, 0], data[1, 0]
        halved = Image.fromarray(full["image"].permute(1, 2, 0).numpy()).resize((80, 48), Image.Resampling.BILINEAR)
        assert small["image"].shape == (3, 48, 80)
        assert np.abs(small["image"].permute(1, 2, 0).numpy() - np.asarray(halved, np.int64)).max() <= 1  # antialiased
        assert torch.equal(small["box_cxcywh"], full["box_cxcywh"])
        assert full["has_box"] == 1


def test_the_cache_changes_no_view_of_a_smaller_epoch(rows: Rows):
    amounts = {"hflip": 0.5, "rotate_deg": 40.0, "zoom": 0.2, "brightness": 0.3}
    keys = rows.images["sha256"].tolist()
    cached, bare = (
        FishDataset(
            rows,
            transform=train_transform(image_hw=FULL_HW, **amounts),
            seed=3,
            epoch_transforms={0: train_transform(image_hw=(64, 96), **amounts)},
            cache=cache,
        )
        for cache in (memory_cache(keys, image_hw=FULL_HW, limit_bytes=1 << 30), None)
    )
    for key in [(1, 2), (0, 2), (0, 2)]:
        views = [data[key] for data in (cached, bare)]
        assert torch.equal(views[0]["image"], views[1]["image"])
        assert torch.equal(views[0]["box_cxcywh"], views[1]["box_cxcywh"])


def test_boxes_move_as_in_a_whole_picture(rows: Rows):
    amounts = {"hflip": 1.0, "rotate_deg": 20.0, "zoom": 0.2, "shift": 0.1}
    whole, small = (
        train_transform(image_hw=image_hw, **amounts)(np.zeros((*FULL_HW, 3), np.uint8), rows.boxes_xyxy[0], 5)
        for image_hw in (FULL_HW, (48, 80))
    )
    np.testing.assert_allclose(whole.box_xyxy, small.box_xyxy, atol=0.02)
