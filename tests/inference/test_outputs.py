from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from fisheries.inference.outputs import Outputs, read_outputs, write_outputs
from fisheries.inference.scoring import class_frequencies
from fisheries.schema import InputError, write_predictions


@pytest.fixture(scope="module")
def outputs(make_outputs) -> Outputs:
    return make_outputs()


def test_outputs_read_back_as_written_with_labels_boats_and_prior(outputs, tmp_path):
    write_outputs(outputs, tmp_path, step={"step": "none"})
    read = read_outputs(tmp_path / "oof.csv")
    pd.testing.assert_frame_equal(read.oof, outputs.oof, check_exact=True)
    pd.testing.assert_frame_equal(read.test, outputs.test, check_exact=True)
    assert (read.labels == outputs.manifest["label"].loc[outputs.oof.index]).all()
    assert set(read.boats) == set(outputs.manifest["boat"].loc[outputs.oof.index])
    train = outputs.manifest[(outputs.manifest["subset"] == "train") & (outputs.manifest["status"] == "ok")]
    assert read.prior.equals(class_frequencies(train["label"], outputs.classes))
    assert json.loads((tmp_path / "step.json").read_text())["step"] == "none"


def test_tables_of_other_folds_are_refused(outputs, tmp_path):
    write_outputs(outputs, tmp_path, step={})
    write_predictions(outputs.test, tmp_path / "other.csv", folds_hash="0123456789abcdef")
    with pytest.raises(InputError, match=r"other\.csv: its networks were trained on the folds 0123456789abcdef"):
        read_outputs(tmp_path / "oof.csv", tmp_path / "other.csv")


def test_images_that_no_fold_held_out_are_refused_by_name(outputs, tmp_path):
    write_outputs(outputs, tmp_path, step={})
    with pytest.raises(InputError, match=f"'{outputs.test.index[0]}' was held out by no fold"):
        read_outputs(tmp_path / "test.csv", tmp_path / "test.csv")
    with pytest.raises(InputError, match=f"'{outputs.oof.index[0]}' is no test image"):
        read_outputs(tmp_path / "oof.csv", tmp_path / "oof.csv")


def test_where_there_are_no_test_images_their_table_has_no_rows(outputs, tmp_path):
    write_outputs(replace(outputs, test=outputs.test.iloc[:0]), tmp_path, step={})
    assert not (tmp_path / "test.csv").exists()
    read = read_outputs(tmp_path / "oof.csv")
    assert list(read.test.columns) == outputs.classes
    assert read.test.empty
    with pytest.raises(InputError, match=r"test\.csv: no such file"):
        read_outputs(tmp_path / "oof.csv", tmp_path / "test.csv")
