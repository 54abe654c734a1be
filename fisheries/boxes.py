"""Box arithmetic on NumPy arrays, the format in every name.

`xywh` is (left, top, width, height), `xyxy` (left, top, right, bottom), `cxcywh` (center x, center y, width, height);
with `_px` in pixels of the frame, without in [0, 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def clip_xywh_px(boxes_xywh_px: Floats, frame_hw: Floats) -> Floats:
    """Cut boxes (N, 4) at the edges of their frames (N, 2) (height, width); outside, nothing is left."""
    left_top = boxes_xywh_px[:, :2]
    right_bottom = left_top + boxes_xywh_px[:, 2:]
    frame_wh = frame_hw[:, ::-1]
    left_top, right_bottom = np.clip(left_top, 0, frame_wh), np.clip(right_bottom, 0, frame_wh)
    return np.concatenate([left_top, right_bottom - left_top], axis=1)


def xywh_px_to_xyxy(boxes_xywh_px: Floats, frame_hw: Floats) -> Floats:
    """Turn pixel boxes (N, 4) of frames (N, 2) (height, width) into corners in [0, 1]."""
    scale_wh = np.concatenate([frame_hw[:, ::-1], frame_hw[:, ::-1]], axis=1)  # (N, 4)
    corners = np.concatenate([boxes_xywh_px[:, :2], boxes_xywh_px[:, :2] + boxes_xywh_px[:, 2:]], axis=1)
    return corners / scale_wh


def xyxy_to_cxcywh(boxes_xyxy: Floats) -> Floats:
    """Turn corners (N, 4) into centers and sizes."""
    left_top, right_bottom = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([(left_top + right_bottom) / 2, right_bottom - left_top], axis=1)


def cxcywh_to_xywh_px(boxes_cxcywh: Floats, frame_hw: Floats) -> Floats:
    """Turn centers and sizes in [0, 1] (N, 4) into pixel boxes of frames (N, 2) (height, width)."""
    frame_wh = frame_hw[:, ::-1]
    size_wh = boxes_cxcywh[:, 2:] * frame_wh
    return np.concatenate([boxes_cxcywh[:, :2] * frame_wh - size_wh / 2, size_wh], axis=1)


def iou_xyxy(first_xyxy: Floats, second_xyxy: Floats) -> Floats:
    """Return the intersection over union (N,) of boxes paired row by row (N, 4); 0 where neither has an area."""
    inner_wh = np.minimum(first_xyxy[:, 2:], second_xyxy[:, 2:]) - np.maximum(first_xyxy[:, :2], second_xyxy[:, :2])
    inner = inner_wh.clip(min=0).prod(axis=1)
    union = _area(first_xyxy) + _area(second_xyxy) - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)


def _area(boxes_xyxy: Floats) -> Floats:
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clip(min=0).prod(axis=1)
