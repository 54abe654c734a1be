from __future__ import annotations

import pytest
import torch

from fisheries.training.schedules import create_schedule


def rates(*, name: str, warmup: float, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    schedule = create_schedule(optimizer, name=name, warmup=warmup, total_steps=steps)
    values = []
    for _ in range(steps):
        values.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return values


def test_cosine_rises_to_the_rate_and_falls_to_almost_0():
    values = rates(name="cosine", warmup=0.2, steps=20)
    assert values[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert values[4:] == sorted(values[4:], reverse=True)
    assert 0 < values[-1] < 0.05


def test_constant_stays():
    assert rates(name="constant", warmup=0.0, steps=5) == [2.0] * 5


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match=r"schedule.name='linear': expected constant or cosine"):
        rates(name="linear", warmup=0.0, steps=1)
