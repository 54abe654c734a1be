from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fisheries.analysis.report import confusion, worst_mistakes, write_report
from fisheries.data.splits import usable_images
from fisheries.inference.evaluation import score_rows
from fisheries.inference.scoring import image_scores
from fisheries.schema import InputError, write_predictions, write_table

CLASSES = ["ALB", "BET", "DOL", "LAG", "NoF", "OTHER", "SHARK", "YFT"]
FORECAST = {"log_loss": 1.75, "low": 1.25, "high": 2.375, "new_boats": 3, "averaging_gain": 0.125}
TEST = {
    "stg1": {"images": 12, "log_loss": 0.5, "prior_log_loss": 1.8},
    "stg2": {"images": 18, "log_loss": 1.5, "prior_log_loss": 1.9},
}


@pytest.fixture
def tables_of_a_run(tables: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Manifest and boxes, where each image is a burst of its own."""
    manifest, boxes = tables
    return manifest.assign(burst=manifest.index), boxes


def guessed(labels: pd.Series, *, skill: float, seed: int) -> pd.DataFrame:
    """Predictions that lean to the truth by `skill`."""
    classes = sorted(labels.unique())
    values = np.random.default_rng(seed).dirichlet([0.3] * len(classes), len(labels))
    truth = (labels.to_numpy()[:, None] == np.array(classes)).astype(float)
    return pd.DataFrame(skill * truth + (1 - skill) * values, labels.index, classes)


def finish(
    run_dir: Path, manifest: pd.DataFrame, boxes: pd.DataFrame, parts: dict[str, pd.DataFrame], **record: Any
) -> Path:
    """Write the folder of a finished run of two folds with these predictions by part."""
    images = usable_images(manifest)
    fold = pd.Series(pd.factorize(images["boat"], sort=True)[0] % 2, images.index)
    folds = pd.DataFrame({"fold": fold, "seen_fold": -1, "split": "boat", "seed": 0})
    stems = {"unseen": "oof", "seen": "seen" if "unseen" in parts else "oof", "holdout": "holdout"}
    rows = []
    for part, predictions in parts.items():
        write_predictions(predictions, run_dir / f"{stems[part]}.csv", folds_hash="f0")
        labels = manifest["label"].loc[predictions.index]
        prior = pd.Series(1 / len(predictions.columns), predictions.columns)
        scored = image_scores(predictions, labels, prior, no_fish="NoF")
        rows.append(score_rows(scored, manifest, classes=list(predictions.columns)).assign(part=part))
    pd.concat(rows).to_csv(run_dir / "scores.csv", index=False)
    for name, table in {"manifest": manifest, "boxes": boxes, "folds": folds}.items():
        write_table(table, run_dir / f"{name}.csv")
    for number in (0, 1):
        epochs = pd.DataFrame({"epoch": [0, 1], "train/cross_entropy": [2.0, 1.0], "val/log_loss": [2.0, 1.5]})
        (run_dir / f"fold-{number}").mkdir(exist_ok=True)
        epochs.to_csv(run_dir / f"fold-{number}" / "epochs.csv", index=False)
    (run_dir / "config.yaml").write_text("seed: 0\nmodel:\n  backbone: small_residual\n")
    facts = {"name": "a-run", "git_commit": "c0ffee", "command": ["train.py", "split=boat"], "seconds": 3725.0}
    facts |= {"folds": "f0", "manifest": "ab12", "versions": {"python": "3.11.7"}, **record}
    (run_dir / "run.json").write_text(json.dumps(facts))
    return run_dir


@pytest.fixture
def run(tmp_path: Path, tables_of_a_run: tuple[pd.DataFrame, pd.DataFrame]) -> Path:
    """A run that knows seen boats better than unseen ones."""
    manifest, boxes = tables_of_a_run
    labels = usable_images(manifest)["label"]
    parts = {"unseen": guessed(labels, skill=0.07, seed=0), "seen": guessed(labels[::4], skill=0.8, seed=1)}
    return finish(tmp_path, manifest, boxes, parts, forecast=FORECAST, test=TEST)


class Reader(HTMLParser):
    """What a person reads on a page, and of what it is made."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]


def read(run_dir: Path) -> Reader:
    return Reader(write_report(run_dir).read_text())


def pictures(reader: Reader) -> list[Image.Image]:
    """The photographs of a page."""
    found = [link for link in reader.links if link.startswith("data:image/jpeg")]
    return [Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))) for link in found]


def total(run_dir: Path, part: str) -> pd.Series:
    scores = pd.read_csv(run_dir / "scores.csv").set_index(["part", "by"])
    return scores.loc[(part, "all")]


