from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from fisheries.models import backbones
from fisheries.models.backbones import create_backbone
from fisheries.models.weights import BackboneError

NAME = "test_resnet"  # timm's smallest


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(backbones, "_reachable", lambda url: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_pixels_are_normalized_as_in_pretraining():
    backbone = create_backbone(NAME)
    seen = []
    backbone.network.forward_features = lambda x: seen.append(x) or torch.zeros(1, 1, 1, 1)
    backbone.network.forward_head = lambda x, pre_logits: x
    image = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    backbone(image)
    config = backbone.network.pretrained_cfg
    expected = [(1 - mean) / std for mean, std in zip(config["mean"], config["std"], strict=True)]
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor(expected))


def test_given_mean_and_deviation_win():
    backbone = create_backbone("mobilenetv2_035", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    torch.testing.assert_close(
        ((black_and_white - backbone.mean) / backbone.std)[:, 0, 0, 0], torch.tensor([-1.0, 1.0])
    )


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(BackboneError, match=r"no network 'resnett50' in timm .*; the nearest are .*resnet50"):
        create_backbone("resnett50")


def test_a_network_without_pretrained_weights_names_both_ways_out():
    with pytest.raises(
        BackboneError,
        match=r"no pretrained weights for 'mobilenetv2_035': .*model.weights=FILE.*model.pretrained=false",
    ):
        create_backbone("mobilenetv2_035", pretrained=True)


def test_of_our_own_networks_the_small_one_comes_with_weights():
    given, noise = (create_backbone("small_residual", pretrained=pretrained) for pretrained in (True, False))
    names = [name for name in given.state_dict() if not name.endswith("num_batches_tracked")]
    assert len(names) > 50
    assert not any(torch.equal(given.state_dict()[name], noise.state_dict()[name]) for name in names)
    with pytest.raises(BackboneError, match=r"no pretrained weights for 'own_resnet50': use model.pretrained=false"):
        create_backbone("own_resnet50", pretrained=True)


@pytest.mark.parametrize("options", [{"widths": [8, 16, 32, 64]}, {"squeeze": True}, {"depths": [2, 1, 1, 1]}])
def test_options_that_the_weights_do_not_fit_are_refused(options: dict[str, object]):
    with pytest.raises(BackboneError, match=r"another architecture|use model\.pretrained=false"):
        create_backbone("small_residual", pretrained=True, options=options)


@pytest.mark.parametrize("name", ["resnet18", "legacy_xception"])
@pytest.mark.usefixtures("offline")
def test_weights_that_cannot_be_fetched_are_an_error_and_not_noise(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(BackboneError, match=r"can't be fetched \(no network\?\): give a file with model.weights=FILE"):
        create_backbone(name, pretrained=True)


def test_a_host_that_does_not_answer_is_not_reachable():
    assert not backbones._reachable("https://localhost:9")  # the discard port: nothing listens there


def test_a_proxy_is_asked_in_place_of_the_host(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(
        backbones.socket,
        "create_connection",
        lambda address, timeout: asked.append(address) or (_ for _ in ()).throw(OSError),
    )
    assert not backbones._reachable("https://weights.example/file")
    assert asked == [("proxy.example", 3128)]


def test_options_that_do_not_fit_are_named():
    for name in (NAME, "small_residual"):
        with pytest.raises(BackboneError, match=rf"model.options does not fit '{name}': .*no_such_option"):
            create_backbone(name, options={"no_such_option": 1})


DYNAMIC = {"dynamic_img_size": True, "dynamic_img_pad": True}  # a transformer that takes pictures of any size


def on_picture(image_hw: tuple[int, int], name: str, **arguments) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    backbone = create_backbone(name, **arguments).eval()
    with torch.inference_mode():
        feature_map, features = backbone(torch.randint(0, 256, (2, 3, *image_hw), dtype=torch.uint8))
    assert features.shape == (2, backbone.width)
    assert feature_map.shape[1] == backbone.channels
    return feature_map, features


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("small_residual", {}, (128, 4, 6)),
        ("own_resnet34", {}, (512, 2, 3)),
        ("test_resnet", {}, (96, 2, 3)),
        ("test_efficientnet", {}, (256, 2, 3)),
        ("test_mambaout", {}, (64, 2, 3)),  # channels come last
        ("swin_tiny_patch4_window7_224", {"img_size": (64, 96)}, (768, 2, 3)),  # likewise
        ("test_vit", {"img_size": (64, 96)}, (64, 4, 6)),  # tokens behind a class token
        ("test_vit3", DYNAMIC, (96, 4, 6)),
        ("vit_small_patch14_reg4_dinov2", {"depth": 1, **DYNAMIC}, (384, 5, 7)),  # and four registers; padded to 70x98
        ("eva02_tiny_patch14_224", {"depth": 1, **DYNAMIC}, (192, 5, 7)),
    ],
)
def test_the_feature_map_is_laid_out_as_the_picture_with_channels_first(
    name: str, options: dict[str, object], shape: tuple[int, int, int]
):
    feature_map, _ = on_picture((64, 96), name, options=options)
    assert feature_map.shape == (2, *shape)


def test_the_tokens_of_a_transformer_lie_where_they_are_in_the_picture():
    backbone = create_backbone("test_vit", options={"img_size": (64, 96), "depth": 1}).eval()
    backbone.network.blocks = nn.Identity()  # nothing is passed from one token to another
    image = torch.zeros(1, 3, 64, 96)
    with torch.inference_mode():
        plain = backbone(image)[0]
        image[:, :, 35, 90] = 255
        changed = (backbone(image)[0] != plain).any(dim=1)[0]  # (4, 6)
    assert changed.nonzero().tolist() == [[2, 5]]


@pytest.mark.parametrize("name", ["crossvit_9_240", "pit_ti_224"])
def test_a_network_without_a_single_map_of_the_picture_is_refused(name: str):
    backbone = create_backbone(name)
    side = backbone.network.pretrained_cfg["input_size"][1]
    with torch.inference_mode(), pytest.raises(BackboneError, match=r"gives no single feature map: choose another"):
        backbone(torch.zeros(1, 3, side, side))


@pytest.mark.parametrize(("image_hw", "map_hw"), [((224, 224), (14, 14)), ((360, 640), (22, 40))])
def test_vgg16_cut_at_stride_16_gives_the_maps_of_lesson_7(image_hw: tuple[int, int], map_hw: tuple[int, int]):
    with torch.device("meta"):
        backbone = create_backbone("vgg16_bn", stride=16, pool="avg")
        feature_map, features = backbone(torch.empty(1, 3, *image_hw))
    assert feature_map.shape == (1, 512, *map_hw)
    assert features.shape == (1, 512)
    assert len(list(backbone.network.features.parameters())) == 13 * 4  # all of the convolutions, none behind them
    assert not list(backbone.network.pre_logits.parameters())


@pytest.mark.parametrize(
    "name", ["small_residual", "own_resnet34", "test_resnet", "test_convnext", "test_efficientnet"]
)
def test_a_cut_network_gives_the_map_of_that_size_and_keeps_no_layer_behind_it(name: str):
    backbone = create_backbone(name, stride=8, pool="max")
    feature_map, features = backbone(torch.rand(2, 3, 64, 96) * 255)
    assert feature_map.shape == (2, backbone.channels, 8, 12)
    assert torch.equal(features, feature_map.amax(dim=(2, 3)))
    features.sum().backward()
    unused = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert unused == []


def test_a_stride_that_a_network_does_not_have_is_answered_by_those_it_has():
    with pytest.raises(
        BackboneError, match=r"model.stride=12: the feature maps of resnet18 have the strides 2, 4, 8, 16, 32"
    ):
        create_backbone("resnet18", stride=12, pool="avg")
    with pytest.raises(
        BackboneError, match=r"model.stride=32: the feature maps of small_residual have the strides 2, 4, 8, 16"
    ):
        create_backbone("small_residual", stride=32, pool="avg")


def test_a_network_cut_short_can_not_pool_in_its_own_way():
    with pytest.raises(BackboneError, match=r"model.stride=16 cuts the network's own pooling off: model.pool=avg, max"):
        create_backbone("resnet18", stride=16)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "mobilenetv3_small_050"])
