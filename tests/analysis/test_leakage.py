from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fisheries.analysis.leakage import leakage, leakage_folds
from fisheries.analysis.leakage_page import plot_leakage
from fisheries.analysis.leakage_words import headline, leakage_view
from fisheries.data.cues import KINDS, collect_cues, metadata_cues
from fisheries.inference.scoring import class_frequencies
from fisheries.schema import InputError

CLASSES = ("ALB", "BET", "NoF")


def fleet(*, leak: bool, boats: int = 24, bursts: int = 10, frames: int = 2, seed: int = 0) -> pd.DataFrame:
    """Boats of one size each; a boat's class is its own if it leaks, or else drawn burst by burst."""
    rng = np.random.default_rng(seed)
    burst = np.repeat(np.arange(boats * bursts), frames)
    boat = burst // bursts
    label = rng.integers(3, size=boats)[boat] if leak else rng.integers(3, size=boats * bursts)[burst]
    index = pd.Index([f"img_{number:05}.jpg" for number in rng.permutation(len(burst))], name="image_id", dtype="str")
    columns = {"label": [CLASSES[code] for code in label], "boat": [f"b{code}" for code in boat]}
    table = pd.DataFrame(columns, index, dtype="str").assign(subset="train", status="ok", path="", sha256="")
    first = pd.Series(index, index).groupby(burst).transform("min")
    return table.assign(burst=first, width=1000 + boat % 12, height=500, size_bytes=0, is_night=False)


def measure(manifest: pd.DataFrame, cues: dict[str, pd.DataFrame] | None = None, **options) -> pd.DataFrame:
    cues = metadata_cues(manifest) if cues is None else cues
    return leakage(manifest, cues, leakage_folds(manifest), **({"permutations": 99} | options))


@pytest.fixture(scope="module")
def leaking() -> pd.DataFrame:
    return measure(fleet(leak=True))


def test_a_size_that_goes_with_the_class_helps_on_seen_boats_and_misleads_on_new_ones(leaking: pd.DataFrame):
    size = leaking.loc["image size"]
    assert size["random_log_loss"] < size["random_prior_log_loss"] - 0.4
    assert size["seen_log_loss"] < size["seen_prior_log_loss"] - 0.4
    assert size["unseen_log_loss"] > size["unseen_prior_log_loss"] + 0.4
    assert size["leak_low"] > 0.4
    assert size["p_value"] == 0.01
    assert size["verdict"].startswith("On unseen boats the image size is worse than knowing nothing")


def test_a_boat_tells_all_where_it_is_known_and_nothing_where_it_is_new(leaking: pd.DataFrame):
    boat = leaking.loc["boat"]
    assert boat["random_log_loss"] < 0.2
    assert boat["random_accuracy"] == 1
    assert boat["unseen_log_loss"] == pytest.approx(boat["unseen_prior_log_loss"])
    assert boat["verdict"].endswith("on boats seen in training only: that is memory of boats")
    assert boat["leak"] == pytest.approx(boat["gain_seen"] - boat["gain_unseen"])
    assert boat["leak_low"] < boat["leak"] < boat["leak_high"]


def test_the_meter_s_words_name_what_leaks(leaking: pd.DataFrame):
    assert leaking.loc["file number", "verdict"] == "Tells nothing"
    line = headline(leaking)
    assert "Without a look at the fish, the boat takes the log loss from" in line
    assert "Cues that leak: image size, boat. Keep boats apart in validation, and metadata out of the model" in line


def test_the_headline_does_not_blame_what_shows_the_fish(leaking: pd.DataFrame):
    fish = leaking.loc[["boat"]].rename(index={"boat": "8 x 8 thumbnail"})
    assert headline(fish) == "No leak is measured: all cues that are known show the fish"
    with_number = pd.concat([fish, leaking.loc[["file number"]]])
    assert headline(with_number) == "No leak: of 1 cues that don't show the fish, none tells the class"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_class_and_boat_are_independent_nothing_leaks(seed: int):
    table = measure(fleet(leak=False, frames=3, seed=seed))
    assert set(table.index) == {"image size", "boat", "file number"}
    assert (table["leak_low"] <= 0).all()
    assert (table["gain_seen"].abs() < 0.02).all()
    assert set(table["verdict"]) <= {"Tells nothing"}
    assert headline(table) == "No leak: of 3 cues that don't show the fish, none tells the class"