def test_the_page_opens_with_both_scores_their_intervals_and_the_leak(run):
    unseen, seen = total(run, "unseen"), total(run, "seen")
    text = read(run).text
    first = text.index(f"{unseen['log_loss']:.3f} on boats it has not trained on")
    second = text.index(f"{seen['log_loss']:.3f} on boats it has trained on")
    assert first < second
    assert f"90 % interval {unseen['low']:.3f} to {unseen['high']:.3f}, from 8 boats" in text
    assert f"The leak is {unseen['log_loss'] - seen['log_loss']:.3f}" in text


@pytest.mark.parametrize(
    ("loss", "high", "words"),
    [
        (1.9, 2.1, "it is no better than the constant prior, which looks at no photograph."),
        (1.5, 1.9, "it is better than the constant prior, but not all of its interval is"),
        (1.5, 1.7, "it is better than the constant prior, and so is its whole interval."),
        (1.5, np.nan, "it is better than the constant prior, but one boat tells nothing of others."),
    ],
)
def test_the_page_says_whether_the_prior_is_beaten(run, loss, high, words):
    scores = pd.read_csv(run / "scores.csv")
    best = (scores["part"] == "unseen") & (scores["by"] == "all")
    scores.loc[best, ["log_loss", "low", "high", "prior_log_loss"]] = [loss, high - 0.6, high, 1.8]
    scores.to_csv(run / "scores.csv", index=False)
    assert f"On boats it has not trained on {words}" in read(run).text


@pytest.mark.parametrize(("truth", "where"), [(1.5, "inside"), (2.5, "outside")])
def test_the_forecast_stands_beside_the_truth(run, truth, where):
    record = json.loads((run / "run.json").read_text())
    record["test"]["stg2"]["log_loss"] = truth
    (run / "run.json").write_text(json.dumps(record))
    text = read(run).text
    assert "1.750 is the forecast for the 3 new boats in test 90 % interval 1.250 to 2.375" in text
    assert f"The truth for stage 2 is {truth:.3f}, {where} that interval" in text


def test_without_new_boats_and_truth_there_is_no_word_of_test(run):
    record = json.loads((run / "run.json").read_text()) | {"forecast": {}}
    del record["test"]
    (run / "run.json").write_text(json.dumps(record))
    text = read(run).text
    assert "forecast" not in text
    assert "stage 2" not in text


def test_a_random_split_is_said_to_promise_too_much(tmp_path, tables_of_a_run):
    manifest, boxes = tables_of_a_run
    finish(tmp_path, manifest, boxes, {"seen": guessed(usable_images(manifest)["label"], skill=0.5, seed=0)})
    text = read(tmp_path).text
    assert "No boat is kept apart" in text
    assert "boats it has not trained on" not in text


def test_holdout_boats_have_rows_of_their_own(tmp_path, tables_of_a_run):
    manifest, boxes = tables_of_a_run
    images = usable_images(manifest)
    held = images["boat"] == images["boat"].iloc[0]
    parts = {"unseen": guessed(images["label"][~held], skill=0.5, seed=0)}
    parts["holdout"] = guessed(images["label"][held], skill=0.5, seed=1)
    finish(tmp_path, manifest, boxes, parts)
    text = read(tmp_path).text
    assert re.search("Boats that no fold has trained on, nor chosen its epoch by: . of 1 are", text)
    assert "no interval, since there is one boat only" in text


def test_the_page_needs_no_other_file_and_runs_nothing(run):
    path = write_report(run)
    reader = Reader(path.read_text())
    assert path == run / "report.html"
    assert len(reader.links) > 3
    assert all(link.startswith("data:image/") for link in reader.links)
    assert "script" not in reader.tags
    assert "http" not in path.read_text()
    assert path.stat().st_size < 3_000_000


def test_boats_come_with_the_highest_loss_first_and_those_worse_than_the_prior_are_marked(run):
    scores = pd.read_csv(run / "scores.csv")
    rows = scores[(scores["part"] == "unseen") & (scores["by"] == "boat")]
    worse = rows["log_loss"] > rows["prior_log_loss"]
    assert 0 < worse.sum() < len(rows)
    text = read(run).text
    assert f"{worse.sum()} of 8 are worse than the constant prior" in text
    table = text[text.index("are worse than the constant prior") :]
    places = [table.index(f"{row['name']} {row['images']} {row['log_loss']:.3f}") for _, row in rows.iterrows()]
    assert places == sorted(places)
    assert len(re.findall(r"\d\.\d{3} \d\.\d{3} worse", table)) == worse.sum()


