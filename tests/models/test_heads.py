from __future__ import annotations

import pytest
import torch
from torch import nn

from fisheries.models.heads import CLASS_MAP_HEADS, MAP_HEADS, create_trunk

LESSON_HW = (22, 40)  # of VGG16's maps at stride 16 of pictures of 360x640


def drops(trunk: nn.Module) -> list[float]:
    return [round(layer.p, 3) for layer in trunk if isinstance(layer, nn.Dropout)]


@pytest.mark.parametrize("head", ["dense", "dense_map"])
def test_the_dense_heads_drop_out_as_in_lesson_7(head: str):
    trunk, width = create_trunk(head, 32, classes=8, dropout=0.6)
    assert drops(trunk) == [0.15, 0.6, 0.3]
    assert width == 512


def test_the_dense_map_head_pools_the_lessons_map_by_its_2x2_windows():
    trunk, _ = create_trunk("dense_map", 6, classes=8, dropout=0.6, options={"width": 10})
    x = torch.rand(3, 6, 14, 14)
    assert torch.equal(trunk[1](x), nn.MaxPool2d(2)(x))
    assert trunk(x).shape == (3, 10)
    assert sum(p.numel() for p in trunk.parameters()) == 2 * 6 + (6 * 49 + 1) * 10 + 20 + 110 + 20


@pytest.mark.parametrize("hw", [LESSON_HW, (7, 9)])
def test_the_dense_map_head_takes_maps_of_any_size_from_its_grid_on(hw: tuple[int, int]):
    trunk, width = create_trunk("dense_map", 6, classes=8, dropout=0.0)
    assert trunk(torch.rand(3, 6, *hw)).shape == (3, width)


def test_the_dense_map_head_knows_where_something_is():
    trunk, _ = create_trunk("dense_map", 4, classes=8, dropout=0.0)
    left, right = torch.zeros(1, 4, 14, 14), torch.zeros(1, 4, 14, 14)
    left[:, :, 5, 2], right[:, :, 5, 11] = 1, 1
    trunk.eval()
    assert not torch.allclose(trunk(left), trunk(right))


def test_the_fcn_head_has_the_lessons_layers():
    trunk, width = create_trunk("fcn", 512, classes=8, dropout=0.3)
    assert width == 8
    assert trunk(torch.rand(2, 512, *LESSON_HW)).shape == (2, 8, 5, 5)
    assert [layer.kernel_size for layer in trunk if isinstance(layer, nn.MaxPool2d)] == [(2, 2), (2, 2), (1, 2)]
    names = [type(layer).__name__ for layer in trunk]
    assert names == ["AtLeast", "BatchNorm2d", *["ConvNorm", "ReLU", "MaxPool2d"] * 3, "Conv2d", "Dropout"]
    convolutions = [9 * 512 * 128, 9 * 128 * 128, 9 * 128 * 128, 9 * 128 * 8 + 8]
    assert sum(p.numel() for p in trunk.parameters()) == sum(convolutions) + 2 * 512 + 3 * 2 * 128
    assert drops(trunk) == [0.3]


def test_without_pooling_the_class_maps_of_the_fcn_head_are_as_fine_as_the_feature_map():
    trunk, _ = create_trunk("fcn", 12, classes=8, dropout=0.0, options={"pools": None, "width": 16})
    assert trunk(torch.rand(2, 12, 3, 5)).shape == (2, 8, 3, 5)
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in trunk) == 0
    assert sum(p.numel() for p in trunk.parameters() if p.ndim == 4) == 9 * (12 * 16 + 2 * 16 * 16 + 16 * 8)


def test_the_fcn_head_has_a_convolution_for_each_pooling():
    trunk, _ = create_trunk("fcn", 12, classes=8, dropout=0.0, options={"pools": [[1, 1], [3, 2]]})
    assert trunk(torch.rand(2, 12, 6, 6)).shape == (2, 8, 2, 3)


def test_the_inception_head_has_the_lessons_layers():
    trunk, _ = create_trunk("inception", 512, classes=8, dropout=0.75)
    assert trunk(torch.rand(2, 512, *LESSON_HW)).shape == (2, 8, 3, 5)
    assert drops(trunk) == [0.75]
    shallow, _ = create_trunk("inception", 512, classes=8, dropout=0.75, options={"blocks": 1})
    assert shallow(torch.rand(2, 512, *LESSON_HW)).shape == (2, 8, 11, 20)


@pytest.mark.parametrize(
    ("head", "hw", "least"), [("fcn", (4, 7), "4x8"), ("fcn", (3, 8), "4x8"), ("dense_map", (6, 9), "7x7")]
)
def test_a_map_too_small_for_the_pools_is_one_line(head: str, hw: tuple[int, int], least: str):
    trunk, _ = create_trunk(head, 4, classes=8, dropout=0.0)
    message = f"the feature map is {hw[0]}x{hw[1]}, the head needs at least {least}: larger pictures"
    with pytest.raises(ValueError, match=message):
        trunk(torch.rand(2, 4, *hw))


@pytest.mark.parametrize("head", MAP_HEADS)
def test_every_parameter_of_a_head_on_maps_gets_a_gradient(head: str):
    torch.manual_seed(0)
    trunk, _ = create_trunk(head, 16, classes=8, dropout=0.0)
    trunk(torch.rand(4, 16, 14, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trunk.parameters())
    assert set(CLASS_MAP_HEADS) < set(MAP_HEADS)


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        (
            "fcn",
            {"depth": 3},
            r"model.head_options=\{'depth': 3\} does not fit model.head=fcn, which takes pools, width",
        ),
        ("fcn", {"pools": [2, 2]}, r"does not fit model.head=fcn, which takes pools, width"),
        ("fcn", {"pools": []}, r"does not fit model.head=fcn.*at least one"),
        ("fcn", {"pools": [[0, 2]]}, r"does not fit model.head=fcn.*at least 1"),
        ("dense", {"width": -1}, r"does not fit model.head=dense, which takes width"),
        ("dense_map", {"grid": 0}, r"does not fit model.head=dense_map, which takes grid, width"),
        ("inception", {"blocks": 0}, r"does not fit model.head=inception, which takes blocks"),
        ("linear", {"width": 3}, r"does not fit model.head=linear, which takes none"),
    ],
)
def test_options_that_do_not_fit_a_head_are_named(head: str, options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        create_trunk(head, 16, classes=8, dropout=0.0, options=options)


def test_an_unknown_head_is_refused():
    with pytest.raises(ValueError, match=r"model.head='deep': expected linear, dense, dense_map, fcn, inception"):
        create_trunk("deep", 32, classes=8, dropout=0.1)
