"""Fish cut out of frames: which boxes can be cut, what part of the frame a crop shows, and its pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.boxes import Floats, clip_xywh_px
from fisheries.data.images import MAX_PIXELS, read_image
from fisheries.schema import BOXES, KEY, OK, USABLE, InputError, read_table

CROPS_JSON = "crops.json"  # in a folder of crops: how they were cut
MAX_CONTEXT = 4.0
REGION = ("region_left", "region_top", "width", "height")  # columns of a manifest whose rows are crops of their paths
_XYWH = ["left", "top", "box_width", "box_height"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class CropRule:
    """How much of the frame a crop shows.

    Attributes:
        context: how many times as wide and high as the box it is, 1 to `MAX_CONTEXT`.
        square: whether its shorter sides are then made as long as the longer ones.
    """

    context: float = 1.2
    square: bool = False


def check_rule(values: object, name: Path | str) -> CropRule:
    """Return the rule that a mapping from elsewhere states.

    Raises:
        InputError: it is no mapping, a key is missing or unknown, or a value is out of range.
    """
    expected = f"expected a context from 1 to {MAX_CONTEXT:g} and square, true or false"
    if not isinstance(values, Mapping) or set(values) != {"context", "square"}:
        raise InputError(f"{name}: {values!r} does not say how crops are cut; {expected}")
    context, square = values["context"], values["square"]
    is_number = isinstance(context, int | float) and not isinstance(context, bool)
    if not is_number or not 1 <= context <= MAX_CONTEXT or not isinstance(square, bool):
        raise InputError(f"{name}: context={context!r}, square={square!r}; {expected}")
    return CropRule(float(context), square)


def read_rule(root: Path) -> CropRule | None:
    """Return how the crops of a folder were cut, or None where the folder does not say it.

    Raises:
        InputError: as `check_rule`; the file is not JSON.
    """
    path = root / CROPS_JSON
    if not path.is_file():
        return None
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); cut the crops again") from error
    return check_rule(values, path)


def read_boxes(paths: Sequence[Path]) -> list[pd.DataFrame]:
    """Read box tables, one for each path.

    Args:
        paths: CSV files with the columns of `schema.BOXES`, of which `source` and `status` may be missing, and perhaps
            `score`; or folders of runs, for what their folds' box heads say of images that they were not trained on,
            averaged where several do.

    Returns:
        Columns `schema.BOXES` and `score`, 1 where there is none, by `image_id`.

    Raises:
        InputError: no such file, no box table, a score that is negative or no number, or a run without boxes.
    """
    return [_read_run(path) if path.is_dir() else _read_file(path) for path in paths]


def fish_boxes(tables: Sequence[pd.DataFrame], images: pd.DataFrame) -> pd.DataFrame:
    """Return the boxes that can be cut, in their frames' order; an image takes those of the first table that has some.

    Args:
        tables: as `read_boxes` returns them.
        images: rows of a manifest; boxes of others, and of those that can't be read, are left out.

    Returns:
        The boxes, cut at their frame's edges, by `image_id`. None is of a status that is not used, is without a score,
        or has less than a pixel in its frame.
    """
    found = [_inside(table, images[images["status"] == OK]) for table in tables]
    known = found[0].index[:0]
    for number, table in enumerate(found):
        found[number] = table[~table.index.isin(known)]
        known = known.union(table.index)
    boxes = pd.concat(found)
    return boxes.iloc[np.argsort(images.index.get_indexer(boxes.index), kind="stable")]


def crop_table(boxes: pd.DataFrame, images: pd.DataFrame, rule: CropRule) -> pd.DataFrame:
    """Return a manifest whose rows are crops: each has its frame's path, and its own height and width.

    Args:
        boxes: as `fish_boxes` returns them.
        images: rows of a manifest, their frames.
        rule: how much a crop shows.

    Returns:
        In the order of `boxes`, by `<image_id>#<number>`: the columns of `images`, those of `boxes`, `REGION`, `frame`
        (an `image_id`) and `number`, from 1 in each frame.

    Raises:
        InputError: a crop has more than `MAX_PIXELS`.
    """
    frames = images.loc[boxes.index]
    regions = crop_regions(boxes[_XYWH].to_numpy(dtype=np.float64), rule)  # (N, 4)
    number = boxes.groupby(level=0).cumcount().to_numpy() + 1
    index = pd.Index([f"{name}#{count}" for name, count in zip(boxes.index, number, strict=True)], name=KEY)
    columns = boxes[[*_XYWH, "source", "score"]].assign(frame=boxes.index, number=number)
    columns[list(REGION)] = regions
    big = regions[:, 2] * regions[:, 3] > MAX_PIXELS
    if big.any():
        width, height = regions[big][0, 2:]
        raise InputError(
            f"{boxes.index[big][0]}: its crop has {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} million; "
            "give a smaller --context, or no --square"
        )
    return pd.concat([frames.drop(columns=["height", "width"]), columns], axis=1).set_axis(index)


def crop_regions(boxes_xywh_px: Floats, rule: CropRule) -> Ints:
    """Return the parts of the frame (N, 4) that crops show: left, top, width and height in whole pixels.

    A region has its box's center, holds the box, and may leave the frame to all sides.

    Args:
        boxes_xywh_px: (N, 4) with an area.
        rule: how much a crop shows.
    """
    size_wh = boxes_xywh_px[:, 2:] * rule.context
    if rule.square:
        size_wh = np.repeat(size_wh.max(axis=1, keepdims=True), 2, axis=1)
    left_top = boxes_xywh_px[:, :2] + (boxes_xywh_px[:, 2:] - size_wh) / 2
    first = np.floor(left_top)
    sides = np.ceil(left_top + size_wh) - first
    if rule.square:  # a side that lies across pixels is one longer
        sides = np.repeat(sides.max(axis=1, keepdims=True), 2, axis=1)
    return np.concatenate([first, sides], axis=1).astype(np.int64)


def cut(image: NDArray[np.uint8], region: Ints) -> NDArray[np.uint8]:
    """Return a region (4,) of a picture (H, W, 3); outside is its mirror image, and beyond that the mirror image's."""
    left, top, width, height = (int(value) for value in region)
    rows = _reflect(np.arange(top, top + height), image.shape[0])
    columns = _reflect(np.arange(left, left + width), image.shape[1])
    return image[rows[:, None], columns]


