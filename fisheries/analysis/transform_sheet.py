"""One picture under every augmentation, to see in a minute what a network is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fisheries.boxes import xywh_px_to_xyxy
from fisheries.data.synthetic_deck import draw_boat
from fisheries.data.synthetic_scene import draw_frame
from fisheries.progress import track
from fisheries.schema import InputError, largest_boxes, nearest

_TILE_HEIGHT_PX = 128
_GAP_PX = 4
_LABEL_PX = 190
_DPI = 100

Values = Mapping[str, float]


def example(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Draw a frame (H, W, 3) of one of the embedded boats, and the box (4,) of its fish: corners in [0, 1]."""
    boat = draw_boat(width=640, height=360, rng=np.random.default_rng([seed, 1]))
    image, boxes_xywh_px = draw_frame(
        boat, label="YFT", is_night=False, companion="ALB", scene=(seed, 2), frame=(seed, 3)
    )
    return image, xywh_px_to_xyxy(np.array(boxes_xywh_px[:1]), np.array([[360.0, 640.0]]))[0]


def box_of(image_id: str, boxes: pd.DataFrame, *, image_hw: tuple[int, int], source: Path | str) -> NDArray[np.float64]:
    """Return the largest box of an image: corners (4,) in [0, 1].

    Raises:
        InputError: the table, read from `source`, has no usable box of it.
    """
    largest = largest_boxes(boxes)
    if image_id not in largest.index:
        raise InputError(
            f"{source}: no usable box of {image_id!r}{nearest(image_id, largest.index)}; leave --boxes out"
        )
    row = largest.loc[[image_id], ["left", "top", "box_width", "box_height"]].to_numpy(dtype=np.float64)
    return xywh_px_to_xyxy(row, np.array([image_hw], dtype=np.float64))[0]


def sheet_rows(choices: Mapping[str, Values]) -> dict[str, Values]:
    """Return what each row of a sheet shows: every step by itself, then every choice.

    Args:
        choices: values of `train_transform` by the name of their choice. A step is shown at the largest of its values;
            a probability as 1, since a step that does not happen shows nothing.

    Returns:
        Values by the row's title.
    """
    from fisheries.data.transforms import PROBABILITIES  # pages open without what transforms need

    largest = {name: max(values[name] for values in choices.values()) for name in next(iter(choices.values()))}
    steps: dict[str, Values] = {}
    for name, value in largest.items():
        if value:
            title = name if name in PROBABILITIES else f"{name} {value:g}"
            steps[title] = {name: 1.0 if name in PROBABILITIES else value}
    return steps | {f"transform={name}": values for name, values in choices.items()}


def transform_sheet(
    image: NDArray[np.uint8],
    box_xyxy: NDArray[np.float64] | None,
    rows: Mapping[str, Values],
    *,
    views: int = 6,
    seed: int = 0,
    progress: bool = False,
) -> Figure:
    """Draw views of one picture, a row for each set of values, with what is left of its box.

    Args:
        image: (H, W, 3) RGB.
        box_xyxy: corners (4,) in [0, 1], or None.
        rows: values of `train_transform` by the row's title; the first row shows the picture itself.
        views: in a row, each with a seed of its own.
        seed: of the first of them.
        progress: whether to draw a bar on standard error.
    """
    from fisheries.data.transforms import train_transform  # pages open without what transforms need

    height, width = _TILE_HEIGHT_PX, round(_TILE_HEIGHT_PX * image.shape[1] / image.shape[0])
    titled = [("as it is", {}), *rows.items()]
    shape = (len(titled) * (height + _GAP_PX), views * (width + _GAP_PX))
    figure = _canvas(shape)
    axes = figure.axes[0]
    sheet = np.full((*shape, 3), 255, np.uint8)
    shown = track(list(enumerate(titled)), "Drawing views", disable=not progress)
    for row, (title, values) in shown:
        transform = train_transform(image_hw=(height, width), **values)
        top = row * (height + _GAP_PX)
        axes.text(-8, top + height / 2, title, ha="right", va="center", fontsize=9, parse_math=False)
        for column in range(views if any(values.values()) else 1):
            view = transform(image, box_xyxy, seed + column)
            left = column * (width + _GAP_PX)
            sheet[top : top + height, left : left + width] = view.image
            _draw_box(axes, view.box_xyxy, left=left, top=top, image_hw=(height, width))
    axes.imshow(sheet)
    return figure


def _canvas(shape: tuple[int, int]) -> Figure:
    """Return a figure with axes for a picture of (height, width) pixels, with room for titles at its left."""
    height, width = shape
    figure = Figure(figsize=((width + _LABEL_PX) / _DPI, height / _DPI), dpi=_DPI)
    axes = figure.add_axes((_LABEL_PX / (width + _LABEL_PX), 0, width / (width + _LABEL_PX), 1))
    axes.axis("off")
    return figure


def _draw_box(
    axes: Axes, box_xyxy: NDArray[np.float64] | None, *, left: int, top: int, image_hw: tuple[int, int]
) -> None:
    if box_xyxy is None:
        return
    height, width = image_hw
    x, y, right, bottom = box_xyxy * [width, height, width, height]
    axes.add_patch(
        Rectangle((left + x - 0.5, top + y - 0.5), right - x, bottom - y, fill=False, edgecolor="red", linewidth=1.2)
    )
