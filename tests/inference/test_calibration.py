from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.inference.calibration import METHODS, calibrate, check_better_than_prior, choose
from fisheries.inference.calibration_fit import fit_none, fit_temperature
from fisheries.inference.outputs import Outputs, read_outputs, write_outputs
from fisheries.inference.scoring import log_loss
from fisheries.schema import InputError


@pytest.fixture(scope="module")
def outputs(tables, make_outputs) -> Outputs:
    """Predictions that know something, and are far too sure of it."""
    labels, rng = tables[0]["label"], np.random.default_rng(0)

    def said(index: pd.Index, classes: list[str]) -> np.ndarray:
        known = labels.loc[index].to_numpy()[:, None] == np.array(classes)
        return softmax(6 * (rng.normal(size=known.shape) + 1.2 * known), axis=1)

    return make_outputs(said)


FEW = {name: METHODS[name] for name in ("none", "temperature", "prior mix")}


def test_overconfident_tables_are_mended_and_end_below_the_prior(outputs):
    result = calibrate(outputs, methods=FEW)
    assert result.method != "none"
    assert result.before.mean() > result.prior.mean() > result.after.mean()
    assert result.after.mean() == pytest.approx(log_loss(result.outputs.oof, outputs.labels))
    assert result.outputs.oof.index.equals(outputs.oof.index)
    assert result.outputs.test.max().max() < outputs.test.max().max()
    check_better_than_prior(result)


def test_nothing_is_fitted_or_chosen_on_the_boats_that_it_changes(outputs):
    fitted_on: list[set[str]] = []

    def watched(predictions, labels, boats):
        on = set(boats)
        fitted_on.append(on)
        change = fit_temperature(predictions, labels, boats)

        def checked(rows):
            assert not on & set(outputs.boats.get(rows.index, []))
            return change(rows)

        return checked

    calibrate(outputs, methods={"none": fit_none, "watched": watched})
    counts = [len(on) for on in fitted_on]
    everything = outputs.boats.nunique()
    assert counts.count(everything) == 1  # for test
    assert min(counts) < everything - 1  # a choice leaves out boats of those that are left


def test_the_test_table_is_changed_by_what_was_fitted_on_all_boats(outputs):
    result = calibrate(outputs, methods={"none": fit_none, "temperature": fit_temperature})
    expected = fit_temperature(outputs.oof, outputs.labels, outputs.boats)(outputs.test)
    pd.testing.assert_frame_equal(result.outputs.test, expected)


def memory_of(boats: pd.Series, labels: pd.Series):
    """A fit that knows every image of the boats it has seen, and spoils the others."""

    def fit(predictions, _, fitted_boats):
        def change(rows):
            truth = pd.get_dummies(labels.loc[rows.index]).reindex(columns=rows.columns, fill_value=0).astype(float)
            seen = boats.loc[rows.index].isin(fitted_boats)
            return truth.where(seen, 0.2 * rows + 0.8 / rows.shape[1], axis=0)

        return change

    return fit


def test_what_helps_on_boats_it_has_seen_only_is_not_chosen(outputs):
    sane = calibrate(outputs, methods=FEW).outputs
    memory = memory_of(outputs.boats, outputs.labels)
    assert log_loss(memory(sane.oof, None, sane.boats)(sane.oof), sane.labels) < 0.01
    chosen, rows = choose(sane.oof, sane.labels, sane.boats, {"none": fit_none, "memory": memory})
    assert chosen == "none"
    assert rows.loc["memory", "log_loss"] > rows.loc["none", "log_loss"]


def sharpened_by(power: float):
    def fit(predictions, labels, boats):
        return lambda rows: (rows**power).div((rows**power).sum(axis=1), axis=0)

    return fit


@pytest.mark.parametrize(("power", "expected"), [(0.25, "simple"), (0.9, "best")])
def test_the_simplest_method_within_one_standard_error_is_chosen(power, expected, outputs):
    methods = {"none": fit_none, "simple": sharpened_by(power), "best": sharpened_by(0.23), "other": sharpened_by(0.9)}
    chosen, rows = choose(outputs.oof, outputs.labels, outputs.boats, methods)
    assert rows["log_loss"].idxmin() == "best"
    assert (0 < rows.loc["simple", "behind"] <= rows.loc["simple", "standard_error"]) == (expected == "simple")
    assert chosen == expected


