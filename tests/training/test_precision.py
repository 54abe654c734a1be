from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.training.compiled import compile_net, interpret_net
from fisheries.training.precision import (
    BFLOAT16,
    Way,
    fastest_way,
    measure_ways,
    possible_ways,
    read_way,
    takes_channels_last,
    write_way,
)

CPU = torch.device("cpu")
LAST, HALF = Way(channels_last=True), Way(BFLOAT16, True)


def net_of(name: str = "mobilenetv3_small_050", **options: object) -> FishNet:
    torch.manual_seed(0)
    return FishNet(create_backbone(name, options=options), classes=3)


def test_the_plain_way_stays_unless_another_is_clearly_faster():
    assert fastest_way({Way(): 1.0, LAST: 0.95, HALF: 0.9}) == Way()
    assert fastest_way({Way(): 1.0, LAST: 0.8, HALF: 0.75}) == LAST
    assert fastest_way({Way(): 1.0, LAST: 0.8, HALF: 0.5}) == HALF
    assert fastest_way({Way(): 1.0}) == Way()


@given(st.lists(st.floats(0.01, 100), min_size=4, max_size=4))
def test_the_chosen_way_is_never_clearly_slower_than_another(seconds: list[float]):
    measured = dict(zip([Way(), LAST, Way(BFLOAT16), HALF], seconds, strict=True))
    assert measured[fastest_way(measured)] <= 1.1 * 1.2 * min(seconds)


def test_a_network_says_the_same_with_its_channels_last():
    net = net_of().eval()
    image = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    plain = net(image, torch.zeros(2, 2))["logits"]
    net.backbone.lay_out(channels_last=True)
    assert net.backbone.network.conv_stem.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(image, torch.zeros(2, 2))["logits"], plain, rtol=1e-4, atol=1e-4)


def test_a_strided_convolution_that_pytorch_would_write_past_the_end_of_keeps_its_channels_first():
    narrow = net_of("small_residual", widths=[8, 16], depths=[1, 1])
    wide = net_of("small_residual", widths=[16, 32], depths=[1, 1])
    assert not takes_channels_last(narrow, CPU)
    assert takes_channels_last(wide, CPU)
    assert takes_channels_last(narrow, torch.device("cuda"))
    assert {way.channels_last for way in possible_ways(narrow, CPU)} == {False}


def test_every_way_that_is_not_hopeless_is_measured_on_the_pictures_of_the_run():
    seconds = measure_ways(net_of(), image_hw=(32, 48), device=CPU)
    assert Way() in seconds
    assert set(seconds) <= {Way(), LAST, Way(BFLOAT16), HALF}
    assert all(taken > 0 for taken in seconds.values())


def test_what_was_measured_is_found_again_for_the_same_network_and_machine_only(tmp_path: Path):
    path = tmp_path / "tables" / "precision.json"
    write_way(path, {"model": "a"}, HALF)
    write_way(path, {"model": "b"}, LAST)
    assert read_way(path, {"model": "a"}) == HALF
    assert read_way(path, {"model": "b"}) == LAST
    assert read_way(path, {"model": "c"}) is None


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"x": 1}'])
def test_a_damaged_note_is_measured_anew(tmp_path: Path, damaged: bytes):
    path = tmp_path / "precision.json"
    write_way(path, {"model": "a"}, HALF)
    path.write_bytes(damaged)
    assert read_way(path, {"model": "a"}) is None
    write_way(path, {"model": "a"}, LAST)
    assert read_way(path, {"model": "a"}) == LAST
    assert isinstance(json.loads(path.read_text()), dict)


def no_compiler(*arguments: object) -> None:
    raise RuntimeError("no compiler found")


def test_a_network_that_can_not_be_compiled_is_used_as_it_is():
    said, net = io.StringIO(), Small()
    compile_net(net, image_hw=(8, 8), console=Console(file=said, width=300), backend=no_compiler)
    assert "not on this machine" in said.getvalue()
    assert "no compiler found" in said.getvalue()
    assert net(torch.zeros(2, 3, 8, 8), torch.zeros(2, 2)).shape == (2, 2)


def test_a_compiled_network_says_the_same_and_keeps_its_weights_names():
    net = Small()
    names, image = list(net.state_dict()), torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    plain = net(image, torch.zeros(2, 2))
    compile_net(net, image_hw=(8, 8), console=Console(quiet=True), backend="eager")
    np.testing.assert_allclose(net(image, torch.zeros(2, 2)).detach(), plain.detach(), rtol=1e-4)
    assert list(net.state_dict()) == names
    interpret_net(net)
    assert net._compiled_call_impl is None


class Small(nn.Module):
    """A layer on the mean color."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, image: torch.Tensor, image_hw: torch.Tensor) -> torch.Tensor:
        return self.layer(image.float().mean(dim=(2, 3)))
