from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.training.losses import FishLoss, box_mse
from fisheries.training.metrics import paired_iou, step_metrics


def batch_of(target: torch.Tensor, *, has_box=None, box=None, weight=None):
    images = len(target)
    return {
        "target": target,
        "weight": torch.ones(images) if weight is None else torch.tensor(weight),
        "has_box": torch.zeros(images) if has_box is None else torch.tensor(has_box),
        "box_cxcywh": torch.zeros(images, 4) if box is None else box,
        "image_id": [str(number) for number in range(images)],
    }


ONE_HOT = torch.eye(3)[[0, 2, 1, 1]]
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5], [0.1, 0.2, 0.3], [1.0, 3.0, 0.0]])


def test_a_hard_target_gives_pytorchs_cross_entropy():
    loss = FishLoss()({"logits": LOGITS}, batch_of(ONE_HOT))
    expected = torch.nn.functional.cross_entropy(LOGITS, ONE_HOT.argmax(dim=1))
    torch.testing.assert_close(loss["loss"], expected)
    assert set(loss) == {"loss", "cross_entropy"}


def test_class_weights_and_smoothing_are_pytorchs():
    weights = torch.tensor([0.5, 2.0, 1.0])
    loss = FishLoss(class_weights=weights)({"logits": LOGITS}, batch_of(ONE_HOT))["loss"]
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(LOGITS, ONE_HOT.argmax(dim=1), weight=weights))
    smooth = FishLoss(label_smoothing=0.1)({"logits": LOGITS}, batch_of(ONE_HOT))["loss"]
    torch.testing.assert_close(
        smooth, torch.nn.functional.cross_entropy(LOGITS, ONE_HOT.argmax(dim=1), label_smoothing=0.1)
    )


def test_an_image_of_weight_0_does_not_count():
    all_but_one = FishLoss()({"logits": LOGITS}, batch_of(ONE_HOT, weight=[1.0, 1.0, 1.0, 0.0]))["loss"]
    without = FishLoss()({"logits": LOGITS[:3]}, batch_of(ONE_HOT[:3]))["loss"]
    torch.testing.assert_close(all_but_one, without)


def test_box_loss_has_lesson_7s_scale():
    box = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    outputs = {"logits": LOGITS[:1], "box_cxcywh": box + 1 / 224}  # off by one pixel of 224 on each side
    losses = FishLoss(box_weight=0.001, box_unit_px=224)(outputs, batch_of(ONE_HOT[:1], has_box=[1.0], box=box))
    torch.testing.assert_close(losses["box_mse"], torch.tensor(1.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(losses["loss"], losses["cross_entropy"] + 0.001 * losses["box_mse"])


def test_absent_boxes_do_not_train_the_box_head():
    predicted = torch.rand(4, 4, requires_grad=True)
    batch = batch_of(ONE_HOT, has_box=[1.0, 0.0, 0.0, 1.0], box=torch.rand(4, 4))
    FishLoss()({"logits": LOGITS, "box_cxcywh": predicted}, batch)["loss"].backward()
    assert (predicted.grad[[0, 3]] != 0).all()
    assert (predicted.grad[[1, 2]] == 0).all()


def test_a_batch_without_boxes_has_no_box_loss():
    predicted = torch.rand(4, 4, requires_grad=True)
    assert box_mse(predicted, batch_of(ONE_HOT), unit_px=224) == 0


def test_the_boxes_of_a_batch_count_alike_however_many_there_are():
    box = torch.zeros(4, 4)
    one = box_mse(box + 0.1, batch_of(ONE_HOT, has_box=[1.0, 0, 0, 0], box=box), unit_px=224)
    four = box_mse(box + 0.1, batch_of(ONE_HOT, has_box=[1.0, 1, 1, 1], box=box), unit_px=224)
    torch.testing.assert_close(one, four)


def test_boxes_are_judged_by_overlap_over_the_images_that_have_one():
    box = torch.tensor([[0.5, 0.5, 0.4, 0.4]] * 4)
    predicted = box.clone()
    predicted[1] = torch.tensor([0.9, 0.9, 0.1, 0.1])  # no box there, so this does not count
    outputs = {"logits": LOGITS, "box_cxcywh": predicted}
    metrics = step_metrics(outputs, batch_of(ONE_HOT, has_box=[1.0, 0.0, 1.0, 1.0], box=box))
    value, count = metrics["box_iou"]
    assert count == 3
    torch.testing.assert_close(value, torch.tensor(1.0))


def test_the_logged_log_loss_knows_no_smoothing_and_no_weights():
    value, count = step_metrics({"logits": LOGITS}, batch_of(ONE_HOT, weight=[9.0, 1.0, 1.0, 1.0]))["log_loss"]
    assert count == 4
    torch.testing.assert_close(value, torch.nn.functional.cross_entropy(LOGITS, ONE_HOT.argmax(dim=1)))


sides = st.floats(1 / 64, 1, width=32)


@given(st.tuples(sides, sides, sides, sides), st.tuples(sides, sides, sides, sides))
@settings(deadline=None)
def test_overlap_is_symmetric_between_0_and_1_and_1_with_itself(first, second):
    a, b = torch.tensor([first]), torch.tensor([second])
    forth, back = paired_iou(a, b), paired_iou(b, a)
    torch.testing.assert_close(forth, back)
    assert 0 <= forth.item() <= 1 + 1e-5
    assert paired_iou(a, a).item() == pytest.approx(1, abs=1e-4)


def test_a_box_turned_inside_out_overlaps_nothing():
    good, bad = torch.tensor([[0.5, 0.5, 0.4, 0.4]]), torch.tensor([[0.5, 0.5, -0.4, -0.4]])
    assert paired_iou(bad, good).item() == 0
    assert paired_iou(bad, bad).item() == 0
