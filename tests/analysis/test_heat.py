from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fisheries.analysis.heat import as_grid, cam_layer, class_map_heat, grad_cam
from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.schema import InputError

SIZES = torch.zeros(1, 2)


class Colors(nn.Module):
    """Class 0 is red, class 1 is blue, wherever it is; each cell of the map is 4 px wide."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(inplace=True))
        self.backbone[1].weight.data = torch.tensor([[1.0, -0.5, -0.5], [-0.5, -0.5, 1.0]])[..., None, None]

    def forward(self, image, image_hw):
        feature_map = self.backbone(image.float() / 255)
        return {"feature_map": feature_map, "class_maps": feature_map, "logits": feature_map.mean(dim=(2, 3))}


class Blind(Colors):
    def forward(self, image, image_hw):
        return {**super().forward(image, image_hw), "logits": image[:, :2].float().mean(dim=(2, 3))}


def red_left_blue_right() -> torch.Tensor:
    image = torch.full((1, 3, 32, 48), 90, dtype=torch.uint8)
    image[0, :, 8:16, 4:12] = torch.tensor([220, 20, 20], dtype=torch.uint8)[:, None, None]
    image[0, :, 16:24, 36:44] = torch.tensor([20, 20, 220], dtype=torch.uint8)[:, None, None]
    return image


def share(heat: np.ndarray, top: int, left: int) -> float:
    # bilinear resizing carries heat half a cell over the edge
    return float(heat[top - 4 : top + 12, left - 4 : left + 12].sum() / heat.sum())


def test_grad_cam_lies_where_the_network_looks_and_differs_by_class():
    net, image = Colors(), red_left_blue_right().repeat(2, 1, 1, 1)
    red, blue = grad_cam(net, image, SIZES.repeat(2, 1), [0, 1], layer=cam_layer(net, image, SIZES.repeat(2, 1)))
    assert red.shape == blue.shape == (32, 48)
    assert share(red, 8, 4) > 0.98
    assert share(blue, 16, 36) > 0.98
    assert red.max() == pytest.approx(1, abs=0.05)
    assert red.min() == 0


def test_class_maps_give_heat_where_the_class_is_seen():
    net, image = Colors(), red_left_blue_right()
    maps = net(image, SIZES)["class_maps"][0].detach().numpy()
    heats = [class_map_heat(maps, label, image_hw=(32, 48)) for label in (0, 1)]
    assert share(heats[0], 8, 4) > 0.98
    assert share(heats[1], 16, 36) > 0.98


def test_what_is_added_to_all_classes_is_no_heat():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 4, 5)).astype(np.float32)
    everywhere = maps + rng.normal(size=(1, 4, 5)).astype(np.float32) * 10
    expected = class_map_heat(maps, 1, image_hw=(8, 10))
    assert expected.max() > 0.9
    assert np.allclose(class_map_heat(everywhere, 1, image_hw=(8, 10)), expected, atol=1e-4)


def test_a_class_that_nothing_speaks_for_has_no_heat():
    maps = np.stack([np.zeros((4, 5)), np.ones((4, 5))]).astype(np.float32)
    assert not class_map_heat(maps, 0, image_hw=(8, 10)).any()


def test_a_frozen_network_has_heat_and_is_left_as_it_was():
    net = Colors().requires_grad_(False)
    heat = grad_cam(net, red_left_blue_right(), SIZES, [0], layer="backbone.1")
    assert share(heat[0], 8, 4) > 0.98
    net = Colors()
    grad_cam(net, red_left_blue_right(), SIZES, [0], layer="backbone.1")
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("small_residual", "backbone.network.stages"),
        ("test_vit", "backbone.network.blocks.5.norm1"),
        ("test_vit4", "backbone.network.norm"),
        ("test_mambaout", "backbone.network.stages"),
        ("test_convnext", "backbone.network.norm_pre"),
    ],
)
def test_grad_cam_finds_its_layer_in_any_backbone(name, layer):
    torch.manual_seed(0)
    net = FishNet(create_backbone(name), classes=3).eval()
    image = torch.randint(0, 255, (1, 3, 160, 160), dtype=torch.uint8)
    found = cam_layer(net, image, SIZES)
    heat = grad_cam(net, image.repeat(2, 1, 1, 1), SIZES.repeat(2, 1), [0, 1], layer=found)
    assert found == layer
    assert heat.shape == (2, 160, 160)
    assert heat.max() > 0
    assert not np.allclose(heat[0], heat[1])


def test_a_network_that_ignores_its_backbone_has_no_layer_for_grad_cam():
    with pytest.raises(InputError, match="no layer of this network is a map that its answer hangs on"):
        cam_layer(Blind(), red_left_blue_right(), SIZES)


def test_outputs_of_transformers_are_laid_out_as_maps():
    grid = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    tokens = torch.cat([torch.full((2, 1, 3), -1), grid.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(as_grid(grid, grid_hw=(4, 5)), grid)
    assert torch.equal(as_grid(grid.permute(0, 2, 3, 1), grid_hw=(4, 5)), grid)
    assert torch.equal(as_grid(tokens, grid_hw=(4, 5)), grid)


@pytest.mark.parametrize("shape", [(2, 7), (2, 19, 3)])
def test_a_layer_without_a_map_is_refused(shape):
    with pytest.raises(InputError, match=r"has no map; expected \(N, C, h, w\)"):
        as_grid(torch.zeros(shape), grid_hw=(4, 5))
