from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.dataset import EpochSampler, one_hot
from fisheries.data.image_cache import disk_cache, memory_cache
from fisheries.data.metadata import fit_sizes
from fisheries.data.splits import usable_images
from fisheries.data.transforms import eval_transform, train_transform
from fisheries.schema import InputError

CLASSES = ["ALB", "BET", "DOL", "LAG", "NoF", "OTHER", "SHARK", "YFT"]


class Clock:
    """What the datamodule asks of a trainer."""

    def __init__(self, epoch: int = 0, *, rank: int = 0, world: int = 1) -> None:
        self.current_epoch, self.global_rank, self.world_size = epoch, rank, world


def datamodule(tables, *, workers: int = 0, clock: Clock | None = None, **options) -> FisheriesDataModule:
    manifest, boxes = tables
    images = usable_images(manifest)
    even = images["boat"].isin(["boat_00", "boat_02", "boat_04", "boat_06"])
    data = FisheriesDataModule(
        **{
            "train": images[even],
            "val": images[~even],
            "boxes": boxes,
            "classes": CLASSES,
            "train_transform": train_transform(image_hw=(32, 48), hflip=0.5, rotate_deg=180, hue=0.1, noise=0.5),
            "eval_transform": eval_transform(image_hw=(32, 48)),
            "batch_size": 7,
            "workers": workers,
            "seed": 0,
            **options,
        }
    )
    data.trainer = clock or Clock()
    return data


