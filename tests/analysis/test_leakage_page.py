"""The leak meter's verdicts, in the terminal and on its page."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from fisheries.analysis.leakage_page import class_counts, leakage_page
from fisheries.analysis.leakage_words import headline, verdict
from tests.analysis.test_leakage import fleet, measure


def row_of(seen: float, unseen: float | None = None, width: float = 0.1, **columns: float) -> dict[str, float]:
    row = {"seen_log_loss": 1.6 - seen, "random_log_loss": 1.6 - seen, "random_prior_log_loss": 1.6}
    gains = {"gain_seen": seen, **({"gain_unseen": unseen, "leak": seen - unseen} if unseen is not None else {})}
    for name, gain in gains.items():
        row |= {name: gain, f"{name}_low": gain - width, f"{name}_high": gain + width}
    return row | columns


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("image size", row_of(0.5, -0.3), "worse than knowing nothing, by 0.30 nats, though it helps .*: leave it off"),
        ("image size", row_of(0.5, -0.05), r"by 0.05 nats \(or, at the end of the interval, better by 0.05\), though"),
        ("border", row_of(0.5, -0.3), "a network that sees it can learn it"),
        ("linear probe", row_of(0.5, -0.3), "judge what is built on it by boats kept apart"),
        ("boat", row_of(0.5, 0.0), "Helps by 0.50 nats on boats seen in training only: that is memory of boats"),
        ("border", row_of(0.5, 0.05), "Helps by 0.50 .*; the 0.05 on unseen boats may be chance"),
        ("border", row_of(0.5, 0.3), "and by 0.30 on unseen boats: the rest is leak"),
        ("fish alone", row_of(0.5, 0.45), "and by 0.45 on unseen boats: no leak"),
        ("border", row_of(0.5), "how much of that unseen boats leave can't be told without boats"),
        ("border", row_of(0.05, 0.0), "Helps under random folds only, where frames of one burst are on both sides"),
        ("border", row_of(0.0, 0.5), "Helps by 0.50 nats on unseen boats: no leak"),
        ("border", row_of(0.0, -0.5), "Tells nothing on boats seen in training, and misleads by 0.50 nats on unseen"),
        ("border", row_of(0.0, 0.0), "^Tells nothing$"),
        ("border", row_of(0.5, 0.0, width=np.nan), "Helps by 0.50 nats"),
    ],
)
def test_a_verdict_says_what_the_figures_do(name: str, row: dict[str, float], words: str):
    assert re.search(words, verdict(name, row))


def test_the_page_is_whole_and_escapes_what_it_is_given():
    hostile = "<script>alert(1)</script> $\\frac$"
    manifest = fleet(leak=True)
    manifest = manifest.assign(
        label=manifest["label"].replace("BET", hostile), boat=manifest["boat"].replace("b3", hostile)
    )
    manifest.index = manifest.index.str.replace("img_00001", "<b>img_1")
    table = measure(manifest)
    page = leakage_page(table, manifest, boat_probe=boat_probe_result())
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; $\\frac$") == 3  # a boat, and a class in two tables
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert page.count("data:image/png;base64,") == 1
    assert headline(table) in page
    assert table.loc["image size", "verdict"] in page
    assert "names the boat of <b>98.0 %</b> of 1,200 images" in page
    assert "one made-up image a class" in " ".join(page.split())
    assert "-0.00" not in page


def boat_probe_result() -> dict[str, float]:
    return {
        "images": 1200,
        "boats": 9,
        "accuracy": 0.98,
        "largest_share": 0.3,
        "log_loss": 0.1,
        "prior_log_loss": 2.0,
    }


def test_a_page_without_boats_leaves_out_what_takes_them():
    manifest = fleet(leak=True).assign(boat="")
    page = leakage_page(measure(manifest), manifest)
    assert "Boats and classes" not in page
    assert "Image sizes and classes" in page
    assert "<th>leak</th>" not in page
    assert "names the boat" not in page


def test_counts_are_sorted_and_what_is_too_many_is_summed():
    groups = pd.Series([f"b{number}" for number in range(60) for _ in range(number + 1)])
    labels = pd.Series(np.where(np.arange(len(groups)) % 2, "ALB", "BET"))
    counts = class_counts(groups.replace("b59", ""), labels)
    assert list(counts.index[:2]) == ["unknown", "b58"]
    assert counts.index[-1] == "20 others"
    assert counts.to_numpy().sum() == len(groups)
    assert len(counts) == 41
