from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.inference.crossfit import boat_parts
from fisheries.inference.evaluation import forecast
from fisheries.inference.origin import Origin, expected_scores, expected_together, forecast_unseen, read_origin
from fisheries.inference.outputs import Outputs, write_outputs
from fisheries.inference.scoring import per_image_loss
from fisheries.schema import InputError, table_hash, write_predictions

SCORES = {
    "unseen": {"images": 96, "log_loss": 1.2, "low": 0.9, "high": 1.7, "prior_log_loss": 1.6},
    "seen": {"images": 9, "log_loss": 0.5, "low": 0.3, "high": 0.7, "prior_log_loss": 1.6},
}
FORECAST = {"log_loss": 1.1, "low": 0.7, "high": 2.1, "new_boats": 3, "averaging_gain": 0.1}


@pytest.fixture(scope="module")
def outputs(make_outputs) -> Outputs:
    return make_outputs()


def as_run(folder: Path, outputs: Outputs, **record: object) -> Path:
    """Write what a run leaves; return its test.csv."""
    write_outputs(outputs, folder, step={})
    (folder / "step.json").unlink()
    facts = {"name": folder.name, "git_commit": "c0ffee", "folds": table_hash(outputs.folds), "scores": SCORES}
    (folder / "run.json").write_text(json.dumps({**facts, **record}))
    return folder / "test.csv"


def test_a_run_expects_its_score_on_seen_boats_and_its_forecast_for_new_ones(outputs, tmp_path):
    origin = read_origin(as_run(tmp_path / "r", outputs, forecast=FORECAST))
    assert origin.expected == {
        "seen": {"log_loss": 0.5, "low": 0.3, "high": 0.7},
        "unseen": {"log_loss": 1.1, "low": 0.7, "high": 2.1, "new_boats": 3},
    }
    assert (origin.oof_log_loss, origin.prior_log_loss) == (1.2, 1.6)
    assert origin.runs == [{"name": "r", "git_commit": "c0ffee", "folds_hash": table_hash(outputs.folds)}]
    assert origin.stages == ("stg1", "stg2")


def test_without_known_new_boats_a_run_expects_its_score_on_unseen_ones():
    assert expected_scores(SCORES, {})["unseen"] == {"log_loss": 1.2, "low": 0.9, "high": 1.7}
    assert list(expected_scores({"seen": SCORES["seen"]}, {})) == ["seen"]


def test_a_step_expects_what_its_oof_table_forecasts(outputs, tmp_path):
    write_outputs(outputs, tmp_path, step={"step": "calibrate"})
    origin = read_origin(tmp_path / "test.csv")
    losses = per_image_loss(outputs.oof, outputs.labels)
    said = forecast(losses, outputs.boats, new_boats=3)
    assert list(origin.expected) == ["unseen"]
    assert origin.expected["unseen"] == pytest.approx(
        {"log_loss": said.log_loss, "low": said.low, "high": said.high, "new_boats": 3}
    )
    assert origin.oof_log_loss == pytest.approx(losses.mean())
    part = boat_parts(outputs.boats)
    counts = pd.crosstab(part, outputs.labels)
    others = counts.sum() - counts.loc[part]  # a row an image: the labels on boats of other parts
    share = others.div(others.sum(axis=1), axis=0).to_numpy()[
        np.arange(len(part)), counts.columns.get_indexer(outputs.labels)
    ]
    assert origin.prior_log_loss == pytest.approx(-np.log(share.clip(1e-15)).mean(), abs=0.02)


def test_where_the_boats_of_test_are_not_known_the_interval_is_that_of_the_mean(outputs):
    boats = outputs.manifest["boat"].where(outputs.manifest["subset"] == "train", "")
    unknown = Outputs(outputs.oof, outputs.test, outputs.manifest.assign(boat=boats), outputs.folds)
    said = forecast_unseen(unknown)
    assert "new_boats" not in said
    assert said["low"] < said["log_loss"] < said["high"]
    assert said["log_loss"] == pytest.approx(forecast_unseen(outputs)["log_loss"])


def test_one_boat_has_a_score_and_no_interval(outputs):
    one = outputs.manifest.assign(boat="a")
    assert list(forecast_unseen(Outputs(outputs.oof, outputs.test, one, outputs.folds))) == ["log_loss"]


def test_folds_that_divide_boats_say_nothing_of_new_boats(make_outputs, tmp_path):
    write_outputs(make_outputs(split="random"), tmp_path, step={})
    origin = read_origin(tmp_path / "test.csv")
    assert list(origin.expected) == ["seen"]
    assert origin.oof_log_loss is None


def test_a_table_of_other_folds_or_none_has_nothing_to_expect(outputs, tmp_path):
    table = as_run(tmp_path / "r", outputs, forecast=FORECAST)
    write_predictions(outputs.test, table, folds_hash="0123456789abcdef")
    origin = read_origin(table)
    assert origin.expected == {}
    assert (origin.folds_hash, origin.folds_beside) == ("0123456789abcdef", table_hash(outputs.folds))
    alone = write_predictions(outputs.test, tmp_path / "t.csv", folds_hash="")
    assert read_origin(alone) == Origin(alone, ("stg1", "stg2"), [], "", "", None, {}, None, None)


def test_a_step_goes_back_to_its_runs_through_all_steps_between(outputs, tmp_path):
    first, second = (as_run(tmp_path / name, outputs) for name in "ab")
    write_outputs(outputs, tmp_path / "a" / "calibrated", step={"from": [str(first.with_name("oof.csv")), str(first)]})
    both = [str(tmp_path / "a" / "calibrated"), str(second.parent), str(tmp_path / "gone")]
    write_outputs(outputs, tmp_path / "both", step={"from": both})
    write_outputs(outputs, tmp_path / "again", step={"from": [str(tmp_path / "both"), str(tmp_path / "again")]})
    runs = read_origin(tmp_path / "again" / "test.csv").runs
    assert [run["name"] for run in runs] == ["a", "b"]


def test_seen_boats_are_expected_of_the_table_of_stage_1_and_new_ones_of_stage_2s():
    scores = {"seen": {"log_loss": 0.5}, "unseen": {"log_loss": 1.1}}
    others = {"seen": {"log_loss": 0.6}, "unseen": {"log_loss": 1.2}}
    first = Origin(Path("a"), ("stg1",), [], "", "", None, scores, None, None)
    second = Origin(Path("b"), ("stg2",), [], "", "", None, others, None, None)
    assert expected_together([first, second]) == {"seen": {"log_loss": 0.5}, "unseen": {"log_loss": 1.2}}
    assert expected_together([first]) == scores
    assert expected_together([first, second, second]) == {"seen": {"log_loss": 0.5}}


def test_a_broken_record_is_told_by_name(outputs, tmp_path):
    table = as_run(tmp_path / "r", outputs)
    (tmp_path / "r" / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json: not what its name says \(.*\); write it anew"):
        read_origin(table)
    (tmp_path / "r" / "run.json").write_text('{"name": "r"}')
    with pytest.raises(InputError, match=r"run\.json: no 'git_commit'; it is of another version of fisheries"):
        read_origin(table)
