from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries import schema
from fisheries.schema import (
    InputError,
    check_predictions,
    read_folds_hash,
    read_predictions,
    read_table,
    table_hash,
    write_predictions,
    write_table,
)

COLUMNS = {"name": "str", "count": "int64", "left": "float64"}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ROWS = st.lists(
    st.tuples(TEXT.filter(bool), TEXT, st.integers(-(2**53), 2**53), st.floats(allow_infinity=False)),
    max_size=6,
    unique_by=lambda row: row[0],
)


def table_of(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["image_id", *COLUMNS]).astype({"image_id": "str", **COLUMNS})
    return table.set_index("image_id")


def written(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


@settings(deadline=None, max_examples=50)
@given(ROWS)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, ...]]
) -> None:
    table = table_of(rows)
    path = write_table(table, tmp_path_factory.getbasetemp() / "round_trip.csv")
    pd.testing.assert_frame_equal(read_table(path, COLUMNS), table, check_exact=True)


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan", "-1", " x ", "a\rb", "a\nb", 'a"b', "a,b", "", "1.0"])
def test_words_stay_words(tmp_path: Path, word: str) -> None:
    table = table_of([("id " + word, word, 1, 2.0)])
    pd.testing.assert_frame_equal(read_table(write_table(table, tmp_path / "a.csv"), COLUMNS), table)


def test_carriage_return_and_newline_ends_are_both_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"image_id,boat\r\na,1\r\nb,2\r\n")
    assert read_table(path, schema.BOATS)["boat"].to_dict() == {"a": "1", "b": "2"}


def test_other_columns_are_dropped_and_order_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "more,left,image_id,name,count\n1,2,b,x,3\n1,2,a,x,3\n")
    table = read_table(path, COLUMNS)
    assert list(table.columns) == list(COLUMNS)
    assert table.index.tolist() == ["b", "a"]


def test_absent_number_is_nan_in_a_float_column(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "image_id,name,count,left\na,x,1,\nb,x,1,NaN\nc,x,1,2\n"), COLUMNS)
    assert table["left"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV table"),
        ("image_id,nam,count,left\n", r"no column 'name' \(did you mean 'nam'\?\); it needs image_id,name,count,left"),
        ("id,name,count,left\n", "no column 'image_id'"),
        ("image_id,name,count,left\na,x,1,2\n,x,1,2\n", "row 3 has no image_id"),
        ("image_id,name,count,left\na,x,1,2\na,x,1,2\n", "'a' occurs more than once; 1 such rows"),
        ("image_id,name,count,left\na,x,1.5,2\n", "count of 'a' is '1.5', not a whole number"),
        ("image_id,name,count,left\na,x,,2\n", "count of 'a' is '', not a whole number"),
        ("image_id,name,count,left\na,x,1,two\n", "left of 'a' is 'two', not a number"),
        ("image_id,name,count,left\na,x,1,2,3,4\nb,x,1,2,3,4,5\n", "not a CSV table"),
    ],
)
def test_what_is_no_such_table_is_refused_by_file_and_value(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path, COLUMNS)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_id_may_occur_twice_where_rows_are_not_images(tmp_path: Path) -> None:
    path = written(tmp_path, "image_id,boat\na,1\na,2\n")
    assert read_table(path, schema.BOATS, unique=False)["boat"].tolist() == ["1", "2"]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_table(tmp_path / "none.csv", COLUMNS)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError("disk full")

    path = written(tmp_path, "old")
    monkeypatch.setattr(schema.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        schema.write_atomic(path, b"new")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"table.csv": "old"}


