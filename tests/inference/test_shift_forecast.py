from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fisheries.inference.label_shift import correct, mix_log_loss, published_mix
from fisheries.inference.outputs import Outputs
from fisheries.inference.scoring import class_frequencies, log_loss
from fisheries.inference.shift_forecast import score_bands, shift_outputs
from fisheries.schema import InputError


@pytest.fixture(scope="module")
def outputs(tables, make_outputs) -> Outputs:
    labels, rng = tables[0]["label"], np.random.default_rng(0)

    def said(index: pd.Index, classes: list[str]) -> np.ndarray:
        known = labels.loc[index].to_numpy()[:, None] == np.array(classes)
        values = rng.dirichlet(np.ones(len(classes)), len(index)) + 0.4 * known
        return values / values.sum(axis=1, keepdims=True)

    return make_outputs(said)


def test_without_an_expected_mix_nothing_is_changed(outputs):
    shifted = shift_outputs(outputs)
    pd.testing.assert_frame_equal(shifted.outputs.test, outputs.test, check_exact=True)
    assert shifted.bands["as_given"].equals(shifted.bands["log_loss"])
    assert shifted.bands.loc["as trained", "log_loss"] == pytest.approx(log_loss(outputs.oof, outputs.labels))


def test_the_test_table_is_restated_for_the_published_mix_and_the_oof_table_is_not(outputs):
    shifted = shift_outputs(outputs, expect="published")
    train = class_frequencies(outputs.labels, outputs.classes)
    pd.testing.assert_frame_equal(shifted.outputs.test, correct(outputs.test, published_mix(train), train))
    pd.testing.assert_frame_equal(shifted.outputs.oof, outputs.oof, check_exact=True)
    judged = mix_log_loss(correct(outputs.oof, published_mix(train), train), outputs.labels, published_mix(train))
    assert shifted.bands.loc["published", "log_loss"] == pytest.approx(judged)


def test_a_mix_of_one_s_own_is_judged_in_a_row_of_its_own(outputs, tmp_path):
    shares = pd.Series(0.125, outputs.classes, name="share")
    shares.rename_axis("class").to_csv(tmp_path / "mix.csv")
    shifted = shift_outputs(outputs, expect=str(tmp_path / "mix.csv"))
    assert list(shifted.bands.index) == ["as trained", "published", "expected", "worst plausible"]
    assert shifted.expected.eq(0.125).all()
    with pytest.raises(InputError, match="no such file"):
        shift_outputs(outputs, expect="publish")


def test_the_robust_mix_lowers_the_worst_case(outputs):
    none, robust = shift_outputs(outputs), shift_outputs(outputs, expect="robust")
    assert robust.bands.loc["worst plausible", "log_loss"] < none.bands.loc["worst plausible", "log_loss"]
    assert robust.expected.sum() == pytest.approx(1)
    pd.testing.assert_frame_equal(robust.outputs.oof, outputs.oof, check_exact=True)


def test_a_band_is_wide_where_boats_differ_and_has_no_width_where_they_do_not(outputs):
    train = class_frequencies(outputs.labels, outputs.classes)
    band = score_bands(outputs.oof, outputs.labels, outputs.boats, {"as trained": train}).loc["as trained"]
    assert band["low"] < band["median"] < band["high"]
    assert band["low"] < log_loss(outputs.oof, outputs.labels) < band["high"]
    same = pd.DataFrame(1 / 8, outputs.oof.index, outputs.classes)
    flat = score_bands(same, outputs.labels, outputs.boats, {"as trained": train}).loc["as trained"]
    np.testing.assert_allclose(flat, np.log(8))
