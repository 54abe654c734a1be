import hashlib
import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries.inference.submission import (
    Problem,
    check_submission,
    read_sample,
    read_submission,
    stage_of,
    write_submission,
    write_submission_notes,
)
from fisheries.schema import InputError

CLASSES = ["ALB", "NA", "YFT"]
STAGE1 = ["img_00005.jpg", "img_00007.jpg", "img_00009.jpg"]
STAGE2 = ["test_stg2/image_00001.jpg", "test_stg2/image_00002.jpg"]


def predicted(names, seed=0):
    values = np.random.default_rng(seed).dirichlet(np.ones(len(CLASSES)), len(names))
    return pd.DataFrame(values, index=pd.Index(names, name="image_id"), columns=CLASSES)


def sample_of(tmp_path, names, classes=CLASSES):
    path = tmp_path / "sample.csv"
    rows = [",".join([name, *["0.333"] * len(classes)]) for name in names]
    path.write_text("\n".join([",".join(["image", *classes]), *rows]) + "\n")
    return path


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.fixture
def stage1(tmp_path):
    return write_submission(predicted(STAGE1), tmp_path / "stage1.csv").path


@pytest.fixture
def final(tmp_path):
    return write_submission(predicted(STAGE1 + STAGE2), tmp_path / "final.csv").path


def errors(path, **options):
    problems = check_submission(path, **options)
    assert {problem.severity for problem in problems} == {"error"}
    return [problem.text for problem in problems]


def warnings(path, **options):
    problems = check_submission(path, **options)
    assert {problem.severity for problem in problems} == {"warning"}
    return [problem.text for problem in problems]


def test_the_prefix_tells_the_stage():
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
        (["ALB", "NA", "YFTT"], r"no column 'YFTT' \(did you mean 'YFT'\?\); the sample has ALB,NA,YFTT"),
        (["ALB", "NA"], r"column 'YFT' is no class; the sample has ALB,NA"),
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


def test_the_notes_tell_where_a_submission_comes_from_and_what_it_is(final):
    path = write_submission_notes(final, run="runs/1", git_commit="abc", folds_hash="def", scores={"oof": 1.5})
    notes = json.loads(path.read_text())
    assert path == final.with_suffix(".json")
    created = datetime.fromisoformat(notes.pop("created_utc"))
    assert created.tzinfo == UTC
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60
    assert notes.pop("mean_prediction") == pytest.approx(read_submission(final).mean().to_dict())
    assert notes == {
        "run": "runs/1",
        "git_commit": "abc",
        "folds_hash": "def",
        "scores": {"oof": 1.5},
        "sha256": hashlib.sha256(final.read_bytes()).hexdigest(),
        "rows": 5,
        "classes": CLASSES,
    }


def test_a_score_that_is_no_number_is_not_noted(final):
    with pytest.raises(InputError, match=r"score 'oof' is nan, not a finite number; leave it out"):
        write_submission_notes(final, run="", git_commit="", folds_hash="", scores={"oof": float("nan")})
    assert not final.with_suffix(".json").exists()


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
def test_a_file_that_is_no_submission_is_refused_and_reported(tmp_path, text, message):
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        read_sample(path)
    assert [message in text for text in errors(path)] == [True]


def test_a_missing_file_is_a_problem_and_a_missing_sample_an_error(tmp_path, stage1):
    assert errors(tmp_path / "none.csv") == [f"{tmp_path}/none.csv: no such file"]
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        check_submission(stage1, sample=tmp_path / "none.csv")


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


def test_what_is_written_passes_the_check(tmp_path, final, stage1):
    assert check_submission(stage1) == []
    assert check_submission(stage1, sample=sample_of(tmp_path, STAGE1), expected="stg1") == []
    assert check_submission(stage1, sample=sample_of(tmp_path, STAGE1 + STAGE2), expected="stg1") == []
    assert check_submission(final, sample=sample_of(tmp_path, STAGE1 + STAGE2), expected="final") == []


def test_the_order_of_rows_is_free(tmp_path, final):
    header, *rows = final.read_text().splitlines()
    final.write_text("\n".join([header, *reversed(rows)]))
    assert check_submission(final, sample=sample_of(tmp_path, STAGE1 + STAGE2), expected="final") == []


def test_columns_in_another_order_are_an_error(tmp_path, stage1):
    edited(stage1, "ALB,NA,YFT", "NA,ALB,YFT")
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1)) == [
        "columns in the order NA,ALB,YFT; the sample has ALB,NA,YFT"
    ]


def test_other_columns_are_errors(tmp_path, stage1):
    edited(stage1, "ALB,NA,YFT", "ALB,NA,yft")
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1)) == [
        "no column 'YFT'; the sample has ALB,NA,YFT",
        "column 'yft' is no class; the sample has ALB,NA,YFT",
    ]


def test_values_under_other_columns_are_not_judged(tmp_path, stage1):
    header, *rows = stage1.read_text().splitlines()
    stage1.write_text("\n".join([f"{header},Usage", *(f"{row},Public" for row in rows)]))
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1)) == [
        "column 'Usage' is no class; the sample has ALB,NA,YFT"
    ]


def test_duplicate_rows_are_an_error(tmp_path, stage1):
    stage1.write_text(stage1.read_text() + stage1.read_text().splitlines()[2] + "\n")
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1)) == [
        "'img_00007.jpg' occurs more than once; 1 such names; keep one row of each"
    ]


def test_duplicate_rows_are_counted_once_by_the_other_checks(tmp_path, final):
    final.write_text(final.read_text() + final.read_text().splitlines()[-1] + "\n")
    duplicate, other = errors(final, sample=sample_of(tmp_path, STAGE1))
    assert "'test_stg2/image_00002.jpg' occurs more than once; 1 such names" in duplicate
    assert "has the prefix 'test_stg2/'; 2 such names" in other


