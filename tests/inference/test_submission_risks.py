from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.inference.label_shift import published_mix
from fisheries.inference.origin import Origin
from fisheries.inference.submission import CLASSES
from fisheries.inference.submission_risks import TRAIN_IMAGES, find_risks, missing_images

TRAIN_MIX = TRAIN_IMAGES / TRAIN_IMAGES.sum()
ORIGIN = Origin(Path("runs/a/test.csv"), ("stg1",), [], "ab", "ab", None, {}, None, None)


def near(mix: pd.Series, count: int = 40, seed: int = 0) -> pd.DataFrame:
    """Predictions that are about `mix`, with none near 0."""
    rng = np.random.default_rng(seed)
    values = 0.8 * rng.dirichlet(100 * mix.to_numpy(), count) + 0.2 * mix.to_numpy()
    names = pd.Index([f"img_{number:05}.jpg" for number in range(count)], name="image_id")
    return pd.DataFrame(values / values.sum(axis=1, keepdims=True), names, list(mix.index))


def manifest_of(names: pd.Index, burst: dict[str, str]) -> pd.DataFrame:
    table = pd.DataFrame({"subset": "test_stg1", "label": "", "status": "ok", "burst": names}, index=names)
    return table.assign(burst=[burst.get(name, name) for name in names])


def texts(predictions: pd.DataFrame, *origins: Origin) -> list[str]:
    problems = find_risks(predictions, origins)
    assert {problem.severity for problem in problems} <= {"warning"}
    return [problem.text for problem in problems]


def only(problems: list[str]) -> str:
    (text,) = problems
    return text


@pytest.mark.parametrize(
    "mix",
    [TRAIN_MIX, published_mix(TRAIN_MIX), pd.Series(1 / 8, index=list(CLASSES))],
    ids=["train", "test", "uniform"],
)
def test_moderate_predictions_near_a_plausible_mix_have_no_risk(mix: pd.Series):
    assert texts(near(mix), ORIGIN) == []


@pytest.mark.parametrize(("value", "cost"), [(0.0, "34.5"), (0.0005, "7.6")])
def test_a_probability_near_0_is_told_with_its_image_class_and_price(value: float, cost: str):
    predictions = near(TRAIN_MIX)
    predictions.loc["img_00003.jpg", "LAG"] = value
    text = only(texts(predictions))
    assert text.startswith(
        f"LAG of 'img_00003.jpg' is {value:.2g}: where it is right that image alone costs {cost} nats"
    )
    assert "1 of 40 images have a probability below 0.001; clip them: `fisheries calibrate`" in text


def test_certainty_is_told_by_the_zeros_beside_it():
    predictions = near(TRAIN_MIX)
    predictions.iloc[5] = np.eye(8)[0]
    assert "is 0: where it is right that image alone costs 34.5 nats; 1 of 40 images" in only(texts(predictions))


def test_mixed_up_classes_are_told_by_their_mean_for_each_stage():
    swapped = near(TRAIN_MIX).rename(columns={"ALB": "LAG", "LAG": "ALB"})[list(CLASSES)]
    text = only(texts(swapped))
    assert text.startswith("the mean prediction of stage 1 (LAG 0.4")
    assert "look for mixed-up classes" in text
    second = swapped.set_axis("test_stg2/" + swapped.index).rename_axis("image_id")
    assert "of stage 2 (LAG" in only(texts(pd.concat([near(TRAIN_MIX), second])))


def test_the_manifests_training_mix_is_plausible_for_other_classes():
    mix = pd.Series({"cod": 0.9, "ling": 0.1})
    predictions = near(mix)
    assert "the mean prediction of stage 1 (cod 0.9" in only(texts(predictions))
    train = pd.DataFrame({"subset": "train", "label": ["cod"] * 9 + ["ling"], "status": "ok", "burst": ""})
    assert texts(predictions, replace(ORIGIN, manifest=train.set_axis([f"t{i}" for i in range(10)]))) == []


def test_twins_that_disagree_are_told_by_name_and_those_that_agree_are_not():
    predictions = near(TRAIN_MIX)
    manifest = manifest_of(predictions.index, {"img_00001.jpg": "img_00000.jpg", "img_00003.jpg": "img_00002.jpg"})
    assert texts(predictions, replace(ORIGIN, manifest=manifest)) == []
    predictions.loc["img_00001.jpg"] = [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.93]
    text = only(texts(predictions, replace(ORIGIN, manifest=manifest)))
    assert "'img_00001.jpg' (YFT 0.93)" in text
    assert "'img_00000.jpg' (ALB 0." in text
    assert "are frames of one burst; 1 bursts disagree so" in text
    assert texts(predictions.drop("img_00000.jpg"), replace(ORIGIN, manifest=manifest)) == []


def test_a_table_of_other_folds_than_those_beside_it_is_told():
    text = only(texts(near(TRAIN_MIX), replace(ORIGIN, folds_beside="cd")))
    assert text.startswith("runs/a/test.csv: made from the folds ab, folds.csv beside it is cd: ")
    assert "folds (not said)" in only(texts(near(TRAIN_MIX), replace(ORIGIN, folds_hash="")))
    assert texts(near(TRAIN_MIX), replace(ORIGIN, folds_beside="")) == []


def test_worse_than_the_prior_on_unseen_boats_is_told():
    worse = replace(ORIGIN, oof_log_loss=1.9, prior_log_loss=1.66)
    assert "its log loss is 1.900 (OOF), the constant prior's 1.660" in only(texts(near(TRAIN_MIX), worse))
    assert texts(near(TRAIN_MIX), replace(ORIGIN, oof_log_loss=1.6, prior_log_loss=1.66)) == []


def test_test_images_of_the_manifest_that_are_not_predicted_are_an_error_in_stages_predicted():
    predictions = near(TRAIN_MIX)
    names = predictions.index.append(pd.Index(["img_00099.jpg", "test_stg2/image_00001.jpg"]))
    (problem,) = missing_images(predictions, [replace(ORIGIN, manifest=manifest_of(names, {}))])
    assert problem.severity == "error"
    assert problem.text.startswith(
        "'img_00099.jpg' is missing; 1 such names; the manifest.csv beside the table has them"
    )
    assert missing_images(predictions, [ORIGIN]) == []
