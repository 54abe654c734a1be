"""The commands about boats, bursts, folds and the leak, one after another on photographs without a table of boats."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.schema import BOATS, BOXES, FOLDS, MANIFEST, InputError, read_table


def call(*arguments: object) -> str:
    """What a command prints."""
    answer = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False, terminal_width=200)
    assert answer.exit_code == 0, answer.output
    return " ".join(answer.output.split())


@pytest.fixture(scope="module")
def found(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the world's photographs, its boats found and not given."""
    root = tmp_path_factory.mktemp("photographs") / "boats"
    shutil.copytree(world, root)
    (root / "boats.csv").unlink()
    tables = tmp_path_factory.mktemp("found")
    call("manifest", root, "--out", tables)
    return tables


@pytest.fixture
def tables(found: Path, tmp_path: Path) -> Path:
    """A copy of them to change."""
    return Path(shutil.copytree(found, tmp_path / "tables"))


def boats_of(tables: Path) -> pd.Series:
    return read_table(tables / "manifest.csv", MANIFEST)["boat"]


def test_without_a_table_of_boats_they_are_found_and_in_the_manifest(found: Path, world: Path):
    boats = boats_of(found)
    assert (boats != "").all()
    assert boats.nunique() > 4
    pd.testing.assert_series_equal(read_table(found / "boats.csv", BOATS)["boat"].loc[boats.index], boats)


def test_a_given_table_of_boats_wins_over_those_found(found: Path, world: Path, tmp_path: Path):
    call("manifest", world, "--out", tmp_path)
    assert set(boats_of(tmp_path)) == {f"boat_{number:02}" for number in range(11)}
    assert not (tmp_path / "boats.csv").exists()


def test_merged_boats_stay_merged_on_the_next_run(tables: Path):
    first, second = boats_of(tables).value_counts().index[:2]
    printed = call("boats", tables / "manifest.csv", "--merge", f"{first},{second}")
    assert "were corrected by hand" in printed
    merged = boats_of(tables)
    assert second not in set(merged)
    call("boats", tables / "manifest.csv")
    pd.testing.assert_series_equal(boats_of(tables), merged)
    assert (tables / "boats.html").read_text().count("<img") > 4


def test_a_row_corrected_by_hand_stays_corrected(tables: Path):
    text = pd.read_csv(tables / "boats.csv", dtype=str, keep_default_na=False)
    text.loc[0, "boat"] = "the red one"
    text.to_csv(tables / "boats.csv", index=False)
    call("boats", tables / "manifest.csv")
    assert read_table(tables / "boats.csv", BOATS).loc[text.loc[0, "image_id"], "boat"] == "the red one"


def test_a_boat_that_is_not_there_is_refused_by_name(tables: Path):
    with pytest.raises(InputError, match="cam_01"):
        call("boats", tables / "manifest.csv", "--merge", "cam_01,cam_999")


def test_bursts_are_found_and_written_into_the_manifest(tables: Path):
    before = read_table(tables / "manifest.csv", MANIFEST)
    from fisheries.schema import write_table

    write_table(before.assign(burst=""), tables / "manifest.csv")
    assert "bursts of 2 to" in call("bursts", tables / "manifest.csv")
    pd.testing.assert_frame_equal(read_table(tables / "manifest.csv", MANIFEST), before)


def test_folds_are_planned_and_written_for_training(tables: Path, world: Path):
    out = tables / "folds.csv"
    printed = call("split", tables / "manifest.csv", "--boats", world / "boats.csv", "--out", out, "--holdout", "1")
    assert f"split.file={out}" in printed
    folds = read_table(out, FOLDS)
    boats = read_table(world / "boats.csv", BOATS).loc[folds.index, "boat"]
    assert boats[folds["fold"] == -1].nunique() == 1
    assert (folds["fold"].groupby(boats).nunique() == 1).all()
    assert set(folds["split"]) == {"boat"}


def test_images_of_unknown_boats_are_left_out_of_folds_by_boat_and_counted(tmp_path: Path):
    rows = [f"img_{number:03}.jpg,{'AB'[number % 2]},{number // 10 - 1}" for number in range(60)]
    (tmp_path / "images.csv").write_text("\n".join(["image_id,label,boat", *rows]))
    printed = call("split", tmp_path / "images.csv")
    assert "10 images of unknown boats are in no fold" in printed
    assert "5 folds, the most that can be: A is on 5 boats only" in printed
    assert len(read_table(tmp_path / "folds.csv", FOLDS)) == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "some"], "--folds some: expected a whole number, or auto"),
        (["--by", "bot"], "split.name='bot'"),
        (["--folds", "40"], "40"),
        (["--holdout", "cam_999"], "cam_999"),
    ],
)
def test_folds_that_can_not_be_are_one_line(tables: Path, arguments: list[str], message: str):
    with pytest.raises(InputError, match=message):
        call("split", tables / "manifest.csv", *arguments)


def test_the_leak_is_measured_on_a_table_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    boat = rng.integers(0, 12, 600)
    label = np.where(rng.random(600) < 0.8, boat % 3, rng.integers(0, 3, 600))
    table = pd.DataFrame(
        {
            "image_id": [f"img_{number:05}.jpg" for number in range(600)],
            "label": np.array(["ALB", "BET", "YFT"])[label],
            "boat": boat,
            "width": 1280 + boat % 3,
            "height": 720,
        }
    )
    table.to_csv("images.csv", index=False)
    assert "leak" in call("leakage", "images.csv")
    rows = pd.read_csv("leakage.csv", index_col="cue")
    boat_row = rows.loc["boat"]
    assert boat_row["random_log_loss"] < boat_row["random_prior_log_loss"] - 0.3
    assert boat_row["leak_low"] > 0
    assert "<html" in Path("leakage.html").read_text()


def test_the_leak_is_measured_on_photographs_with_boxes(tables: Path, world: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tables)
    call("leakage", "manifest.csv")
    rows = pd.read_csv("leakage.csv", index_col="cue")
    assert {"image size", "boat", "8 x 8 thumbnail"} <= set(rows.index)
    assert len(read_table(tables / "boxes.csv", BOXES, unique=False))


def test_a_folder_in_place_of_a_manifest_is_one_line_with_the_remedy(world: Path):
    with pytest.raises(InputError, match=r"a folder; `fisheries manifest .*` makes its manifest.csv"):
        call("leakage", world)


def test_a_table_without_photographs_can_not_show_boats(tmp_path: Path):
    (tmp_path / "images.csv").write_text("image_id,label\na.jpg,ALB\n")
    with pytest.raises(InputError, match=r"'a.jpg' has no path; 1 such images; give the manifest.csv"):
        call("boats", tmp_path / "images.csv")
