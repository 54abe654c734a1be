from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.data.manifest import scan
from fisheries.data.nights import find_nights
from fisheries.data.synthetic import plan_competition
from fisheries.data.thumbnails import load_thumbnails


def judge(thumbnail: np.ndarray, status: str = "ok") -> bool:
    return bool(find_nights(pd.DataFrame({"status": [status]}, index=["a"]), thumbnail.astype(np.uint8)[None])["a"])


def deck() -> np.ndarray:
    """A thumbnail (54, 96, 3) of a gray deck beside a blue sea, with something orange on it."""
    picture = np.full((54, 96, 3), 130.0)
    picture[:, 60:] = 60, 90, 130
    picture[20:34, 12:36] = 226, 112, 30
    return picture


def test_nights_are_those_that_were_drawn(world: Path):
    manifest = scan(world, previous=None, workers=1, progress=False)
    found = find_nights(manifest, load_thumbnails(manifest, workers=1))
    plan = plan_competition(train=96, stage1=12, stage2=18, boats=8, new_boats=3, leak=0.5, seed=3)
    drawn = plan["is_night"].loc[found.index]
    assert found.name == "is_night"
    assert found.index.equals(manifest.index)
    assert 10 < drawn.sum() < 60
    assert (found == drawn).mean() >= 0.97


def test_a_photograph_with_colors_of_its_own_is_by_day():
    assert not judge(deck())
    assert not judge(deck() * 0.6)
    overcast = np.full((54, 96, 3), 150.0)
    overcast[:, 60:] = 120, 128, 136
    assert not judge(overcast)


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (0.5, 1.0, 0.6), (1.0, 0.8, 0.6)])
def test_a_photograph_of_one_tint_is_by_night(tint: tuple[float, ...]):
    noise = np.random.default_rng(0).normal(0, 3, (54, 96, 3))
    gray = np.repeat(deck().mean(axis=2, keepdims=True), 3, axis=2)
    assert judge((gray * tint + noise).clip(0, 255))


def test_a_green_lamp_leaves_some_color_and_it_is_still_night():
    green = deck() * (0.6, 1.3, 0.7)
    green[:, 60:] = 20, 70, 40
    assert judge(green)
    green[20:50, 8:44] = 226, 112, 30
    assert not judge(green)


def test_colors_under_a_floodlight_with_a_black_sea_are_by_night():
    dark = deck()
    dark[:, 60:] = 12, 16, 24
    assert judge(dark)


def test_a_shadow_is_no_night():
    shadowed = deck()
    shadowed[:, 84:] = 10
    assert not judge(shadowed)


def test_black_bars_beside_a_photograph_are_no_night():
    barred = deck()
    barred[:, :12] = barred[:, -12:] = 0
    assert not judge(barred)


def test_photographs_that_cannot_be_read_are_no_nights():
    assert not judge(np.zeros((54, 96, 3)), status="truncated")
    assert find_nights(pd.DataFrame({"status": []}, dtype="str"), np.zeros((0, 54, 96, 3), np.uint8)).empty
