"""What folds must keep apart is refused by name where they do not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fisheries.data.splits import check_folds, holdout_ids, missing_classes, seen_ids, train_ids, usable_images, val_ids
from fisheries.schema import FOLDS, InputError, read_table, write_table
from tests.data.test_splits import BURSTY, FLEET, drawn


def moved(table: pd.DataFrame, image_id: str, column: str = "fold", value: int | None = None) -> pd.DataFrame:
    table = table.copy()
    table.loc[image_id, column] = 1 - table.loc[image_id, column] if value is None else value
    return table


def test_a_boat_on_two_sides_is_refused_by_name():
    message = (
        r"folds: 'img_000\d\d.jpg' in fold \d and 'img_000\d\d.jpg' in fold \d share boat '4', which such folds keep"
    )
    table = drawn(FLEET, seen_share=0)
    with pytest.raises(InputError, match=message):
        check_folds(moved(table, "img_00045.jpg"), FLEET)
    with pytest.raises(InputError, match=r"'img_00045.jpg' in the holdout share boat '4'"):
        check_folds(moved(table, "img_00045.jpg", value=-1), FLEET)
    check_folds(drawn(FLEET, "random", 3), FLEET)


@pytest.mark.parametrize(("column", "words"), [("burst", "a burst"), ("sha256", "their content")])
@pytest.mark.parametrize("split", ["boat", "burst"])
def test_a_burst_or_file_on_two_sides_is_refused_by_name(column: str, words: str, split: str):
    table = drawn(FLEET, split, seen_share=0)
    first, second = (val_ids(table, fold)[0] for fold in (0, 1))
    shared = FLEET.assign(**{column: FLEET[column].where(~FLEET.index.isin([first, second]), "same")})
    with pytest.raises(
        InputError, match=f"'{first}' in fold 0 and '{second}' in fold 1 share {words}|{second}.*{first}.*{words}"
    ):
        check_folds(table, shared)
    check_folds(table.assign(split="random"), shared)


@pytest.mark.parametrize("column", ["burst", "sha256"])
def test_a_seen_sample_that_shares_a_burst_or_file_with_the_training_part_is_refused(column: str):
    table = drawn(BURSTY, folds=2)
    seen = seen_ids(table, 0)[0]
    boat = BURSTY.index[(BURSTY["boat"] == BURSTY.loc[seen, "boat"]) & BURSTY.index.isin(train_ids(table, 0))]
    shared = BURSTY.assign(sha256="")
    shared.loc[[seen, boat[0]], column] = "same"
    for split in ("boat", "random"):
        with pytest.raises(InputError, match=r"(the sample of seen boats of fold 0|its training part).* share"):
            check_folds(table.assign(split=split), shared)


def test_a_seen_fold_that_cannot_be_is_refused():
    table = drawn(FLEET, seen_share=0, holdout=["3"])
    held_out, other = val_ids(table, 0)[0], holdout_ids(table)[0]
    for image_id, fold in ((held_out, 0), (held_out, 7), (other, 0)):
        with pytest.raises(
            InputError, match=f"seen_fold of '{image_id}' is {fold}; expected -1, or a fold that trains"
        ):
            check_folds(moved(table, image_id, "seen_fold", fold), FLEET)


def test_folds_of_other_images_are_refused_by_name():
    with pytest.raises(InputError, match=r"folds: 'img_00119.jpg' is not in the manifest; 1 such images"):
        check_folds(drawn(FLEET, folds=3), FLEET.iloc[:-1])


def test_a_stored_table_comes_back_and_passes(tables, tmp_path: Path):
    manifest, _ = tables
    table = drawn(manifest, folds=None)
    stored = read_table(write_table(table, tmp_path / "folds.csv"), FOLDS)
    pd.testing.assert_frame_equal(stored, table)
    check_folds(stored, manifest)
    assert len(table) == len(usable_images(manifest))
    assert missing_classes(table, manifest["label"]) == []