def test_tables_as_they_are_have_no_bonus_for_being_simple(outputs):
    methods = {"none": fit_none, "same": fit_none, "little": sharpened_by(0.98)}
    chosen, rows = choose(outputs.oof, outputs.labels, outputs.boats, {"none": fit_none, "little": sharpened_by(0.98)})
    assert chosen == "little"
    assert rows.loc["none", "behind"] > 0
    assert choose(outputs.oof, outputs.labels, outputs.boats, {**methods, "little": sharpened_by(2)})[0] == "none"


def test_tables_that_no_method_makes_better_are_handed_on_unchanged(outputs):
    result = calibrate(outputs, methods={"none": fit_none, "worse": sharpened_by(2)})
    assert result.method == result.chosen == "none"
    assert result.outputs is outputs
    assert result.after.equals(result.before)


def test_tables_worse_than_the_prior_are_refused(outputs):
    result = calibrate(outputs, methods={"none": fit_none, "worse": sharpened_by(2)})
    with pytest.raises(InputError, match=r"log loss \d\.\d+ on boats not fitted on, the constant prior has \d\.\d+"):
        check_better_than_prior(result)


def call(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)), terminal_width=200)


def test_the_command_writes_tables_for_the_next_step_and_says_what_it_gained(outputs, tmp_path):
    some = replace(outputs, oof=outputs.oof[outputs.boats.isin(outputs.boats.unique()[:4])])
    write_outputs(some, tmp_path / "run", step={})
    answer = call("calibrate", tmp_path / "run" / "oof.csv", "--out", tmp_path / "out", "--expect", "published")
    assert answer.exit_code == 0, answer.output
    for words in ("Chosen: ", "before: ", "after: ", "prior: ", "worst plausible", "90 % interval"):
        assert words in answer.output
    written = read_outputs(tmp_path / "out" / "oof.csv")
    assert log_loss(written.oof, written.labels) < log_loss(some.oof, some.labels)
    step = json.loads((tmp_path / "out" / "step.json").read_text())
    assert step["log_loss"] == pytest.approx(log_loss(written.oof, written.labels))
    assert step["expected_mix"]["BET"] == 0.108
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 5000
    assert len(pd.read_csv(tmp_path / "out" / "methods.csv")) == 7


def test_the_command_refuses_two_mixes(tmp_path):
    answer = call("calibrate", tmp_path / "oof.csv", "--expect", "published", "--shift", "robust")
    assert "--expect published and --shift robust: two class mixes; give one of them" in str(answer.exception)


def test_a_wrong_mix_is_refused_before_anything_is_fitted(outputs, tmp_path, monkeypatch):
    monkeypatch.setattr("fisheries.inference.calibration.calibrate", lambda *_, **__: pytest.fail("too late"))
    write_outputs(outputs, tmp_path, step={})
    answer = call("calibrate", tmp_path / "oof.csv", "--expect", tmp_path / "nowhere.csv")
    assert "nowhere.csv: no such file" in str(answer.exception)


def test_the_command_hands_on_what_is_worse_than_the_prior_only_if_told_to(outputs, tmp_path, monkeypatch):
    result = calibrate(outputs, methods={"none": fit_none, "worse": sharpened_by(2)})
    monkeypatch.setattr("fisheries.inference.calibration.calibrate", lambda *_, **__: result)
    write_outputs(outputs, tmp_path / "run", step={})
    arguments = ["calibrate", tmp_path / "run" / "oof.csv", "--out", tmp_path / "out"]
    assert "--allow-worse" in str(call(*arguments).exception)
    assert not (tmp_path / "out").exists()
    assert call(*arguments, "--allow-worse", "--shift", "robust").exit_code == 0
    expected = json.loads((tmp_path / "out" / "step.json").read_text())["expected_mix"]
    assert sum(expected.values()) == pytest.approx(1, abs=1e-4)
    assert abs(expected["ALB"] - outputs.prior["ALB"]) > 0.01
    pd.testing.assert_frame_equal(read_outputs(tmp_path / "out" / "oof.csv").oof, outputs.oof)
