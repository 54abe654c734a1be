import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from fisheries.inference.scoring import (
    accuracy,
    class_frequencies,
    constant_predictions,
    image_scores,
    log_loss,
    per_image_loss,
    prior_log_loss,
    read_solution,
    score_submission,
)
from fisheries.schema import InputError

COUNTS = {"ALB": 1719, "BET": 200, "DOL": 117, "LAG": 67, "NoF": 465, "OTHER": 299, "SHARK": 176, "YFT": 734}
CLASSES = list(COUNTS)
MOST = -np.log(1e-15)


def labels_of(*names, start=0):
    return pd.Series(names, index=[f"img_{i:05d}.jpg" for i in range(start, start + len(names))], dtype="str")


def table(rows, classes=("A", "B"), start=0):
    index = pd.Index([f"img_{i:05d}.jpg" for i in range(start, start + len(rows))], name="image_id")
    return pd.DataFrame(rows, index=index, columns=list(classes), dtype="float64")


def boxes(*rows):
    columns = ["image_id", "left", "top", "box_width", "box_height", "status"]
    return pd.DataFrame(rows, columns=columns).set_index("image_id")


@st.composite
def scored(draw, low=1e-6):
    """Draw predictions of 2 to 5 classes that sum to 1 and labels for 1 to 12 images."""
    count, width = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    values = draw(st.lists(st.lists(st.floats(low, 1), min_size=width, max_size=width), min_size=count, max_size=count))
    classes = [f"class {i}" for i in range(width)]
    labels = draw(st.lists(st.sampled_from(classes), min_size=count, max_size=count))
    rows = np.array(values)
    return table(rows / rows.sum(axis=1, keepdims=True), classes), labels_of(*labels)


@given(scored())
def test_log_loss_equals_scikit_learns_for_interior_probabilities(case):
    predictions, labels = case
    expected = sklearn.metrics.log_loss(labels, predictions.to_numpy(), labels=list(predictions.columns))
    assert log_loss(predictions, labels) == pytest.approx(expected, rel=1e-12)


