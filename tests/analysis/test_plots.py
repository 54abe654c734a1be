from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.analysis.plots import plot_curves, plot_examples, plot_reliability


def test_curves_show_each_fold_and_the_constant_prior():
    table = pd.DataFrame(
        {"epoch": [0, 1], "train/cross_entropy": [2.0, 1.0], "val/log_loss": [2.0, 1.5], "val/accuracy": [0.1, 0.5]}
    )
    losses, accuracies = plot_curves({"fold 0": table, "fold 1": table}, prior_log_loss=1.7).axes
    assert [line.get_label() for line in losses.lines] == [
        "fold 0 trained on", "fold 0 held out", "fold 1 trained on", "fold 1 held out", "constant prior, held out",
    ]  # fmt: skip
    assert list(losses.lines[1].get_ydata()) == [2.0, 1.5]
    assert len(accuracies.lines) == 2


@pytest.mark.parametrize("epochs", [1, 2])
def test_epochs_are_counted_in_whole_numbers_and_one_alone_is_seen(epochs):
    table = pd.DataFrame({"epoch": range(epochs), "val/log_loss": 2.0, "val/accuracy": 0.5})
    for axes in plot_curves({"fold 0": table}, prior_log_loss=1.7).axes:
        assert len(axes.get_xticks())
        assert all(tick == round(tick) for tick in axes.get_xticks())
        assert (axes.lines[0].get_marker() == "o") == (epochs == 1)


def test_reliability_shows_accuracy_where_the_network_is_unsure_and_where_it_is_sure():
    index = pd.Index([f"img_{number:05}.jpg" for number in range(8)], name="image_id")
    confidence = pd.Series([0.92, 0.32, 0.92, 0.32, 0.72, 0.32, 0.92, 0.32], index)
    hits = pd.Series([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], index)
    figure = plot_reliability(confidence, hits[::-1], title="of boats", bins=2)
    curve, counts = figure.axes
    points = curve.lines[1]
    assert np.allclose(points.get_xdata(), [0.32, 0.87])
    assert np.allclose(points.get_ydata(), [0.25, 0.5])
    assert curve.get_title() == "of boats"
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in counts.patches}
    assert {left: height for left, height in heights.items() if height} == {0.3: 4, 0.7: 1, 0.9: 3}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 12))
def test_reliability_has_equal_parts_that_hold_every_image(rows, bins):
    confidence, hits = (pd.Series(column, dtype=float) for column in zip(*rows, strict=True))
    points = plot_reliability(confidence, hits, title="", bins=bins).axes[0].lines[1]
    parts = min(bins, len(rows))
    assert len(points.get_xdata()) == parts
    assert (np.diff(points.get_xdata()) >= -1e-12).all()
    sizes = [len(part) for part in np.array_split(np.arange(len(rows)), parts)]
    assert np.average(points.get_xdata(), weights=sizes) == pytest.approx(confidence.mean())
    assert np.average(points.get_ydata(), weights=sizes) == pytest.approx(hits.mean())


def test_examples_show_every_class_from_different_boats_with_usable_boxes(tables):
    manifest, boxes = tables
    figure = plot_examples(manifest, boxes, per_class=2)
    shown = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len({title.split(",")[0] for title in shown}) == 8
    boats = [title for title in shown if title.startswith("ALB")]
    assert len(set(boats)) == 2
    assert all(axes.patches for axes in figure.axes if axes.get_title().startswith("LAG"))
    assert not any(axes.patches for axes in figure.axes if axes.get_title().startswith("NoF"))


def test_names_with_dollar_signs_are_no_formulas(tables):
    manifest, boxes = tables
    figure = plot_examples(manifest.assign(label="$\\frac{", boat="x^$"), boxes, per_class=1)
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == "$\\frac{, x^$"