def epoch_of(data: FisheriesDataModule) -> dict[str, torch.Tensor]:
    """Every image of an epoch, in its order."""
    batches = list(data.train_dataloader())
    images = torch.cat([batch["image"] for batch in batches])
    ids = [image_id for batch in batches for image_id in batch["image_id"]]
    return dict(zip(ids, images, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_without_augmentation_show_pictures_as_they_are(tables, workers: int):
    def views(epoch: int, **options) -> dict[str, torch.Tensor]:
        return epoch_of(datamodule(tables, workers=workers, clock=Clock(epoch), **options))

    plain = views(1, train_transform=eval_transform(image_hw=(32, 48)))
    bare = {1: eval_transform(image_hw=(32, 48))}
    shown = {epoch: views(epoch, epoch_transforms=bare) for epoch in (0, 1, 2)}
    assert all(torch.equal(plain[name], shown[1][name]) for name in plain)
    for epoch in (0, 2):
        augmented = views(epoch)
        assert all(torch.equal(augmented[name], shown[epoch][name]) for name in plain)


@pytest.mark.parametrize("kind", ["disk", "memory"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_changes_no_view_and_is_filled_by_whoever_reads_first(tables, tmp_path: Path, kind: str, workers: int):
    keys = tables[0]["sha256"].tolist()
    if kind == "disk":
        cache = disk_cache(tmp_path, keys, image_hw=(32, 48), about={}, limit_bytes=1 << 30)
    else:
        cache = memory_cache(keys, image_hw=(32, 48), limit_bytes=1 << 30)
    cached = [datamodule(tables, workers=workers, clock=Clock(epoch), cache=cache) for epoch in (0, 1)]
    for epoch, data in enumerate(cached):
        plain = epoch_of(datamodule(tables, clock=Clock(epoch)))
        shown = epoch_of(data)
        assert list(shown) == list(plain)
        assert all(torch.equal(shown[name], plain[name]) for name in plain)
    train = cached[0].train
    assert cache.missing(train["sha256"]) == []
    gone = train.assign(path="/gone.jpg")  # so they are not read again
    images = [batch["image"] for batch in cached[0].predict_loader(gone)]
    there = [batch["image"] for batch in datamodule(tables).predict_loader(train)]
    assert torch.equal(torch.cat(images), torch.cat(there))


def test_a_photograph_that_changed_since_it_was_listed_does_not_enter_a_cache(tables):
    cache = memory_cache(tables[0]["sha256"].tolist(), image_hw=(32, 48), limit_bytes=1 << 30)
    data = datamodule(tables, cache=cache)
    paths = data.val["path"].tolist()
    with pytest.raises(InputError, match="is another photograph than the manifest's"):
        list(data.predict_loader(data.val.assign(path=paths[1:] + paths[:1])))
    assert cache.missing(data.val["sha256"]) == list(data.val["sha256"])


def test_a_batch_has_the_shapes_and_types_it_says(tables):
    batch = next(iter(datamodule(tables).train_dataloader()))
    described = {name: (tuple(value.shape), value.dtype) for name, value in batch.items() if name != "image_id"}
    assert described == {
        "image": ((7, 3, 32, 48), torch.uint8),
        "image_hw": ((7, 2), torch.float32),
        "target": ((7, 8), torch.float32),
        "weight": ((7,), torch.float32),
        "box_cxcywh": ((7, 4), torch.float32),
        "has_box": ((7,), torch.float32),
    }
    assert (batch["target"].sum(dim=1) == 1).all()
    assert len(batch["image_id"]) == 7


def test_every_training_image_is_seen_once_an_epoch_with_its_own_target(tables):
    data = datamodule(tables)
    seen = {}
    for batch in data.train_dataloader():
        seen |= dict(zip(batch["image_id"], batch["target"].argmax(dim=1).tolist(), strict=True))
    labels = tables[0].loc[data.train_set.image_ids, "label"]
    assert seen == {image_id: CLASSES.index(label) for image_id, label in labels.items()}


def test_two_workers_see_what_no_worker_sees(tables):
    alone, helped = epoch_of(datamodule(tables)), epoch_of(datamodule(tables, workers=2))
    assert list(alone) == list(helped)
    assert all(torch.equal(image, helped[image_id]) for image_id, image in alone.items())


def test_epochs_differ_in_order_and_in_views_and_repeat_with_their_number(tables):
    first, second, again = (epoch_of(datamodule(tables, clock=Clock(epoch))) for epoch in (0, 1, 0))
    assert list(first) != list(second)
    assert not any(torch.equal(image, second[image_id]) for image_id, image in first.items())
    assert list(first) == list(again)
    assert all(torch.equal(image, again[image_id]) for image_id, image in first.items())


def test_images_of_an_epoch_are_augmented_each_in_its_own_way(tables):
    data = datamodule(tables)
    data.train_set.paths = [data.train_set.paths[0]] * len(data.train_set)
    views = [view.numpy().tobytes() for view in epoch_of(data).values()]
    assert len(set(views)) == len(views)


def test_a_last_batch_of_one_image_waits_for_the_next_epoch(tables):
    size = len(datamodule(tables).train_set)
    seen = [len(epoch_of(datamodule(tables, batch_size=size - 1, clock=Clock(epoch)))) for epoch in range(2)]
    assert seen == [size - 1, size - 1]


def test_another_seed_is_another_order(tables):
    assert list(epoch_of(datamodule(tables))) != list(epoch_of(datamodule(tables, seed=1)))


def test_processes_share_an_epoch_without_overlap(tables):
    shares = [epoch_of(datamodule(tables, clock=Clock(rank=rank, world=2))) for rank in (0, 1)]
    whole = epoch_of(datamodule(tables))
    assert set(shares[0]) | set(shares[1]) == set(whole)
    assert len(shares[0]) == len(shares[1]) == -(-len(whole) // 2)


def test_sizes_are_standardized_on_the_training_fold_only(tables):
    manifest, _ = tables
    data = datamodule(tables)
    trained_on = manifest.loc[data.train_set.image_ids, ["height", "width"]].to_numpy(float)
    np.testing.assert_allclose(data.sizes.mean_hw, trained_on.mean(axis=0))
    deviation = trained_on.std(axis=0)
    np.testing.assert_allclose(data.sizes.std_hw, np.where(deviation > 0, deviation, 1))
    np.testing.assert_allclose(data.train_set.image_hw.mean(axis=0), 0, atol=1e-5)
    held_out = manifest.loc[data.val.index, ["height", "width"]].to_numpy(float)
    batch = next(iter(data.val_dataloader()))
    expected = (held_out[: len(batch["image_hw"])] - data.sizes.mean_hw) / data.sizes.std_hw
    np.testing.assert_allclose(batch["image_hw"].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_one_size_only_is_standardized_to_0():
    table = pd.DataFrame({"height": [180, 180], "width": [320, 320]})
    sizes = fit_sizes(table)
    assert sizes.known_hw == ((180, 320),)
    assert sizes.standardize(np.array([[180.0, 320.0]])).tolist() == [[0, 0]]


def test_held_out_images_come_in_order_and_unchanged(tables):
    data = datamodule(tables)
    ids = [image_id for batch in data.val_dataloader() for image_id in batch["image_id"]]
    assert ids == list(data.val.index)
    first, again = (next(iter(data.val_dataloader()))["image"] for _ in range(2))
    assert torch.equal(first, again)


def test_images_without_a_box_say_so(tables):
    manifest, boxes = tables
    data = datamodule(tables)
    usable = set(boxes.index[boxes["status"].isin(["ok", "clipped"])])
    for batch in data.val_dataloader():
        assert [bool(has) for has in batch["has_box"]] == [image_id in usable for image_id in batch["image_id"]]
        assert (batch["box_cxcywh"][batch["has_box"] == 0] == 0).all()
    assert (manifest.loc[data.val.index, "label"] == "NoF").any()


def test_balanced_sampling_draws_every_class_about_as_often():
    targets = np.eye(2)[[0] * 90 + [1] * 10]
    chances = targets @ (1 / targets.sum(axis=0))
    drawn = [
        position
        for epoch in range(20)
        for _, position in EpochSampler(lambda e=epoch: e, size=100, seed=0, weights=chances)
    ]
    assert len(drawn) == 2000
    assert 0.45 < np.mean([position >= 90 for position in drawn]) < 0.55


def test_balanced_batches_reach_the_loader(tables):
    labels = []
    for epoch in range(8):
        for batch in datamodule(tables, clock=Clock(epoch), balanced=True).train_dataloader():
            labels += batch["target"].argmax(dim=1).tolist()
    counts = np.bincount(labels, minlength=8)
    present = counts[counts > 0]
    assert present.max() / present.min() < 3


def test_extra_rows_are_trained_on_with_their_soft_target_and_weight(tables):
    manifest, _ = tables
    extra = manifest[manifest["subset"] == "test_stg2"].head(3).assign(**dict.fromkeys(CLASSES, 0.125), weight=0.5)
    data = datamodule(tables, extra=extra)
    batches = list(data.train_dataloader())
    rows = {
        image_id: (target, weight)
        for batch in batches
        for image_id, target, weight in zip(batch["image_id"], batch["target"], batch["weight"], strict=True)
    }
    assert set(extra.index) <= set(rows)
    for image_id in extra.index:
        target, weight = rows[image_id]
        assert target.tolist() == [0.125] * 8
        assert weight == 0.5


def test_a_held_out_image_can_not_be_trained_on(tables):
    manifest, _ = tables
    val = datamodule(tables).val
    extra = val.head(2).assign(**dict.fromkeys(CLASSES, 0.125), weight=1.0)
    with pytest.raises(InputError, match=r"is held out and among the extra rows; 2 such images"):
        datamodule(tables, extra=extra)
    with pytest.raises(InputError, match=r"is held out and among the training rows"):
        datamodule(tables, train=manifest.loc[val.index])


def test_a_fold_without_images_is_refused(tables):
    with pytest.raises(InputError, match=r"0 held out: both parts need some"):
        datamodule(tables, val=tables[0].head(0))


def test_an_unknown_label_is_refused_with_the_nearest_class():
    labels = pd.Series(["ALB", "ALV"], index=["a.jpg", "b.jpg"])
    with pytest.raises(
        InputError, match=r"'b.jpg' is labeled 'ALV' \(did you mean 'ALB'\?\); the classes are ALB, BET"
    ):
        one_hot(labels, CLASSES)
