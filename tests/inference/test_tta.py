from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fisheries.inference.predict import mean_predictions, predict
from fisheries.inference.tta import VIEWS, View, check_views, unview_boxes, view_boxes, view_image
from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.schema import InputError

TURNED = [View(mirrored=mirrored, quarter_turns=turns) for turns in range(4) for mirrored in (False, True)]
BOXES = st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4)
CPU = torch.device("cpu")


class Spot(nn.Module):
    """Says where the brightest pixel is, as a box, and, as a class, whether it is in the left or the right half."""

    class Backbone(nn.Module):
        stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.backbone = self.Backbone()
        self.seen: list[tuple[int, int]] = []
        self.scale = nn.Parameter(torch.tensor(6.0))

    def forward(self, image: torch.Tensor, image_hw: torch.Tensor) -> dict[str, torch.Tensor]:
        height, width = image.shape[2:]
        self.seen.append((height, width))
        brightest = image.float().mean(dim=1).flatten(1).argmax(dim=1)
        center_x, center_y = (brightest % width + 0.5) / width, (brightest // width + 0.5) / height
        box = torch.stack([center_x, center_y, torch.full_like(center_x, 0.25), torch.full_like(center_x, 0.5)], dim=1)
        return {"logits": self.scale * torch.stack([1 - center_x, center_x], dim=1), "box_cxcywh": box}


def spotted(row: int, column: int, *, hw: tuple[int, int] = (32, 48)) -> dict:
    image = torch.zeros(1, 3, *hw, dtype=torch.uint8)
    image[:, :, row, column] = 255
    return {"image": image, "image_hw": torch.zeros(1, 2), "image_id": ["a.jpg"]}


@given(boxes=BOXES, view=st.sampled_from([*TURNED, *VIEWS["multiscale"]]))
def test_a_box_mapped_into_a_view_and_back_is_where_it_was(boxes, view: View):
    given_boxes = torch.tensor(boxes, dtype=torch.float64)
    there = view_boxes(given_boxes, view)
    torch.testing.assert_close(unview_boxes(there, view), given_boxes, rtol=0, atol=1e-15)
    torch.testing.assert_close(view_boxes(unview_boxes(given_boxes, view), view), given_boxes, rtol=0, atol=1e-15)


@pytest.mark.parametrize("view", TURNED)
@pytest.mark.parametrize(("row", "column"), [(0, 0), (5, 40), (31, 11)])
def test_boxes_go_where_the_pixels_go(view: View, row: int, column: int):
    net, batch = Spot(), spotted(row, column)
    upright = net(batch["image"], batch["image_hw"])["box_cxcywh"].double()
    seen = net(view_image(batch["image"], view), batch["image_hw"])["box_cxcywh"].double()
    torch.testing.assert_close(view_boxes(upright, view)[:, :2], seen[:, :2], rtol=0, atol=1e-6)
    sides = [0.25, 0.5] if view.quarter_turns % 2 == 0 else [0.5, 0.25]
    assert view_boxes(upright, view)[0, 2:].tolist() == sides


@pytest.mark.parametrize(("tta", "count"), [("none", 1), ("flips", 4), ("d4", 8), ("multiscale", 6)])
def test_views_differ_from_one_another(tta: str, count: int):
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    views = {view_image(image, view).numpy().tobytes() for view in VIEWS[tta]}
    assert len(VIEWS[tta]) == len(views) == count


def test_flips_are_left_right_and_upside_down():
    image = torch.arange(6).reshape(1, 1, 2, 3)
    expected = [image, image.flip(3), image.flip(2), image.flip(2, 3)]
    seen = [view_image(image, view) for view in VIEWS["flips"]]
    assert {view.numpy().tobytes() for view in seen} == {view.numpy().tobytes() for view in expected}


@pytest.mark.parametrize("tta", ["flips", "d4"])
def test_probabilities_are_the_mean_over_views_and_boxes_are_brought_back_before(tta: str):
    net, batch = Spot(), spotted(5, 40)
    alone = predict(net, [batch], classes=["left", "right"], device=CPU)
    mean = predict(net, [batch], classes=["left", "right"], device=CPU, tta=tta)
    assert alone.probabilities.loc["a.jpg", "right"] > 0.9
    # mirrored, it lies as far to the other side
    np.testing.assert_allclose(mean.probabilities.loc["a.jpg"], 0.5, atol=1e-6)
    np.testing.assert_allclose(mean.boxes_cxcywh[["cx", "cy"]], alone.boxes_cxcywh[["cx", "cy"]], atol=1e-6)


def test_scaled_views_have_sides_that_the_stride_divides():
    net = Spot()
    predict(net, [spotted(5, 40)], classes=["left", "right"], device=CPU, tta="multiscale")
    assert set(net.seen) == {(32, 48), (24, 40), (40, 56)}


def test_without_views_a_networks_answer_is_its_own_to_the_last_digit():
    net, batch = Spot(), spotted(5, 40)
    table = predict(net, [batch], classes=["left", "right"], device=CPU).probabilities
    with torch.inference_mode():
        expected = net(batch["image"], batch["image_hw"])["logits"].double().softmax(dim=1).numpy()
    np.testing.assert_array_equal(table.to_numpy(), expected)


def small_net(**options) -> FishNet:
    return FishNet(
        create_backbone("small_residual", options={"widths": [4, 8], "depths": [1, 1]}), classes=2, **options
    )


def test_stored_features_have_one_view_only():
    net = small_net()
    batch = {"encoded": torch.zeros(1, net.backbone.width), "image_hw": torch.zeros(1, 2), "image_id": ["a.jpg"]}
    assert len(predict(net, [batch], classes=["left", "right"], device=CPU).probabilities) == 1
    with pytest.raises(
        InputError, match="stored features have no picture to look at in several ways; give photographs"
    ):
        predict(net, [batch], classes=["left", "right"], device=CPU, tta="flips")


def test_a_network_that_takes_no_turned_or_smaller_picture_says_so():
    net = small_net(head="dense_map", head_options={"grid": 8}).train()
    check_views(net, "d4", image_hw=(32, 48), name="small")
    assert net.training
    with pytest.raises(InputError, match=r"tta=multiscale: small does not take views of 28x40 pixels .*give tta=flips"):
        check_views(net, "multiscale", image_hw=(32, 48), name="small")
    fixed = FishNet(create_backbone("vit_tiny_patch16_224", options={"img_size": [32, 48]}), classes=2)
    check_views(fixed, "flips", image_hw=(32, 48), name="vit")
    with pytest.raises(InputError, match="tta=d4: vit does not take views of 48x32 pixels"):
        check_views(fixed, "d4", image_hw=(32, 48), name="vit")


def test_the_geometric_mean_of_folds_is_the_normalized_mean_of_logarithms():
    ids = pd.Index(["a", "b"], name="image_id")
    first = pd.DataFrame([[0.9, 0.1], [1.0, 0.0]], ids, ["ALB", "BET"])
    second = pd.DataFrame([[0.3, 0.5], [0.5, 0.5]], ids[::-1], ["BET", "ALB"])[["BET", "ALB"]]
    second.loc["b"] = [0.3, 0.7]
    second.loc["a"] = [0.5, 0.5]
    mean = mean_predictions([first, second], "geometric")
    expected = np.sqrt(np.array([0.9 * 0.5, 0.1 * 0.5]))
    np.testing.assert_allclose(mean.loc["a"], expected / expected.sum())
    assert 0 < mean.loc["b", "BET"] < 1e-6  # one network's 0 is not the end
    np.testing.assert_allclose(mean.sum(axis=1), 1)
    np.testing.assert_allclose(mean_predictions([first, second]).loc["b"], [0.85, 0.15])


def test_a_geometric_mean_of_opposite_certainties_is_undecided_and_not_nothing():
    table = pd.DataFrame(np.eye(8)[:1], ["a"], list("ABCDEFGH"))
    other = pd.DataFrame(np.eye(8)[1:2], ["a"], list("ABCDEFGH"))
    mean = mean_predictions([table, other], "geometric")
    np.testing.assert_allclose(mean.loc["a", ["A", "B"]], 0.5, atol=1e-6)
