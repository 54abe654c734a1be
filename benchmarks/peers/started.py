"""What the trainings of the peers share: the settings of benchmarks/time_to_score.py, the network, and where to tell a loss."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import nn

from fisheries.models.blocks import OWN_NETWORKS, ResidualNet

Settings = dict[str, Any]


def settings_and_tell() -> tuple[Settings, Callable[[float], None]]:
    """Return the settings, and what prints a loss; all else that libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(settings["seed"])
    return settings, lambda loss: print(loss, file=answers, flush=True)


def network(settings: Settings) -> nn.Module:
    """Return the network with its weights to begin with, and a new last layer."""
    name, path = settings["network"], Path(settings["weights"])
    own = name in OWN_NETWORKS
    net = ResidualNet(**OWN_NETWORKS[name]) if own else timm.create_model(name, num_classes=0)
    state = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    net.load_state_dict(state)
    return Classifier(net, len(settings["classes"]))


class Classifier(nn.Module):
    """A network with a new last layer."""

    def __init__(self, net: nn.Module, classes: int) -> None:
        super().__init__()
        self.net = net
        self.last = nn.Linear(net.head_hidden_size, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalized images (N, 3, H, W) to logits (N, C)."""
        return self.last(self.net.forward_head(self.net.forward_features(images), pre_logits=True))
