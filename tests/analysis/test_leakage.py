from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import mutual_info_score

from fisheries.analysis.independence import mutual_information, permutation_test
from fisheries.analysis.leakage import leakage, leakage_folds
from fisheries.analysis.leakage_page import class_counts, leakage_page, plot_leakage
from fisheries.analysis.leakage_words import headline, leakage_view, verdict
from fisheries.analysis.probes import CELLS, boat_probe, cells_of, held_out_predictions
from fisheries.data.cues import KINDS, collect_cues, metadata_cues
from fisheries.inference.scoring import class_frequencies, log_loss
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


KINDS_OF_VALUES = ("prior", "category", "number", "picture")


def values_for(kind: str, images: int, rng: np.random.Generator) -> pd.DataFrame:
    numbers = rng.normal(size=(images, 2 if kind == "number" else 12))
    values = pd.DataFrame(numbers, index=[f"{number}.jpg" for number in range(images)])
    return (values[[0]] > 0).astype(str) if kind == "category" else values


@pytest.mark.parametrize("kind", KINDS_OF_VALUES)
def test_no_fold_s_own_labels_bear_on_its_predictions(kind: str):
    rng = np.random.default_rng(0)
    values = values_for(kind, 90, rng)
    labels = pd.Series(rng.choice(CLASSES, 90), values.index)
    labels[values.iloc[:, 0].astype(str).str.startswith(("T", "1", "2"))] = "ALB"
    fold = pd.Series(np.arange(90) % 3, values.index)
    predictions = held_out_predictions(values, labels, fold, labels.index.to_series(), kind=kind)
    shuffled = labels.where(fold != 0, pd.Series(rng.permutation(labels), labels.index))
    others = held_out_predictions(values, shuffled, fold, labels.index.to_series(), kind=kind)
    assert list(predictions.columns) == list(CLASSES)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(predictions[fold == 0], others[fold == 0])
    assert np.abs(predictions - others)[fold != 0].max(axis=None) > 1e-4


def test_the_prior_is_smoothed_by_one_made_up_image_a_class():
    labels = pd.Series(["A"] * 6 + ["B"] * 2 + ["C"], [f"{number}" for number in range(9)])
    fold = pd.Series([0] * 8 + [1], labels.index)
    own = labels.index.to_series()
    prior = held_out_predictions(pd.DataFrame(index=labels.index), labels, fold, own, kind="prior")
    assert prior.iloc[-1].tolist() == pytest.approx([7 / 11, 3 / 11, 1 / 11])
    assert prior.iloc[0].tolist() == pytest.approx([1 / 4, 1 / 4, 2 / 4])
    unknown = pd.DataFrame({"value": [*"xxxxxxxxy"]}, labels.index)
    category = held_out_predictions(unknown, labels, fold, own, kind="category")
    assert category.iloc[-1].tolist() == pytest.approx(prior.iloc[-1].tolist())


def test_a_category_is_drawn_to_the_prior_the_less_it_is_chance():
    rng = np.random.default_rng(1)
    index = pd.Index([f"{number}" for number in range(400)])
    labels = pd.Series(rng.choice(CLASSES, 400, p=[0.5, 0.3, 0.2]), index)
    fold, own = pd.Series(np.arange(400) % 4, index), index.to_series()
    telling = pd.DataFrame({"value": labels.where(rng.random(400) < 0.9, "ALB")})
    chance = pd.DataFrame({"value": rng.integers(60, size=400).astype(str)}, index)
    losses = {
        name: log_loss(held_out_predictions(values, labels, fold, own, kind=kind), labels)
        for name, values, kind in (
            ("telling", telling, "category"),
            ("chance", chance, "category"),
            ("none", chance, "prior"),
        )
    }
    assert losses["telling"] < losses["none"] - 0.5
    assert losses["chance"] == pytest.approx(losses["none"], abs=0.01)


def test_smoothing_is_not_fooled_by_bursts():
    rng = np.random.default_rng(2)
    burst = np.repeat(np.arange(120), 4)
    index = pd.Index([f"{number}" for number in range(480)])
    labels = pd.Series(rng.choice(CLASSES, 120)[burst], index)
    values = pd.DataFrame({"value": burst.astype(str)}, index)  # tells twins, and nothing of other bursts
    fold = pd.Series(burst % 4, index)
    bursts = pd.Series(burst, index)
    prior = held_out_predictions(values, labels, fold, bursts, kind="prior")
    noise = rng.normal(size=(120, 30))[burst] + rng.normal(scale=0.1, size=(480, 30))
    pictures = pd.DataFrame(noise, index)
    for kind, cue in (("category", values), ("picture", pictures)):
        predictions = held_out_predictions(cue, labels, fold, bursts, kind=kind)
        assert log_loss(predictions, labels) < log_loss(prior, labels) + 0.02, kind


