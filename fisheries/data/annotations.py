"""The community's rectangles around fish, as a table of boxes."""

from __future__ import annotations

import json
import logging
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries import schema
from fisheries.boxes import Floats, clip_xywh_px
from fisheries.schema import OK, TRAIN, InputError

STATUSES: Mapping[str, str] = {
    OK: "lies in its frame",
    "clipped": "left its frame: cut at the edge, and used",
    "no_image": "no training image has this name",
    "ambiguous": "several training images have this name",
    "bad_image": "the image itself can't be used",
    "not_fish": "drawn on an image that is labeled as having no fish",
    "nan": "a side is missing, not a number or not finite",
    "negative": "negative width or height",
    "empty": "no width or no height",
    "outside": "nothing of it lies in the frame",
    "duplicate": "the same rectangle of the same image once more",
}

_XYWH = ("x", "y", "width", "height")
_SHAPE = (
    'a list of {"class": "image", "filename": ..., "annotations": [{"class": "rect", "x", "y", "width", "height"}]}'
)
_LOG = logging.getLogger(__name__)


def read_annotations(files: Sequence[Path], manifest: pd.DataFrame, no_fish: str) -> pd.DataFrame:
    """Read rectangles and match them to training images by the file's bare name.

    A folder in front of a name counts only where several training images share the name.

    Args:
        files: JSON files; their order makes no difference.
        manifest: the table of images, indexed by `image_id`.
        no_fish: label of the images without fish; "" if there is none.

    Returns:
        One row a rectangle in columns `schema.BOXES`, by `image_id` (the bare name where no image has it), then file,
        then the file's order. Those of status "clipped" are cut at the frame's edge, all others as they were drawn.

    Raises:
        InputError: a file can't be read or is not such JSON.
    """
    rows = [row for file in sorted(files, key=lambda file: (file.name, file)) for row in _read_file(file)]
    table = pd.DataFrame(rows, columns=["name", *_XYWH, "source"])
    image_id, match = _match(table["name"].tolist(), manifest[manifest["subset"] == TRAIN])
    faults, frame_hw = _image_faults(image_id, match, manifest, no_fish=no_fish)
    boxes_xywh_px, status = _judge(image_id, table[list(_XYWH)].to_numpy(dtype=np.float64), frame_hw, faults)
    columns = [*boxes_xywh_px.T, table["source"], status]
    boxes = pd.DataFrame(dict(zip(schema.BOXES, columns, strict=True))).astype(dict(schema.BOXES))
    return boxes.set_index(pd.Index(image_id, name=schema.KEY, dtype="str")).sort_index(kind="stable")


def _read_file(file: Path) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    without = 0
    entries = _entries(file)
    for number, entry in enumerate(entries, start=1):
        name, rectangles = _check_entry(entry, f"{file}: entry {number}")
        rows += [(name, *map(_number, map(rectangle.get, _XYWH)), file.name) for rectangle in rectangles]
        without += not rectangles
    _LOG.info("%s: %d rectangles in %d images, %d images without", file, len(rows), len(entries), without)
    return rows


def _entries(file: Path) -> list[Any]:
    try:
        entries = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: can't be read ({error.strerror}); expected a JSON file of rectangles") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({error}); expected {_SHAPE}") from error
    if not isinstance(entries, list):
        raise InputError(f"{file}: holds a {type(entries).__name__}; expected {_SHAPE}")
    return entries


def _check_entry(entry: object, where: str) -> tuple[str, list[dict[str, Any]]]:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is a {type(entry).__name__}; expected {_SHAPE}")
    name, annotations = entry.get("filename"), entry.get("annotations")
    if not isinstance(name, str) or not re.split(r"[\\/]", name)[-1]:
        raise InputError(f"{where} has filename {name!r:.80}; expected {_SHAPE}")
    if not isinstance(annotations, list) or not all(isinstance(item, dict) for item in annotations):
        raise InputError(f"{where} ({name!r:.80}) has no list of annotations; expected {_SHAPE}")
    # The tool that drew them knows points and polygons, too.
    return name, [item for item in annotations if item.get("class", "rect") == "rect"]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


def _match(names: Sequence[str], train: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return for each file name an `image_id`, and "" or what is wrong with the match."""
    known = defaultdict(list)
    for image_id, path in zip(train.index, train["path"], strict=True):
        known[PurePath(path).name].append((image_id, PurePath(path).parts))
    found = {name: _find(name, known) for name in dict.fromkeys(names)}
    return [found[name][0] for name in names], [found[name][1] for name in names]


def _find(name: str, known: Mapping[str, list[tuple[str, tuple[str, ...]]]]) -> tuple[str, str]:
    parts = tuple(part.encode("utf-8", "backslashreplace").decode() for part in re.split(r"[\\/]", name))
    candidates = known.get(parts[-1], [])
    if len(candidates) > 1:
        candidates = [item for item in candidates if item[1][-2:] == parts[-2:]] or candidates
    if len(candidates) == 1:
        return candidates[0][0], ""
    return parts[-1], "ambiguous" if candidates else "no_image"


def _image_faults(
    image_id: Sequence[str], match: Sequence[str], manifest: pd.DataFrame, *, no_fish: str
) -> tuple[NDArray[np.object_], Floats]:
    """Return for each box what is wrong with its image ("" if nothing), and the image's height and width (N, 2)."""
    faults, frame_hw = np.array(match, dtype=object), np.zeros((len(match), 2))
    known = faults == ""
    images = manifest.loc[np.array(image_id, dtype=object)[known]]
    bad, not_fish = images["status"] != OK, images["label"] == no_fish
    faults[known] = np.select([bad, not_fish], ["bad_image", "not_fish"], default="")
    frame_hw[known] = images[["height", "width"]].to_numpy(dtype=np.float64)
    return faults, frame_hw


def _judge(
    image_id: Sequence[str], boxes_xywh_px: Floats, frame_hw: Floats, faults: NDArray[np.object_]
) -> tuple[Floats, NDArray[np.object_]]:
    """Return the boxes (N, 4), cut where they leave their frame, and their status (N,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        clipped = clip_xywh_px(boxes_xywh_px, frame_hw)
        right_bottom = boxes_xywh_px[:, :2] + boxes_xywh_px[:, 2:]
    leaves = (boxes_xywh_px[:, :2] < 0).any(axis=1) | (right_bottom > frame_hw[:, ::-1]).any(axis=1)
    tests = {
        "nan": np.isnan(boxes_xywh_px).any(axis=1),
        "negative": (boxes_xywh_px[:, 2:] < 0).any(axis=1),
        "empty": (boxes_xywh_px[:, 2:] == 0).any(axis=1),
        "outside": (clipped[:, 2:] <= 0).any(axis=1),
        "duplicate": pd.DataFrame(boxes_xywh_px).assign(image_id=image_id).duplicated().to_numpy(),
        "clipped": leaves,
    }
    status = np.select(list(tests.values()), list(tests), default=OK).astype(object)
    status = np.where(faults == "", status, faults)
    return np.where((status == "clipped")[:, None], clipped, boxes_xywh_px), status
