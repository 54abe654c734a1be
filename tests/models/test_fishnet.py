from __future__ import annotations

import pytest
import torch

from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.models.heads import CLASS_MAP_HEADS, MAP_HEADS, SizeInput

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


@pytest.mark.parametrize("head", ["linear", "dense", *MAP_HEADS])
def test_what_is_encoded_once_decodes_to_what_the_whole_network_says(head: str):
    options = {"fcn": {"pools": [[2, 2]]}, "dense_map": {"grid": 3}}.get(head)
    more = {} if head in CLASS_MAP_HEADS else {"predict_box": True, "metadata": "onehot"}
    net = small(head=head, head_options=options, **more).eval()
    outputs = net(IMAGE, IMAGE_HW)
    encoded = net.encode(IMAGE)
    assert torch.equal(encoded, outputs["feature_map" if head in MAP_HEADS else "features"])
    decoded = net.decode(encoded, IMAGE_HW)
    assert set(outputs) - set(decoded) == {"feature_map", "features"}
    assert all(torch.equal(decoded[name], outputs[name]) for name in decoded)


@pytest.mark.parametrize("head", CLASS_MAP_HEADS)
def test_the_logits_of_a_fully_convolutional_head_are_the_means_of_its_class_maps(head: str):
    net = small(head=head, head_options={"pools": [[2, 3]]} if head == "fcn" else None, dropout=0.5)
    outputs = net(IMAGE, IMAGE_HW)
    assert outputs["class_maps"].shape == ((4, 5, 4, 4) if head == "fcn" else (4, 5, 1, 2))
    torch.testing.assert_close(outputs["logits"], outputs["class_maps"].mean(dim=(2, 3)))
    assert "class_maps" not in small()(IMAGE, IMAGE_HW)


@pytest.mark.parametrize("head", CLASS_MAP_HEADS)
@pytest.mark.parametrize("option", [{"metadata": "onehot"}, {"predict_box": True}])
def test_a_fully_convolutional_head_has_no_place_for_sizes_and_boxes(head: str, option: dict[str, object]):
    with pytest.raises(ValueError, match=rf"model.head={head} gives class maps only: model.metadata=none and"):
        small(head=head, **option)


def test_depth_groups_end_with_all_that_is_no_backbone():
    net = small(head="dense", predict_box=True, metadata="onehot")
    *backbone, head = net.depth_groups()
    names = [name for name, _ in net.named_parameters()]
    assert sorted(name for group in [*backbone, head] for name in group) == sorted(names)
    assert [sorted({name.split(".")[2] + name.split(".")[3] for name in group}) for group in backbone] == [
        ["stem0"],
        ["stages0"],
        ["stages1"],
    ]
    assert {name.split(".")[0] for name in head} == {"trunk", "box", "size", "classifier"}