def test_rows_of_classes_and_of_fish_stand_beside_those_of_seen_boats(run):
    scores = pd.read_csv(run / "scores.csv").set_index(["part", "name"])
    text = read(run).text
    for name, told in {"SHARK": "accuracy", "fish": "fish_accuracy", "day": "accuracy"}.items():
        row = scores.loc[("unseen", name)]
        facts = f"{name} {row['images']} {row['boats']} {row['log_loss']:.3f} {row['low']:.3f} to {row['high']:.3f}"
        seen = scores.loc[("seen", name), "log_loss"]
        assert f"{facts} {row['prior_log_loss']:.3f} {seen:.3f} {row[told]:.3f}" in text
    assert scores.loc[("unseen", "fish"), "fish_accuracy"] != scores.loc[("unseen", "fish"), "accuracy"]


def test_overlap_with_true_boxes_is_told_where_boxes_were_predicted(run):
    assert "box IoU" not in read(run).text
    scores = pd.read_csv(run / "scores.csv")
    scores.assign(box_iou=0.375).to_csv(run / "scores.csv", index=False)
    text = read(run).text
    assert "box IoU" in text
    assert (
        len(re.findall(r"\d\.\d{3} 0\.375", text))
        == scores[scores["part"] == "unseen"]["by"].isin(["class", "fish", "light"]).sum()
    )


def test_the_page_counts_what_is_taken_for_what(run):
    text = read(run).text
    predictions = pd.read_csv(run / "oof.csv", index_col="image_id")[CLASSES]
    labels = pd.read_csv(run / "manifest.csv", index_col="image_id")["label"].loc[predictions.index]
    taken = predictions[labels == "SHARK"].idxmax(axis=1).value_counts()
    cells = [f"{taken[name]} {100 * taken[name] / taken.sum():.0f} %" for name in CLASSES if name in taken]
    assert f"SHARK {' '.join(cells)} {taken.sum()} YFT" in text


def test_a_confusion_row_counts_the_images_of_its_class(run):
    images = pd.DataFrame({"label": ["a", "a", "b", "a"], "guess": ["a", "b", "b", "b"]})
    counts = confusion(images, ["a", "b", "c"])
    assert counts.to_numpy().tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    assert counts.index.tolist() == counts.columns.tolist() == ["a", "b", "c"]


@settings(deadline=None)
@given(st.data())
def test_the_worst_mistakes_are_wrong_and_spread_over_bursts_and_boats(data):
    number = data.draw(st.integers(0, 30))
    index = pd.Index([f"img_{i:05}.jpg" for i in range(number)], name="image_id")

    def column(values: st.SearchStrategy) -> pd.Series:
        return pd.Series(data.draw(st.lists(values, min_size=number, max_size=number)), index)

    burst = column(st.sampled_from([f"b{i}" for i in range(12)]))
    boat = burst.map(lambda name: ["", "P", "Q"][int(name[1:]) % 3])
    images = pd.DataFrame({"label": "ALB", "guess": column(st.sampled_from(["ALB", "BET"]))}, index)
    images["log_loss"] = column(st.floats(0, 35))
    manifest = pd.DataFrame({"boat": boat, "burst": burst}, index)
    worst = worst_mistakes(images, manifest, most=4, per_boat=2)
    kept = manifest.loc[worst.index]
    assert (worst["guess"] != "ALB").all()
    assert worst["log_loss"].is_monotonic_decreasing
    assert not kept["burst"].duplicated().any()
    assert (kept["boat"][kept["boat"] != ""].value_counts() <= 2).all()
    left_out = images[(images["guess"] != "ALB") & ~images.index.isin(worst.index)]
    for image_id, loss in left_out["log_loss"].items():  # each for a reason
        full = set(kept["boat"].value_counts()[lambda counts: counts == 2].index) - {""}
        late = len(worst) == 4 and loss <= worst["log_loss"].min()
        assert late or burst[image_id] in set(kept["burst"]) or boat[image_id] in full


