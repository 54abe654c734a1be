"""Box, crop, classify: real processes on the embedded boats, from frames to one prediction table."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf
from rich.console import Console
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.crops import CROPS
from fisheries.inference.scoring import class_frequencies
from fisheries.material import Material, settle
from fisheries.predict import predict_paths
from fisheries.schema import BOXES, MANIFEST, InputError, read_folds_hash, read_predictions, read_table
from tests.processes import FISHERIES, TRAIN, call

TINY = ["data=folder", "data.image_hw=[32,48]", "data.workers=0", "split.folds=2", "logger=none"]
TINY += ["model.options={widths:[4,8],depths:[1,1]}", "model.head=dense", "model.dropout=0"]
# enough for boxes of an area; without held-out batches the last epoch's weights are kept
BOX_RUN = ["model.predict_box=true", "loss.box_weight=0.001", "optimizer.lr=0.01", "trainer.max_epochs=6"]
BOX_RUN += ["trainer.limit_val_batches=0"]


@pytest.fixture(scope="module")
def runs(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on frames, one on the crops at its boxes, and what both say of the test images together."""
    folder = tmp_path_factory.mktemp("two_stages")
    train = [TRAIN, *TINY]
    call(*train, *BOX_RUN, f"data.root={world}", "hydra.run.dir=frames", cwd=folder)
    boxes = ["--boxes", "frames/boxes.csv", "--boxes", "frames"]
    call(FISHERIES, "crops", "frames/manifest.csv", *boxes, "--context", "1.3", "--out", "fish", cwd=folder)
    call(*train, "data.root=fish", "trainer.max_epochs=2", "hydra.run.dir=crops", cwd=folder)
    (folder / "fish").rename(folder / "fish_elsewhere")  # a run that was trained knows how its crops were cut
    tests = [world / "test_stg1", world / "test_stg2"]
    call(FISHERIES, "predict", "frames", *tests, "--crops-run", "crops", "--workers", 0, cwd=folder)
    return folder


def chained(runs: Path, world: Path, out: Path, **options: object) -> pd.DataFrame:
    """Both stages on the test images of stage 1, in this process."""
    given = {
        "run_dir": runs / "frames",
        "crops_run": runs / "crops",
        "paths": [world / "test_stg1"],
        "out": out,
        **options,
    }
    return predict_paths(**given, gpus="0", batch_size=8, workers=0, console=Console(quiet=True))


def fish_prior(runs: Path) -> pd.Series:
    manifest = read_table(runs / "crops" / "manifest.csv", MANIFEST)
    classes = [name for name in read_predictions(runs / "predictions.csv") if name != "NoF"]
    return class_frequencies(
        manifest.loc[(manifest["subset"] == "train") & (manifest["status"] == "ok"), "label"], classes
    )


def detector(path: Path, *rows: tuple) -> Path:
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(["image_id,left,top,box_width,box_height,score", *lines]))
    return path


def test_a_run_on_crops_knows_how_they_were_cut_and_holds_boats_apart(runs: Path):
    config = yaml.safe_load((runs / "crops" / "config.yaml").read_text())
    assert config["data"]["crops"] == {"context": 1.3, "square": False}
    assert yaml.safe_load((runs / "frames" / "config.yaml").read_text())["data"]["crops"] is None
    assert "NoF" not in config["data"]["classes"]
    crops, frames = (read_table(runs / name / "manifest.csv", MANIFEST) for name in ("crops", "frames"))
    origin = read_table(runs / "fish_elsewhere" / "crops.csv", CROPS)["frame"]
    assert (crops["boat"] == frames.loc[origin[crops.index], "boat"].to_numpy()).all()


def test_the_chain_says_no_fish_as_the_first_stage_and_of_the_rest_what_the_second_says_of_the_crops(runs: Path):
    both, first = read_predictions(runs / "predictions.csv"), read_predictions(runs / "frames" / "test.csv")
    second = read_predictions(runs / "crops" / "test.csv")
    frame = read_table(runs / "fish_elsewhere" / "crops.csv", CROPS)["frame"][second.index]
    second = second.set_axis(frame.to_numpy())  # one box a frame
    assert sorted(both.index) == sorted(first.index)
    assert 5 < len(second) <= len(both)
    prior, fish = fish_prior(runs), list(second.columns)
    np.testing.assert_allclose(both["NoF"], first.loc[both.index, "NoF"], rtol=1e-5)
    fallen_back = 0
    for name, row in both.iterrows():
        with_box = name in second.index and row["NoF"] <= 0.5
        expected = second.loc[name] if with_box else prior[fish]
        np.testing.assert_allclose(row[fish], expected * (1 - row["NoF"]), rtol=1e-4, atol=1e-7)
        fallen_back += not with_box
    assert fallen_back < len(both)
    hashes = [read_folds_hash(runs / name / "oof.csv") for name in ("frames", "crops")]
    assert read_folds_hash(runs / "predictions.csv") == "+".join(hashes)
    assert (runs / "predictions_boxes.csv").is_file()


