import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from submission_files import STAGE1, STAGE2, edited, predicted, sample_of

from fisheries.inference.submission import (
    CLASSES as COMPETITION_CLASSES,
)
from fisheries.inference.submission import (
    join_tables,
    read_sample,
    read_submission,
    stage_of,
    stages_of,
    write_submission,
)
from fisheries.schema import InputError, write_predictions


def test_the_prefix_tells_the_stage():
    assert stages_of([STAGE2[0], *STAGE1]) == ("stg1", "stg2")
    assert [stage_of(name) for name in ("img_00005.jpg", "test_stg2/image_00001.jpg")] == ["stg1", "stg2"]


def test_without_a_sample_rows_are_sorted_and_classes_keep_their_order(tmp_path):
    predictions = predicted(STAGE2 + STAGE1)[["YFT", "ALB", "NA"]]
    written = write_submission(predictions, tmp_path / "new" / "s.csv")
    lines = written.path.read_text().splitlines()
    assert lines[0] == "image,YFT,ALB,NA"
    assert [line.split(",")[0] for line in lines[1:]] == STAGE1 + STAGE2
    assert (written.rows, written.left_out) == (5, 0)


def test_with_a_sample_rows_and_columns_take_its_order_and_values_follow_their_names(tmp_path):
    names, classes = [STAGE2[1], STAGE1[2], STAGE1[0], STAGE2[0], STAGE1[1]], ["NA", "YFT", "ALB"]
    predictions = predicted(STAGE1 + STAGE2)
    path = write_submission(predictions, tmp_path / "s.csv", sample=sample_of(tmp_path, names, classes)).path
    pd.testing.assert_frame_equal(read_submission(path), predictions.loc[names, classes])


@pytest.mark.parametrize(("names", "left_out"), [(STAGE1, 2), (STAGE2, 3), (STAGE1 + STAGE2, 0)])
def test_predictions_of_stages_that_the_sample_lacks_are_left_out_and_counted(tmp_path, names, left_out):
    sample = sample_of(tmp_path, names)
    written = write_submission(predicted(STAGE1 + STAGE2), tmp_path / "s.csv", sample=sample)
    assert (written.rows, written.left_out) == (len(names), left_out)
    assert list(read_submission(written.path).index) == names


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_every_number_reads_back_the_same_and_has_no_exponent(tmp_path_factory, values):
    names = [f"img_{i:05d}.jpg" for i in range(len(values))]
    predictions = pd.DataFrame({"A": values, "B": 1 - np.array(values)}, index=pd.Index(names, name="image_id"))
    path = write_submission(predictions, tmp_path_factory.mktemp("digits") / "s.csv").path
    rows = [line.split(",")[1:] for line in path.read_text().splitlines()[1:]]
    assert not [cell for row in rows for cell in row if set(cell) - set("0123456789.")]
    assert [[float(cell) for cell in row] for row in rows] == predictions.to_numpy().tolist()
    for table in (pd.read_csv(path, index_col="image"), read_submission(path)):
        assert table.to_numpy() == pytest.approx(predictions.to_numpy(), rel=1e-15, abs=1e-300)


def test_float32_predictions_keep_at_least_nine_digits(tmp_path):
    predictions = pd.DataFrame({"A": [1e-9], "B": [1 - 1e-9]}, index=STAGE1[:1]).astype("float32")
    path = write_submission(predictions, tmp_path / "s.csv").path
    assert path.read_text().splitlines()[1].startswith("img_00005.jpg,0.00000000099999997")


def test_a_failed_write_leaves_the_old_file(tmp_path, stage1):
    before = stage1.read_bytes()
    with pytest.raises(InputError):
        write_submission(predicted(STAGE1), stage1, sample=sample_of(tmp_path, STAGE2))
    assert stage1.read_bytes() == before


def test_names_of_the_sample_that_are_not_predicted_are_refused(tmp_path):
    sample = sample_of(tmp_path, STAGE1)
    message = (
        r"sample.csv: 'img_00007.jpg' is not predicted \(did you mean 'img_00005.jpg'\?\); 2 such images; predict them"
    )
    with pytest.raises(InputError, match=message):
        write_submission(predicted(STAGE1[:1] + STAGE2), tmp_path / "s.csv", sample=sample)


@pytest.mark.parametrize(
    ("wanted", "given", "cure"),
    [
        (STAGE1 + STAGE2, [*STAGE1, "image_00001.jpg", "image_00002.jpg"], "add it to the image_id"),
        (["image_00001.jpg", "image_00002.jpg"], STAGE2, "remove it from the image_id"),
    ],
)
def test_a_prefix_that_is_all_the_difference_is_named_with_its_cure(tmp_path, wanted, given, cure):
    message = rf"is predicted as '.*image_00001.jpg'; 2 names differ by the prefix 'test_stg2/' only; {cure}"
    with pytest.raises(InputError, match=message):
        write_submission(predicted(given), tmp_path / "s.csv", sample=sample_of(tmp_path, wanted))


def test_predictions_beyond_a_stage_of_the_sample_are_refused(tmp_path):
    message = r"sample.csv: no 'img_00007.jpg', which is predicted; 2 such images; give the sample that has them"
    with pytest.raises(InputError, match=message):
        write_submission(
            predicted(STAGE1 + STAGE2), tmp_path / "s.csv", sample=sample_of(tmp_path, STAGE1[:1] + STAGE2)
        )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["ALB", "NA", "YFTT"], r"no column 'YFTT' \(did you mean 'YFT'\?\); the classes are ALB,NA,YFTT"),
        (["ALB", "NA"], r"column 'YFT' is no class; the classes are ALB,NA"),
    ],
)
def test_a_sample_of_other_classes_is_refused(tmp_path, classes, message):
    with pytest.raises(InputError, match=rf"sample\.csv: {message}"):
        write_submission(predicted(STAGE1), tmp_path / "s.csv", sample=sample_of(tmp_path, STAGE1, classes))


