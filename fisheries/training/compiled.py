"""Compiled networks, where this machine can compile them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from torch import nn


def compile_net(
    net: nn.Module, *, image_hw: tuple[int, int], console: Console, backend: str | Callable[..., Any] = "inductor"
) -> None:
    """Compile a network's forward pass with torch.compile, or say why it stays as it is.

    Args:
        net: a `FishNet`; its weights keep their names.
        image_hw: height and width of the pictures with which it is tried.
        console: where to say so.
        backend: torch.compile's.
    """
    training = net.training
    console.print("  compiling the network; the first steps take a minute longer")
    net.compile(backend=backend)
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(2, 3, *image_hw, dtype=torch.uint8), torch.zeros(2, 2))
    except Exception as error:  # no compiler, or an operation that it does not know
        interpret_net(net)
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        console.print(f"  trainer.compile: not on this machine ({reason}); the network is used as it is", markup=False)
    net.train(training)


def interpret_net(net: nn.Module) -> None:
    """Use a network as it is again, such as for predictions, whose last batch would be compiled anew."""
    net._compiled_call_impl = None
