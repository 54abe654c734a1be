"""`fisheries submit` and `fisheries submissions`, on tables as runs and steps leave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.data.splits import make_folds
from fisheries.inference.outputs import Outputs, write_outputs
from fisheries.inference.submission import CLASSES, read_submission
from fisheries.schema import InputError, read_predictions, table_hash, write_predictions

SCORES = {"unseen": {"log_loss": 1.2, "low": 0.9, "high": 1.7, "prior_log_loss": 1.6}, "seen": {"log_loss": 0.5}}


def called(*arguments: object) -> tuple[int, str]:
    answer = CliRunner().invoke(app, list(map(str, arguments)), terminal_width=200, env={"COLUMNS": "200"})
    if isinstance(answer.exception, InputError):
        return 1, " ".join(f"{answer.output} {answer.exception}".split())
    assert answer.exception is None, answer.exception
    return 0, " ".join(answer.output.split())


def call(*arguments: object) -> str:
    code, printed = called(*arguments)
    assert code == 0, printed
    return printed


def fails(*arguments: object) -> str:
    code, printed = called(*arguments)
    assert code == 1, printed
    return printed


@pytest.fixture(scope="module")
def outputs(tables: tuple[pd.DataFrame, pd.DataFrame]) -> Outputs:
    """What moderate networks say, trained on three boat folds."""
    manifest, folds = tables[0], make_folds(tables[0], split="boat", folds=3, seed=0)
    rng = np.random.default_rng(0)
    mix = manifest["label"][manifest["label"] != ""].value_counts(normalize=True)[list(CLASSES)].to_numpy()

    def said(index: pd.Index) -> pd.DataFrame:
        values = 0.8 * rng.dirichlet(100 * mix, len(index)) + 0.2 * mix
        return pd.DataFrame(values / values.sum(axis=1, keepdims=True), index, list(CLASSES))

    test = manifest.index[manifest["subset"] != "train"]
    return Outputs(said(folds.index[folds["fold"] >= 0]), said(test), manifest, folds)


@pytest.fixture
def run(outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of their run."""
    folder = tmp_path / "runs" / "r"
    write_outputs(outputs, folder, step={})
    (folder / "step.json").unlink()
    record = {"name": "r", "git_commit": "c0ffee", "folds": table_hash(outputs.folds), "scores": SCORES, "forecast": {}}
    (folder / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    return folder


def change(path: Path, rows: dict[str, list[float]], *, folds_hash: str | None = None) -> None:
    table = read_predictions(path)
    before = pd.read_csv(path)["folds"].iloc[0]
    for name, row in rows.items():
        table.loc[name] = row
    write_predictions(table, path, folds_hash=folds_hash or before)


def test_a_table_of_a_run_becomes_a_submission_with_its_json(run: Path, world: Path):
    printed = call("submit", run / "test.csv", "--sample", world / "sample_submission_stg1.csv")
    assert "Wrote submissions/r-test.csv (12 rows)" in printed
    assert "18 predictions of the other stage are left out" in printed
    assert "names, columns, values and sums are as the competition wants them" in printed
    assert "warning" not in printed
    assert "expected of new boats: log loss 1.200, 90 % interval 0.90 to 1.70" in printed
    notes = json.loads(Path("submissions/r-test.json").read_text())
    assert notes["tables"] == ["runs/r/test.csv"]
    assert notes["runs"][0]["git_commit"] == "c0ffee"
    assert notes["expected"] == {
        "seen": {"log_loss": 0.5},
        "unseen": {"log_loss": 1.2, "low": 0.9, "high": 1.7},
    }


def test_without_a_sample_the_numbers_of_the_competition_are_a_reminder(run: Path):
    printed = call("submit", run / "test.csv")
    assert "warning: 12 images with bare names; the competition has 1000: Kaggle takes no such file" in printed
    assert "as the competition wants them" not in printed


def test_one_stage_of_a_table_must_be_as_many_as_the_competition_has(run: Path):
    printed = fails("submit", run / "test.csv", "--stage", "2")
    assert "error: 18 images with the prefix 'test_stg2/'; the competition has 12153" in printed
    assert "submissions/r-test-stage2.csv: Kaggle would refuse it, for the reasons above" in printed
    assert not Path("submissions/r-test-stage2.json").exists()
    assert "no json" in call("submissions")


def test_the_whole_competition_from_a_table_for_each_stage(run: Path):
    table = read_predictions(run / "test.csv")
    rng = np.random.default_rng(0)

    def of(names: list[str], path: str) -> Path:
        values = table.to_numpy()[rng.integers(0, len(table), len(names))]
        predictions = pd.DataFrame(values, pd.Index(names, name="image_id"), table.columns)
        return write_predictions(predictions, Path(path), folds_hash="")

    first = of([f"img_{number:05}.jpg" for number in range(1000)], "a/one.csv")
    second = of([f"test_stg2/image_{number:05}.jpg" for number in range(12153)], "b/two.csv")
    printed = call("submit", second, first, "--stage", "all")
    assert "Wrote submissions/b-two+a-one-final.csv (13153 rows)" in printed
    assert "warning" not in printed
    assert "no score is expected of it: no run.json, and no oof.csv of the same folds, is beside the tables" in printed
    submitted = read_submission(Path("submissions/b-two+a-one-final.csv"))
    pd.testing.assert_frame_equal(submitted.loc[read_predictions(first).index], read_predictions(first))
    bare = read_predictions(second).set_axis([f"image_{number:05}.jpg" for number in range(12153)])
    write_predictions(bare.rename_axis("image_id"), second, folds_hash="")
    assert "'image_00000.jpg' lacks the prefix 'test_stg2/'; 12153 such names" in fails("submit", first, second)


def test_a_step_names_its_run_and_expects_what_its_oof_says(run: Path):
    from fisheries.inference.outputs import read_outputs

    step = {"step": "calibrate", "from": ["runs/r/oof.csv", "runs/r/test.csv"]}
    write_outputs(read_outputs(run / "oof.csv"), run / "calibrated", step=step)
    printed = call("submit", run / "calibrated" / "test.csv")
    assert "Wrote submissions/r-calibrated-test.json" in printed
    assert "expected of new boats: log loss 1." in printed
    assert "boats like training's" not in printed
    assert json.loads(Path("submissions/r-calibrated-test.json").read_text())["runs"][0]["name"] == "r"


def test_what_costs_people_their_place_is_told(run: Path):
    manifest = pd.read_csv(run / "manifest.csv", index_col="image_id")
    burst = manifest["burst"][manifest["subset"] != "train"]
    twins = list(burst.index[burst == burst.value_counts().index[0]])
    assert len(twins) > 1
    change(run / "test.csv", {twins[0]: [0.0, 0, 0, 0.01, 0, 0, 0, 0.99]}, folds_hash="0123456789abcdef")
    record = json.loads((run / "run.json").read_text())
    printed = call("submit", run / "test.csv")
    assert f"of '{twins[0]}' is 0: where it is right that image alone costs 34.5 nats" in printed
    assert f"'{twins[0]}' (YFT 0.99)" in printed
    assert "made from the folds 0123456789abcdef, folds.csv beside it is" in printed
    assert "expected of" not in printed.replace("no score is expected of it", "")
    change(run / "test.csv", {}, folds_hash=record["folds"])
    record["scores"]["unseen"]["log_loss"] = 1.8
    (run / "run.json").write_text(json.dumps(record))
    assert "its log loss is 1.800 (OOF), the constant prior's 1.600" in call("submit", run / "test.csv")


def test_an_image_of_the_manifest_that_is_not_predicted_is_an_error(run: Path):
    table = read_predictions(run / "test.csv")
    write_predictions(table.iloc[1:], run / "test.csv", folds_hash="")
    assert f"error: '{table.index[0]}' is missing; 1 such names; the manifest.csv beside" in fails(
        "submit", run / "test.csv"
    )


def test_an_image_in_two_tables_is_refused(run: Path):
    message = "is in runs/r/test.csv and in runs/r/test.csv; 30 such images"
    assert message in fails("submit", "runs/r/test.csv", "runs/r/test.csv")


def test_real_scores_are_typed_into_the_ledger_and_stand_beside_what_was_expected(run: Path):
    call("submit", run / "test.csv")
    assert "0.90 to 1.70" in call("submissions")
    printed = call("submissions", "r-test", "--public", "0.6", "--private", "1.9")
    assert printed.endswith("+0.100 0.90 to 1.70 +0.700!")
    assert "1.900" in call("submissions", "submissions")
    printed = call("submissions", "r-test.csv", "--private", "1.5")
    assert printed.endswith("1.70 +0.300")
    assert "0.600" in printed
    path = Path("submissions/r-test.csv")
    path.write_text(path.read_text().replace("0.1", "0.2", 1))
    assert "changed" in call("submissions")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["r-tst", "--public", "1"], "no submission 'r-tst' with a json beside it (did you mean 'r-test'?)"),
        (["r-test", "--public", "nan"], "--public nan: expected a log loss"),
        (["r-test", "--private", "-1"], "--private -1: expected a log loss"),
        (["--public", "1"], "--public and --private are of one submission: give its name"),
        (["r-test", "--fetch"], "--fetch is for a folder of submissions: leave the name out"),
        (["runs", "--public", "1"], "no submission 'runs'"),
    ],
)
def test_a_wrong_word_to_the_ledger_is_one_line(run: Path, arguments: list[str], message: str):
    call("submit", run / "test.csv")
    before = Path("submissions/r-test.json").read_bytes()
    assert message in fails("submissions", *arguments)
    assert Path("submissions/r-test.json").read_bytes() == before


def test_without_submissions_the_ledger_says_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "submissions: no such folder; `fisheries submit` and train.py write submissions/" in fails("submissions")
