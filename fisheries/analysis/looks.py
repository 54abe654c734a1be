"""What one network sees in one photograph: its answer, its heat, and its answer when the photograph is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fisheries.analysis.explain_view import CHANGES
from fisheries.analysis.heat import cam_layer, class_map_heat, grad_cam
from fisheries.analysis.occlusion import Pixels, box_mask, boxes_beside, heat_share, paint_out, paste
from fisheries.boxes import Floats, cxcywh_to_xywh_px, xywh_px_to_xyxy
from fisheries.data.metadata import SizeStatistics
from fisheries.data.shrinking import read_shrunk

CLASS_MAP, GRAD_CAM = "class map", "Grad-CAM"
_ONE = np.ones((1, 2))


@dataclass(frozen=True)
class Looker:
    """A trained network with what is needed to show it photographs."""

    net: nn.Module  # such as `FishNet`, in evaluation mode
    device: torch.device
    input_hw: tuple[int, int]  # height and width of its pictures
    sizes: SizeStatistics
    classes: Sequence[str]
    cam_layer: str  # see `heat.cam_layer`


@dataclass(frozen=True)
class Case:
    """One photograph as the network sees it."""

    image_id: str
    view: Pixels  # (H, W, 3)
    image_hw: NDArray[np.float32]  # (2,) standardized
    boxes_xyxy: Floats  # (K, 4) in [0, 1], the largest first
    label: int | None  # index of its class, if that is known


def create_looker(
    net: nn.Module,
    *,
    device: torch.device,
    input_hw: tuple[int, int],
    sizes: SizeStatistics,
    classes: Sequence[str],
) -> Looker:
    """Make a network ready to be shown photographs: it goes to the device, in evaluation mode.

    Args:
        net: such as `FishNet`.
        device: to look on.
        input_hw: height and width of its pictures.
        sizes: of its training images.
        classes: in the network's order.

    Raises:
        InputError: none of its layers is a map.
    """
    net = net.to(device).float().eval()
    layer = cam_layer(net, *tensors([noise(input_hw)], np.zeros((1, 2), dtype=np.float32), device=device))
    return Looker(net, device, input_hw, sizes, classes, layer)


def noise(input_hw: tuple[int, int]) -> Pixels:
    """Return a picture (H, W, 3) to try a network with; on a black one much is silent."""
    return np.random.default_rng(0).integers(0, 256, (*input_hw, 3), dtype=np.uint8)


def read_case(looker: Looker, row: pd.Series, boxes: pd.DataFrame) -> Case:
    """Read a photograph.

    Args:
        looker: that will see it.
        row: of a manifest, named by its `image_id`.
        boxes: usable rows of a box table, the largest of an image first.

    Raises:
        InputError: as `read_shrunk`.
    """
    hw = row[["height", "width"]].to_numpy(dtype=np.float64)[None]
    own = boxes.loc[boxes.index == row.name, ["left", "top", "box_width", "box_height"]].to_numpy(dtype=np.float64)
    return Case(
        image_id=str(row.name),
        view=read_shrunk(row["path"], looker.input_hw),
        image_hw=looker.sizes.standardize(hw)[0],
        boxes_xyxy=xywh_px_to_xyxy(own, np.repeat(hw, len(own), axis=0)),
        label=list(looker.classes).index(row["label"]) if row["label"] else None,
    )


def tensors(views: Sequence[Pixels], image_hw: NDArray[np.float32], *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return views (H, W, 3) and their sizes (N, 2) as a network takes them: (N, 3, H, W) and (N, 2)."""
    image = torch.from_numpy(np.stack(views).transpose(0, 3, 1, 2).copy())
    return image.to(device), torch.from_numpy(image_hw.astype(np.float32)).to(device)


@torch.no_grad()
def answers(looker: Looker, views: Sequence[Pixels], image_hw: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return a network's outputs by name, with `probabilities` (N, C) among them; arguments as `tensors`."""
    outputs = looker.net(*tensors(views, image_hw, device=looker.device))
    outputs = {**outputs, "probabilities": outputs["logits"].cpu().double().softmax(dim=1)}
    return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}


def class_maps(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32] | None:
    """Return the class maps (C, h, w) of the first of some outputs, or None where they can tell no place."""
    maps = outputs.get("class_maps")
    return None if maps is None or maps[0, 0].size == 1 else maps[0]


