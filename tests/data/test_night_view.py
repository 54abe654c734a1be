from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fisheries.data.images import read_small
from fisheries.data.night_view import night_view
from fisheries.data.nights import looks_like_night

Pictures = list[np.ndarray]


@pytest.fixture(scope="module")
def pictures(tables: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[Pictures, Pictures]:
    """Photographs of the embedded boats by day, and by night."""
    manifest = tables[0].query("status == 'ok'")
    small = pd.Series([read_small(path, image_hw=(90, 160)) for path in manifest["path"]], manifest.index)
    return list(small[~manifest["is_night"]]), list(small[manifest["is_night"]])


@pytest.fixture(scope="module")
def views(pictures: tuple[Pictures, Pictures]) -> tuple[Pictures, Pictures]:
    """Views of the days, under a green lamp, and under a white one."""
    views = [night_view(picture, np.random.default_rng(seed)) for seed, picture in enumerate(pictures[0])]
    is_green = [np.median(view[..., 1]) > 1.2 * np.median(view[..., [0, 2]]) for view in views]
    return [v for v, green in zip(views, is_green, strict=True) if green], [
        v for v, green in zip(views, is_green, strict=True) if not green
    ]


def test_a_photograph_by_night_stays_as_it_is(pictures):
    nights = pictures[1]
    assert len(nights) > 5
    for night in nights:
        assert night_view(night, np.random.default_rng(0)) is night


def test_green_and_white_lamps_come_about_equally_often(views):
    green, white = views
    assert len(green) > 30
    assert len(white) > 30


def test_no_day_is_taken_for_a_night_but_most_of_its_views_are(views, pictures):
    assert not any(looks_like_night(day) for day in pictures[0])
    assert np.mean([looks_like_night(view) for view in views[0]]) > 0.7
    assert np.mean([looks_like_night(view) for view in views[1]]) > 0.5


def test_a_green_lamp_has_the_colors_of_real_nights(views):
    """Real ones: red 61, green 112 and blue 61 on average; these boats are a little lighter than real ones by day, too."""
    red, green, blue = np.mean([view.mean(axis=(0, 1)) for view in views[0]], axis=0)
    assert 100 < green < 145
    assert 0.4 < red / green < 0.7
    assert 0.4 < blue / green < 0.7


def test_a_white_lamp_has_the_contrast_of_real_nights(views, pictures):
    """Real ones: a standard deviation of 77 where days have 50, a tenth of the picture black."""
    grays = [view.mean(axis=2) for view in views[1]]
    assert np.mean([gray.std() for gray in grays]) > 60 > np.mean([day.mean(axis=2).std() for day in pictures[0]])
    assert np.mean([np.quantile(gray, 0.1) for gray in grays]) < 12
    assert np.mean([np.quantile(gray, 0.99) for gray in grays]) > 250


def test_a_light_spot_stays_lighter_than_what_is_around_it():
    day = np.tile(np.linspace(60, 120, 160)[None, :, None], (90, 1, 3)).astype(np.uint8) + np.array(
        [20, 0, 10], np.uint8
    )
    day[40:50, 70:90] = 230
    for seed in range(30):
        view = night_view(day, np.random.default_rng(seed)).astype(int).sum(axis=2)
        assert view[44:46, 75:85].min() > view[20:30, 75:85].max()


@pytest.mark.parametrize("level", [0, 120, 255])
def test_an_even_picture_has_a_view_too(level: int):
    day = np.full((40, 60, 3), level, np.uint8)
    day[..., 0] //= 2  # else it has one tint, as by night
    for seed in range(6):
        view = night_view(day, np.random.default_rng(seed))
        assert view.shape == day.shape
        assert view.dtype == np.uint8


def test_one_generator_gives_one_view():
    day = np.random.default_rng(0).integers(60, 255, (40, 60, 3), dtype=np.uint8)
    first, again, other = (night_view(day, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
