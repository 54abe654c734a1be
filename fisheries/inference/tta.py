"""Test-time augmentation: a network's answers to several views of a picture, averaged; boxes are mapped back before that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fisheries.batch import Batch, run_net
from fisheries.schema import InputError


class View(NamedTuple):
    """A way to look at a picture: scaled, then mirrored left to right, then turned."""

    scale: float = 1.0
    mirrored: bool = False
    quarter_turns: int = 0  # counterclockwise


# upside down is mirrored and turned by half
VIEWS: Mapping[str, tuple[View, ...]] = {
    "none": (View(),),
    "flips": tuple(View(mirrored=mirrored, quarter_turns=turns) for turns in (0, 2) for mirrored in (False, True)),
    "d4": tuple(View(mirrored=mirrored, quarter_turns=turns) for turns in range(4) for mirrored in (False, True)),
    "multiscale": tuple(View(scale, mirrored) for scale in (1.0, 0.85, 1.2) for mirrored in (False, True)),
}


def check_views(net: nn.Module, tta: str, *, image_hw: tuple[int, int], name: str) -> None:
    """Try views of a picture; a turned one is as high as it was wide, and some networks take their own size only.

    Args:
        net: a `FishNet`.
        tta: a key of `VIEWS`.
        image_hw: height and width of the pictures.
        name: of the network, for the message.

    Raises:
        InputError: the network does not take a view.
    """
    training = net.training
    picture = torch.zeros(1, 3, *image_hw, dtype=torch.uint8, device=next(net.parameters()).device)
    net.eval()
    for view in VIEWS[tta]:
        seen = view_image(picture, view, multiple=_stride(net))
        try:
            with torch.inference_mode():
                net(seen, torch.zeros(1, 2, device=picture.device))
        except (AssertionError, RuntimeError, ValueError) as error:
            height, width = seen.shape[2:]
            raise InputError(
                f"tta={tta}: {name} does not take views of {height}x{width} pixels ({' '.join(str(error).split())[:120]}); "
                "give tta=flips or none, or another data.image_hw"
            ) from error
    net.train(training)


class Reader(NamedTuple):
    """A network, and how it takes the sizes (N, 2) of photographs: in pixels by its own statistics, or as they come."""

    net: nn.Module
    standardize: Callable[[NDArray[np.float64]], NDArray[np.float32]] | None = None


def predict_views(
    readers: Sequence[Reader], batch: Batch, tta: str, device: torch.device
) -> list[tuple[Tensor, Tensor | None]]:
    """Return the mean of what each network says of views of a batch's images, made once for all, on the device.

    Args:
        readers: of a `FishNet` each, on the device, in evaluation mode, and of one backbone.
        batch: N images, or stored features, which have one view only.
        tta: a key of `VIEWS`.
        device: to predict on.

    Returns:
        Of each, probabilities (N, C) and boxes (N, 4) cxcywh in the picture's [0, 1], or None without a box head;
        float64, on the CPU.

    Raises:
        InputError: several views of stored features.
    """
    sizes = [_sizes(reader, batch["image_hw"]) for reader in readers]
    probabilities: list[list[Tensor]] = [[] for _ in readers]
    boxes: list[list[Tensor]] = [[] for _ in readers]
    for view, seen in _views(readers[0].net, batch, VIEWS[tta], device):
        for number, reader in enumerate(readers):
            outputs = run_net(reader.net, {**seen, "image_hw": sizes[number]}, device)
            # in float64 a confident answer keeps its small probabilities, and rows sum to 1
            probabilities[number].append(outputs["logits"].cpu().double().softmax(dim=1))
            if "box_cxcywh" in outputs:
                boxes[number].append(unview_boxes(outputs["box_cxcywh"].cpu().double(), view))
    return [
        (torch.stack(said).mean(dim=0), torch.stack(found).mean(dim=0) if found else None)
        for said, found in zip(probabilities, boxes, strict=True)
    ]


def view_image(image: Tensor, view: View, *, multiple: int = 1) -> Tensor:
    """Return a view of images (N, 3, H, W) uint8.

    Args:
        image: the pictures.
        view: how to look at them.
        multiple: of pixels, to which the sides of a scaled view are rounded: the network's stride.
    """
    if view.scale != 1:
        size = [max(round(side * view.scale / multiple), 1) * multiple for side in image.shape[2:]]
        image = functional.interpolate(image.float(), size=size, mode="bilinear", antialias=True)
    return torch.rot90(image.flip(3) if view.mirrored else image, view.quarter_turns, dims=(2, 3))


def view_boxes(box_cxcywh: Tensor, view: View) -> Tensor:
    """Return where boxes (N, 4) of a picture lie in its view, both in [0, 1]."""
    center_x, center_y, width, height = box_cxcywh.unbind(dim=1)
    if view.mirrored:
        center_x = 1 - center_x
    for _ in range(view.quarter_turns):
        center_x, center_y, width, height = center_y, 1 - center_x, height, width
    return torch.stack([center_x, center_y, width, height], dim=1)


def unview_boxes(box_cxcywh: Tensor, view: View) -> Tensor:
    """Return where boxes (N, 4) of a view lie in its picture, both in [0, 1]."""
    upright = view_boxes(box_cxcywh, View(quarter_turns=-view.quarter_turns % 4))
    return view_boxes(upright, View(mirrored=view.mirrored))


def _views(net: nn.Module, batch: Batch, views: Sequence[View], device: torch.device) -> Iterator[tuple[View, Batch]]:
    if "encoded" in batch:
        if len(views) > 1:
            raise InputError(
                "stored features have no picture to look at in several ways; give photographs, or tta=none"
            )
        yield views[0], batch
        return
    image = batch["image"].to(device, non_blocking=True)
    for view in views:
        yield view, {**batch, "image": view_image(image, view, multiple=_stride(net))}


def _sizes(reader: Reader, image_hw: Tensor) -> Tensor:
    if reader.standardize is None:
        return image_hw
    return torch.from_numpy(reader.standardize(image_hw.double().numpy()))


def _stride(net: nn.Module) -> int:
    return int(net.backbone.stride)  # type: ignore[arg-type]
