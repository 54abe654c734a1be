"""Every network of conf/model learns, with each kind of head, on pictures small enough for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fisheries.config_check import check_config
from fisheries.data.dataset import one_hot
from fisheries.data.shrinking import read_shrunk
from fisheries.models.fishnet import FishNet
from fisheries.models.heads import MAP_HEADS
from fisheries.nets import create_net
from fisheries.schema import InputError
from fisheries.training.losses import FishLoss
from tests.test_conf import MODELS, QUIET, SIZES, composed

NETWORKS = [name for name in MODELS if name not in ("timm", "imported")]
IMAGE_HW = (96, 128)
# VGG's own two layers of 4096 take half a gigabyte
OVERRIDES = {"vgg16_bn": ["model.stride=16", "model.head=fcn", "model.head_options={pools:null}"]}


def net_of(*overrides: str, image_hw: tuple[int, int] = IMAGE_HW) -> FishNet:
    torch.manual_seed(0)
    config = composed("model.pretrained=false", "model.dropout=0", *overrides)
    check_config(config)
    return create_net(config.model, classes=3, sizes=SIZES, image_hw=image_hw, console=QUIET)


def step(net: FishNet, image_hw: tuple[int, int] = IMAGE_HW) -> float:
    """Train one step on noise and return the loss."""
    image = torch.randint(0, 256, (4, 3, *image_hw), dtype=torch.uint8)
    batch = {"target": torch.eye(3)[[0, 1, 2, 0]], "weight": torch.ones(4)}
    net.train()
    loss = FishLoss()(net(image, torch.zeros(4, 2)), batch)["loss"]
    loss.backward()
    torch.optim.SGD(net.parameters(), lr=1e-3).step()
    return loss.item()


@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_learns_from_a_step_at_every_depth(model: str):
    net = net_of(f"model={model}", *OVERRIDES.get(model, []))
    assert step(net) > 0
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    groups = net.depth_groups()
    assert sorted(name for group in groups for name in group) == sorted(gradients)
    assert all(any(gradients[name].abs().sum() > 0 for name in group) for group in groups)


@pytest.mark.parametrize("head", MAP_HEADS)
@pytest.mark.parametrize("model", ["small_residual", "small_separable", "resnet18", "eva02_tiny"])
def test_heads_on_maps_learn_on_any_backbone(model: str, head: str):
    options = {"fcn": "{pools:[[1,2]],width:8}", "dense_map": "{grid:2,width:8}", "inception": "{blocks:2}"}[head]
    net = net_of(f"model={model}", f"model.head={head}", f"model.head_options={options}")
    assert step(net) > 0
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_a_picture_too_small_for_the_head_is_one_line_before_training():
    with pytest.raises(InputError, match=r"the feature map is 4x6, the head needs at least 4x8: larger pictures"):
        net_of("model.head=fcn", image_hw=(64, 96))
    with pytest.raises(InputError, match=r"model.head_options=\{'depth': 3\} does not fit model.head=fcn, which takes"):
        net_of("model.head=fcn", "model.head_options={depth:3}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.stride=half"], "model.stride='half': expected a whole number such as 16, or null"),
        (["model.stride=16"], "model.stride=16 cuts the network's own pooling off: model.pool=avg, max or avgmax"),
        (["model.pool=mean"], "model.pool='mean': expected own, avg, max, avgmax"),
        (["model.head=fcn", "model.pool=max"], "model.pool='max': model.head=fcn takes the feature map as it is"),
        (["model.head_options=[1]"], "model.head_options=[1]: expected {name:value}, such as {width:64}"),
        (["model.head=fcn", "model.predict_box=true"], "model.head=fcn gives class maps only: model.metadata=none"),
        (["model.head=inception", "model.metadata=onehot"], "model.head=inception gives class maps only"),
    ],
)
def test_parts_that_do_not_go_together_are_refused_at_once(overrides: list[str], message: str):
    with pytest.raises(InputError) as caught:
        check_config(composed(*overrides))
    assert message in str(caught.value)


def test_the_packaged_weights_do_not_know_a_new_head(tables: tuple[pd.DataFrame, pd.DataFrame]):
    """They were learned below the head that seed 0 draws; with a new one they are at first no better than chance."""
    manifest, _ = tables
    images = manifest[manifest["label"] != ""]
    classes = ["ALB", "BET", "DOL", "LAG", "NoF", "OTHER", "SHARK", "YFT"]  # in the order that it was trained on
    model = composed("model.pretrained=true", "model.dropout=0").model
    torch.manual_seed(0)
    net = create_net(model, classes=8, sizes=SIZES, image_hw=(96, 160), console=QUIET).eval()
    pictures = np.stack([read_shrunk(path, (96, 160)) for path in images["path"]]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        logits = net(torch.from_numpy(pictures.copy()), torch.zeros(len(pictures), 2))["logits"]
    labels = torch.from_numpy(one_hot(images["label"], classes))
    assert torch.nn.functional.cross_entropy(logits, labels) > np.log(len(classes)) - 0.3


def test_given_weights_get_another_head_than_the_one_that_the_same_seed_drew_above_them(tmp_path: Path):
    learned = net_of()
    torch.save(learned.backbone.network.state_dict(), tmp_path / "weights.pth")
    transferred = net_of(f"model.weights={tmp_path / 'weights.pth'}")
    for name, values in learned.backbone.network.state_dict().items():
        assert torch.equal(values, transferred.backbone.network.state_dict()[name])
    assert not torch.equal(learned.classifier.weight, transferred.classifier.weight)
    again = net_of(f"model.weights={tmp_path / 'weights.pth'}")
    assert torch.equal(transferred.classifier.weight, again.classifier.weight)
