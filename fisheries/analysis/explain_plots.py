"""Figures of what a network looks at; each function returns one and touches no disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fisheries.analysis.filters import filter_responses
from fisheries.boxes import Floats

Maps = NDArray[np.floating]
Pixels = NDArray[np.uint8]
TRUE, PREDICTED = "red", "yellow"


def plot_heat(pixels: Pixels, heats: Mapping[str, Maps], *, true_xyxy: Floats, predicted_xyxy: Floats) -> Figure:
    """Show a photograph with its boxes, and beside it each heat map over it.

    Args:
        pixels: (H, W, 3).
        heats: by title, each (h, w) from 0 to 1, stretched to the photograph.
        true_xyxy: (K, 4) in [0, 1], drawn in red.
        predicted_xyxy: likewise, in yellow.
    """
    height, width = pixels.shape[:2]
    figure, axes = _tiles(1 + len(heats), columns=1 + len(heats), shape=pixels.shape, wide=3.6)
    for spot, title in zip(axes, ["the photograph", *heats], strict=True):
        spot.imshow(pixels)
        spot.set_title(title, fontsize="small", parse_math=False)
        for box, color in [(b, TRUE) for b in true_xyxy] + [(b, PREDICTED) for b in predicted_xyxy]:
            corner, size = box[:2] * [width, height], (box[2:] - box[:2]) * [width, height]
            spot.add_patch(Rectangle((corner[0], corner[1]), *size, fill=False, edgecolor=color, linewidth=1.2))
    for spot, heat in zip(axes[1:], heats.values(), strict=True):
        # where it is cold the photograph shines through
        spot.imshow(
            heat, cmap="jet", vmin=0, vmax=1, alpha=0.6 * np.sqrt(heat), extent=(-0.5, width - 0.5, height - 0.5, -0.5)
        )
    return figure


def plot_maps(maps: Mapping[str, Maps], *, columns: int = 4, signed: bool = False) -> Figure:
    """Show maps (h, w) side by side, all in one scale.

    Args:
        maps: by title.
        columns: how many stand side by side.
        signed: whether they have a zero that is a color of its own, else the darkest is the least.
    """
    values = np.concatenate([one.ravel() for one in maps.values()])
    high = float(np.abs(values).max()) if signed else float(values.max())
    low = -high if signed else float(values.min())
    figure, axes = _tiles(len(maps), columns=columns, shape=next(iter(maps.values())).shape, wide=2.6)
    for spot, (title, one) in zip(axes, maps.items(), strict=False):
        drawn = spot.imshow(one, cmap="RdBu_r" if signed else "magma", vmin=low, vmax=high)
        spot.set_title(title, fontsize="small", parse_math=False)
    figure.colorbar(drawn, ax=axes, shrink=0.7, pad=0.01)
    return figure


def plot_activations(maps: Maps, *, most: int = 32, columns: int = 8) -> Figure:
    """Show a layer's maps (C, h, w) as a grid, each in its own scale, the most excited ones if there are more."""
    order = np.sort(np.argsort(-maps.mean(axis=(1, 2)), kind="stable")[:most])
    figure, axes = _tiles(len(order), columns=columns, shape=maps.shape[1:], wide=1.3, title=0.2)
    for spot, channel in zip(axes, order, strict=False):
        spot.imshow(maps[channel], cmap="magma")
        spot.set_title(str(channel), fontsize="x-small", pad=2)
    return figure


def plot_pictures(pictures: Sequence[NDArray[np.generic]], titles: Sequence[str], *, columns: int = 4) -> Figure:
    """Show pictures (h, w, 3) or kernels (h, w), all of one size, with a title each."""
    figure, axes = _tiles(len(pictures), columns=columns, shape=pictures[0].shape, wide=11 / columns, title=0.45)
    for spot, picture, title in zip(axes, pictures, titles, strict=False):
        spot.imshow(picture, cmap="gray", interpolation="nearest")
        spot.set_title(title, fontsize="small", parse_math=False)
    return figure


def plot_bank(pixels: Pixels, bank: dict[str, NDArray[np.float32]]) -> Figure:
    """Show classical filters, and below each what it finds in a photograph (H, W, 3)."""
    responses = filter_responses(pixels, bank)
    figure = Figure(figsize=(1.6 * len(bank), 3), layout="constrained")
    upper, lower = figure.subplots(2, len(bank), squeeze=False)
    for above, below, (name, kernel) in zip(upper, lower, bank.items(), strict=True):
        above.imshow(kernel, cmap="gray")
        above.set_title(name.replace(", ", "\n"), fontsize="x-small", parse_math=False)
        below.imshow(responses[name], cmap="magma")
        above.axis("off")
        below.axis("off")
    return figure


def plot_changes(changes: pd.DataFrame, *, columns: Mapping[str, str]) -> Figure:
    """Draw how the true class's probability changes, a point an image, with its mean as a bar.

    Args:
        changes: with `part`, `probability` and the columns below, a row an image.
        columns: of `changes`, with what to call each.
    """
    parts = list(changes["part"].unique())
    figure = Figure(figsize=(5.2 * len(parts), 3.6), layout="constrained")
    for axes, part in zip(figure.subplots(1, len(parts), squeeze=False, sharey=True)[0], parts, strict=True):
        rows = changes[changes["part"] == part]
        for place, column in enumerate(columns):
            change = (rows[column] - rows["probability"]).dropna().to_numpy()
            spread = place + np.linspace(-0.25, 0.25, len(change))
            axes.plot(spread, np.sort(change), ".", color=f"C{place}", markersize=3)
            if len(change):
                axes.hlines(change.mean(), place - 0.35, place + 0.35, color="black")
        axes.axhline(0, color="0.6", linewidth=1)
        axes.set_xticks(range(len(columns)), list(columns.values()), fontsize="small")
        axes.set_title(f"{part} boats", fontsize="medium")
    figure.axes[0].set_ylabel("change of the true class's probability")
    return figure


def _tiles(
    count: int, *, columns: int, shape: Sequence[int], wide: float, title: float = 0.3
) -> tuple[Figure, list[Axes]]:
    """Return axes for pictures of one `shape` (h, w, ...), `wide` inches each, with `title` inches above each.

    The places are given, since laying out so many takes matplotlib longer than drawing them.
    """
    columns = min(columns, count)
    rows, high = -(-count // columns), wide * shape[0] / shape[1]
    figure = Figure(figsize=(wide * columns, (high + title) * rows))
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    top = 1 - title / ((high + title) * rows)
    figure.subplots_adjust(left=0.003, right=0.997, bottom=0, top=top, wspace=0.04, hspace=title / high)
    for spot in axes:
        spot.axis("off")
    return figure, axes
