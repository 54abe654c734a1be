"""Photographs"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.data.images import read_image
from fisheries.schema import FOLDS, MANIFEST, read_predictions, read_table
from tests.conftest import on_small_pictures
from tests.faults.conftest import Spoiled, refusal
from tests.processes import FISHERIES, TRAIN, call


def test_data_missing_or_empty(tmp_path: Path):
    """One line names the folder and what was expected in it; no run is begun."""
    (tmp_path / "empty" / "train" / "ALB").mkdir(parents=True)
    for root, said in [
        ("nowhere", "nowhere: no such folder"),
        ("empty", "empty: no files in train/<class>/ or test*/"),
    ]:
        answer = call(TRAIN, "data=folder", f"data.root={root}", cwd=tmp_path, check=False)
        assert said in refusal(answer)
    assert not list((tmp_path / "runs").iterdir())


def test_data_in_a_folder_that_is_read_only(tmp_path: Path, world: Path):
    """Nothing is written beside the photographs, so a read-only folder does as well as any other."""
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    for path in [copy, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    call(FISHERIES, "manifest", copy, "--out", tmp_path / "tables", cwd=tmp_path)
    assert len(read_table(tmp_path / "tables" / "manifest.csv", MANIFEST)) == 126
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_tables_in_a_folder_that_is_read_only(tmp_path: Path, world: Path):
    """One line names the folder, before anything is computed."""
    options = on_small_pictures(world, "tables_dir=/proc/nothing")
    line = refusal(call(TRAIN, *options, cwd=tmp_path, check=False))
    assert re.fullmatch(r"/proc/nothing/\S+: can't be made \(.*\); expected a folder for tables", line)


def test_corrupt_training_image(spoiled: Spoiled):
    """It is left out, in no fold, and counted; `fisheries manifest` lists it."""
    assert spoiled.manifest("corrupt")["status"] == "truncated"
    assert not spoiled.trained_on("corrupt")
    assert "files can't be used: `fisheries manifest" in spoiled.printed


def test_corrupt_test_image(spoiled: Spoiled):
    """It gets the class frequencies of training and a warning by name, so that every name has a row."""
    name = spoiled.names["corrupt test"]
    assert f"2 test images can't be read, {name} first: they get the prior" in spoiled.printed
    folds = read_table(spoiled.run / "folds.csv", FOLDS)
    trained = folds.index[(folds["fold"] != 0) & (folds["seen_fold"] != 0)]
    frequencies = read_table(spoiled.run / "manifest.csv", MANIFEST).loc[trained, "label"].value_counts(normalize=True)
    row = spoiled.predicted("corrupt test")
    np.testing.assert_allclose(row, frequencies.reindex(row.index, fill_value=0), atol=1e-6)
    assert len(read_predictions(spoiled.run / "test.csv")) == 30


@pytest.mark.parametrize(
    ("kind", "notes"),
    [("cmyk", "cmyk"), ("grey", "grey"), ("16bit", "16bit grey is_png"), ("png", "is_png"), ("exif", "exif_rotated")],
)
def test_cmyk_or_grey_or_16_bit_or_png_called_jpg_or_exif(spoiled: Spoiled, world: Path, kind: str, notes: str):
    """It is seen as the camera meant it (turned, 8-bit RGB), used like any other, and noted in the manifest."""
    row = spoiled.manifest(kind)
    assert (row["status"], row["notes"]) == ("ok", notes)
    assert spoiled.trained_on(kind)
    seen = read_image(row["path"]).astype(float)
    plain = read_image(world / "train" / "ALB" / spoiled.names[kind]).astype(float)
    if kind in ("grey", "16bit"):
        plain = np.repeat((plain @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    expected = np.rot90(plain, -1) if kind == "exif" else plain
    assert seen.shape == expected.shape == (row["height"], row["width"], 3)
    assert np.abs(seen - expected).mean() < 6  # JPEG loses a little


def test_more_than_50_megapixels(spoiled: Spoiled):
    """It is not decoded: in training it is left out, in test it gets the prior."""
    assert spoiled.manifest("huge")["status"] == "too_large"
    assert not spoiled.trained_on("huge")
    assert spoiled.manifest("huge test")["status"] == "too_large"
    pd.testing.assert_series_equal(spoiled.predicted("huge test"), spoiled.predicted("corrupt test"), check_names=False)


def test_unicode_and_blanks_in_paths(spoiled: Spoiled):
    """Folders and files may be called anything that is text; on the command line such a value wants quotes."""
    assert spoiled.manifest("unicode")["path"] == str(spoiled.root / "train" / "ALB" / spoiled.names["unicode"])
    assert spoiled.trained_on("unicode")
    answer = call(TRAIN, f"data.root={spoiled.root}", cwd=spoiled.run, check=False)
    assert f"""give it in quotes, as in 'data.root="{spoiled.root}"'""" in refusal(answer)
