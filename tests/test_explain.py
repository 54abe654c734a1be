"""`fisheries explain` on a run of one epoch: its page, its tables, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.data.splits import seen_ids, val_ids
from fisheries.schema import BOXES, FOLDS, MANIFEST, USABLE, InputError, read_table
from tests.conftest import on_small_pictures
from tests.processes import TRAIN, call

LAYER = "backbone.network.stages.0"


def explain(*arguments: object) -> str:
    """What the command prints."""
    answer = CliRunner().invoke(app, ["explain", *map(str, arguments), "--gpus", "0"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return " ".join(answer.output.split())


@pytest.fixture(scope="module")
def run_dir(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a fully convolutional network, explained."""
    folder = tmp_path_factory.mktemp("explained")
    overrides = ["data.image_hw=[32,64]", "split.seen_share=0.2", "model.head=fcn", "hydra.run.dir=run"]
    overrides += ["model.head_options={pools:null,width:8}"]
    call(TRAIN, *on_small_pictures(world, *overrides), cwd=folder)
    explain(folder / "run", "--most", 6)
    return folder / "run"


@pytest.fixture
def manifest(run_dir: Path) -> pd.DataFrame:
    return read_table(run_dir / "manifest.csv", MANIFEST)


@pytest.fixture
def changes(run_dir: Path) -> pd.DataFrame:
    return pd.read_csv(run_dir / "explain" / "changes.csv", index_col="image_id", keep_default_na=False)


def titles(folder: Path) -> list[str]:
    lines = (folder / "explain.html").read_text().splitlines()
    return [line.removeprefix("<h2>").removesuffix("</h2>") for line in lines if line.startswith("<h2>")]


def test_heat_is_measured_on_images_that_the_fold_has_not_trained_on(run_dir: Path):
    heat, folds = pd.read_csv(run_dir / "explain" / "heat.csv"), read_table(run_dir / "folds.csv", FOLDS)
    assert heat[["part", "method"]].value_counts().to_dict() == {
        (part, method): 6 for part in ("unseen", "seen") for method in ("class map", "Grad-CAM")
    }
    assert set(heat.loc[heat["part"] == "unseen", "image_id"]) <= set(val_ids(folds, 0))
    assert set(heat.loc[heat["part"] == "seen", "image_id"]) <= set(seen_ids(folds, 0))
    assert heat["share"].dropna().between(0, 1).all()


def test_the_boxes_share_is_that_of_the_frame(run_dir: Path, manifest: pd.DataFrame):
    heat = pd.read_csv(run_dir / "explain" / "heat.csv", index_col="image_id")
    boxes = read_table(run_dir / "boxes.csv", BOXES, unique=False)
    boxes = boxes[boxes["status"].isin(USABLE)]
    single = heat[~heat.index.isin(boxes.index[boxes.index.duplicated()])]
    area = (boxes["box_width"] * boxes["box_height"]).loc[single.index]
    assert len(single) > 5
    assert np.allclose(single["box_share"], area / (manifest["width"] * manifest["height"]).loc[single.index])


def test_an_unchanged_photograph_has_the_probability_that_the_run_predicted(run_dir: Path, changes: pd.DataFrame):
    oof = pd.read_csv(run_dir / "oof.csv", index_col="image_id", keep_default_na=False)
    unseen = changes[changes["part"] == "unseen"]
    assert len(unseen) == 6
    said = [oof.loc[image_id, label] for image_id, label in unseen["label"].items()]
    assert np.allclose(unseen["probability"], said, atol=1e-5)


def test_a_deck_is_a_photograph_without_fish_of_another_boat(manifest: pd.DataFrame, changes: pd.DataFrame):
    assert (manifest["label"].loc[changes["deck"]] == "NoF").all()
    assert (manifest["boat"].loc[changes["deck"]].to_numpy() != manifest["boat"].loc[changes.index].to_numpy()).all()


def test_the_page_stands_alone_and_shows_one_image_of_each_class(run_dir: Path, manifest: pd.DataFrame):
    page = (run_dir / "explain" / "explain.html").read_text()
    assert 'src="data:image/png' in page
    assert "http" not in page
    labels = manifest.loc[val_ids(read_table(run_dir / "folds.csv", FOLDS), 0), "label"].unique()
    assert len(labels) > 4
    for label in labels:
        assert page.count(f"is <b>{label}</b>") == 1
    assert "Class maps" in page
    assert titles(run_dir / "explain")[0] == "Does it look at the fish?"


def test_the_same_seed_gives_the_same_tables(run_dir: Path, changes: pd.DataFrame, tmp_path: Path):
    explain(run_dir, changes.index[0], "--most", 6, "--out", tmp_path)
    for name in ("heat.csv", "changes.csv"):
        assert (tmp_path / name).read_bytes() == (run_dir / "explain" / name).read_bytes()


def test_photographs_are_given_by_name_or_file_and_known_by_content(
    run_dir: Path, manifest: pd.DataFrame, tmp_path: Path
):
    first, second = manifest.index[manifest["subset"] == "train"][:2]
    shutil.copy(manifest.loc[second, "path"], tmp_path / "renamed.jpg")
    Image.open(manifest.loc[second, "path"]).resize((90, 70)).save(tmp_path / "new.png")
    given = [first, tmp_path / "renamed.jpg", tmp_path / "new.png"]
    explain(run_dir, *given, "--most", 0, "--layer", LAYER, "--out", tmp_path / "few")
    assert titles(tmp_path / "few") == [first, second, "new.png", "What its filters look for"]
    page = (tmp_path / "few" / "explain.html").read_text()
    assert f"Activations of {LAYER}" in page
    assert page.count("is <b>") == 2
    assert not (tmp_path / "few" / "heat.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "stages.0"], rf"no layer 'stages.0' \(did you mean '{LAYER}'\?\)"),
        (["img_0000.jpg"], r"img_0000.jpg: no such file, and no image of the run \(did you mean 'img_0"),
        (["broken.jpg"], r"broken.jpg: truncated; 1 such files; leave them out"),
    ],
)
def test_what_is_not_there_or_broken_is_refused(
    run_dir: Path, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=message):
        explain(run_dir, *arguments, "--most", 0)


def test_a_run_without_boxes_gives_pictures_only(run_dir: Path, manifest: pd.DataFrame, tmp_path: Path):
    copy = Path(shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("explain")))
    (copy / "boxes.csv").write_text((copy / "boxes.csv").read_text().splitlines()[0] + "\n")
    image_id = manifest.index[manifest["subset"] == "train"][0]
    assert "Pictures only, no numbers: none of the" in explain(copy, image_id)
    assert titles(copy / "explain") == [image_id, "What its filters look for"]
