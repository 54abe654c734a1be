from __future__ import annotations

import os

import pytest
import pytorch_lightning  # noqa: F401  # makes PyTorch ask the driver
import torch

from fisheries.training.devices import hide_missing_gpus


@pytest.mark.parametrize(("gpus", "told"), [(0, ""), (2, "0,1")])
def test_gpus_are_hidden_only_where_there_are_none(monkeypatch: pytest.MonkeyPatch, gpus: int, told: str):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    hide_missing_gpus()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == told


@pytest.mark.skipif(torch.cuda.device_count() > 0 or not torch.version.cuda, reason="there is a GPU, or no CUDA at all")
def test_an_optimizer_asks_no_driver_once_missing_gpus_are_hidden(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # so that the end of the test undoes what follows
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: asked.append(1) or -1)
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], fused=True)
    weight.sum().backward()
    optimizer.step()
    assert asked
    hide_missing_gpus()
    asked.clear()
    optimizer.step()
    assert not asked
