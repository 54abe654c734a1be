import pandas as pd
import pytest
from submission_files import STAGE1, STAGE2, edited, predicted, sample_of

from fisheries.inference.submission import CLASSES as COMPETITION_CLASSES
from fisheries.inference.submission import write_submission
from fisheries.inference.submission_check import check_submission, count_warnings
from fisheries.inference.submission_problems import Problem
from fisheries.schema import InputError

WHOLE = [*(f"img_{i:05d}.jpg" for i in range(1000)), *(f"test_stg2/image_{i:05d}.jpg" for i in range(12153))]


def errors(path, **options):
    problems = check_submission(path, **options)
    assert {problem.severity for problem in problems} == {"error"}
    return [problem.text for problem in problems]


def warnings(path, **options):
    problems = check_submission(path, **options)
    assert {problem.severity for problem in problems} == {"warning"}
    return [problem.text for problem in problems]


def test_what_is_no_submission_is_a_problem_and_what_is_no_sample_an_error(tmp_path, stage1):
    (tmp_path / "empty.csv").write_text("")
    assert errors(tmp_path / "empty.csv") == [
        f"{tmp_path}/empty.csv: no rows; it needs a header image,<classes> and one row an image"
    ]
    assert errors(tmp_path / "none.csv") == [f"{tmp_path}/none.csv: no such file"]
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        check_submission(stage1, sample=tmp_path / "none.csv")


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
        "columns in the order NA,ALB,YFT; the competition's is ALB,NA,YFT"
    ]


def test_other_columns_are_errors(tmp_path, stage1):
    edited(stage1, "ALB,NA,YFT", "ALB,NA,yft")
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1)) == [
        "no column 'YFT'; the classes are ALB,NA,YFT",
        "column 'yft' is no class; the classes are ALB,NA,YFT",
    ]


def test_values_under_other_columns_are_not_judged(tmp_path, stage1):
    header, *rows = stage1.read_text().splitlines()
    stage1.write_text("\n".join([f"{header},Usage", *(f"{row},Public" for row in rows)]))
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1)) == [
        "column 'Usage' is no class; the classes are ALB,NA,YFT"
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
    assert errors(stage1, sample=sample_of(tmp_path, STAGE1), expected="final") == [second]
    whole = write_submission(predicted(WHOLE, classes=COMPETITION_CLASSES), tmp_path / "whole.csv").path
    assert check_submission(whole, expected="final") == []
    assert errors(whole, expected="stg2") == [
        "'img_00000.jpg' lacks the prefix 'test_stg2/'; 1000 such names; no image of stage 1 belongs here"
    ]
    few = write_submission(predicted(WHOLE[1:-1], classes=COMPETITION_CLASSES), tmp_path / "few.csv").path
    assert errors(few, expected="final") == [
        "999 images with bare names; the competition has 1000",
        "12152 images with the prefix 'test_stg2/'; the competition has 12153",
    ]


def test_what_is_expected_of_the_competition_has_its_classes(stage1):
    first, *_, last = errors(stage1, expected="stg1")
    assert first == "no column 'BET'; the classes are ALB,BET,DOL,LAG,NoF,OTHER,SHARK,YFT"
    assert last == "3 images with bare names; the competition has 1000"


def test_the_competitions_classes_in_another_order_are_an_error_without_a_sample(tmp_path):
    path = write_submission(predicted(STAGE1, classes=COMPETITION_CLASSES), tmp_path / "s.csv").path
    edited(path, "ALB,BET", "BET,ALB")
    assert errors(path) == [
        "columns in the order BET,ALB,DOL,LAG,NoF,OTHER,SHARK,YFT; the competition's is "
        "ALB,BET,DOL,LAG,NoF,OTHER,SHARK,YFT"
    ]


def test_stage_2_names_that_lack_the_prefix_are_known_without_a_sample(final):
    edited(final, "test_stg2/", "")
    assert errors(final) == [
        "'image_00001.jpg' lacks the prefix 'test_stg2/'; 2 such names; write it before the image_id of stage 2; "
        "those of stage 1 are named img_…"
    ]


def test_other_numbers_of_images_than_the_competitions_and_stage_2_alone_are_warnings():
    assert count_warnings(pd.Index(WHOLE)) == []
    assert count_warnings(pd.Index(WHOLE[:1000])) == []
    (alone,) = count_warnings(pd.Index(WHOLE[1000:]))
    assert alone == Problem(
        "warning", "no image of stage 1; the final file has both stages: give the table of stage 1, too"
    )
    (few,) = count_warnings(pd.Index(STAGE1))
    assert few == Problem("warning", "3 images with bare names; the competition has 1000: Kaggle takes no such file")


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
    assert errors(with_row(stage1, "0,0,0")) == ["'img_00005.jpg' sums to 0; 1 such names; Kaggle can't rescale it"]


def test_a_row_that_does_not_sum_to_one_is_a_warning_since_kaggle_rescales(stage1):
    assert warnings(with_row(stage1, "0.5,0.25,0.2")) == [
        "'img_00005.jpg' sums to 0.95, not 1; 1 such rows; Kaggle rescales them"
    ]
    assert check_submission(with_row(stage1, "0.5,0.25,0.2500005")) == []


def test_a_sample_with_an_image_twice_is_refused(tmp_path, stage1):
    with pytest.raises(InputError, match=r"sample\.csv: 'img_00005.jpg' occurs more than once"):
        check_submission(stage1, sample=sample_of(tmp_path, [*STAGE1, STAGE1[0]]))
