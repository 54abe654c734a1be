"""Folds that come from a file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.data.splits import holdout_ids, seen_ids
from fisheries.schema import InputError, write_table
from tests.data.test_splits import BURSTY, FLEET, drawn


def test_folds_of_a_file_are_those_it_was_written_from(tmp_path: Path):
    table = drawn(BURSTY, folds=3, seed=5, holdout=2)
    file = write_table(table.sample(frac=1, random_state=0), tmp_path / "folds.csv")
    again = drawn(BURSTY, "file", None, seed=5, file=file)
    pd.testing.assert_frame_equal(again, table)
    assert again.attrs["notes"] == [f"as many folds as {file} has"]


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "given.csv"
    file.write_text(text)
    return file


def ids(*numbers: int) -> list[str]:
    return [f"img_{number:05}.jpg" for number in numbers]


def test_a_file_without_claim_claims_boats_and_leaves_others_out(tmp_path: Path):
    lines = [
        f"{image_id},{fold}" for image_id, fold in zip(ids(*range(40)), [0] * 10 + [1] * 20 + [-1] * 10, strict=True)
    ]
    file = written(tmp_path, "\n".join(["image_id,fold", *lines[::-1]]))
    broken = FLEET.assign(status=np.where(np.arange(120) == 4, "truncated", "ok"))
    table = drawn(broken, "file", None, file=file)
    assert list(table.index) == ids(*range(4), *range(5, 40))
    assert set(table["split"]) == {"boat"}
    assert list(holdout_ids(table)) == ids(*range(30, 40))
    assert len(seen_ids(table, 0))
    assert table.attrs["notes"][1:] == [
        f"1 images of {file} can't be used, such as 'img_00004.jpg'",
        f"80 usable images are not in {file}, such as 'img_00040.jpg'",
    ]


def test_a_file_that_claims_less_is_checked_for_less(tmp_path: Path):
    rows = [f"{image_id},{number % 2},random" for number, image_id in enumerate(FLEET.index)]
    table = drawn(FLEET, "file", 2, file=written(tmp_path, "\n".join(["image_id,fold,split", *rows])))
    assert set(table["split"]) == {"random"}
    assert set(table["seen_fold"]) == {-1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("img_00001.jpg,0\nimg_99999.jpg,1", "'img_99999.jpg' is not in the manifest; 1 such images"),
        ("img_00001.jpg,0\nimg_00119.jpg,1", "'img_00119.jpg' is a test image; 1 such images"),
        ("img_00001.jpg,0\nimg_00001.jpg,1", "'img_00001.jpg' occurs more than once"),
        ("img_00001.jpg,0\nimg_00011.jpg,1.5", "fold of 'img_00011.jpg' is '1.5', not a whole number"),
        ("img_00001.jpg,0\nimg_00011.jpg,", "fold of 'img_00011.jpg' is '', not a whole number"),
        (
            "img_00001.jpg,0\nimg_00011.jpg,-2",
            "fold of 'img_00011.jpg' is -2; expected 0 or more, or -1 for the holdout",
        ),
        ("img_00001.jpg,0\nimg_00011.jpg,2", "no image is in fold 1; number the folds from 0 without a gap"),
        ("img_00001.jpg,1\nimg_00011.jpg,2", "no image is in fold 0; number the folds from 0 without a gap"),
        ("img_00001.jpg,0\nimg_00011.jpg,-1", "1 folds; expected at least 2"),
        ("", "no images; expected a fold for each training image"),
        ("img_00001.jpg,0\nimg_00002.jpg,1", "'img_00001.jpg' in fold 0 and 'img_00002.jpg' in fold 1 share boat '0'"),
        (
            "img_00001.jpg,0\nimg_00011.jpg,1\nimg_00012.jpg,-1",
            "in fold 1 and 'img_00012.jpg' in the holdout share boat '1'",
        ),
    ],
)
def test_a_file_that_is_no_fold_table_of_the_manifest_is_one_line(tmp_path: Path, rows: str, message: str):
    file = written(tmp_path, f"image_id,fold\n{rows}\n")
    manifest = FLEET.assign(subset=np.where(np.arange(120) < 110, "train", "test_stg1"))
    with pytest.raises(InputError, match=re.escape(f"{file}: ") + ".*" + re.escape(message)):
        drawn(manifest, "file", None, file=file)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ("a,0,boats", {}, "split is 'boats'; expected one of random, burst, boat (did you mean 'boat'?)"),
        ("a,0,boat\nb,1,random", {}, "split is boat and random; expected the same in each row"),
        ("a,0,boat\nb,1,boat", {"folds": 4}, "split.folds=4: {file} has 2; leave split.folds=null"),
        ("a,0,boat\nb,1,boat", {"holdout": 1}, "split.holdout=1: split=file takes it from the file"),
    ],
)
def test_a_file_at_odds_with_itself_or_the_options_is_one_line(tmp_path: Path, rows: str, options: dict, message: str):
    file = written(
        tmp_path, f"image_id,fold,split\n{rows}\n".replace("a,0", "img_00001.jpg,0").replace("b,1", "img_00011.jpg,1")
    )
    with pytest.raises(InputError, match=re.escape(message.format(file=file))):
        drawn(FLEET, **{"split": "file", "folds": None, "file": file, **options})
