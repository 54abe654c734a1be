from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fisheries.analysis.layers import best_patterns, find_layer, first_kernels, layer_activations
from fisheries.schema import InputError

SIZES = torch.zeros(1, 2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        conv = nn.Conv2d(3, 5, 3, padding=1)
        self.backbone = nn.Sequential(conv, nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(5, 4, 3, padding=1))
        self.several = Several()
        self.head = nn.Linear(4, 2)

    def forward(self, image, image_hw):
        feature_map = self.several(self.backbone(image.float() / 255))[0]
        return {"feature_map": feature_map, "logits": self.head(feature_map.mean(dim=(2, 3)))}


class Several(nn.Module):
    def forward(self, x):
        return x, x


@pytest.fixture
def net() -> Net:
    return Net().eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 255, (1, 3, 16, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_activations_are_the_layers_own_and_not_what_the_next_one_made_of_them(net, image):
    maps = layer_activations(net, image, SIZES, layer="backbone.0")
    with torch.no_grad():
        expected = net.backbone[0](image.float() / 255).numpy()
    assert maps.shape == (1, 5, 16, 20)
    assert np.array_equal(maps, expected)
    assert maps.min() < 0  # the ReLU behind it works in place


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sevral", r"no layer 'sevral' \(did you mean 'several'\?\); the network has 7, the last is 'head'"),
        ("3", r"no layer '3' \(did you mean 'backbone.3'\?\)"),
        ("", r"no layer ''; the network has 7"),
    ],
)
def test_an_unknown_layer_is_refused_with_the_nearest(net, name, message):
    with pytest.raises(InputError, match=message):
        find_layer(net, name)


@pytest.mark.parametrize(
    ("layer", "message"),
    [("several", "layer 'several' gives no tensor of its own"), ("head", r"a layer that gives \(1, 2\) has no map")],
)
def test_a_layer_that_has_no_maps_is_refused(net, image, layer, message):
    with pytest.raises(InputError, match=message):
        layer_activations(net, image, SIZES, layer=layer)


def test_gradient_ascent_raises_the_activation_of_each_picture_s_own_channel(net):
    pictures, (before, after) = best_patterns(net, "backbone.3", [2, 0], image_hw=(16, 20), seed=0, steps=40)
    assert pictures.shape == (2, 16, 20, 3)
    assert (after > before + 0.02).all()
    shown = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    maps = layer_activations(net, shown, SIZES.repeat(2, 1), layer="backbone.3").mean(axis=(2, 3))
    assert np.allclose([maps[0, 2], maps[1, 0]], after, atol=0.02)
    assert maps[0, 2] > maps[1, 2]
    assert maps[1, 0] > maps[0, 0]
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_pattern_follows_from_its_seed(net):
    first, again, other = (
        best_patterns(net, "backbone.3", [1], image_hw=(16, 20), seed=seed, steps=3)[0] for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_channel_that_is_not_there_is_refused(net):
    with pytest.raises(InputError, match=r"channel 4 of layer 'backbone.3': expected 0 to 3"):
        best_patterns(net, "backbone.3", [1, 4], image_hw=(16, 20), seed=0)


def test_the_first_kernels_are_stretched_each_on_its_own(net):
    kernels = first_kernels(net)
    weight = net.backbone[0].weight.detach().numpy()
    assert kernels.shape == (5, 3, 3, 3)
    assert np.allclose(kernels.min(axis=(1, 2, 3)), 0)
    assert np.allclose(kernels.max(axis=(1, 2, 3)), 1)
    assert np.argmax(kernels[2].transpose(2, 0, 1)) == np.argmax(weight[2])


def test_a_network_that_sees_no_colors_has_no_first_kernels():
    with pytest.raises(InputError, match="no convolution with three input channels"):
        first_kernels(nn.Conv2d(1, 2, 3))
