from __future__ import annotations

import numpy as np
import pandas as pd

from fisheries.analysis.reliability import plot_reliability_change


def test_both_tables_have_a_curve_of_what_they_say_and_how_often_they_are_right():
    index = pd.Index([f"img_{number}.jpg" for number in range(40)], name="image_id")
    labels = pd.Series(["ALB"] * 30 + ["BET"] * 10, index)
    before, after = (pd.DataFrame({"ALB": share, "BET": 1 - share}, index) for share in (0.99, 0.75))
    figure = plot_reliability_change(before, after.iloc[::-1], labels, bins=1)
    curve, counts = figure.axes
    lines = {line.get_label(): line for line in curve.get_lines()}
    np.testing.assert_allclose(lines["before"].get_xydata(), [[0.99, 0.75]])
    np.testing.assert_allclose(lines["after"].get_xydata(), [[0.75, 0.75]])
    assert counts.get_xlabel() == "highest probability"