def read_crop(path: Path | str, region: Ints) -> NDArray[np.uint8]:
    """Decode a photograph and return a region (4,) of it, see `cut`; raises as `read_image`."""
    return cut(read_image(path), region)


def _reflect(positions: Ints, size: int) -> Ints:
    """Map any positions into a row of `size` pixels that is mirrored at its ends, which are not repeated."""
    period = max(2 * (size - 1), 1)
    within = positions % period
    return np.minimum(within, period - within)


def _inside(boxes: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    used = boxes[boxes["status"].isin(USABLE) & boxes.index.isin(images.index) & (boxes["score"] > 0)]
    frame_hw = images.loc[used.index, ["height", "width"]].to_numpy(dtype=np.float64)
    xywh_px = clip_xywh_px(used[_XYWH].to_numpy(dtype=np.float64), frame_hw)
    cut_boxes = used.assign(**dict(zip(_XYWH, xywh_px.T, strict=True)))
    return cut_boxes[(xywh_px[:, 2:] >= 1).all(axis=1)]  # NaN is not


def _read_file(path: Path) -> pd.DataFrame:
    optional: dict[str, str | float | bool] = {"source": path.name, "status": OK, "score": 1.0}
    table = read_table(path, {**BOXES, "score": "float64"}, unique=False, optional=optional)
    wrong = ~np.isfinite(table["score"]) | (table["score"] < 0)
    if wrong.any():
        raise InputError(
            f"{path}: score of {table.index[wrong][0]!r} is {table.loc[wrong, 'score'].iloc[0]:g}; expected 0 or more"
        )
    return table


def _read_run(run_dir: Path) -> pd.DataFrame:
    parts = [path for stem in ("oof", "holdout", "test") for path in sorted(run_dir.glob(f"fold-*/{stem}_boxes.csv"))]
    if not parts:
        raise InputError(f"{run_dir}: no fold-*/oof_boxes.csv in it; expected a run of model.predict_box=true")
    table = pd.concat([_read_file(path) for path in parts])
    table = table[table["status"].isin(USABLE)]
    means = table.groupby(level=0, sort=False)[[*_XYWH, "score"]].mean()
    return means.assign(source="model", status=OK)[[*BOXES, "score"]]