def test_intervals_resample_boats_where_they_are_known():
    manifest = fleet(leak=True, bursts=20)
    folds = {"random": leakage_folds(manifest)["random"]}
    cues = {"image size": metadata_cues(manifest)["image size"]}
    by_boat = leakage(manifest, cues, folds, permutations=9).loc["image size"]
    by_burst = leakage(manifest.assign(boat=""), cues, folds, permutations=9).loc["image size"]
    assert by_boat["gain_seen"] == by_burst["gain_seen"]
    widths = [row["gain_seen_high"] - row["gain_seen_low"] for row in (by_boat, by_burst)]
    assert widths[0] > 2 * widths[1] > 0


def test_all_columns_are_finite_and_alike_for_one_seed(leaking: pd.DataFrame):
    again = measure(fleet(leak=True))
    pd.testing.assert_frame_equal(leaking, again)
    assert np.isfinite(leaking.drop(columns=["kind", "verdict"]).to_numpy(dtype=float)).all()
    assert (leaking["images"] == 480).all()
    assert (leaking["boats"] == 24).all()


def test_the_embedded_boats_have_a_row_for_each_cue_that_varies(tables: tuple[pd.DataFrame, pd.DataFrame]):
    manifest, boxes = tables
    manifest = manifest.assign(burst="")
    folds = leakage_folds(manifest, folds=3)
    assert set(folds) == {"random", "boat"}
    table = leakage(manifest, collect_cues(manifest, boxes=boxes), folds, permutations=19)
    constant = ["JPEG coding", "EXIF"]
    assert list(table.index) == [name for name in KINDS if name not in (*constant, "linear probe")]
    assert table.attrs["left_out"]["linear probe"] == "it takes features"
    assert all(table.attrs["left_out"][name].startswith("the same for all") for name in constant)
    count = table.loc["fish alone", "images"]
    assert f"the fish alone is known for {count} of {table.loc['boat', 'images']} images" in table.attrs["notes"]
    assert np.isfinite(table.drop(columns=["kind", "verdict"]).to_numpy(dtype=float)).all()


def test_columns_for_which_the_manifest_has_no_groups_are_absent_and_said():
    manifest = fleet(leak=True)
    alone = manifest.assign(boat="", burst=manifest.index)
    table = measure(alone)
    assert not [name for name in table if name.startswith(("seen", "unseen", "leak", "gain_unseen"))]
    assert table.attrs["left_out"]["boat"] == "not known for any image"
    assert "nothing on unseen boats, since no boat is known" in table.attrs["notes"]
    assert "seen boats are measured by random folds, since there are none by burst" in table.attrs["notes"]
    assert "can't be told without boats" in table.loc["image size", "verdict"]
    assert "can't be told without boats" in headline(table)
    pd.testing.assert_frame_equal(measure(alone.assign(burst="")), table)
    one = measure(manifest.assign(boat="b0"))
    assert "nothing on unseen boats, since all known boats are one" in one.attrs["notes"]
    assert "unseen_log_loss" not in one
    assert one.attrs["left_out"]["boat"] == "the same for all 480 images"


def test_boats_that_share_a_burst_are_not_kept_apart():
    manifest = fleet(leak=False, boats=2)
    assert set(leakage_folds(manifest)) == {"random", "burst", "boat"}
    across = manifest.groupby("boat").head(1).index
    linked = manifest.assign(burst=manifest["burst"].mask(manifest.index.isin(across), across[0]))
    assert set(leakage_folds(linked)) == {"random", "burst"}
    assert "nothing on unseen boats, since no folds keep the 2 boats apart" in measure(linked).attrs["notes"]


def test_images_without_label_or_boat_are_left_out_and_counted():
    manifest = fleet(leak=True)
    table = measure(
        manifest.assign(
            label=manifest["label"].mask(np.arange(480) < 5, ""), boat=manifest["boat"].mask(np.arange(480) > 470, "")
        )
    )
    assert (table["images"] == 466).all()
    assert table.attrs["notes"] == ["5 images without a label are left out", "9 images of unknown boats are left out"]