def class_map_note(outputs: Mapping[str, NDArray[Any]]) -> str:
    """Return a sentence where a network has class maps that tell no place, or else nothing."""
    if "class_maps" not in outputs or class_maps(outputs) is not None:
        return ""
    return (
        "The class maps of this network have a single position and tell no place, so only Grad-CAM is shown; a larger "
        "data.image_hw, or less pooling in model.head_options, makes them finer"
    )


def predicted_xyxy(outputs: Mapping[str, NDArray[Any]]) -> Floats:
    """Return the boxes (N, 4) in [0, 1] that a network says; none if it has no box head."""
    if "box_cxcywh" not in outputs:
        return np.empty((0, 4))
    cxcywh = outputs["box_cxcywh"].astype(np.float64)
    ones = np.repeat(_ONE, len(cxcywh), axis=0)
    return xywh_px_to_xyxy(cxcywh_to_xywh_px(cxcywh, ones), ones)


def heats(looker: Looker, case: Case, labels: Sequence[int]) -> dict[str, NDArray[np.float32]]:
    """Return the heat of each class (K, H, W) in a photograph, by method: that of class maps if there are any, too."""
    found = {}
    maps = class_maps(answers(looker, [case.view], case.image_hw[None]))
    image_hw = case.view.shape[0], case.view.shape[1]
    if maps is not None:
        found[CLASS_MAP] = np.stack([class_map_heat(maps, label, image_hw=image_hw) for label in labels])
    sizes = np.repeat(case.image_hw[None], len(labels), axis=0)
    batch = tensors([case.view] * len(labels), sizes, device=looker.device)
    found[GRAD_CAM] = grad_cam(looker.net, *batch, labels, layer=looker.cam_layer)
    return found


def class_heat(looker: Looker, case: Case, label: int) -> tuple[str, NDArray[np.float32]]:
    """Return the method by which a network's heat is best found, class maps or else Grad-CAM, and a class's heat (H, W)."""
    method, heat = next(iter(heats(looker, case, [label]).items()))
    return method, heat[0]


def box_share(case: Case) -> float:
    """Return which share of the picture its boxes fill."""
    return float(box_mask(case.boxes_xyxy, (case.view.shape[0], case.view.shape[1])).mean())


def heat_rows(looker: Looker, case: Case, label: int) -> list[dict[str, object]]:
    """Return, for each method, which share of a class's heat lies inside the photograph's boxes, and their own share."""
    return [
        {"method": method, "share": heat_share(heat[0], case.boxes_xyxy), "box_share": box_share(case)}
        for method, heat in heats(looker, case, [label]).items()
    ]


def changed_views(case: Case, deck: Case | None, *, seed: int) -> dict[str, tuple[Pixels, NDArray[np.float32]]]:
    """Return a photograph with its fish painted out, and so on, each with the size that the network is told.

    Args:
        case: with at least one box.
        deck: a photograph without fish.
        seed: of the place that is painted out beside the fish, which depends on it and the image's name alone.

    Returns:
        By name: `probability`, the photograph as it is; `CHANGES`; `deck_alone`. Those that can't be made are missing.
    """
    beside = boxes_beside(case.boxes_xyxy, np.random.default_rng([seed, *case.image_id.encode()]))
    views = {"probability": case.view, "painted_out": paint_out(case.view, case.boxes_xyxy)}
    if beside is not None:
        views["painted_beside"] = paint_out(case.view, beside)
    told = {name: (view, case.image_hw) for name, view in views.items()}
    if deck is not None:
        told["on_deck"] = (paste(case.view, case.boxes_xyxy[0], deck.view), deck.image_hw)
        told["deck_alone"] = (deck.view, deck.image_hw)
    return told


def change_row(looker: Looker, views: Mapping[str, tuple[Pixels, NDArray[np.float32]]], label: int) -> dict[str, float]:
    """Return the probability of a class in each of `changed_views`; NaN for those that are missing."""
    pixels, sizes = zip(*views.values(), strict=True)
    found = answers(looker, pixels, np.stack(sizes))["probabilities"][:, label]
    columns = ["probability", *CHANGES, "deck_alone"]
    return dict.fromkeys(columns, float("nan")) | dict(zip(views, found.tolist(), strict=True))
