from __future__ import annotations

import re

import pytest
import timm
import torch
from torch import nn

from fisheries.models.backbones import create_backbone
from fisheries.models.blocks import (
    OWN_NETWORKS,
    ConvNorm,
    InceptionBlock,
    ResidualBlock,
    ResidualNet,
    SeparableConvNorm,
    SqueezeExcitation,
    pool_map,
)
from fisheries.models.fishnet import FishNet

UNITS = ["two_layer", "bottleneck", "separable"]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def randomize(net: nn.Module) -> nn.Module:
    """Also what a fresh network has at 0 and 1: the statistics and weights of batch normalization."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return net


def name_in_timm(name: str) -> str:
    name = re.sub(r"^stem\.0\.0", "conv1", name)
    name = re.sub(r"^stem\.0\.1", "bn1", name)
    name = re.sub(r"^stages\.(\d+)", lambda m: f"layer{int(m[1]) + 1}", name)
    for number, layer in enumerate(("first", "second", "third"), start=1):
        name = name.replace(f"{layer}.0", f"conv{number}").replace(f"{layer}.1", f"bn{number}")
    for ours, theirs in (("shortcut", "downsample"), ("squeeze.reduce", "se.fc1"), ("squeeze.expand", "se.fc2")):
        name = name.replace(ours, theirs)
    return name


@pytest.mark.parametrize("unit", UNITS)
def test_a_block_that_keeps_the_shape_adds_its_input_itself(unit: str):
    block = ResidualBlock(8, 8, unit=unit)
    assert count(block.shortcut) == 0
    x = torch.rand(2, 8, 6, 6)
    last = block.second if block.third is None else block.third
    torch.nn.init.zeros_(last[-1].weight)  # the residual branch gives 0
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_that_changes_the_shape_projects_its_input(stride: int, unit: str, squeeze: bool):
    block = ResidualBlock(8, 16, stride=stride, unit=unit, squeeze=squeeze)
    assert isinstance(block.shortcut, ConvNorm)
    assert block(torch.rand(2, 8, 12, 20)).shape == (2, 16, 12 // stride, 20 // stride)


def test_a_two_layer_block_has_the_parameters_of_two_convolutions_and_a_projection():
    assert count(ResidualBlock(8, 16, stride=2)) == 9 * 8 * 16 + 9 * 16 * 16 + 8 * 16 + 3 * 2 * 16


def test_a_bottleneck_block_has_the_parameters_of_1x1_3x3_1x1_and_a_projection():
    block = ResidualBlock(8, 16, stride=2, unit="bottleneck")
    assert count(block) == 8 * 4 + 9 * 4 * 4 + 4 * 16 + 8 * 16 + 2 * (4 + 4 + 16 + 16)


def test_a_separable_convolution_filters_each_channel_by_itself_before_it_mixes_them():
    layer = SeparableConvNorm(8, 16)
    assert count(layer) == 9 * 8 + 8 * 16 + 2 * 16
    x = torch.zeros(1, 8, 5, 5)
    x[0, 3] = 1
    assert (layer[0](x)[0, [0, 1, 2, 4, 5, 6, 7]] == 0).all()


def test_squeeze_and_excitation_weights_whole_channels_by_what_the_map_holds():
    block = SqueezeExcitation(32).eval()
    x = torch.rand(2, 32, 5, 7) + 0.5
    scale = block(x) / x  # (2, 32, 5, 7)
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand_as(scale))
    assert ((scale > 0) & (scale < 1)).all()
    assert not torch.allclose(scale[0, :, 0, 0], scale[1, :, 0, 0])


def test_an_unknown_unit_stem_or_pool_is_refused():
    with pytest.raises(ValueError, match=r"unit='triple': expected two_layer, bottleneck, separable"):
        ResidualNet(unit="triple")
    with pytest.raises(ValueError, match=r"stem='big': expected small, large"):
        ResidualNet(stem="big")
    with pytest.raises(ValueError, match=r"pool='min': expected avg, max, avgmax"):
        ResidualNet(pool="min")


@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("stem", ["small", "large"])
def test_every_parameter_of_the_network_gets_a_gradient(unit: str, squeeze: bool, stem: str):
    torch.manual_seed(0)
    net = ResidualNet(widths=(16, 32), depths=(2, 1), unit=unit, squeeze=squeeze, stem=stem)
    net.forward_head(net.forward_features(torch.rand(2, 3, 32, 48))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_the_feature_map_is_smaller_by_two_for_the_stem_and_each_later_stage():
    net = ResidualNet(widths=(4, 8, 12, 16), depths=(1, 1, 1, 1))
    assert net.forward_features(torch.rand(1, 3, 96, 160)).shape == (1, 16, 6, 10)
    assert net.head_hidden_size == 32  # mean and highest value of each channel
    assert net.feature_info[-1] == {"num_chs": 16, "reduction": 16}


@pytest.mark.parametrize(("name", "parameters"), [("own_resnet34", 21_797_672), ("own_resnet50", 25_557_032)])
def test_the_networks_of_the_paper_have_its_number_of_parameters(name: str, parameters: int):
    assert count(FishNet(create_backbone(name), classes=1000)) == parameters


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("own_resnet34", {}, "resnet34"),
        ("own_resnet50", {}, "resnet50"),
        ("own_resnet50", {"squeeze": True}, "seresnet50"),
    ],
)
def test_weights_of_timm_give_the_same_outputs_in_our_blocks(name: str, options: dict[str, bool], theirs: str):
    torch.manual_seed(0)
    their_net = randomize(timm.create_model(theirs, pretrained=False, num_classes=0)).eval()
    our_net = ResidualNet(**{**OWN_NETWORKS[name], **options}).eval()
    state = their_net.state_dict()
    assert {name_in_timm(name) for name in our_net.state_dict()} == set(state)
    our_net.load_state_dict({name: state[name_in_timm(name)] for name in our_net.state_dict()})
    x = torch.rand(2, 3, 75, 96)  # an odd side: strides and paddings must agree
    with torch.inference_mode():
        feature_map = our_net.forward_features(x)
        assert torch.equal(feature_map, their_net.forward_features(x))
        assert torch.equal(our_net.forward_head(feature_map), their_net(x))
    assert feature_map.std() > 0


def test_an_inception_block_halves_the_map_rounding_up_and_joins_four_views():
    block = InceptionBlock(12)
    assert block(torch.rand(2, 12, 7, 10)).shape == (2, 128, 4, 5)
    views = [view(torch.rand(2, 12, 4, 4)).shape[1] for view in (block.one, block.five, block.double_three, block.pool)]
    assert views == [32, 32, 48, 16]
    convolutions = [12 * 32, 12 * 24 + 25 * 24 * 32, 12 * 32 + 9 * 32 * 48 + 9 * 48 * 48, 12 * 16]
    norms = 2 * (32 + 24 + 32 + 32 + 48 + 48 + 16)
    assert count(block) == sum(convolutions) + norms


def test_the_pooled_view_of_an_inception_block_is_the_mean_of_what_lies_in_the_map():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, :2, :2] = 9
    assert InceptionBlock(1).pool[0](x).tolist() == [[[[9, 3], [3, 1]]]]


def test_maps_are_pooled_to_their_mean_their_highest_value_or_both():
    feature_map = torch.arange(12.0).view(1, 2, 2, 3)
    assert pool_map(feature_map, "avg").tolist() == [[2.5, 8.5]]
    assert pool_map(feature_map, "max").tolist() == [[5, 11]]
    assert pool_map(feature_map, "avgmax").tolist() == [[2.5, 8.5, 5, 11]]