def test_pictures_tell_classes_that_lie_apart_and_no_others():
    rng = np.random.default_rng(3)
    index = pd.Index([f"{number}" for number in range(300)])
    codes = rng.integers(3, size=300)
    labels = pd.Series(np.array(CLASSES)[codes], index)
    fold, own = pd.Series(np.arange(300) % 3, index), index.to_series()
    noise = pd.DataFrame(rng.normal(size=(300, 50)), index)
    shifted = noise + 3 * np.eye(3, 50)[codes]
    losses = [
        log_loss(held_out_predictions(values, labels, fold, own, kind="picture"), labels) for values in (shifted, noise)
    ]
    prior = log_loss(held_out_predictions(noise, labels, fold, own, kind="prior"), labels)
    assert losses[0] < 0.4
    assert losses[1] == pytest.approx(prior, abs=0.02)


def test_features_of_any_scale_and_constant_ones_are_taken():
    rng = np.random.default_rng(4)
    index = pd.Index([f"{number}" for number in range(60)])
    labels = pd.Series(rng.choice(CLASSES, 60), index)
    values = pd.DataFrame({0: rng.normal(size=60) * 1e30, 1: 7.0, 2: rng.normal(size=60) * 1e-30}, index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictions = held_out_predictions(
            values.astype("float32"), labels, pd.Series(np.arange(60) % 2, index), index.to_series(), kind="picture"
        )
    assert np.isfinite(predictions).all(axis=None)


@given(seed=st.integers(0, 1000), columns=st.integers(1, 3), ties=st.booleans())
@settings(deadline=None, max_examples=30)
def test_cells_keep_the_order_of_numbers_and_are_few(seed: int, columns: int, ties: bool):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(5, size=(80, columns)).astype(float) if ties else rng.normal(size=(80, columns))
    cells = cells_of(numbers, numbers[:50])
    assert cells.shape == numbers.shape
    assert np.prod(cells.max(axis=0) + 1) <= CELLS
    for own, cell in zip(numbers.T, cells.T, strict=True):
        order = np.argsort(own, kind="stable")
        assert (np.diff(cell[order]) >= 0).all()
        assert (np.diff(cell[order])[np.diff(own[order]) == 0] == 0).all()


@given(codes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=60))
@settings(deadline=None, max_examples=60)
def test_mutual_information_is_the_textbook_s(codes: list[tuple[int, int]]):
    values, labels = np.array(codes).T
    information = mutual_information(values, labels)
    assert information == pytest.approx(mutual_info_score(values, labels), abs=1e-9)
    assert information == pytest.approx(mutual_information(labels, values), abs=1e-9)


def test_permutations_tell_dependence_from_chance():
    rng = np.random.default_rng(5)
    labels, own = rng.integers(3, size=300), np.arange(300)
    chance, p_value = permutation_test(labels, labels, own, permutations=199, seed=0)
    assert p_value == 1 / 200
    assert 0 < chance < 0.05
    draws = [
        permutation_test(rng.integers(4, size=300), labels, own, permutations=99, seed=seed)[1] for seed in range(40)
    ]
    assert np.mean(np.array(draws) <= 0.1) < 0.3
    assert 0.3 < np.mean(draws) < 0.7


def test_permuting_whole_bursts_does_not_take_twins_for_evidence():
    rng = np.random.default_rng(6)
    bursts = np.repeat(np.arange(40), 10)
    alone, together = [], []
    for seed in range(20):
        values, labels = rng.integers(4, size=40)[bursts], rng.integers(3, size=40)[bursts]
        alone.append(permutation_test(values, labels, np.arange(400), permutations=99, seed=seed)[1])
        together.append(permutation_test(values, labels, bursts, permutations=99, seed=seed)[1])
    assert np.mean(np.array(alone) <= 0.05) > 0.8
    assert np.mean(np.array(together) <= 0.05) < 0.3


def test_features_that_know_the_boat_are_found_out():
    manifest = fleet(leak=False, boats=6)
    rng = np.random.default_rng(7)
    noise = pd.DataFrame(rng.normal(size=(len(manifest), 8)), manifest.index)
    knowing = noise + 6 * pd.get_dummies(manifest["boat"]).to_numpy() @ rng.normal(size=(6, 8))
    found = boat_probe(knowing, manifest["boat"], manifest["burst"])
    assert found["accuracy"] > 0.9
    assert found["log_loss"] < 0.5 < 1.5 < found["prior_log_loss"]
    assert (found["images"], found["boats"]) == (120, 6)
    assert found["largest_share"] == pytest.approx(1 / 6)
    blind = boat_probe(noise.iloc[:100], manifest["boat"], manifest["burst"])
    assert blind["accuracy"] < 0.4
    assert blind["log_loss"] == pytest.approx(blind["prior_log_loss"], abs=0.1)
    assert blind["images"] == 100
    own = boat_probe(noise, manifest["boat"], manifest["burst"].where(manifest["boat"] != "b0", ""))
    assert own["images"] == 120


def test_a_boat_probe_that_cannot_be_made_is_one_line():
    manifest = fleet(leak=False, boats=2, bursts=2)
    features = pd.DataFrame(np.ones((8, 3)), manifest.index)
    with pytest.raises(InputError, match="boat probe: 1 boats are known among the 8 images with features; expected at"):
        boat_probe(features, manifest["boat"].replace("b1", ""), manifest["burst"])
    with pytest.raises(InputError, match="boat probe: 4 bursts of images for 5 folds; expected as many at least"):
        boat_probe(features, manifest["boat"], manifest["burst"])


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
