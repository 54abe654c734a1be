from __future__ import annotations

import pytest
import torch

from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.models.heads import SizeInput, create_trunk

KNOWN_HW = torch.tensor([[0.0, 0.0], [1.5, -0.5], [0.3, 0.3]])
IMAGE = torch.randint(0, 256, (4, 3, 32, 48), dtype=torch.uint8)
IMAGE_HW = torch.tensor([[0.0, 0.0], [1.5, -0.5], [0.3, 0.3], [9.0, 9.0]])


def small(**options) -> FishNet:
    torch.manual_seed(0)
    backbone = create_backbone("small_residual", options={"widths": (4, 8), "depths": (1, 1)})
    return FishNet(backbone, classes=5, known_hw=KNOWN_HW, **options)


def test_outputs_have_names_and_shapes():
    outputs = small(predict_box=True)(IMAGE, IMAGE_HW)
    shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
    assert shapes == {"feature_map": (4, 8, 8, 12), "features": (4, 16), "box_cxcywh": (4, 4), "logits": (4, 5)}


def test_without_a_box_head_there_is_no_box():
    assert "box_cxcywh" not in small()(IMAGE, IMAGE_HW)


@pytest.mark.parametrize("metadata", ["standardized", "onehot"])
def test_the_size_of_the_photograph_reaches_the_logits_only_when_asked_for(metadata: str):
    other_hw = IMAGE_HW.flip(0)
    with_size, without = small(metadata=metadata).eval(), small().eval()
    assert not torch.allclose(with_size(IMAGE, IMAGE_HW)["logits"], with_size(IMAGE, other_hw)["logits"])
    assert torch.equal(without(IMAGE, IMAGE_HW)["logits"], without(IMAGE, other_hw)["logits"])


def test_the_size_of_the_photograph_does_not_reach_the_box():
    net = small(metadata="onehot", predict_box=True).eval()
    assert torch.equal(net(IMAGE, IMAGE_HW)["box_cxcywh"], net(IMAGE, IMAGE_HW.flip(0))["box_cxcywh"])


def test_a_size_that_is_not_in_the_training_fold_is_no_size():
    size = SizeInput("onehot", known_hw=KNOWN_HW)
    size.norm = torch.nn.Identity()
    assert size(IMAGE_HW).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_the_sizes_travel_with_the_weights():
    assert "size.known_hw" in small(metadata="onehot").state_dict()


def test_metadata_without_known_sizes_is_refused():
    with pytest.raises(ValueError, match=r"needs the sizes of the training fold"):
        FishNet(small().backbone, classes=5, metadata="onehot")
    with pytest.raises(ValueError, match=r"model.metadata='size': expected none, standardized or onehot"):
        small(metadata="size")


def test_the_dense_head_drops_out_as_in_lesson_7():
    trunk, width = create_trunk("dense", 32, dropout=0.6)
    assert [round(layer.p, 3) for layer in trunk if isinstance(layer, torch.nn.Dropout)] == [0.15, 0.6, 0.3]
    assert width == 512
    assert trunk(torch.rand(4, 32)).shape == (4, 512)


def test_an_unknown_head_is_refused():
    with pytest.raises(ValueError, match=r"model.head='deep': expected linear or dense"):
        create_trunk("deep", 32, dropout=0.1)