def test_predictions_come_in_the_order_of_the_classes(tmp_path: Path) -> None:
    path = written(tmp_path, "image_id,B,A\nx,0.25,0.75\n")
    assert read_predictions(path).columns.tolist() == ["B", "A"]
    assert read_predictions(path, ["A", "B"]).loc["x"].tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.5, 0.4]], "'a' sums to 0.9, not 1; 1 such rows"),
        ([[1.5, -0.5]], "'a' has a value that is no probability"),
        ([[np.nan, 1.0]], "'a' has a value that is no probability"),
        (np.empty((0, 2)), "no rows or no classes"),
    ],
)
def test_what_is_no_distribution_is_refused(values: object, message: str) -> None:
    table = pd.DataFrame(values, columns=["A", "B"])
    table.index = pd.Index(list("abc")[: len(table)], name="image_id")
    with pytest.raises(InputError, match=message):
        check_predictions(table)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8).filter(lambda values: sum(values) > 0.1))
def test_normalized_rows_are_distributions(values: list[float]) -> None:
    check_predictions(pd.DataFrame([np.array(values) / sum(values)], index=["a"]))


@settings(deadline=None, max_examples=50)
@given(ROWS.filter(lambda rows: len(rows) > 1), st.randoms())
def test_hash_ignores_the_order_of_rows_and_nothing_else(rows: list[tuple[object, ...]], random: object) -> None:
    table = table_of(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert table_hash(table_of(shuffled)) == table_hash(table)
    assert table_hash(table.assign(count=table["count"] + 1)) != table_hash(table)
    assert table_hash(table.rename(columns={"left": "right"})) != table_hash(table)
    assert table_hash(table.iloc[1:]) != table_hash(table)


def test_nearest_name_is_offered_if_it_is_near() -> None:
    assert schema.nearest("labl", ["label", "path"]) == " (did you mean 'label'?)"
    assert schema.nearest("zzz", ["label", "path"]) == ""


def test_the_largest_usable_box_of_an_image_is_its_box_and_of_equal_ones_the_first():
    index = pd.Index(["a", "a", "a", "b", "b"], name="image_id")
    boxes = pd.DataFrame(
        {
            "left": [1, 2, 3, 4, 5],
            "box_width": [10, 20, 90, 5, 5],
            "box_height": 10,
            "status": ["ok", "clipped", "not_fish", "ok", "ok"],
        },
        index=index,
    )
    assert schema.largest_boxes(boxes)["left"].to_dict() == {"a": 2, "b": 4}


def test_a_prediction_table_carries_the_hash_of_its_folds_and_no_class_of_that_name(tmp_path: Path):
    table = pd.DataFrame({"ALB": [0.5], "BET": [0.5]}, index=pd.Index(["a"], name="image_id"))
    path = write_predictions(table, tmp_path / "oof.csv", folds_hash="0123456789abcdef")
    pd.testing.assert_frame_equal(read_predictions(path), table)
    assert read_folds_hash(path) == "0123456789abcdef"
    assert read_folds_hash(write_table(table, tmp_path / "other.csv")) == ""


def test_rows_of_several_fold_tables_are_refused(tmp_path: Path):
    (tmp_path / "oof.csv").write_text("image_id,ALB,BET,folds\na,0.5,0.5,1\nb,0.5,0.5,2\n")
    with pytest.raises(InputError, match=r"oof.csv: rows of 2 fold tables \(1, 2\); expected rows of one"):
        read_folds_hash(tmp_path / "oof.csv")


def test_columns_that_may_be_absent_are_filled(tmp_path: Path):
    (tmp_path / "t.csv").write_text("image_id,is_night\na,True\nb,0\n")
    table = read_table(
        tmp_path / "t.csv", {"is_night": "bool", "boat": "str", "width": "int64"}, optional={"boat": "", "width": 0}
    )
    assert table.to_dict("list") == {"is_night": [True, False], "boat": ["", ""], "width": [0, 0]}


def test_a_truth_value_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "t.csv").write_text("image_id,is_night\na,dusk\n")
    with pytest.raises(InputError, match="is_night of 'a' is 'dusk'; expected True or False"):
        read_table(tmp_path / "t.csv", {"is_night": "bool"})
