"""The faults of fast.ai's lesson 7, each of which must not come back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from timm.optim import create_optimizer_v2

from fisheries.data.dataset import one_hot
from fisheries.data.metadata import fit_sizes
from fisheries.inference.scoring import image_scores
from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.training.losses import FishLoss
from fisheries.training.module import FishModule
from fisheries.training.schedules import create_schedule
from tests.conftest import run_dir

SIZES = pd.DataFrame({"height": [180, 243, 180, 187], "width": [320, 320, 323, 311]})


def multi_input_net() -> FishNet:
    backbone = create_backbone("small_residual", options={"widths": (4, 8), "depths": (1, 1)})
    known_hw = torch.from_numpy(fit_sizes(SIZES).known_standardized())
    return FishNet(backbone, classes=3, metadata="onehot", known_hw=known_hw, predict_box=True)


def test_sizes_reach_the_network_standardized():
    """There, a precedence error left them as they were."""
    standardized = fit_sizes(SIZES).standardize(SIZES.to_numpy(float))
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standardized.std(axis=0), 1, atol=1e-6)


def test_the_multi_input_network_is_the_one_that_is_trained():
    """There, the second fit of the two-input model trained the one-input model."""
    net = multi_input_net()
    module = FishModule(
        net,
        FishLoss(),
        optimizer=lambda net: create_optimizer_v2(net, opt="adamw", lr=0.1),
        schedule=lambda optimizer, steps: create_schedule(optimizer, name="constant", warmup=0.0, total_steps=steps),
        provenance={},
    )
    trained = {id(p) for group in module.create_optimizer(net).param_groups for p in group["params"]}
    assert trained == {id(p) for p in net.parameters()}
    image, image_hw = (
        torch.randint(0, 256, (4, 3, 32, 48), dtype=torch.uint8),
        torch.tensor(fit_sizes(SIZES).standardize(SIZES.to_numpy(float))),
    )
    net(image, image_hw)["logits"].square().sum().backward()
    assert net.size.norm.weight.grad.abs().sum() > 0
    assert net.classifier.weight.grad[:, -net.size.width :].abs().sum() > 0


def test_held_out_images_can_not_be_mixed_into_training(tables):
    """There, the validation images were among those trained on with pseudo-labels."""
    from fisheries.data.datamodule import _check_apart
    from fisheries.schema import InputError

    manifest, _ = tables
    train, val = manifest.head(10), manifest.iloc[10:20]
    with pytest.raises(InputError, match=r"is held out and among the extra rows"):
        _check_apart(train, val, extra=manifest.iloc[15:30])


def test_images_without_a_box_are_not_trained_towards_one():
    """There, their box was (0, 0, 0, 0), and the network learned it."""
    net = multi_input_net()
    batch = {
        "image": torch.randint(0, 256, (4, 3, 32, 48), dtype=torch.uint8),
        "image_hw": torch.zeros(4, 2),
        "target": torch.from_numpy(one_hot(pd.Series(["a", "b", "c", "a"]), ["a", "b", "c"])),
        "weight": torch.ones(4),
        "box_cxcywh": torch.zeros(4, 4),
        "has_box": torch.zeros(4),
        "image_id": list("abcd"),
    }
    FishLoss()(net(batch["image"], batch["image_hw"]), batch)["loss"].backward()
    assert (net.box.weight.grad == 0).all()
    assert (net.box.bias.grad == 0).all()


def test_boxes_are_scored_by_overlap():
    """There, a box regression was judged by its accuracy."""
    index = pd.Index(["a"], name="image_id")
    truth = pd.DataFrame(
        {"left": [0.0], "top": [0.0], "box_width": [10.0], "box_height": [10.0], "source": ["x"], "status": ["ok"]},
        index=index,
    )
    half = truth.assign(box_width=5.0)
    predictions = pd.DataFrame({"ALB": [0.9], "BET": [0.1]}, index=index)
    labels = pd.Series(["ALB"], index=index)
    scores = image_scores(
        predictions, labels, pd.Series({"ALB": 0.5, "BET": 0.5}), boxes_true=truth, boxes_predicted=half
    )
    assert scores.loc["a", "box_iou"] == pytest.approx(0.5)


def test_every_fold_keeps_its_own_weights(finished):
    """There, two networks were saved to one file."""
    first, second = ((run_dir(finished[0]) / f"fold-{fold}" / "best.ckpt").read_bytes() for fold in (0, 1))
    assert first != second
