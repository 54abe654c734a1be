"""Photographs side by side, with boxes over them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fisheries.data.images import read_small
from fisheries.schema import usable_boxes

COLORS: Mapping[str, str] = {"true": "red", "predicted": "yellow"}
_TITLE_IN = 0.25


def plot_photographs(
    images: pd.DataFrame,
    titles: pd.Series,
    boxes: Mapping[str, pd.DataFrame] | None = None,
    *,
    columns: int = 4,
    tile_hw: tuple[int, int] = (90, 160),
) -> Figure:
    """Show photographs in rows, all at one size.

    Args:
        images: rows of a manifest, in the order to show them in.
        titles: a text for each, by `image_id`.
        boxes: by whose they are, "true" or "predicted": box tables, of which the usable rows are drawn.
        columns: how many stand side by side.
        tile_hw: height and width of each in pixels, at 72 dots an inch.

    Raises:
        InputError: as `read_image`.
    """
    rows = -(-len(images) // columns)
    height_in, width_in = tile_hw[0] / 72, tile_hw[1] / 72
    high_in = (height_in + _TITLE_IN) * rows
    figure = Figure(figsize=(width_in * columns, high_in), dpi=72)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(0, 0, 1, 1 - _TITLE_IN / high_in, wspace=0.03, hspace=_TITLE_IN / height_in)
    for spot, (image_id, row) in zip(axes, images.iterrows(), strict=False):
        spot.imshow(
            read_small(row["path"], image_hw=tile_hw), extent=(0, row["width"], row["height"], 0), aspect="auto"
        )
        spot.set_title(titles[image_id], fontsize=8, pad=2, parse_math=False)
        for whose, table in (boxes or {}).items():
            _draw_boxes(spot, usable_boxes(table[table.index == image_id]), color=COLORS[whose])
    for spot in axes:
        spot.axis("off")
    return figure


def _draw_boxes(axes: Axes, boxes: pd.DataFrame, *, color: str) -> None:
    for left, top, width, height in boxes[["left", "top", "box_width", "box_height"]].itertuples(index=False):
        axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=color, linewidth=1.2))
