from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from fisheries.models.backbones import create_backbone
from fisheries.models.weights import BackboneError, load_weights

NAME = "test_resnet"  # timm's smallest


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "net.backbone.network."])
def test_weights_are_loaded_under_any_prefix_and_the_classifier_is_left_over(tmp_path: Path, suffix: str, prefix: str):
    source = timm.create_model(NAME, num_classes=1000)
    state = {f"{prefix}{name}": tensor.contiguous() for name, tensor in source.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        safetensors.torch.save_file(state, path)
    backbone = create_backbone(NAME)
    report = load_weights(backbone.network, path)
    assert report.missing == []
    assert sorted(report.left_over) == ["fc.bias", "fc.weight"]
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in backbone.network.state_dict().items())


def test_missing_tensors_are_named(tmp_path: Path):
    state = timm.create_model(NAME, num_classes=0).state_dict()
    del state["conv1.0.weight"]
    torch.save(state, tmp_path / "w.pth")
    report = load_weights(create_backbone(NAME).network, tmp_path / "w.pth")
    assert report.missing == ["conv1.0.weight"]
    assert "missing: conv1.0.weight; left over: none" in str(report)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-was-here",)


def test_code_in_a_weights_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for number, data in enumerate([pickle.dumps(Hostile()), b"", b"\x00" * 100]):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        with pytest.raises(BackboneError, match=r"not a plain file of tensors"):
            load_weights(create_backbone(NAME).network, path)
    torch.save({"conv1.0.weight": Hostile()}, tmp_path / "in_zip.pth")
    with pytest.raises(BackboneError, match=r"in_zip.pth: not a plain file of tensors"):
        load_weights(create_backbone(NAME).network, tmp_path / "in_zip.pth")
    assert not Path("hostile-was-here").exists()


def test_an_empty_safetensors_file_is_one_line(tmp_path: Path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(BackboneError, match=r"w.safetensors: not a plain file of tensors"):
        load_weights(create_backbone(NAME).network, tmp_path / "w.safetensors")


def test_weights_of_another_network_are_refused(tmp_path: Path):
    torch.save({"stem.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(
        BackboneError, match=r"none of its 1 tensors fits the network: has stem.weight, needs conv1.0.weight"
    ):
        load_weights(create_backbone(NAME).network, tmp_path / "other.pth")
    torch.save({"conv1.0.weight": torch.zeros(3)}, tmp_path / "shape.pth")
    with pytest.raises(BackboneError, match=r"'conv1.0.weight' is \(3,\), the network has .*: another architecture"):
        load_weights(create_backbone(NAME).network, tmp_path / "shape.pth")


def test_a_weights_file_that_is_not_there_is_one_line(tmp_path: Path):
    with pytest.raises(BackboneError, match=r"no such file; model.weights takes a .pth or .safetensors file"):
        load_weights(create_backbone(NAME).network, tmp_path / "none.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(BackboneError, match=r"holds a list, not tensors by name"):
        load_weights(create_backbone(NAME).network, tmp_path / "list.pth")


def test_a_cut_network_takes_the_weights_of_the_whole_one(tmp_path: Path):
    source = timm.create_model(NAME, num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    backbone = create_backbone(NAME, stride=16, pool="avg")
    report = load_weights(backbone.network, tmp_path / "w.pth")
    assert report.missing == []
    assert {name.split(".")[0] for name in report.left_over} == {"layer4", "fc"}
    x = torch.rand(1, 3, 64, 64)
    whole = source.eval().forward_intermediates(x, indices=[3], intermediates_only=True)[0]
    assert torch.equal(backbone.network.eval().forward_features(x), whole)
