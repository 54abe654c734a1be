"""Reliability diagrams of predictions before and after a step."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fisheries.analysis.plots import reliability_points

COLORS = {"before": "0.55", "after": "C0"}


def plot_reliability_change(before: pd.DataFrame, after: pd.DataFrame, labels: pd.Series, *, bins: int = 10) -> Figure:
    """Draw how often images are right that say to be how sure, and below it how many say so, before and after.

    Args:
        before: predictions (N, C) by `image_id`.
        after: of the same images.
        labels: their true classes.
        bins: points of each curve, of equally many images.
    """
    figure = Figure(figsize=(4.8, 5.4), layout="constrained")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    curve.plot([0, 1], [0, 1], "--", color="0.8", linewidth=1, label="as sure as it is right")
    for name, table in (("before", before), ("after", after)):
        probabilities = table.loc[labels.index]
        confidence, hits = probabilities.max(axis=1), (probabilities.idxmax(axis=1) == labels).astype(float)
        points = reliability_points(confidence, hits, bins=bins)
        curve.plot(points["confidence"], points["accuracy"], "o-", color=COLORS[name], label=name)
        counts.hist(confidence, bins=np.linspace(0, 1, 21), color=COLORS[name], histtype="step", linewidth=1.5)
    curve.set(ylabel="accuracy", xlim=(0, 1), ylim=(-0.02, 1.02))
    curve.set_title("boats not fitted on", fontsize="medium")
    curve.legend(fontsize="small")
    counts.set(xlabel="highest probability", ylabel="images")
    return figure
