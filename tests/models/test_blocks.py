from __future__ import annotations

import pytest
import torch

from fisheries.models.blocks import ConvNorm, ResidualBlock, ResidualNet


def test_a_block_that_keeps_the_shape_adds_its_input_itself():
    block = ResidualBlock(8, 8)
    assert sum(p.numel() for p in block.shortcut.parameters()) == 0
    x = torch.rand(2, 8, 6, 6)
    torch.nn.init.zeros_(block.second[1].weight)  # the residual branch gives 0
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_that_changes_the_shape_projects_its_input(stride: int):
    block = ResidualBlock(8, 16, stride=stride)
    assert isinstance(block.shortcut, ConvNorm)
    assert block(torch.rand(2, 8, 12, 20)).shape == (2, 16, 12 // stride, 20 // stride)


def test_a_block_has_the_parameters_of_two_convolutions_and_a_projection():
    parameters = sum(p.numel() for p in ResidualBlock(8, 16, stride=2).parameters())
    assert parameters == 9 * 8 * 16 + 9 * 16 * 16 + 8 * 16 + 3 * 2 * 16


def test_every_parameter_of_the_network_gets_a_gradient():
    net = ResidualNet(widths=(4, 8), depths=(2, 1))
    net.forward_head(net.forward_features(torch.rand(2, 3, 32, 48))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_the_feature_map_is_smaller_by_two_for_the_stem_and_each_later_stage():
    net = ResidualNet(widths=(4, 8, 12, 16), depths=(1, 1, 1, 1))
    assert net.forward_features(torch.rand(1, 3, 96, 160)).shape == (1, 16, 6, 10)
    assert net.head_hidden_size == 32  # mean and highest value of each channel
