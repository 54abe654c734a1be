"""Two networks made by hand: one looks at the fish, the other at the boat. All measures must tell them apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fisheries.analysis.explain_view import change_means, verdict
from fisheries.analysis.looks import (
    Case,
    Looker,
    answers,
    box_share,
    change_row,
    changed_views,
    class_map_note,
    class_maps,
    heat_rows,
    heats,
    predicted_xyxy,
    read_case,
)
from fisheries.data.metadata import SizeStatistics

HW = (32, 48)
BOX = np.array([[0.25, 0.25, 0.5, 0.75]])  # columns 12 to 24, rows 8 to 24
DECKS = {"green": (40, 110, 60), "gray": (90, 90, 90)}


class ByColor(nn.Module):
    """Class 1 is what is red (a fish), or what is green (a deck); class 0 is neither."""

    def __init__(self, color: int) -> None:
        super().__init__()
        self.color = color
        self.backbone = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 1, 1))
        self.backbone[1].weight.data = torch.full((1, 3, 1, 1), -0.5)
        self.backbone[1].weight.data[0, color] = 1
        self.backbone[1].bias.data.fill_(-0.1)

    def forward(self, image, image_hw):
        seen = self.backbone(image.float() / 255).relu()
        maps = 80 * torch.cat([torch.full_like(seen, 0.01), seen], dim=1)
        return {"feature_map": seen, "class_maps": maps, "logits": maps.mean(dim=(2, 3))}


def looker(color: int) -> Looker:
    sizes = SizeStatistics(mean_hw=(100, 100), std_hw=(50, 50), known_hw=((100, 100),))
    net = ByColor(color).eval()
    return Looker(net, torch.device("cpu"), HW, sizes, ["deck", "fish"], "backbone.1")


def case(deck: str, *, fish: bool) -> Case:
    view = np.empty((*HW, 3), dtype=np.uint8)
    view[:] = DECKS[deck]
    if fish:
        view[10:22, 13:23] = (230, 30, 30)
    boxes = BOX if fish else np.empty((0, 4))
    return Case(f"{deck}.jpg", view, np.zeros(2, dtype=np.float32), boxes, 1 if fish else 0)


def test_a_network_that_looks_at_the_fish_has_its_heat_in_the_box():
    rows = pd.DataFrame(heat_rows(looker(0), case("green", fish=True), 1)).set_index("method")
    assert list(rows.index) == ["class map", "Grad-CAM"]
    assert rows["box_share"].to_numpy() == pytest.approx(1 / 8)
    assert (rows["share"] > 0.75).all()


def test_a_network_that_looks_at_the_boat_has_its_heat_outside_of_the_box():
    rows = pd.DataFrame(heat_rows(looker(1), case("green", fish=True), 1)).set_index("method")
    assert (rows["share"] < 0.05).all()


@pytest.fixture
def changes() -> dict[str, dict[str, float]]:
    views = changed_views(case("green", fish=True), case("gray", fish=False), seed=0)
    return {name: change_row(looker(color), views, 1) for name, color in {"fish": 0, "boat": 1}.items()}


def test_without_the_fish_only_the_network_that_looks_at_it_changes_its_mind(changes):
    assert changes["fish"]["painted_out"] < changes["fish"]["probability"] - 0.4
    assert changes["boat"]["painted_out"] == pytest.approx(changes["boat"]["probability"], abs=0.05)
    for name in changes:
        assert changes[name]["painted_beside"] == pytest.approx(changes[name]["probability"], abs=0.02)


def test_on_another_deck_only_the_network_that_looks_at_the_boat_changes_its_mind(changes):
    assert changes["fish"]["on_deck"] == pytest.approx(changes["fish"]["probability"], abs=0.05)
    assert changes["fish"]["deck_alone"] < 0.4
    assert changes["boat"]["on_deck"] < changes["boat"]["probability"] - 0.4


def test_the_verdict_tells_the_two_networks_apart(changes):
    for name, other in (("fish", "boat"), ("boat", "fish")):
        rows = [{"image_id": f"{number}.jpg", "part": "unseen", "boat": f"b{number}"} for number in range(6)]
        table = pd.DataFrame([{**row, **changes[name]} for row in rows]).set_index("image_id")
        assert f"hangs on the {name} more than on the {other}" in verdict(change_means(table).iloc[0])


def test_what_can_not_be_made_of_a_photograph_is_missing_and_not_zero():
    whole = case("green", fish=True)
    whole = Case(whole.image_id, whole.view, whole.image_hw, np.array([[0.05, 0.05, 0.95, 0.95]]), 1)
    views = changed_views(whole, None, seed=0)
    assert list(views) == ["probability", "painted_out"]
    row = change_row(looker(0), views, 1)
    assert [name for name, value in row.items() if np.isnan(value)] == ["painted_beside", "on_deck", "deck_alone"]
    assert box_share(whole) == pytest.approx(0.81)


def test_on_another_deck_the_network_is_told_that_deck_s_size():
    deck = case("gray", fish=False)
    deck = Case(deck.image_id, deck.view, np.ones(2, dtype=np.float32), deck.boxes_xyxy, 0)
    views = changed_views(case("green", fish=True), deck, seed=0)
    told = {name: float(size[0]) for name, (_, size) in views.items()}
    assert told == {"probability": 0, "painted_out": 0, "painted_beside": 0, "on_deck": 1, "deck_alone": 1}


def test_class_maps_of_one_position_tell_no_place():
    assert class_maps({"class_maps": np.zeros((1, 2, 1, 1))}) is None
    assert class_maps({}) is None
    assert "tell no place, so only Grad-CAM is shown" in class_map_note({"class_maps": np.zeros((1, 2, 1, 1))})
    assert class_map_note({"class_maps": np.zeros((1, 2, 1, 3))}) == class_map_note({}) == ""
    one = case("green", fish=True)
    assert class_maps(answers(looker(0), [one.view], one.image_hw[None])).shape == (2, 8, 12)
    assert heats(looker(0), one, [0, 1])["class map"].shape == (2, 32, 48)


def test_predicted_boxes_are_corners_and_none_without_a_box_head():
    assert predicted_xyxy({"box_cxcywh": np.array([[0.5, 0.4, 0.2, 0.4]], np.float32)})[0] == pytest.approx(
        [0.4, 0.2, 0.6, 0.6]
    )
    assert predicted_xyxy({}).shape == (0, 4)


def test_a_case_has_its_own_boxes_in_parts_of_the_frame(tables):
    manifest, boxes = tables
    image_id = boxes.index[boxes.index.duplicated()][0]
    own = boxes.loc[[image_id]]
    row = manifest.loc[image_id].copy()
    row["label"] = "fish"
    found = read_case(looker(0), row, boxes)
    assert found.view.shape == (*HW, 3)
    assert found.label == 1
    assert len(found.boxes_xyxy) == len(own) > 1
    assert found.boxes_xyxy[:, 0] == pytest.approx((own["left"] / row["width"]).to_numpy())
    assert found.boxes_xyxy[:, 3] == pytest.approx(((own["top"] + own["box_height"]) / row["height"]).to_numpy())
    row["label"] = ""
    assert read_case(looker(0), row, boxes.iloc[:0]).label is None