def test_predictions_that_are_no_distributions_or_have_an_id_twice_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"sums to 0\.5, not 1"):
        write_submission(predicted(STAGE1) / 2, tmp_path / "s.csv")
    message = r"predictions: 'img_00005.jpg' occurs more than once; 1 such names; keep one row of each"
    with pytest.raises(InputError, match=message):
        write_submission(predicted([*STAGE1, STAGE1[0]]), tmp_path / "s.csv")


def test_a_name_without_csv_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"s\.json: a submission's name must end in .csv; rename it to s.csv"):
        write_submission(predicted(STAGE1), tmp_path / "s.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows; it needs a header image,<classes>"),
        ("image,A\n", "no rows"),
        ("image_id,A\nx.jpg,1\n", "the first column is 'image_id', not 'image'; `fisheries submit` writes it so"),
        ("image\nx.jpg\n", "no column beside 'image'; it needs image,<classes>"),
        ("image,A,A\nx.jpg,1,0\n", "column 'A' occurs more than once; keep one"),
        ("image,A,B\nx.jpg,1,0\n\ny.jpg,1\n", "line 4 has 2 values, the header 3; write the row anew"),
        ("image,A,B\nx.jpg,1,0,0\n", "line 2 has 4 values, the header 3"),
        ("image,A,B\n,1,0\n", "line 2 has no image; write its name or delete the row"),
        ('image,A\n"x.jpg,1\n', "not a CSV table"),
        ("image,A\nx\udcff.jpg,1\n", "not a CSV table"),
    ],
)
def test_a_file_that_is_no_submission_is_refused(tmp_path, text, message):
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        read_sample(path)


def test_read_submission_refuses_text_and_duplicates(stage1):
    line = stage1.read_text().splitlines()[1]
    edited(stage1, line, "img_00005.jpg,0.5,NA,0.5")
    with pytest.raises(
        InputError, match=r"stage1\.csv: NA of 'img_00005.jpg' is 'NA', not a finite number; 1 such values"
    ):
        read_submission(stage1)
    edited(stage1, "img_00005.jpg,0.5,NA,0.5", "img_00007.jpg,0.5,0,0.5")
    with pytest.raises(InputError, match=r"stage1\.csv: 'img_00007.jpg' occurs more than once"):
        read_submission(stage1)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(stage1):
    plain = read_submission(stage1)
    stage1.write_bytes(b"\xef\xbb\xbf" + stage1.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_submission(stage1), plain)


def tables_of(tmp_path, **names):
    return [write_predictions(predicted(ids), tmp_path / f"{name}.csv", folds_hash="") for name, ids in names.items()]


def test_tables_of_two_stages_are_joined_and_each_image_keeps_its_row(tmp_path):
    paths = tables_of(tmp_path, second=STAGE2, first=STAGE1)
    joined = join_tables(paths)
    pd.testing.assert_frame_equal(joined.loc[STAGE2], predicted(STAGE2))
    pd.testing.assert_frame_equal(joined.loc[STAGE1], predicted(STAGE1))
    assert list(join_tables(paths, stages=["stg2"]).index) == STAGE2


def test_columns_of_the_second_table_follow_their_names(tmp_path):
    first, second = tables_of(tmp_path, first=STAGE1, second=STAGE2)
    write_predictions(predicted(STAGE2)[["YFT", "ALB", "NA"]], second, folds_hash="")
    pd.testing.assert_frame_equal(join_tables([first, second]).loc[STAGE2], predicted(STAGE2))


def test_a_table_of_other_classes_is_refused_by_name(tmp_path):
    first, second = tables_of(tmp_path, first=STAGE1, second=STAGE2)
    write_predictions(predicted(STAGE2).rename(columns={"YFT": "YFTT"}), second, folds_hash="")
    with pytest.raises(InputError, match=r"second\.csv: no column 'YFT' \(did you mean 'YFTT'\?\)"):
        join_tables([first, second])


def test_an_image_in_two_tables_is_refused_by_name(tmp_path):
    paths = tables_of(tmp_path, a=STAGE1, b=STAGE2, c=[STAGE1[2], STAGE1[1]])
    message = r"'img_00007.jpg' is in .*a\.csv and in .*c\.csv; 2 such images; give tables of different images"
    with pytest.raises(InputError, match=message):
        join_tables(paths)


def test_a_stage_of_which_no_image_is_predicted_is_refused(tmp_path):
    (bare,) = tables_of(tmp_path, bare=["image_00001.jpg"])
    with pytest.raises(InputError, match=r"bare\.csv: no image of stage 2, named test_stg2/…; give the table that has"):
        join_tables([bare], stages=["stg2"])
    (prefixed,) = tables_of(tmp_path, prefixed=STAGE2)
    with pytest.raises(InputError, match=r"no image of stage 1, named without test_stg2/"):
        join_tables([prefixed], stages=["stg1"])


def test_the_competitions_classes_take_its_order_without_a_sample(tmp_path):
    classes = list(COMPETITION_CLASSES)
    values = np.random.default_rng(0).dirichlet(np.ones(8), 3)
    predictions = pd.DataFrame(values, index=pd.Index(STAGE1, name="image_id"), columns=classes[::-1])
    path = write_submission(predictions, tmp_path / "s.csv").path
    pd.testing.assert_frame_equal(read_submission(path), predictions[classes])
