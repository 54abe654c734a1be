from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fisheries.analysis.explain_plots import (
    plot_activations,
    plot_bank,
    plot_changes,
    plot_heat,
    plot_maps,
    plot_pictures,
)
from fisheries.analysis.explain_view import CHANGES
from fisheries.analysis.filters import sobel_bank

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
TRUE, PREDICTED = np.array([[0.25, 0.5, 0.5, 1.0]]), np.array([[0.0, 0.0, 0.1, 0.1]])


def test_true_boxes_are_red_and_predicted_ones_yellow_over_photograph_and_heat():
    heat = np.linspace(0, 1, 50).reshape(5, 10)
    figure = plot_heat(PIXELS, {"Grad-CAM, ALB": heat}, true_xyxy=TRUE, predicted_xyxy=PREDICTED)
    assert [axes.get_title() for axes in figure.axes] == ["the photograph", "Grad-CAM, ALB"]
    for axes in figure.axes:
        red, yellow = axes.patches
        assert red.get_edgecolor() == (1, 0, 0, 1)
        assert yellow.get_edgecolor() == (1, 1, 0, 1)
        assert (*red.get_xy(), red.get_width(), red.get_height()) == pytest.approx((10, 10, 10, 10))
        assert np.array_equal(axes.images[0].get_array(), PIXELS)
    assert len(figure.axes[0].images) == 1
    over = figure.axes[1].images[1]
    assert np.array_equal(over.get_array(), heat)
    assert over.get_extent() == pytest.approx(figure.axes[0].images[0].get_extent())
    assert over.get_clim() == (0, 1)


@pytest.mark.parametrize(("signed", "limits"), [(True, (-3, 3)), (False, (-3, 2))])
def test_maps_of_all_classes_share_one_scale(signed, limits):
    maps = {name: np.full((2, 3), value) for name, value in {"ALB": 2.0, "BET": -3.0, "NoF": 0.5}.items()}
    tiles = [axes for axes in plot_maps(maps, columns=2, signed=signed).axes if axes.get_title()]
    assert [axes.get_title() for axes in tiles] == list(maps)
    assert [axes.images[0].get_clim() for axes in tiles] == [limits] * 3


def test_of_many_channels_the_most_excited_are_shown_in_their_order():
    maps = np.arange(6)[:, None, None] * np.ones((6, 2, 3)) * [[[-1]]]
    maps[4] = 9
    shown = [axes.get_title() for axes in plot_activations(maps, most=3).axes]
    assert shown == ["0", "1", "4"]


def test_pictures_and_kernels_have_their_titles():
    figure = plot_pictures([PIXELS] * 3, ["a", "b", "c_$d$"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c_$d$", ""]


def test_each_filter_of_a_bank_stands_over_what_it_finds():
    bank = sobel_bank()
    axes = plot_bank(PIXELS, bank).axes
    assert np.array_equal(axes[1].images[0].get_array(), bank["Sobel, level edges"])
    assert axes[3].images[0].get_array().shape == (20, 40)


def test_changes_are_points_around_their_mean_by_part():
    columns = {"probability": 0.5, "painted_out": [0.1, 0.3, 0.7], "painted_beside": np.nan, "on_deck": 0.4}
    table = pd.DataFrame({"part": ["seen", "unseen", "seen"], **columns})
    figure = plot_changes(table, columns=CHANGES)
    seen, unseen = figure.axes
    assert (seen.get_title(), unseen.get_title()) == ("seen boats", "unseen boats")
    assert seen.lines[0].get_ydata() == pytest.approx([-0.4, 0.2])
    assert seen.collections[0].get_segments()[0][:, 1] == pytest.approx([-0.1, -0.1])
    assert len(seen.lines[1].get_ydata()) == 0
    assert len(seen.collections) == 2
