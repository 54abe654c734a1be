from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fisheries.inference import fast
from fisheries.inference.fast import choose_way, fast_net, fold_norms, log_loss_change, settled_way
from fisheries.inference.tta import Reader
from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet

CPU = torch.device("cpu")


def made_net(name: str = "mobilenetv3_small_100", **options: object) -> FishNet:
    """A network in evaluation mode, whose normalizations have something to do."""
    torch.manual_seed(0)
    net = FishNet(create_backbone(name, options=options), classes=3, predict_box=True).eval()
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.3)
    return net


def batch_of(count: int, hw: tuple[int, int] = (32, 48)) -> dict:
    image = torch.randint(0, 256, (count, 3, *hw), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return {"image": image, "image_hw": torch.zeros(count, 2), "image_id": [str(number) for number in range(count)]}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenetv3_small_100", {}),  # normalizations with activations in them
        ("small_residual", {"widths": [8, 16], "depths": [1, 1], "squeeze": True}),
        ("vit_tiny_patch16_224", {"img_size": [32, 48], "depth": 2}),  # none at all
    ],
)
def test_a_folded_network_answers_as_before_and_has_no_norms_left(name: str, options: dict):
    net, batch = made_net(name, **options), batch_of(4)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    folded = fast_net(net, "folded")
    with torch.inference_mode():
        expected, said = (one(batch["image"], batch["image_hw"]) for one in (net, folded))
    for key in ("logits", "box_cxcywh"):
        torch.testing.assert_close(said[key], expected[key], rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())  # the first is as it was


def test_a_network_in_bfloat16_answers_nearly_as_before_in_float32():
    net, batch = made_net(), batch_of(4)
    with torch.inference_mode():
        expected, said = (fast_net(net, way)(batch["image"], batch["image_hw"]) for way in ("plain", "bfloat16"))
    assert said["logits"].dtype == torch.float32
    change = (said["logits"] - expected["logits"]).abs().max() / expected["logits"].abs().max()
    assert 1e-6 < change < 0.1


class Steps(nn.Module):
    """Four networks in one; in some, a norm can't become part of the convolution before it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv, self.norm, self.way = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), way
        self.norm.running_mean += 1

    def forward_features(self, x: Tensor) -> Tensor:
        seen = self.conv(x)
        if self.way == "also seen by another":
            return self.norm(seen) + seen
        if self.way == "used twice":
            return self.norm(seen) + self.norm(self.conv(seen))
        if self.way == "depends on its input" and x.sum() > 0:
            return seen
        return self.norm(seen)


@pytest.mark.parametrize(
    ("way", "count"), [("plain", 1), ("also seen by another", 0), ("used twice", 0), ("depends on its input", 0)]
)
def test_only_norms_that_can_be_are_folded(way: str, count: int):
    network, x = Steps(way).eval(), torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        expected = network.forward_features(x)
    assert fold_norms(network) == count
    torch.testing.assert_close(network.forward_features(x), expected)


def choose(
    monkeypatch: pytest.MonkeyPatch,
    *,
    gain: tuple[float, float],
    logits: float = 1.0,
    images: int = 10_000,
    precision: str = "auto",
    net: FishNet | None = None,
) -> fast.Choice:
    """Choose on a machine of given speeds, for networks whose logits are `logits` times what they were."""
    speeds = {"plain": 1.0, "folded": gain[0], "bfloat16": gain[1]}
    monkeypatch.setattr(fast, "_times_s", lambda readers, *_: {way: [1 / speeds[way]] * 3 for way in readers})
    net = net or made_net()
    with torch.no_grad():
        net.classifier.weight *= logits
    settled = settled_way(net, precision=precision, images=images)
    return settled or choose_way(
        [Reader(net)], [batch_of(32), batch_of(32)], precision=precision, images=images, device=CPU
    )


def test_the_fastest_way_is_taken_if_its_answers_are_as_good(monkeypatch: pytest.MonkeyPatch):
    assert choose(monkeypatch, gain=(1.5, 2.5), logits=0).way == "bfloat16"
    chosen = choose(monkeypatch, gain=(1.5, 2.5), logits=1000)
    assert chosen.way == "folded"
    assert chosen.reason.startswith("bfloat16 is 2.5 x plain and moves the log loss by up to ")
    assert choose(monkeypatch, gain=(1.1, 2.5), logits=1000).way == "plain"


def test_a_small_gain_and_what_was_not_asked_for_are_left(monkeypatch: pytest.MonkeyPatch):
    assert choose(monkeypatch, gain=(1.1, 1.15), logits=0).way == "plain"
    assert choose(monkeypatch, gain=(1.5, 1.7), logits=0) == ("folded", "1.5 x plain")
    assert choose(monkeypatch, gain=(1.5, 2.5), logits=0, precision="float32").way == "folded"
    assert choose(monkeypatch, gain=(1.5, 2.5), logits=1000, precision="bfloat16").way == "bfloat16"


def test_few_images_and_small_networks_are_predicted_as_they_are(monkeypatch: pytest.MonkeyPatch):
    assert choose(monkeypatch, gain=(1.5, 2.5), logits=0, images=64).way == "plain"
    assert choose(monkeypatch, gain=(1.5, 2.5), logits=0, net=made_net("small_residual")).way == "plain"


def test_ways_are_timed_on_the_first_images():
    times_s = fast._times_s({way: Reader(fast_net(made_net(), way)) for way in ("plain", "folded")}, batch_of(32), CPU)
    assert {way: len(seconds) for way, seconds in times_s.items()} == {"plain": 3, "folded": 3}
    assert all(second > 0 for seconds in times_s.values() for second in seconds)


def test_the_log_loss_moves_by_less_than_is_said():
    rng = np.random.default_rng(0)
    images, classes = 2000, 8

    def softmax(logits: np.ndarray) -> np.ndarray:
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    logits = rng.normal(scale=3, size=(images, classes))
    exact, other = softmax(logits), softmax(logits + rng.normal(scale=0.05, size=logits.shape))
    said = log_loss_change(exact[:64], other[:64], images=images)
    moved = []
    for _ in range(200):
        labels = (rng.random((images, 1)) > exact.cumsum(axis=1)).sum(axis=1)
        every = np.arange(images)
        moved.append(abs(np.log(exact[every, labels]).mean() - np.log(other[every, labels]).mean()))
    assert np.quantile(moved, 0.5) < said < 10 * np.quantile(moved, 0.95)
    assert np.mean(np.array(moved) < said) >= 0.95
    assert log_loss_change(exact, exact, images=images) == 0
    assert log_loss_change(exact[:64], other[:64], images=100) > said  # over few images chance is not averaged out
