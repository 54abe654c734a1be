"""Networks made faster for prediction, where this machine is the faster for it and the answers stay what they were."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.fx import Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fisheries.batch import Batch
from fisheries.inference.tta import Reader, predict_views

PRECISIONS = ("auto", "float32", "bfloat16")
PLAIN, FOLDED, BFLOAT16 = "plain", "folded", "bfloat16"
CHECKED = 64  # images that tell whether bfloat16 is good enough
_TIMED = 16  # images that tell how fast each way is
_GAIN = 1.2  # below it the choice would change from one time to the next
_SMALL = 1_000_000  # parameters: such a network waits for its photographs
_MOST_CHANGE = 0.0003  # of the log loss: its third digit stays, with room for what the checked images do not tell
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)  # none that does something else
_FLOOR = 1e-15  # where Kaggle clips


class Choice(NamedTuple):
    """How a network predicts, and why, in words."""

    way: str
    reason: str


class FastNet(nn.Module):
    """A `FishNet` that sees pictures channels last, its backbone in bfloat16 if wanted, its head in float32."""

    def __init__(self, net: nn.Module, *, half: bool) -> None:
        super().__init__()
        self.net, self.half_backbone = net, half
        self.backbone = net.backbone

    def forward(self, image: Tensor, image_hw: Tensor) -> dict[str, Tensor]:
        """Return what the network's `decode` does, of images (N, 3, H, W) and sizes (N, 2)."""
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=self.half_backbone):
            encoded = self.net.encode(image)  # type: ignore[operator]
        outputs: dict[str, Tensor] = self.net.decode(encoded.float(), image_hw)  # type: ignore[operator]
        return outputs


def fast_net(net: nn.Module, way: str) -> nn.Module:
    """Return a network with the same answers, for prediction only.

    Args:
        net: a `FishNet`, which stays as it is.
        way: "plain", the network itself; "folded", a copy whose batch normalization is part of the convolutions, with
            channels last; "bfloat16", this with the backbone in bfloat16.
    """
    if way == PLAIN:
        return net
    made = copy.deepcopy(net).eval()
    fold_norms(made.backbone.network)  # type: ignore[union-attr, arg-type]
    if way == BFLOAT16:
        for module in made.backbone.modules():  # type: ignore[union-attr]
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)  # or it would be done anew for each batch
    return FastNet(made.to(memory_format=torch.channels_last), half=way == BFLOAT16)