@given(scored(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_does_not_matter(case, random):
    predictions, labels = case
    ids, classes = list(predictions.index), list(predictions.columns)
    random.shuffle(ids)
    random.shuffle(classes)
    assert log_loss(predictions.loc[ids, classes], labels) == pytest.approx(log_loss(predictions, labels), rel=1e-12)
    assert log_loss(predictions, labels.loc[ids]) == pytest.approx(log_loss(predictions, labels), rel=1e-12)


@given(scored(), st.floats(1e-6, 1e6))
def test_rows_are_rescaled_to_sum_to_one(case, factor):
    predictions, labels = case
    assert log_loss(predictions * factor, labels) == pytest.approx(log_loss(predictions, labels), rel=1e-9)


@given(st.floats(0, 1e-15))
def test_no_image_ever_costs_more_than_the_clip(probability):
    losses = per_image_loss(table([[probability, 1 - probability]]), labels_of("A"))
    assert losses.iloc[0] == MOST
    assert pytest.approx(34.538776) == MOST


def test_the_clip_comes_after_the_rescaling():
    assert log_loss(table([[1e-18, 1e-18]]), labels_of("A")) == pytest.approx(np.log(2))
    assert log_loss(table([[1e-15, 1e6]]), labels_of("A")) == MOST


def test_a_certain_and_right_answer_is_clipped_too():
    assert log_loss(table([[1, 0]]), labels_of("A")) == -np.log(1 - 1e-15) > 0


def test_float32_predictions_are_scored_in_float64():
    tiny = np.float32(1e-12)
    predictions = table([[tiny, 1 - tiny]]).astype("float32")
    assert log_loss(predictions, labels_of("A")) == pytest.approx(-np.log(1e-12), rel=1e-6)


def test_predictions_are_joined_by_name_so_swapped_ids_change_the_score():
    predictions, labels = table([[0.9, 0.1], [0.2, 0.8]]), labels_of("A", "B")
    swapped = predictions.set_axis(predictions.index[::-1])
    assert log_loss(predictions, labels) == pytest.approx(-(np.log(0.9) + np.log(0.8)) / 2)
    assert log_loss(swapped, labels) == pytest.approx(-(np.log(0.2) + np.log(0.1)) / 2)
    assert (accuracy(predictions, labels), accuracy(swapped, labels)) == (1.0, 0.0)


def test_per_image_loss_is_in_the_order_of_the_labels():
    labels = labels_of("A", "B")[::-1]
    losses = per_image_loss(table([[0.9, 0.1], [0.2, 0.8]]), labels)
    assert list(losses.index) == list(labels.index)
    assert losses.tolist() == pytest.approx([-np.log(0.8), -np.log(0.9)])


@pytest.mark.parametrize("score", [log_loss, accuracy])
def test_predictions_beyond_the_labels_are_refused_unless_a_subset_is_asked_for(score):
    predictions, labels = table([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), labels_of("A")
    with pytest.raises(
        InputError, match=r"'img_00001.jpg' has a prediction but no label; 2 such images; with subset=True"
    ):
        score(predictions, labels)
    assert score(predictions, labels, subset=True) == score(predictions[:1], labels)


@pytest.mark.parametrize("subset", [False, True])
def test_a_label_without_a_prediction_is_refused_by_name(subset):
    with pytest.raises(InputError, match=r"'img_00001.jpg' has a label but no prediction; 2 such images; predict"):
        log_loss(table([[0.9, 0.1]]), labels_of("A", "A", "B"), subset=subset)


def test_an_unknown_class_is_refused_with_the_nearest_name():
    message = r"'img_00000.jpg' has the label 'SHARKS' \(did you mean 'SHARK'\?\); 1 such images; the classes are ALB,"
    with pytest.raises(InputError, match=message):
        log_loss(table([[1 / 8] * 8], CLASSES), labels_of("SHARKS"))


def test_a_test_image_without_a_label_is_refused():
    with pytest.raises(InputError, match="has the label ''"):
        log_loss(table([[0.5, 0.5]]), labels_of(""))


def test_ids_that_occur_twice_are_refused_on_either_side():
    once, twice = table([[0.5, 0.5]]), table([[0.5, 0.5]] * 2).set_axis(["img_00000.jpg"] * 2)
    with pytest.raises(InputError, match=r"predictions: 'img_00000.jpg' occurs more than once; 1 such images; keep"):
        log_loss(twice, labels_of("A"))
    with pytest.raises(InputError, match=r"labels: 'img_00000.jpg' occurs more than once"):
        log_loss(once, labels_of("A", "B").set_axis(["img_00000.jpg"] * 2))


def test_no_labels_are_refused():
    with pytest.raises(InputError, match="no labels; a score needs at least one labeled image"):
        log_loss(table([[0.5, 0.5]]), labels_of(), subset=True)


@pytest.mark.parametrize("row", [[np.nan, 0.5], [np.inf, 0.5], [-0.1, 1.1], [0, 0]])
def test_a_row_that_can_not_be_rescaled_is_refused(row):
    with pytest.raises(InputError, match=r"'img_00001.jpg' can't be rescaled to sum to 1; 1 such images; its values"):
        log_loss(table([[0.5, 0.5], row]), labels_of("A", "A"))


def test_uniform_predictions_score_log_8_on_the_real_class_counts():
    labels = labels_of(*(name for name, count in COUNTS.items() for _ in range(count)))
    uniform = constant_predictions(pd.Series(1 / 8, index=CLASSES), labels.index)
    assert log_loss(uniform, labels) == pytest.approx(np.log(8)) == pytest.approx(2.079, abs=5e-4)
    assert prior_log_loss(labels, labels, CLASSES) == pytest.approx(scipy.stats.entropy(list(COUNTS.values())))


def test_class_frequencies_keep_the_given_order_and_count_absent_classes_as_zero():
    frequencies = class_frequencies(labels_of("B", "A", "B", "B"), ["C", "B", "A"])
    assert frequencies.to_dict() == {"C": 0.0, "B": 0.75, "A": 0.25}
    assert list(frequencies.index) == ["C", "B", "A"]


def test_class_frequencies_refuse_an_unknown_class():
    with pytest.raises(InputError, match="has the label 'Z'"):
        class_frequencies(labels_of("A", "Z"), ["A", "B"])


def test_the_prior_pays_the_full_clip_for_a_class_it_never_saw():
    assert prior_log_loss(labels_of("A", "A"), labels_of("A", "B"), ["A", "B"]) == pytest.approx(MOST / 2)


def test_every_image_is_scored_beside_the_prior():
    predictions = table([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]], "ABC")
    prior = pd.Series({"C": 0.25, "B": 0.25, "A": 0.5})
    scores = image_scores(predictions, labels_of("A", "A", "B"), prior, no_fish="B")
    assert scores["log_loss"].tolist() == pytest.approx(-np.log([0.8, 0.3, 0.7]))
    assert scores["prior_log_loss"].tolist() == pytest.approx(-np.log([0.5, 0.5, 0.25]))
    assert scores["accuracy"].tolist() == [1, 0, 1]
    assert scores["confidence"].tolist() == pytest.approx([0.8, 0.6, 0.7])
    assert scores["is_fish"].tolist() == [True, True, False]
    assert scores["fish_accuracy"].tolist() == [1, 0, 1]


def test_without_a_class_for_no_fish_every_image_has_one():
    scores = image_scores(table([[0.2, 0.8]]), labels_of("A"), pd.Series({"A": 0.5, "B": 0.5}))
    assert scores[["is_fish", "fish_accuracy"]].to_numpy().tolist() == [[True, 1.0]]


def test_a_prior_may_differ_by_image_and_is_joined_by_name():
    predictions, labels = table([[0.8, 0.2], [0.4, 0.6]]), labels_of("A", "B")
    prior = table([[0.7, 0.3], [1, 0]])[["B", "A"]][::-1]
    scores = image_scores(predictions, labels, prior)
    assert scores["prior_log_loss"].tolist() == pytest.approx([-np.log(0.7), MOST])


def test_a_prior_of_other_classes_is_refused():
    predictions, prior = table([[0.5, 0.5]]), pd.Series({"A": 0.5, "C": 0.5})
    message = r"the prior has the classes A,C, the predictions A,B; count"
    with pytest.raises(InputError, match=message):
        image_scores(predictions, labels_of("A"), prior)
    with pytest.raises(InputError, match=message):
        score_submission(predictions, labels_of("A").to_frame("label").assign(stage="stg1"), prior=prior)


def box_scores(boxes_true, boxes_predicted, labels=("A", "A", "B")):
    labels = labels_of(*labels)
    prior = pd.Series({"A": 0.5, "B": 0.5})
    predictions = table([[0.5, 0.5]] * len(labels))
    return image_scores(predictions, labels, prior, boxes_true=boxes_true, boxes_predicted=boxes_predicted)


def test_the_largest_usable_box_is_the_one_to_find():
    truth = boxes(
        ("img_00000.jpg", 0, 0, 10, 10, "ok"),
        ("img_00000.jpg", 50, 50, 20, 10, "clipped"),
        ("img_00000.jpg", 0, 0, 500, 500, "outside"),
        ("img_00001.jpg", 0, 0, 10, 10, "ok"),
        ("img_00009.jpg", 0, 0, 10, 10, "ok"),
    )
    found = boxes(("img_00001.jpg", 5, 0, 10, 10, "ok"), ("img_00000.jpg", 50, 50, 20, 10, "ok"))
    scores = box_scores(truth, found)
    assert scores["box_iou"].tolist() == pytest.approx([1, 1 / 3, np.nan], nan_ok=True)


def test_box_tables_without_a_usable_box_give_no_iou():
    scores = box_scores(boxes(("img_00000.jpg", 0, 0, 10, 10, "no area")), boxes(), labels=("A",))
    assert scores["box_iou"].isna().all()


def test_every_true_box_needs_exactly_one_finite_prediction():
    truth, found = boxes(("img_00000.jpg", 0, 0, 10, 10, "ok")), ("img_00000.jpg", 0, 0, 10, 10, "ok")
    with pytest.raises(InputError, match=r"'img_00000.jpg' has a box but no predicted one; 1 such images; predict one"):
        box_scores(truth, boxes())
    with pytest.raises(InputError, match="has more than one predicted box; 1 such images; keep the best"):
        box_scores(truth, boxes(found, found))
    with pytest.raises(InputError, match="has a predicted box that is not finite; 1 such images; predict it anew"):
        box_scores(truth, boxes(("img_00000.jpg", 0, np.nan, 10, 10, "ok")))


def test_one_box_table_alone_is_refused():
    with pytest.raises(InputError, match="one of boxes_true and boxes_predicted alone; give both, or neither"):
        box_scores(boxes(("img_00000.jpg", 0, 0, 10, 10, "ok")), None)


def solution(tmp_path, text):
    path = tmp_path / "solution.csv"
    path.write_text(text)
    return path


def test_a_solution_may_be_labels_or_kaggles_one_hot_table(tmp_path):
    labels = read_solution(solution(tmp_path, "image,label\nimg_1.jpg,NA\ntest_stg2/image_1.jpg,B\n"))
    one_hot = read_solution(
        solution(
            tmp_path,
            "image,NA,B,Usage\nimg_1.jpg,1,0,Public\ntest_stg2/image_1.jpg,0,1,Private\nimg_2.jpg,1,0,Ignored\n",
        )
    )
    assert labels.to_dict("index") == {
        "img_1.jpg": {"label": "NA", "stage": "stg1"},
        "test_stg2/image_1.jpg": {"label": "B", "stage": "stg2"},
    }
    pd.testing.assert_frame_equal(labels, one_hot)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\nimg_1.jpg,\n", "'img_1.jpg' has no label; 1 such images; write its class"),
        ("image,label,stage\nimg_1.jpg,A,stg2\n", "'img_1.jpg' has a stage that contradicts its name; 1 such images"),
        ("image,A,B\nimg_1.jpg,1,1\n", "'img_1.jpg' has not a single 1 and else 0; 1 such images; give `image,label`"),
        ("image,A,B\nimg_1.jpg,0.5,0.5\n", "has not a single 1"),
        ("image,A,B\nimg_1.jpg,1,\n", "has not a single 1"),
        ("image,A,Usage\nimg_1.jpg,1,public\n", "has an unknown Usage; 1 such images; write one of Public,Private,Ign"),
        ("image,A,Usage\nimg_1.jpg,1,Ignored\n", "every row is marked Ignored; give a solution with rows to score"),
        ("image,label\nimg_1.jpg,A\nimg_1.jpg,B\n", "'img_1.jpg' occurs more than once"),
    ],
)
def test_a_solution_that_can_not_be_used_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"solution\.csv: .*{message}"):
        read_solution(solution(tmp_path, text))