def test_mistakes_are_shown_as_photographs_with_true_and_predicted_boxes(tmp_path, tables_of_a_run):
    manifest, boxes = tables_of_a_run
    image_id = boxes.index[0]
    Image.new("RGB", (640, 200), (120, 120, 120)).save(tmp_path / "gray.png")
    manifest.loc[image_id, ["path", "height", "width"]] = [str(tmp_path / "gray.png"), 200, 640]
    box = {"left": 200.0, "top": 40.0, "box_width": 100.0, "box_height": 80.0, "source": "x", "status": "clipped"}
    rows = [box, box | {"left": 500.0, "status": "outside"}]
    boxes = pd.concat([boxes.drop(image_id), pd.DataFrame(rows, index=pd.Index([image_id] * 2, name=boxes.index.name))])
    predictions = guessed(usable_images(manifest)["label"], skill=1.0, seed=0)
    predictions.loc[image_id] = np.roll(predictions.loc[image_id], 1)
    finish(tmp_path, manifest, boxes, {"unseen": predictions})
    predicted = pd.DataFrame([box | {"left": 400.0, "status": "ok"}], index=[image_id])
    write_table(predicted, tmp_path / "fold-0" / "oof_boxes.csv")
    (picture,) = pictures(read(tmp_path))
    assert picture.size == (320, 100)
    pixels = np.asarray(picture).astype(int)
    middle = pixels[40]  # the row through the middle of both boxes
    green = np.flatnonzero(middle[:, 1] - middle[:, [0, 2]].max(axis=1) > 60)
    red = np.flatnonzero(middle[:, 0] - middle[:, [1, 2]].max(axis=1) > 60)
    assert set(green) & {99, 100, 101}
    assert set(green) & {149, 150, 151}
    assert set(green) <= {*range(97, 105), *range(146, 154)}
    assert set(red) & {199, 200, 201}
    assert set(red) <= {*range(197, 205), *range(246, 254)}
    above, below = pixels[10], pixels[70]
    assert (abs(np.concatenate([above, below]) - 120) < 20).all()


def test_a_photograph_that_is_gone_is_named_without_a_picture(run):
    manifest = pd.read_csv(run / "manifest.csv", dtype=str, keep_default_na=False)
    manifest["path"] = "gone/" + manifest["image_id"]
    manifest.to_csv(run / "manifest.csv", index=False)
    reader = read(run)
    assert pictures(reader) == []
    assert reader.text.count("the photograph is gone or can't be read") == len(
        re.findall(r"taken for \w+ at", reader.text)
    )
    assert re.search(
        r"gone or can't be read\) img_\d{5}\.jpg boat: \w+ is \w+ , taken for \w+ at \d+\.\d % loss", reader.text
    )


def test_hostile_names_of_classes_boats_and_files_stay_text(tmp_path, tables_of_a_run):
    hostile = {"ALB": "<script>alert(1)</script>", "BET": "$\\frac{", "DOL": "a & 'b' \"c\"", "LAG": "{{ 7 * 7 }}"}
    manifest, boxes = tables_of_a_run
    boats = sorted(set(manifest["boat"]))
    new_boats = {boats[0]: "NA", boats[1]: '"><img src=x onerror=alert(1)>', boats[2]: "_$x^"}
    manifest = manifest.assign(label=manifest["label"].replace(hostile), boat=manifest["boat"].replace(new_boats))
    wrong = usable_images(manifest).index[0]
    ids = {wrong: "<b>x</b>.jpg"}
    manifest, boxes = manifest.rename(index=ids), boxes.rename(index=ids)
    predictions = guessed(usable_images(manifest)["label"], skill=0.2, seed=0)
    predictions.loc[ids[wrong]] = [0.0] * (len(CLASSES) - 1) + [1.0]
    finish(tmp_path, manifest, boxes, {"unseen": predictions}, command=["train.py", "data.root=\udcff<i>"])
    reader = read(tmp_path)
    assert not reader.tags & {"script", "i"}
    assert all(link.startswith("data:image/") for link in reader.links)
    for name in [*hostile.values(), *new_boats.values(), *ids.values(), "<i>"]:
        assert " ".join(name.split()) in reader.text


@pytest.mark.parametrize("name", ["run.json", "scores.csv", "oof.csv", "manifest.csv", "fold-*/epochs.csv"])
def test_a_run_that_is_not_finished_is_refused_with_what_it_lacks(run, name):
    for file in run.glob(name):
        file.unlink()
    with pytest.raises(InputError) as caught:
        write_report(run)
    message = f"{run}: no finished run, it lacks {name}; finish it with `python train.py resume={run}`"
    assert str(caught.value) == message
    assert not (run / "report.html").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder; expected the folder of a run"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "its run.json is no JSON"), ('{"name": "x"}', "its run.json lacks git_commit, command")]
)
def test_a_record_that_says_too_little_is_refused(run, text, reason):
    (run / "run.json").write_text(text)
    with pytest.raises(InputError, match=f"no finished run, {reason}.*resume="):
        write_report(run)


def test_predictions_of_another_run_are_refused(run):
    predictions = pd.read_csv(run / "oof.csv")
    predictions["image_id"] = ["elsewhere.jpg", *predictions["image_id"][1:]]
    predictions.to_csv(run / "oof.csv", index=False)
    with pytest.raises(
        InputError, match=r"oof\.csv: 'elsewhere\.jpg' is not in the run's manifest\.csv; 1 such images; "
    ):
        write_report(run)
