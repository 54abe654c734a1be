from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fisheries.analysis.explain_view import change_means, change_view, heat_means, heat_view, verdict

NAN = float("nan")


def printed(table: object) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    return " ".join(console.file.getvalue().split())


def changes(rows: list[tuple[float, float, float]], part: str = "unseen", boats: int = 6) -> pd.DataFrame:
    """Of (probability, painted_out, on_deck)."""
    table = pd.DataFrame(rows, columns=["probability", "painted_out", "on_deck"])
    table.index = pd.Index([f"{part}_{number}.jpg" for number in range(len(rows))], name="image_id")
    boat = [f"b{number % boats}" for number in range(len(rows))]
    return table.assign(part=part, boat=boat, painted_beside=table["probability"], deck_alone=0.1)


def test_means_of_heat_leave_out_images_without_any():
    rows = [("unseen", "Grad-CAM", 0.4, 0.1), ("unseen", "Grad-CAM", NAN, 0.5), ("unseen", "Grad-CAM", 0.2, 0.2)]
    rows += [("seen", "Grad-CAM", NAN, 0.1)]
    means = heat_means(pd.DataFrame(rows, columns=["part", "method", "share", "box_share"])).set_index("part")
    assert dict(means.loc["unseen"].drop("method")) == pytest.approx(
        {"images": 3, "without_heat": 1, "share": 0.3, "box_share": 0.15, "times": 2}
    )
    assert means.loc["seen", "without_heat"] == 1
    assert np.isnan(means.loc["seen", "share"])
    text = printed(heat_view(means.reset_index()))
    assert "unseen │ Grad-CAM │ 3 │ 1 │ 0.300 │ 0.150 │ 2.000" in text
    assert "seen │ Grad-CAM │ 1 │ 1 │ - │ - │ -" in text


def test_mean_changes_are_differences_to_the_photograph_as_it_is():
    table = pd.concat([changes([(0.8, 0.2, 0.7), (0.6, 0.2, NAN)]), changes([(0.5, 0.4, 0.1)], part="seen")])
    means = change_means(table).set_index("part")
    assert list(means.index) == ["unseen", "seen"]
    row = means.loc["unseen"]
    assert row["images"] == 2
    assert row["probability"] == pytest.approx(0.7)
    assert row["painted_out"] == pytest.approx(-0.5)
    assert row["painted_beside"] == pytest.approx(0)
    assert row["on_deck"] == pytest.approx(-0.1)
    assert row["fish_less_boat"] == pytest.approx(0.5)
    assert np.isnan(means.loc["seen", "low"])
    assert "-0.500" in printed(change_view(means.reset_index()))


def test_a_part_without_any_other_deck_has_no_number_for_it():
    means = change_means(changes([(0.8, 0.2, NAN), (0.6, 0.1, NAN)]))
    assert np.isnan(means["on_deck"].iloc[0])
    assert "changes by -0.55 without the fish; no other deck was there to try" in verdict(means.iloc[0])
    assert "- │" in printed(change_view(means))


@pytest.mark.parametrize(
    ("rows", "boats", "sentence"),
    [
        ([(0.9, 0.2, 0.85)] * 6, 6, "hangs on the fish more than on the boat"),
        ([(0.9, 0.85, 0.2)] * 6, 6, "hangs on the boat more than on the fish"),
        ([(0.5, 0.49, 0.51)] * 6, 6, "hangs on neither the fish nor the boat"),
        ([(0.9, 0.2, 0.8), (0.9, 0.8, 0.2)] * 3, 6, "do not tell which of the two counts for more"),
        ([(0.9, 0.2, 0.85)] * 6, 1, "do not tell which of the two counts for more"),
    ],
)
def test_the_verdict_says_no_more_than_the_boats_do(rows, boats, sentence):
    assert sentence in verdict(change_means(changes(rows, boats=boats)).iloc[0])


def test_images_of_one_boat_count_as_one():
    rows = [(0.9, 0.2, 0.8)] * 8 + [(0.9, 0.8, 0.2)]
    alone = change_means(changes(rows, boats=9)).iloc[0]
    together = changes(rows)
    together["boat"] = ["a"] * 8 + ["b"]
    together = change_means(together).iloc[0]
    assert alone["low"] > 0 > together["low"]
    unknown = change_means(changes(rows).assign(boat="")).iloc[0]
    assert unknown["low"] == pytest.approx(alone["low"], abs=0.1)