def fold_norms(network: nn.Module) -> int:
    """Make batch normalizations part of the convolutions before them, where nothing else sees what these give.

    Args:
        network: of timm, or our own, in evaluation mode; one whose steps depend on its input stays as it is.

    Returns:
        How many there were.
    """
    try:
        graph = _Steps().trace(network)
    except Exception:  # whatever such a network does with a picture that is none
        return 0
    modules = dict(network.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    targets = [node.target for node in calls]
    folded = 0
    for node in calls:
        before: Any = node.args[0] if node.args else None
        norm, conv = modules[str(node.target)], modules.get(str(getattr(before, "target", "")))
        once = targets.count(node.target) == 1 and getattr(before, "op", "") == "call_module"
        if not once or type(norm) not in _NORMS or type(conv) is not nn.Conv2d or norm.running_mean is None:
            continue
        if len(before.users) == 1 and targets.count(before.target) == 1:
            network.set_submodule(str(before.target), fuse_conv_bn_eval(conv, norm))
            network.set_submodule(str(node.target), _without_norm(norm))
            folded += 1
    return folded


def settled_way(net: nn.Module, *, precision: str, images: int) -> Choice | None:
    """Say how a network predicts where nothing need be measured: as told, or as it is where little is to be gained.

    Args:
        net: the network.
        precision: one of `PRECISIONS`.
        images: how many are to be predicted.
    """
    if precision == BFLOAT16:
        return Choice(BFLOAT16, "as told")
    if images <= CHECKED or sum(parameter.numel() for parameter in net.parameters()) < _SMALL:
        return Choice(PLAIN, "")
    return None


def choose_way(
    readers: Sequence[Reader], batches: Sequence[Batch], *, precision: str, images: int, device: torch.device
) -> Choice:
    """Say how networks predict best on this machine: the fastest way by far whose answers are as good.

    Args:
        readers: of a `FishNet` each, alike, whose answers are averaged.
        batches: the first of those to come, of `CHECKED` images or more if there are so many.
        precision: "auto", or "float32", which leaves bfloat16 out.
        images: how many are to be predicted.
        device: to predict on.
    """
    ways = [PLAIN, FOLDED]
    if precision == "auto" and device.type in ("cpu", "cuda"):
        ways.append(BFLOAT16)
    times_s = _times_s({way: _read_by(readers[0], way, device) for way in ways}, batches[0], device)
    gain = {way: median(np.divide(times_s[PLAIN], times_s[way])) for way in ways}
    exact = FOLDED if gain[FOLDED] >= _GAIN else PLAIN
    if gain.get(BFLOAT16, 0) < _GAIN * gain[exact]:
        return Choice(exact, f"{gain[exact]:.1f} x plain")
    change = _change(readers, exact, batches, images=images, device=device)
    said = f"bfloat16 is {gain[BFLOAT16]:.1f} x plain and moves the log loss by up to {change:.5f}"
    return Choice(BFLOAT16 if change <= _MOST_CHANGE else exact, said)


def log_loss_change(exact: NDArray[np.float64], other: NDArray[np.float64], *, images: int) -> float:
    """Return how far the log loss may move where one network's answers are taken for another's.

    Labels are not known here. If they come as often as the exact answers say, the log loss grows by the mean
    Kullback-Leibler divergence, and by chance moves as the mean of as many changes as there are images. How far such
    a change goes counts for likely and for unlikely labels alike, since on new boats networks are too sure.

    Args:
        exact: probabilities (M, C) of some images.
        other: those to be taken instead.
        images: how many there will be in all.

    Returns:
        The divergence and two standard deviations of that mean.
    """
    change = np.log(other.clip(min=_FLOOR)) - np.log(exact.clip(min=_FLOOR))
    divergence = -(exact * change).sum(axis=1).mean()
    weights = (exact + 1 / exact.shape[1]) / 2
    deviation = np.sqrt((weights * change**2).sum(axis=1).mean())
    return float(divergence + 2 * deviation / np.sqrt(images))


class _Steps(Tracer):
    traced_func_name = "forward_features"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _without_norm(norm: nn.Module) -> nn.Module:
    """Return what timm's normalizations do besides: an activation, say."""
    rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(*rest)


@torch.inference_mode()
def _times_s(readers: Mapping[str, Reader], batch: Batch, device: torch.device) -> dict[str, list[float]]:
    """Return seconds of three turns; in each, every network sees the same images, so that a busy machine slows all."""
    few: Batch = {**batch, "image": batch["image"][:_TIMED], "image_hw": batch["image_hw"][:_TIMED]}

    def seconds(reader: Reader) -> float:
        began_s = time.perf_counter()
        predict_views([reader], few, "none", device)
        return time.perf_counter() - began_s

    turns = [{way: seconds(reader) for way, reader in readers.items()} for _ in range(4)]
    return {way: [turn[way] for turn in turns[1:]] for way in readers}  # the first time, memory is laid out


@torch.inference_mode()
def _change(
    readers: Sequence[Reader], exact: str, batches: Sequence[Batch], *, images: int, device: torch.device
) -> float:
    tables = []
    for way in (exact, BFLOAT16):
        made = [_read_by(reader, way, device) for reader in readers]
        said = [[answer[0] for answer in predict_views(made, batch, "none", device)] for batch in batches]
        tables.append(torch.cat([torch.stack(batch).mean(dim=0) for batch in said]).numpy())
    return log_loss_change(*tables, images=images)


def _read_by(reader: Reader, way: str, device: torch.device) -> Reader:
    return reader._replace(net=fast_net(reader.net, way).to(device).eval())
