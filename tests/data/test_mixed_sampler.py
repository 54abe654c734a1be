from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fisheries.data.dataset import EpochSampler
from fisheries.data.mixed_sampler import MixedSampler, extra_count
from fisheries.data.pseudo_rows import why_left_out
from fisheries.schema import InputError
from tests.data.test_datamodule import CLASSES, Clock, datamodule


def sampler(*, epoch: int = 0, size: int = 100, extra: int = 30, share: float = 0.25, batch_size: int = 16, **options):
    images = EpochSampler(lambda: epoch, size=size, **{"seed": 0, **options})
    return MixedSampler(images, extra=extra, share=share, batch_size=batch_size)


def batches(mixed: MixedSampler, batch_size: int = 16) -> list[list[int]]:
    positions = [position for _, position in mixed]
    return [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]


def test_a_batch_of_the_lesson_has_44_images_and_16_extra_rows():
    assert extra_count(60, 0.267) == 16
    assert extra_count(64, 0.25) == 16
    for batch in batches(sampler(size=440, extra=500, share=0.267, batch_size=60), 60):
        assert sum(position >= 440 for position in batch) == 16


@given(
    size=st.integers(1, 90),
    extra=st.integers(1, 60),
    batch_size=st.integers(2, 40),
    share=st.floats(0.05, 0.9),
    epoch=st.integers(0, 3),
)
def test_every_batch_has_the_share_and_an_epoch_is_one_pass_over_the_images(size, extra, batch_size, share, epoch):
    count = min(max(extra_count(batch_size, share), 1), batch_size - 1)
    mixed = sampler(epoch=epoch, size=size, extra=extra, share=count / batch_size, batch_size=batch_size)
    *whole, last = batches(mixed, batch_size)
    assert all(sum(position >= size for position in batch) == count for batch in whole)
    assert abs(sum(position >= size for position in last) - count * len(last) / batch_size) <= 1
    seen = Counter(position for _, position in mixed)
    assert [seen[position] for position in range(size)] == [1] * size
    assert set(seen) <= set(range(size + extra))
    assert len(mixed) == len(list(mixed)) == sum(seen.values())
    assert {number for number, _ in mixed} == {epoch}


def test_extra_rows_come_again_only_when_all_have_come():
    drawn = Counter(position for _, position in sampler(size=100, extra=7) if position >= 100)
    assert set(drawn) == set(range(100, 107))
    assert max(drawn.values()) - min(drawn.values()) <= 1


def test_the_order_follows_from_seed_and_epoch_alone():
    assert list(sampler(epoch=3)) == list(sampler(epoch=3))
    assert list(sampler(epoch=3)) != list(sampler(epoch=4))
    assert list(sampler(epoch=3)) != list(sampler(epoch=3, seed=1))
    rows = [[position for _, position in sampler(epoch=epoch) if position >= 100] for epoch in (0, 1)]
    assert rows[0] != rows[1]


def test_images_and_extra_rows_are_mixed_within_a_batch():
    is_extra = [[position >= 100 for position in batch] for batch in batches(sampler())]
    assert not all(batch == sorted(batch) for batch in is_extra)


def test_each_process_has_the_share_in_its_own_batches_and_other_rows():
    parts = [sampler(rank=rank, world=2, extra=60) for rank in (0, 1)]
    rows = []
    for part in parts:
        assert all(sum(position >= 100 for position in batch) == 4 for batch in batches(part)[:-1])
        rows.append({position for _, position in part})
    assert len(list(parts[0])) == len(list(parts[1])) == len(parts[0])
    assert not rows[0] & rows[1]


@pytest.fixture(scope="module")
def extra(tables):
    """Test images of new boats, as pseudo-labels."""
    manifest, _ = tables
    images = manifest[manifest["subset"] == "test_stg2"]
    return images.assign(**dict.fromkeys(CLASSES, 0.125), weight=0.5)


def test_two_workers_see_the_pseudo_rows_that_no_worker_sees(tables, extra):
    options = {"extra": extra, "extra_share": 3 / 7, "clock": Clock(2)}
    alone, helped = (list(datamodule(tables, workers=workers, **options).train_dataloader()) for workers in (0, 2))
    assert [batch["image_id"] for batch in alone] == [batch["image_id"] for batch in helped]
    assert all(torch.equal(one["image"], two["image"]) for one, two in zip(alone, helped, strict=True))
    assert all(sum(name in extra.index for name in batch["image_id"]) == 3 for batch in alone[:-1])


def test_balanced_draws_and_class_weights_are_those_of_the_training_images(tables, extra):
    only_alb = extra.assign(**{name: float(name == "ALB") for name in CLASSES})
    data, plain = (datamodule(tables, extra=rows, balanced=True, batch_size=16) for rows in (only_alb, None))
    np.testing.assert_array_equal(data.class_counts, plain.class_counts)
    labels = data.train["label"]
    drawn = Counter()
    for epoch in range(8):
        data.trainer = Clock(epoch)
        ids = [name for batch in data.train_dataloader() for name in batch["image_id"] if name not in extra.index]
        assert len(ids) == len(labels)
        drawn.update(labels[ids])
    assert max(drawn.values()) / min(drawn.values()) < 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"boat": "held"}, "held-out boat"),
        ({"burst": "held"}, "held-out burst"),
        ({"sha256": "held"}, "held-out burst"),
        ({"boat": ""}, "unknown boat"),
    ],
)
def test_an_extra_row_of_a_held_out_boat_or_burst_or_of_an_unknown_boat_is_refused(tables, extra, change, reason):
    val = datamodule(tables).val
    values = {name: val[name].iloc[0] if value == "held" else value for name, value in change.items()}
    rows = extra.copy()
    rows.loc[rows.index[:2], list(values)] = list(values.values())
    with pytest.raises(
        InputError, match=rf"'{rows.index[0]}' is of a {reason} and among the extra rows; 2 such images"
    ):
        datamodule(tables, extra=rows)


def test_an_unknown_boat_may_enter_with_a_burst_of_a_boat_that_is_trained_on(tables, extra):
    data = datamodule(tables)
    row = extra.head(1).assign(boat="", burst=data.train["burst"].iloc[0])
    assert why_left_out(row, trained=data.train, held_out=data.val).tolist() == [""]
    assert why_left_out(row, trained=data.train.assign(boat=""), held_out=data.val).tolist() == ["unknown boat"]
