from __future__ import annotations

import pandas as pd

from fisheries.analysis.plots import plot_curves, plot_examples


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


def test_examples_show_every_class_from_different_boats_with_usable_boxes(tables):
    manifest, boxes = tables
    figure = plot_examples(manifest, boxes, per_class=2)
    shown = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len({title.split(",")[0] for title in shown}) == 8
    boats = [title for title in shown if title.startswith("ALB")]
    assert len(set(boats)) == 2
    assert all(axes.patches for axes in figure.axes if axes.get_title().startswith("LAG"))
    assert not any(axes.patches for axes in figure.axes if axes.get_title().startswith("NoF"))
