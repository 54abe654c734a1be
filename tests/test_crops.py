from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.crops import CROPS, cut_crops
from fisheries.data.cropping import REGION, CropRule, cut
from fisheries.data.images import read_image
from fisheries.data.splits import make_folds, usable_images
from fisheries.data.tables import attach_bursts, load_or_scan
from fisheries.schema import InputError, read_table, write_table

RULE = CropRule()


def cut_all(manifest: pd.DataFrame, boxes: pd.DataFrame, out: Path, *, rule: CropRule = RULE):
    scored = boxes if "score" in boxes else boxes.assign(score=1.0)
    return cut_crops(manifest, [scored], out, rule=rule, no_fish="NoF", progress=False)


def with_test_boxes(tables) -> pd.DataFrame:
    """The annotated boxes, and a made-up one for all images but the first of test."""
    manifest, boxes = tables
    more = manifest.index[manifest["subset"] != "train"][1:]
    made_up = {"left": 3.5, "top": 4.0, "box_width": 60.0, "box_height": 40.0, "source": "model", "status": "ok"}
    return pd.concat([boxes, pd.DataFrame(made_up, more)])


@pytest.fixture(scope="module")
def folder(tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crops") / "crops"
    cut_all(tables[0], with_test_boxes(tables), out)
    return out


@pytest.fixture(scope="module")
def scanned(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What a training on the crops would see."""
    tables_dir = tmp_path_factory.mktemp("crop_tables")
    return load_or_scan(folder, annotations=None, boats=None, no_fish="NoF", tables_dir=tables_dir, progress=False)[0]


def files(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("*.png")}


def test_crops_are_a_folder_like_any_other_with_the_labels_and_boats_of_their_frames(tables, folder, scanned):
    manifest, boxes = tables
    crops = read_table(folder / "crops.csv", CROPS)
    assert sorted(crops.index) == sorted(scanned.index)
    assert (crops.loc[scanned.index, ["height", "width"]] == scanned[["height", "width"]]).all(axis=None)
    frames = manifest.loc[crops.loc[scanned.index, "frame"]]
    assert (frames[["label", "subset", "boat"]].to_numpy() == scanned[["label", "subset", "boat"]].to_numpy()).all()
    assert set(scanned["subset"]) == {"train", "test_stg1", "test_stg2"}
    usable = boxes[boxes["status"].isin(["ok", "clipped"])]
    assert (scanned["subset"] == "train").sum() == len(usable) > 96


def test_every_box_is_in_the_pixels_of_its_crop(tables, folder):
    crops = read_table(folder / "crops.csv", CROPS)
    for row in crops.iloc[:: len(crops) // 12].itertuples():
        frame = read_image(tables[0].loc[row.frame, "path"])
        region = np.array([getattr(row, name) for name in REGION])
        np.testing.assert_array_equal(read_image(folder / row.file), cut(frame, region))
        assert row.region_left <= row.left
        assert row.left + row.box_width <= row.region_left + row.width


def test_frames_without_fish_and_without_boxes_have_no_crops(tables, tmp_path: Path):
    manifest, boxes = tables
    no_fish = manifest.index[manifest["label"] == "NoF"]
    detected = boxes.iloc[:1].loc[boxes.index[:1].repeat(len(no_fish))].set_axis(no_fish).assign(status="ok")
    made = cut_all(manifest, pd.concat([with_test_boxes(tables), detected]), tmp_path / "out")
    assert len(no_fish) > 0
    assert not made.table["frame"].isin(no_fish).any()
    assert not (tmp_path / "out" / "train" / "NoF").exists()
    boxed = boxes.index[boxes["status"].isin(["ok", "clipped"])]
    train = usable_images(manifest)
    lacking = train.index[~train.index.isin(boxed) & (train["label"] != "NoF")]
    first_test = manifest.index[manifest["subset"] != "train"][:1]
    assert sorted(made.without_box.index) == sorted([*lacking, *first_test])


def test_no_burst_of_frames_is_on_two_sides_of_a_split_of_crops(tables, folder, scanned):
    manifest, _ = tables
    crops = read_table(folder / "crops.csv", CROPS)
    assert set(scanned["burst"]) <= set(scanned.index)
    burst = manifest.loc[crops["frame"], "burst"].set_axis(crops.index)[scanned.index]
    assert (scanned["burst"].groupby(burst).nunique() == 1).all()
    assert crops["frame"].groupby(burst[crops.index]).nunique().max() > 1
    fold = make_folds(scanned, split="burst", folds=3, seed=1)["fold"]
    assert (fold.groupby(burst[fold.index]).nunique() == 1).all()


def test_what_is_there_and_the_same_is_not_written_again(tables, tmp_path: Path):
    manifest, boxes = tables
    out = tmp_path / "out"
    first = cut_all(manifest, boxes, out)
    before = files(out)
    assert first.written == len(before) == len(first.table)
    assert cut_all(manifest, boxes, out).written == 0
    assert files(out) == before
    moved = boxes.assign(left=boxes["left"].where(boxes.index != first.table["frame"].iloc[0], boxes["left"] + 3))
    next(out.glob("train/YFT/*.png")).unlink()
    count = (first.table["frame"] == first.table["frame"].iloc[0]).sum()
    assert cut_all(manifest, moved, out).written == count + 1
    changed = {file for file, time in files(out).items() if before[file] != time}
    assert len(changed) == count + 1


def test_crops_of_boxes_that_are_gone_are_removed_and_another_context_cuts_all_anew(tables, tmp_path: Path):
    manifest, boxes = tables
    out = tmp_path / "out"
    all_of_them = cut_all(manifest, boxes, out)
    fewer = cut_all(manifest, boxes.iloc[: len(boxes) // 2], out)
    assert fewer.written == 0
    assert set(files(out)) == set(fewer.table["file"]) < set(all_of_them.table["file"])
    wider = cut_all(manifest, boxes.iloc[: len(boxes) // 2], out, rule=CropRule(2.0, square=True))
    assert wider.written == len(wider.table)
    assert (wider.table["width"] == wider.table["height"]).all()
    assert (out / "crops.json").read_text() == '{"context": 2.0, "square": true}\n'


def test_after_an_interruption_no_crop_is_taken_for_another(tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import fisheries.crops

    manifest, boxes = tables
    out = tmp_path / "out"
    cut_all(manifest, boxes, out)
    real, calls = fisheries.crops._cut_frame, []

    def interrupted(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) > 5:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(fisheries.crops, "_cut_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut_all(manifest, boxes, out, rule=CropRule(3.0))
    assert not (out / "crops.json").exists()
    monkeypatch.setattr(fisheries.crops, "_cut_frame", real)
    again = cut_all(manifest, boxes, out)  # as before the interruption
    for row in again.table.itertuples():
        assert read_image(out / row.file).shape[:2] == (row.height, row.width)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": ""}, r"has no path; \d+ such images; give the manifest.csv"),
        ({"label": ""}, r"of train has no label; \d+ such images; name its class"),
        ({"path": "/nowhere/a.jpg"}, r"/nowhere/a.jpg: the file can't be read"),
        ({"height": 999}, r"pixels, not the manifest's \d+ x 999; run `fisheries manifest` again"),
        ({"label": "../../elsewhere"}, r"its crop would lie outside of the folder"),
        ({"status": "truncated"}, r"none of \d+ boxes can be used for 0 images"),
    ],
)
def test_a_manifest_that_does_not_do_is_one_line(tables, change, message: str, tmp_path: Path):
    manifest = tables[0][tables[0]["subset"] == "train"].assign(**change)
    with pytest.raises(InputError, match=message):
        cut_all(manifest, tables[1], tmp_path / "out")


def test_two_frames_whose_crops_would_have_one_name_are_told(tables, tmp_path: Path):
    manifest, boxes = tables
    row = boxes[boxes["status"] == "ok"].iloc[:1]
    frame = manifest.loc[row.index]
    names = [row.index[0], row.index[0].replace(".jpg", ".png")]
    twice = pd.concat([frame, frame]).set_axis(names), pd.concat([row, row]).set_axis(names)
    with pytest.raises(
        InputError, match=rf"'{names[0]}' and '{names[1]}' would both be cut into train/\w+/img_\d+_1.png"
    ):
        cut_all(*twice, tmp_path / "out")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_ours_is_left_alone(tables, kind: str, tmp_path: Path):
    out = tmp_path / "out"
    mine = out / "mine.txt" if kind == "folder" else out
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"out: exists and is no folder of crops; give --out another folder"):
        cut_all(*tables, out)
    assert mine.read_text() == "mine"
    assert list(tmp_path.rglob("*.png")) == []


def test_the_command_takes_several_tables_and_says_what_it_did(tables, tmp_path: Path):
    manifest, boxes = tables
    write_table(manifest, tmp_path / "manifest.csv")
    write_table(boxes, tmp_path / "boxes.csv")
    (test_id,) = manifest.index[manifest["subset"] == "test_stg2"][:1]
    (tmp_path / "detector.csv").write_text(f"image_id,left,top,box_width,box_height,score\n{test_id},1,2,30,40,0.5\n")
    arguments = [
        "crops",
        "manifest.csv",
        "--boxes",
        "boxes.csv",
        "--boxes",
        "detector.csv",
        "--context",
        "1.5",
        "--square",
    ]
    arguments = [str(tmp_path / word) if word.endswith(".csv") else word for word in arguments]
    answer = CliRunner().invoke(app, arguments, catch_exceptions=False)
    crops = read_table(tmp_path / "crops" / "crops.csv", CROPS)
    assert f"{len(crops)} crops of {crops['frame'].nunique()} images, {len(crops)} of them new" in answer.output
    test = (manifest["subset"] != "train").sum() - 1
    assert f"without a crop: 2 training and {test} test images" in answer.output.replace("\n", " ")
    assert crops.loc[crops["frame"] == test_id, "score"].tolist() == [0.5]
    assert "no crop to train on" not in answer.output
    write_table(boxes[~boxes.index.isin(manifest.index[manifest["label"] == "YFT"])], tmp_path / "boxes.csv")
    again = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "0 of them new" in again
    assert "no crop to train on of YFT: a second stage can't follow a first that knows it" in again
    assert "tables/" in CliRunner().invoke(app, ["crops", "--help"]).output
    with pytest.raises(InputError, match=r"--context: context=9.0"):
        CliRunner().invoke(app, [*arguments, "--context", "9"], catch_exceptions=False)


def test_crops_of_frames_with_one_name_keep_their_own_boat_and_burst(tables, tmp_path: Path):
    manifest, boxes = tables
    usable = boxes[boxes["status"] == "ok"]
    picked = usable[~usable.index.duplicated()].iloc[:3]
    names = ["ALB/a.jpg", "BET/a.jpg", "a.jpg"]  # as a scan calls train/ALB/a.jpg, train/BET/a.jpg and test_stg1/a.jpg
    frames = manifest.loc[picked.index].set_axis(names)
    frames = frames.assign(subset=["train", "train", "test_stg1"], label=["ALB", "BET", ""], boat=["one", "two", "one"])
    frames["burst"] = ["a.jpg", "BET/a.jpg", "a.jpg"]
    made = cut_all(frames, picked.set_axis(names), tmp_path / "out")
    assert dict(zip(made.table["file"], made.table.index, strict=True)) == {
        "train/ALB/a_1.png": "ALB/a_1.png",
        "train/BET/a_1.png": "BET/a_1.png",
        "test_stg1/a_1.png": "a_1.png",
    }
    options = {"annotations": None, "boats": None, "no_fish": "NoF", "progress": False}
    seen, _ = load_or_scan(tmp_path / "out", tables_dir=tmp_path / "tables", **options)
    assert seen["boat"].to_dict() == {"ALB/a_1.png": "one", "BET/a_1.png": "two", "a_1.png": "one"}
    assert seen["burst"].to_dict() == {
        "ALB/a_1.png": "ALB/a_1.png",
        "BET/a_1.png": "BET/a_1.png",
        "a_1.png": "ALB/a_1.png",
    }


def test_of_images_that_a_given_table_of_bursts_lacks_they_are_found(tables, tmp_path: Path):
    manifest = tables[0]
    first, second, *_ = manifest.index
    given = tmp_path / "bursts.csv"
    given.write_text(f"image_id,burst\n{second},{first}\n{first},{first}\nelsewhere.jpg,{first}\n")
    burst = attach_bursts(manifest, given)["burst"]
    assert burst.loc[[first, second]].tolist() == [first, first]
    pd.testing.assert_series_equal(burst.iloc[2:], manifest["burst"].iloc[2:])
    given.write_text("image_id,moment\n")
    with pytest.raises(InputError, match=r"bursts.csv: no column 'burst'"):
        attach_bursts(manifest, given)
