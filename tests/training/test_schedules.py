from __future__ import annotations

import pytest
import torch

from fisheries.schema import InputError
from fisheries.training.finetune import Phase
from fisheries.training.schedules import create_schedule, rise_and_fall


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


def test_each_phase_rises_and_falls_by_itself_and_a_decay_lowers_the_rate_with_depth():
    head, input_ = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": [head], "depth": 0}, {"params": [input_], "depth": 3}], lr=2.0)
    phases = [Phase(0, 1, open=1, lr=3.0), Phase(1, 3, lr=0.5)]
    schedule = create_schedule(optimizer, name="cosine", warmup=0.25, total_steps=12, phases=phases, lr_decay=0.1)
    values = []
    for _ in range(12):
        values.append(schedule.get_last_lr())
        optimizer.step()
        schedule.step()
    first, second = [rate for rate, _ in values], [rate for _, rate in values]
    assert first[:4] == pytest.approx(
        [2 * 3 * rise_and_fall(step, name="cosine", warmup=0.25, steps=4) for step in range(4)]
    )
    assert first[4:] == pytest.approx(
        [2 * 0.5 * rise_and_fall(step, name="cosine", warmup=0.25, steps=8) for step in range(8)]
    )
    assert (first[0], first[4:6]) == (pytest.approx(6), [pytest.approx(0.5), pytest.approx(1.0)])
    assert second == pytest.approx([0] * 4 + [0.001 * rate for rate in first[4:]])


def test_a_schedule_with_an_end_needs_one():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    with pytest.raises(InputError, match=r"schedule.name=cosine needs an end: give trainer.max_epochs"):
        create_schedule(optimizer, name="cosine", warmup=0.0, total_steps=float("inf"))
    assert create_schedule(optimizer, name="constant", warmup=0.0, total_steps=float("inf")).get_last_lr() == [2.0]
