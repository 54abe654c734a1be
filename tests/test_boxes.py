import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fisheries.boxes import (
    Floats,
    clip_xywh_px,
    cxcywh_to_xywh_px,
    iou_xyxy,
    xywh_px_to_xyxy,
    xyxy_to_cxcywh,
)

COUNT = 5
FRAMES_HW = hnp.arrays(np.float64, (COUNT, 2), elements=st.integers(1, 3000).map(float))


def boxes_xywh(low: float = -500, high: float = 4000) -> st.SearchStrategy[Floats]:
    corner = hnp.arrays(np.float64, (COUNT, 2), elements=st.floats(low, high, allow_subnormal=False))
    size = hnp.arrays(np.float64, (COUNT, 2), elements=st.floats(0, high, allow_subnormal=False))
    return st.tuples(corner, size).map(lambda both: np.concatenate(both, axis=1))


def as_xyxy(boxes: Floats) -> Floats:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def test_formats_by_hand() -> None:
    frame_hw, box = np.array([[100.0, 200.0]]), np.array([[20.0, 10.0, 40.0, 50.0]])
    xyxy = xywh_px_to_xyxy(box, frame_hw)
    np.testing.assert_allclose(xyxy, [[0.1, 0.1, 0.3, 0.6]])
    cxcywh = xyxy_to_cxcywh(xyxy)
    np.testing.assert_allclose(cxcywh, [[0.2, 0.35, 0.2, 0.5]])
    np.testing.assert_allclose(cxcywh_to_xywh_px(cxcywh, frame_hw), box)


def test_clipping_by_hand() -> None:
    boxes = np.array([[-5.0, -6, 20, 30], [190, 90, 20, 30], [300, 0, 5, 5], [1, 2, 3, 4]])
    expected = [[0, 0, 15, 24], [190, 90, 10, 10], [200, 0, 0, 5], [1, 2, 3, 4]]
    np.testing.assert_array_equal(clip_xywh_px(boxes, np.tile([100.0, 200.0], (4, 1))), expected)


def test_overlap_by_hand() -> None:
    first = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0.5, 1], [0.2, 0.2, 0.2, 0.2]])
    second = np.array([[0, 0, 1, 1], [0.5, 0, 1, 1], [0.5, 0, 1, 1], [0.2, 0.2, 0.2, 0.2]])
    np.testing.assert_allclose(iou_xyxy(first, second), [1, 0.5, 0, 0])


@settings(deadline=None)
@given(boxes_xywh(), FRAMES_HW)
def test_formats_turn_into_each_other_and_back(boxes: Floats, frames_hw: Floats) -> None:
    cxcywh = xyxy_to_cxcywh(xywh_px_to_xyxy(boxes, frames_hw))
    np.testing.assert_allclose(cxcywh_to_xywh_px(cxcywh, frames_hw), boxes, rtol=1e-9, atol=1e-6)


@settings(deadline=None)
@given(boxes_xywh(), FRAMES_HW)
def test_clipped_boxes_lie_in_their_frame_and_in_their_box(boxes: Floats, frames_hw: Floats) -> None:
    clipped = clip_xywh_px(boxes, frames_hw)
    corners, limits = as_xyxy(clipped), np.tile(frames_hw[:, ::-1], (1, 2))
    assert (clipped[:, 2:] >= 0).all()
    assert (corners >= 0).all()
    assert (corners <= limits + 1e-9).all()
    seen = clipped[:, 2:].prod(axis=1) > 0
    assert (corners[seen, :2] >= as_xyxy(boxes)[seen, :2]).all()
    assert (corners[seen, 2:] <= as_xyxy(boxes)[seen, 2:] + 1e-9).all()


@settings(deadline=None)
@given(boxes_xywh(), FRAMES_HW)
def test_clipping_again_changes_nothing(boxes: Floats, frames_hw: Floats) -> None:
    once = clip_xywh_px(boxes, frames_hw)
    np.testing.assert_allclose(clip_xywh_px(once, frames_hw), once, atol=1e-9)


@settings(deadline=None)
@given(boxes_xywh(0, 1), boxes_xywh(0, 1))
def test_overlap_is_symmetric_and_between_0_and_1(first: Floats, second: Floats) -> None:
    first, second = as_xyxy(first), as_xyxy(second)
    overlap = iou_xyxy(first, second)
    np.testing.assert_array_equal(overlap, iou_xyxy(second, first))
    assert ((overlap >= 0) & (overlap <= 1 + 1e-12)).all()


@settings(deadline=None)
@given(boxes_xywh(0, 1), st.floats(-10, 10))
def test_overlap_with_itself_is_1_wherever_it_lies(boxes: Floats, shift: float) -> None:
    boxes[:, 2:] += 0.01
    corners = as_xyxy(boxes) + shift
    np.testing.assert_allclose(iou_xyxy(corners, corners), 1)


@settings(deadline=None)
@given(boxes_xywh(0, 1), boxes_xywh(0, 1))
def test_overlap_is_0_exactly_for_boxes_apart(first: Floats, second: Floats) -> None:
    second[:, 0] = first[:, 0] + first[:, 2] + 0.1
    np.testing.assert_array_equal(iou_xyxy(as_xyxy(first), as_xyxy(second)), 0)
