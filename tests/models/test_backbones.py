from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from fisheries.models import backbones
from fisheries.models.backbones import BackboneError, create_backbone, load_weights

NAME = "test_resnet"  # timm's smallest


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(backbones, "_reachable", lambda url: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_pixels_are_normalized_as_in_pretraining():
    backbone = create_backbone(NAME)
    seen = []
    backbone.network.forward_features = lambda x: seen.append(x) or torch.zeros(1, 1, 1, 1)
    backbone.network.forward_head = lambda x, pre_logits: x
    image = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    backbone(image)
    config = backbone.network.pretrained_cfg
    expected = [(1 - mean) / std for mean, std in zip(config["mean"], config["std"], strict=True)]
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor(expected))


def test_given_mean_and_deviation_win():
    backbone = create_backbone("mobilenetv2_035", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    torch.testing.assert_close(
        ((black_and_white - backbone.mean) / backbone.std)[:, 0, 0, 0], torch.tensor([-1.0, 1.0])
    )


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(BackboneError, match=r"no network 'resnett50' in timm .*; the nearest are .*resnet50"):
        create_backbone("resnett50")


def test_a_network_without_pretrained_weights_names_both_ways_out():
    with pytest.raises(
        BackboneError,
        match=r"no pretrained weights for 'mobilenetv2_035': .*model.weights=FILE.*model.pretrained=false",
    ):
        create_backbone("mobilenetv2_035", pretrained=True)


def test_our_own_network_has_no_pretrained_weights():
    with pytest.raises(BackboneError, match=r"no pretrained weights for 'small_residual': use model.pretrained=false"):
        create_backbone("small_residual", pretrained=True)


@pytest.mark.parametrize("name", ["resnet18", "legacy_xception"])
@pytest.mark.usefixtures("offline")
def test_weights_that_cannot_be_fetched_are_an_error_and_not_noise(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(BackboneError, match=r"can't be fetched \(no network\?\): give a file with model.weights=FILE"):
        create_backbone(name, pretrained=True)


def test_a_host_that_does_not_answer_is_not_reachable():
    assert not backbones._reachable("https://localhost:9")  # the discard port: nothing listens there


def test_a_proxy_is_asked_in_place_of_the_host(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(
        backbones.socket,
        "create_connection",
        lambda address, timeout: asked.append(address) or (_ for _ in ()).throw(OSError),
    )
    assert not backbones._reachable("https://weights.example/file")
    assert asked == [("proxy.example", 3128)]


def test_options_that_do_not_fit_are_named():
    with pytest.raises(BackboneError, match=r"model.options does not fit 'test_resnet'"):
        create_backbone(NAME, options={"no_such_option": 1})


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
    report = load_weights(backbone, path)
    assert report.missing == []
    assert sorted(report.left_over) == ["fc.bias", "fc.weight"]
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in backbone.network.state_dict().items())


def test_missing_tensors_are_named(tmp_path: Path):
    state = timm.create_model(NAME, num_classes=0).state_dict()
    del state["conv1.0.weight"]
    torch.save(state, tmp_path / "w.pth")
    report = load_weights(create_backbone(NAME), tmp_path / "w.pth")
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
            load_weights(create_backbone(NAME), path)
    torch.save({"conv1.0.weight": Hostile()}, tmp_path / "in_zip.pth")
    with pytest.raises(BackboneError, match=r"in_zip.pth: not a plain file of tensors"):
        load_weights(create_backbone(NAME), tmp_path / "in_zip.pth")
    assert not Path("hostile-was-here").exists()


def test_an_empty_safetensors_file_is_one_line(tmp_path: Path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(BackboneError, match=r"w.safetensors: not a plain file of tensors"):
        load_weights(create_backbone(NAME), tmp_path / "w.safetensors")


def test_weights_of_another_network_are_refused(tmp_path: Path):
    torch.save({"stem.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(
        BackboneError, match=r"none of its 1 tensors fits the network: has stem.weight, needs conv1.0.weight"
    ):
        load_weights(create_backbone(NAME), tmp_path / "other.pth")
    torch.save({"conv1.0.weight": torch.zeros(3)}, tmp_path / "shape.pth")
    with pytest.raises(BackboneError, match=r"'conv1.0.weight' is \(3,\), the network has .*: another architecture"):
        load_weights(create_backbone(NAME), tmp_path / "shape.pth")


def test_a_weights_file_that_is_not_there_is_one_line(tmp_path: Path):
    with pytest.raises(BackboneError, match=r"no such file; model.weights takes a .pth or .safetensors file"):
        load_weights(create_backbone(NAME), tmp_path / "none.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(BackboneError, match=r"holds a list, not tensors by name"):
        load_weights(create_backbone(NAME), tmp_path / "list.pth")