def test_boxes_of_a_detector_replace_those_of_the_first_run_and_several_fish_are_merged_by_score(
    runs: Path, world: Path, tmp_path: Path
):
    first = read_predictions(runs / "frames" / "test.csv")
    name = first.index[~first.index.str.startswith("test_stg2") & (first["NoF"] <= 0.5)][0]
    one, other = (name, 5, 10, 60, 30), (name, 100, 60, 40, 50)
    tables = {
        "one": detector(tmp_path / "one.csv", (*one, 0.2)),
        "other": detector(tmp_path / "other.csv", (*other, 0.9)),
        "both": detector(tmp_path / "both.csv", (*one, 0.25), (*other, 0.75)),
    }
    said = {key: chained(runs, world, tmp_path / "out.csv", boxes=[path]) for key, path in tables.items()}
    merged = 0.25 * said["one"].loc[name] + 0.75 * said["other"].loc[name]
    np.testing.assert_allclose(said["both"].loc[name], merged, rtol=1e-4)
    assert abs(said["one"].loc[name] - said["other"].loc[name]).max() > 1e-4
    prior = fish_prior(runs)
    for other_name, row in said["both"].drop(name).iterrows():
        np.testing.assert_allclose(row[prior.index], prior * (1 - first.loc[other_name, "NoF"]), rtol=1e-4)


def test_a_run_without_box_head_is_chained_with_given_boxes_and_photographs_that_fail_get_its_prior(
    runs: Path, world: Path, tmp_path: Path
):
    photos = tmp_path / "test_stg1"
    shutil.copytree(world / "test_stg1", photos)
    bad, good = sorted(photos.iterdir())[:2]
    bad.write_bytes(bad.read_bytes()[:2000])
    boxes = detector(tmp_path / "boxes.csv", (good.name, 5, 10, 60, 30, 1))
    table = chained(runs, tmp_path, tmp_path / "out.csv", run_dir=runs / "crops", boxes=[boxes])
    assert "NoF" not in table
    np.testing.assert_allclose(table.loc[bad.name], fish_prior(runs))
    assert abs(table.loc[good.name] - fish_prior(runs)).max() > 1e-3
    assert len(table) == len(list(photos.iterdir()))


def test_where_no_box_has_an_area_all_shares_are_the_prior(
    runs: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import fisheries.predict

    real = fisheries.predict.box_table
    monkeypatch.setattr(
        fisheries.predict, "box_table", lambda *given: real(*given).assign(box_width=0.0, status="empty")
    )
    table, prior = chained(runs, world, tmp_path / "out.csv"), fish_prior(runs)
    shares = table[prior.index].div(1 - table["NoF"], axis=0)
    np.testing.assert_allclose(shares, np.tile(prior, (len(table), 1)))


def test_runs_that_do_not_go_together_are_one_line(runs: Path, world: Path, tmp_path: Path):
    strange = tmp_path / "strange"
    shutil.copytree(runs / "crops", strange)
    config = (strange / "config.yaml").read_text()
    (strange / "config.yaml").write_text(config.replace("- YFT", "- TUNA"))
    elsewhere = detector(tmp_path / "boxes.csv", ("elsewhere.jpg", 5, 10, 60, 30, 1))
    for options, message in [
        ({"crops_run": strange}, r"strange: only the second stage knows the class 'TUNA'; expected ALB,"),
        ({"crops_run": runs / "frames"}, r"frames: not known to be trained on crops; .*data.crops="),
        ({"run_dir": runs / "crops"}, r"crops: its networks predict no boxes; give --boxes, or a run trained with"),
        ({"boxes": [elsewhere]}, r"none of 1 boxes can be used for 12 images; expected boxes by image_id, such as '"),
    ]:
        with pytest.raises(InputError, match=message):
            chained(runs, world, tmp_path / "out.csv", **options)
    assert not (tmp_path / "out.csv").exists()


def test_boxes_without_a_second_stage_are_refused():
    with pytest.raises(InputError, match="--boxes says where to cut for a second stage: give --crops-run, too"):
        CliRunner().invoke(app, ["predict", "frames", "photos", "--boxes", "boxes.csv"], catch_exceptions=False)


def test_crops_from_elsewhere_are_described_in_the_configuration(tmp_path: Path):
    def settled(crops: object) -> object:
        data = {"root": None, "classes": None, "boats": None, "labels": None, "solution": None, "crops": crops}
        folders = {"tables_dir": "tables", "submissions_dir": "submissions", "pseudo": None}
        config = OmegaConf.create({"data": data, "model": {"weights": None}, "split": {"file": None}, **folders})
        empty = pd.DataFrame(columns=list(BOXES))
        settle(config, Material(tmp_path, empty, empty, ["ALB", "YFT"]))
        return OmegaConf.to_container(config)["data"]["crops"]

    assert settled(None) is None
    assert settled({"context": 1, "square": True}) == {"context": 1.0, "square": True}
    with pytest.raises(InputError, match=r"data.crops: context=9, square=True; expected a context from 1 to 4"):
        settled({"context": 9, "square": True})
