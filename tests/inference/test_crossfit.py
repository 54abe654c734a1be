from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from fisheries.inference.crossfit import boat_parts, cross_fit


def named(values: list[str]) -> pd.Series:
    return pd.Series(values, pd.Index([f"img_{number:05}.jpg" for number in range(len(values))], name="image_id"))


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60), st.integers(2, 10))
def test_parts_hold_whole_boats_and_are_none_of_them_empty(boats, parts):
    part = boat_parts(named(boats), parts=parts)
    assert part.groupby(boats).nunique().eq(1).all()
    assert sorted(part.unique()) == list(range(min(parts, len(set(boats)))))


def test_parts_are_about_as_large_as_each_other_and_do_not_depend_on_the_order_of_rows():
    boats = named(list("aaaaaabbbccddef"))
    part = boat_parts(boats, parts=3)
    assert part.value_counts().max() == 6
    assert boat_parts(boats[::-1], parts=3)[boats.index].equals(part)


def test_what_is_fitted_has_not_seen_the_boats_it_changes():
    boats = named(list("aabbccdd"))
    predictions = pd.DataFrame(np.full((8, 2), 0.5), boats.index, ["ALB", "BET"])
    labels = named(["ALB"] * 8)
    seen = []

    def fit(predictions, labels, boats_fitted):
        assert predictions.index.equals(labels.index)
        assert predictions.index.equals(boats_fitted.index)

        def change(rows):
            seen.append(set(boats[rows.index]) & set(boats_fitted))
            return rows * 2

        return change

    changed = cross_fit(predictions, labels, boats, fit, parts=3)
    assert changed.equals(predictions * 2)
    assert seen == [set()] * 3


def test_a_single_boat_leaves_nothing_to_fit_on():
    boats = named(["a", "a"])
    predictions = pd.DataFrame({"ALB": [0.5, 0.1], "BET": [0.5, 0.9]}, boats.index)
    assert cross_fit(predictions, boats, boats, lambda *_: lambda rows: rows * 0).equals(predictions)