@pytest.mark.parametrize("pool", ["avg", "max", "avgmax"])
def test_features_are_pooled_from_the_same_map_as_asked_for(name: str, pool: str):
    options = {"img_size": (64, 96)} if name == "test_vit" else {}
    own_map, _ = on_picture((64, 96), name, options=options)
    feature_map, features = on_picture((64, 96), name, options=options, pool=pool)
    assert torch.equal(feature_map, own_map)
    parts = {"avg": [feature_map.mean(dim=(2, 3))], "max": [feature_map.amax(dim=(2, 3))]}
    expected = parts["avg"] + parts["max"] if pool == "avgmax" else parts[pool]
    torch.testing.assert_close(features, torch.cat(expected, dim=1))


def test_layers_that_pooling_has_no_use_for_are_dropped():
    own, pooled = create_backbone("mobilenetv3_small_050"), create_backbone("mobilenetv3_small_050", pool="avg")
    behind = {name for name, _ in own.named_parameters()} - {name for name, _ in pooled.named_parameters()}
    assert behind == {"network.conv_head.weight", "network.conv_head.bias"}


@pytest.mark.parametrize(
    "name", ["small_residual", "own_resnet34", "test_resnet", "test_vit", "vgg11_bn", "test_convnext"]
)
def test_depth_groups_hold_each_parameter_once_from_the_input_to_the_output(name: str):
    with torch.device("meta"):
        backbone = create_backbone(name)
    groups = backbone.depth_groups()
    assert sorted(name for group in groups for name in group) == sorted(name for name, _ in backbone.named_parameters())
    assert len(groups) > 3
    assert next(iter(dict(backbone.named_parameters()))) in groups[0]
    order = [
        min(int(n) for n in re.findall(r"(?:layer|stages|blocks|features)\.?(\d+)", " ".join(group)) or [-1])
        for group in groups
    ]
    numbered = [number for number in order if number >= 0]
    assert numbered == sorted(numbered)


def test_a_normalization_is_in_the_depth_group_of_its_layer():
    with torch.device("meta"):
        groups = create_backbone("vgg11_bn", stride=16, pool="avg").depth_groups()
    assert len(groups) == 8  # convolutions
    assert groups[0] == [f"network.features.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")]