def test_missing_and_extra_names_are_errors(tmp_path, stage1):
    sample = sample_of(tmp_path, STAGE1)
    edited(stage1, "img_00005", "img_00004")
    edited(stage1, "img_00007", "img_00006")
    assert errors(stage1, sample=sample, expected="stg1") == [
        "'img_00005.jpg' is missing; 2 such names; the sample has them",
        "'img_00004.jpg' is not in the sample; 2 such names; take the rows out, or add 'test_stg2/' if it lacks",
    ]


@pytest.mark.parametrize("expected", [None, "final"])
def test_names_that_lack_the_prefix_are_an_error(tmp_path, final, expected):
    edited(final, "test_stg2/", "")
    assert errors(final, sample=sample_of(tmp_path, STAGE1 + STAGE2), expected=expected) == [
        "'image_00001.jpg' lacks the prefix 'test_stg2/'; 2 such names; write the names of stage 2 with it"
    ]


@pytest.mark.parametrize("expected", [None, "stg1"])
def test_names_that_have_the_prefix_wrongly_are_an_error(tmp_path, stage1, expected):
    edited(stage1, "img_", "test_stg2/img_")
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1), expected=expected) == [
        "'test_stg2/img_00005.jpg' has the prefix 'test_stg2/'; 3 such names; write the names of stage 1 without it"
    ]


def test_a_stage_that_is_not_expected_is_an_error(tmp_path, final):
    prefixed = "'test_stg2/image_00001.jpg' has the prefix 'test_stg2/'; 2 such names; no image of stage 2 belongs here"
    assert errors(final, sample=sample_of(tmp_path, STAGE1)) == [prefixed]
    assert errors(final, sample=sample_of(tmp_path, STAGE1 + STAGE2), expected="stg1") == [prefixed]
    assert errors(final, sample=sample_of(tmp_path, STAGE2)) == [
        "'img_00005.jpg' lacks the prefix 'test_stg2/'; 3 such names; no image of stage 1 belongs here"
    ]


def test_stages_that_no_sample_covers_are_checked_by_the_competitions_counts(tmp_path, stage1):
    second = "0 images with the prefix 'test_stg2/'; the competition has 12153"
    assert errors(stage1, expected="final") == ["3 images with bare names; the competition has 1000", second]
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1), expected="final") == [second]
    names = [*(f"img_{i:05d}.jpg" for i in range(1000)), *(f"test_stg2/image_{i:05d}.jpg" for i in range(12153))]
    whole = write_submission(predicted(names), tmp_path / "whole.csv").path
    assert check_submission(whole, expected="final") == []


def test_other_folders_in_front_of_a_name_are_an_error(stage1, final):
    edited(stage1, "img_00007", "test_stg1/img_00007")
    assert errors(stage1) == [
        "'test_stg1/img_00007.jpg' has a folder in front; 1 such names; only 'test_stg2/' before the names of stage 2 "
        "is known"
    ]
    edited(final, "test_stg2/image_00001", "test_stg2\\image_00001")
    assert ["has a folder in front" in text for text in errors(final)] == [True]


def with_row(path, cells):
    old = path.read_text().splitlines()[1]
    return edited(path, old, f"img_00005.jpg,{cells}")


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ("0.5,NA,0.5", "NA of 'img_00005.jpg' is 'NA', not a finite number; 1 such values"),
        ("0.5,,0.5", "NA of 'img_00005.jpg' is '', not a finite number; 1 such values"),
        ("0.5,nan,nan", "NA of 'img_00005.jpg' is 'nan', not a finite number; 2 such values"),
        ("inf,0.5,0.5", "ALB of 'img_00005.jpg' is 'inf', not a finite number; 1 such values"),
        ("0.5,0.6,-0.1", "YFT of 'img_00005.jpg' is '-0.1', less than 0; 1 such values"),
        ("1.5,0.5,0.5", "ALB of 'img_00005.jpg' is '1.5', more than 1; 1 such values"),
    ],
)
def test_values_that_are_no_probabilities_are_errors(stage1, cells, text):
    assert errors(with_row(stage1, cells)) == [text]


def test_a_row_of_zeros_is_an_error_since_kaggle_can_not_rescale_it(stage1):
    problems = check_submission(with_row(stage1, "0,0,0"))
    assert problems[0] == Problem("error", "'img_00005.jpg' sums to 0; 1 such names; Kaggle can't rescale it")
    assert [problem.severity for problem in problems] == ["error", "warning"]


def test_a_row_that_does_not_sum_to_one_is_a_warning_since_kaggle_rescales(stage1):
    assert warnings(with_row(stage1, "0.5,0.25,0.2")) == [
        "'img_00005.jpg' sums to 0.95, not 1; 1 such rows; Kaggle rescales them"
    ]
    assert check_submission(with_row(stage1, "0.5,0.25,0.2500005")) == []


@pytest.mark.parametrize(("cells", "count"), [("0.5,0,0.5", 1), ("0,0,1", 3), ("0.5,0.00000000000000001,0.5", 1)])
def test_certain_probabilities_are_a_warning_with_their_price(stage1, cells, count):
    (text,) = warnings(with_row(stage1, cells))
    assert text.endswith(f", so sure that an error costs 34.5 nats; clip it; {count} such values")


def test_a_sample_with_an_image_twice_is_refused(tmp_path, stage1):
    with pytest.raises(InputError, match=r"sample\.csv: 'img_00005.jpg' occurs more than once"):
        check_submission(stage1, sample=sample_of(tmp_path, [*STAGE1, STAGE1[0]]))