def test_a_cue_known_for_some_images_is_measured_on_these():
    manifest = fleet(leak=True)
    cues = {"boat": metadata_cues(manifest)["boat"].iloc[:200], "file number": metadata_cues(manifest)["file number"]}
    table = measure(manifest, cues)
    assert table["images"].to_dict() == {"boat": 200, "file number": 480}
    assert table.attrs["notes"] == ["the boat is known for 200 of 480 images"]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (lambda manifest: manifest["label"] == "ALB", "all of one class"),
        (lambda manifest: leakage_folds(manifest)["boat"] == 1, "all in one fold by boat"),
    ],
)
def test_a_cue_that_cannot_be_scored_has_no_row_but_a_reason(known, reason: str):
    manifest = fleet(leak=False)
    cues = metadata_cues(manifest)
    table = measure(manifest, cues | {"file number": cues["file number"][known(manifest)]})
    assert "file number" not in table.index
    assert reason in table.attrs["left_out"]["file number"]


def test_what_cannot_be_measured_is_one_line():
    manifest = fleet(leak=True)
    cues, folds = metadata_cues(manifest), leakage_folds(manifest)
    with pytest.raises(InputError, match="'size': no such cue; expected some of image size, boat"):
        leakage(manifest, {"size": cues["image size"]}, folds)
    with pytest.raises(InputError, match="'boats': no such kind of folds; expected some of random, burst, boat"):
        leakage(manifest, cues, {"random": folds["random"], "boats": folds["boat"]})
    with pytest.raises(InputError, match="folds: none are drawn at random"):
        leakage(manifest, cues, {"boat": folds["boat"]})
    with pytest.raises(InputError, match="folds: 0 labeled images of 0 classes are in all of random, boat; expected"):
        leakage(manifest, cues, {"random": folds["random"], "boat": folds["boat"] * 0 - 1})
    with pytest.raises(InputError, match="all 480 labeled images are of the class 'ALB'"):
        leakage(manifest.assign(label="ALB"), cues, folds)
    with pytest.raises(InputError, match="none of the 480 usable training images has a label"):
        leakage_folds(manifest.assign(label=""))
    with pytest.raises(InputError, match="no cue can be measured: image size: it isn't given; boat: not known"):
        leakage(manifest, {"boat": cues["boat"].iloc[:0]}, folds)
    with pytest.raises(InputError, match=r"folds=5: .*expected 2 to \d, the number of images"):
        leakage_folds(manifest.groupby("label").head(1))


def test_the_terminal_shows_every_cue_with_its_verdict_and_what_is_missing(leaking: pd.DataFrame):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(leakage_view(leaking))
    text = " ".join(console.export_text().split())
    for name, row in leaking.iterrows():
        assert f"{row['unseen_log_loss']:.3f}" in text
        assert f"{name}: {row['verdict']}" in text
    assert "color histogram: no row, it takes photographs" in text
    assert text.count("The leak is what of the gain is lost on unseen boats.") == 1
    assert "-0.00" not in text


def test_the_plot_shows_each_part_of_each_cue_beside_the_prior(leaking: pd.DataFrame):
    axes = plot_leakage(leaking).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(leaking.index)
    dots = {tuple(np.ravel(line.get_data())) for line in axes.lines if line.get_marker() == "o"}
    ends = {tuple(np.ravel(line.get_data())) for line in axes.lines if line.get_marker() != "o"}
    for place, row in enumerate(leaking.to_dict("records")):
        for part in ("seen", "unseen"):
            assert (-row[f"gain_{part}_low"], -row[f"gain_{part}_high"], place, place) in ends
        for part in ("random", "seen", "unseen"):
            assert (row[f"{part}_log_loss"] - row[f"{part}_prior_log_loss"], place) in dots


def test_the_prior_is_the_class_frequencies_of_the_other_folds(leaking: pd.DataFrame):
    manifest = fleet(leak=True)
    fold = leakage_folds(manifest)["boat"]
    losses = []
    for number in fold.unique():
        others = class_frequencies(manifest["label"][fold != number], CLASSES)
        smoothed = (others * (fold != number).sum() + 1) / ((fold != number).sum() + 3)
        losses += (-np.log(smoothed.loc[manifest["label"][fold == number]])).tolist()
    assert leaking.loc["boat", "unseen_prior_log_loss"] == pytest.approx(np.mean(losses))
