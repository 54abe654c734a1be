from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from fisheries.analysis.photo_plots import plot_photographs
from fisheries.schema import InputError, usable_boxes


@pytest.fixture
def images(tables):
    manifest, boxes = tables
    return manifest.loc[usable_boxes(boxes).index.unique()[:5]]


def test_photographs_stand_in_rows_with_their_titles(images, tables):
    figure = plot_photographs(images, images["label"], columns=3)
    assert [axes.get_title() for axes in figure.axes] == [*images["label"], ""]
    assert [bool(axes.images) for axes in figure.axes] == [True] * 5 + [False]
    assert figure.axes[0].get_xlim() == (0, images["width"].iloc[0])


def test_boxes_are_drawn_in_frame_pixels_in_the_color_of_who_says_them(images, tables):
    _, boxes = tables
    moved = boxes.assign(left=boxes["left"] + 1)
    figure = plot_photographs(images, images["label"], {"true": boxes, "predicted": moved})
    own = usable_boxes(boxes).loc[[images.index[0]]]
    patches = figure.axes[0].patches
    assert len(patches) == 2 * len(own) > 0
    assert patches[0].get_edgecolor() == to_rgba("red")
    assert patches[-1].get_edgecolor() == to_rgba("yellow")
    np.testing.assert_allclose(patches[0].get_bbox().bounds, own[["left", "top", "box_width", "box_height"]].iloc[0])
    assert patches[len(own)].get_x() == patches[0].get_x() + 1


def test_boxes_that_cannot_be_used_are_not_drawn(images, tables):
    _, boxes = tables
    figure = plot_photographs(images, images["label"], {"true": boxes.assign(status="no_area")})
    assert not any(axes.patches for axes in figure.axes)


def test_a_photograph_that_is_gone_is_refused(images):
    with pytest.raises(InputError, match=r"gone\.jpg"):
        plot_photographs(images.assign(path="gone.jpg"), images["label"])