def test_a_submission_is_scored_by_stage_against_constants(tmp_path):
    truth = read_solution(
        solution(
            tmp_path,
            "image,label,stage\nimg_1.jpg,A,stg1\ntest_stg2/image_1.jpg,B,stg2\ntest_stg2/image_2.jpg,A,stg2\n",
        )
    )
    names = ["test_stg2/image_2.jpg", "img_1.jpg", "test_stg2/image_1.jpg", "img_beyond.jpg"]
    submission = pd.DataFrame({"A": [0.6, 0.8, 0.3, 1], "B": [0.4, 0.2, 0.7, 0]}, index=names)
    scores = score_submission(submission, truth)
    assert list(scores.index) == ["stg1", "stg2", "all"]
    assert scores["images"].tolist() == [1, 2, 3]
    assert scores["log_loss"].tolist() == pytest.approx(
        [-np.log(0.8), -np.log(0.7 * 0.6) / 2, -np.log(0.8 * 0.7 * 0.6) / 3]
    )
    assert scores["uniform_log_loss"].tolist() == pytest.approx([np.log(2)] * 3)
    with_prior = score_submission(submission, truth, prior=pd.Series({"B": 0.25, "A": 0.75}))
    pd.testing.assert_frame_equal(with_prior.drop(columns="prior_log_loss"), scores)
    assert with_prior["prior_log_loss"].tolist() == pytest.approx(
        [-np.log(0.75), -np.log(0.75 * 0.25) / 2, -np.log(0.75 * 0.75 * 0.25) / 3]
    )
    third = -(2 * np.log(2 / 3) + np.log(1 / 3)) / 3
    assert scores["best_constant_log_loss"].tolist() == pytest.approx([0, np.log(2), third], abs=1e-12)


def test_a_submission_that_lacks_a_stage_of_the_solution_is_refused(tmp_path):
    truth = read_solution(solution(tmp_path, "image,label\nimg_1.jpg,A\ntest_stg2/image_1.jpg,B\n"))
    with pytest.raises(InputError, match=r"'test_stg2/image_1.jpg' has a label but no prediction"):
        score_submission(pd.DataFrame({"A": [0.5], "B": [0.5]}, index=["img_1.jpg"]), truth)
