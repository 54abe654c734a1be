from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fisheries.analysis.blocks_view import block_gradients, block_table, plot_gradients, without_shortcuts
from fisheries.models.backbones import create_backbone
from fisheries.models.blocks import ResidualBlock
from fisheries.models.fishnet import FishNet
from fisheries.schema import InputError

IMAGE, SIZES, LABELS = torch.randint(0, 256, (4, 3, 32, 48), dtype=torch.uint8), torch.zeros(4, 2), [0, 1, 2, 0]


@pytest.fixture
def net() -> FishNet:
    torch.manual_seed(0)
    return FishNet(create_backbone("small_residual", options={"widths": (4, 8), "depths": (2, 1)}), classes=3)


@pytest.fixture
def headless() -> nn.Module:
    torch.manual_seed(0)
    return FishNet(create_backbone("mobilenetv2_035"), classes=3)


def test_the_table_says_what_each_block_gives(net):
    table = block_table(net, IMAGE, SIZES, ["backbone.network.stages.1", "backbone.network.stages.0.1"])
    assert list(table.index) == ["backbone.network.stages.0.1", "backbone.network.stages.1"]
    assert table["kind"].tolist() == ["ResidualBlock", "Sequential"]
    assert table[["channels", "height", "width"]].to_numpy().tolist() == [[4, 16, 24], [8, 8, 12]]
    assert table["parameters"].iloc[0] == 2 * (4 * 4 * 9 + 2 * 4)
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("layer", "said"), [("classifier", r"gives \(4, 3\); expected a map"), ("trunc", "no layer 'trunc'")]
)
def test_layers_without_a_map_are_refused(net, layer: str, said: str):
    with pytest.raises(InputError, match=said):
        block_table(net, IMAGE, SIZES, [layer])


def test_without_its_shortcut_a_block_gives_its_convolutions_alone():
    block = ResidualBlock(4, 4).eval()
    x = torch.randn(2, 4, 6, 6)
    plain = without_shortcuts(nn.Sequential(block))
    torch.testing.assert_close(plain(x), block.second(block.act(block.first(x))).relu())
    assert isinstance(block.shortcut, nn.Identity)


def test_networks_without_residual_blocks_are_refused(headless):
    with pytest.raises(InputError, match="no residual block, whose shortcut"):
        without_shortcuts(headless)
    with pytest.raises(InputError, match="no residual block, whose gradient"):
        block_gradients(headless, IMAGE, SIZES, LABELS)


def test_gradients_are_those_of_the_blocks_own_convolutions(net):
    twin = copy.deepcopy(net)
    found = block_gradients(net, IMAGE, SIZES, LABELS)
    loss = nn.functional.cross_entropy(twin.train()(IMAGE, SIZES)["logits"], torch.tensor(LABELS))
    block = twin.backbone.network.stages[1][0]
    expected = torch.autograd.grad(loss, [block.first[0].weight, block.second[0].weight])
    squares = torch.cat([gradient.flatten() for gradient in expected]).square()
    assert list(found.index) == [f"backbone.network.stages.{name}" for name in ("0.0", "0.1", "1.0")]
    assert found.iloc[2] == pytest.approx(float(squares.mean().sqrt()), rel=1e-4)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_each_network_is_a_line():
    figure = plot_gradients({"with": pd.Series([1.0, 2.0]), "without": pd.Series([3.0, 300.0])})
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["with", "without"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [3, 300])
    assert axes.get_yscale() == "log"
