from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.inference.ledger import find_notes, match_scores, read_ledger
from fisheries.inference.submission import read_submission, write_submission
from fisheries.inference.submission_notes import note_real_scores, read_submission_notes, write_submission_notes
from fisheries.schema import InputError

RUN = {"name": "a", "git_commit": "abc", "folds_hash": "def"}
EXPECTED = {"seen": {"log_loss": 0.5, "low": 0.3, "high": 0.7}, "unseen": {"log_loss": 1.1, "low": 0.8, "high": 1.5}}


def submission(folder: Path, name: str, *, notes: bool = True, seed: int = 0) -> Path:
    """Write a submission and its json; return the csv's path."""
    values = np.random.default_rng(seed).dirichlet(np.ones(2), 3)
    index = pd.Index(["img_1.jpg", "img_2.jpg", "test_stg2/image_1.jpg"], name="image_id")
    path = write_submission(pd.DataFrame(values, index, ["A", "B"]), folder / f"{name}.csv").path
    if notes:
        write_submission_notes(path, tables=[Path("r/test.csv")], runs=[RUN], git_commit="abc+", expected=EXPECTED)
    return path


def test_the_notes_tell_where_a_submission_comes_from_what_it_expects_and_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = submission(tmp_path, "s")
    write_submission_notes(
        path, tables=[tmp_path / "r/test.csv"], runs=[RUN, RUN], git_commit="abc+", expected=EXPECTED
    )
    notes = json.loads(path.with_suffix(".json").read_text())
    created = datetime.fromisoformat(notes.pop("created_utc"))
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60
    assert notes.pop("mean_prediction") == pytest.approx(read_submission(path).mean().to_dict())
    assert notes == {
        "tables": ["r/test.csv"],
        "runs": [RUN, RUN],
        "git_commit": "abc+",
        "expected": EXPECTED,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": 3,
        "classes": ["A", "B"],
        "real": {},
    }


def test_an_expected_score_that_is_no_number_is_not_noted(tmp_path):
    path = submission(tmp_path, "s", notes=False)
    with pytest.raises(InputError, match=r"s\.csv: low of seen boats is nan, not a finite number; leave it out"):
        write_submission_notes(path, tables=[], runs=[], git_commit="", expected={"seen": {"low": float("nan")}})
    assert not path.with_suffix(".json").exists()


def test_real_scores_are_typed_in_one_after_the_other_and_the_rest_stays(tmp_path):
    notes = submission(tmp_path, "s").with_suffix(".json")
    before = json.loads(notes.read_text())
    note_real_scores(notes, {"public": 0.625})
    note_real_scores(notes, {"private": 1.25})
    assert json.loads(notes.read_text()) == {**before, "real": {"public": 0.625, "private": 1.25}}
    row = read_ledger(tmp_path).loc["s"]
    assert (row["public"], row["private"]) == (0.625, 1.25)


def test_a_submission_made_again_keeps_what_kaggle_gave_the_same_bytes_only(tmp_path):
    notes = submission(tmp_path, "s").with_suffix(".json")
    note_real_scores(notes, {"public": 0.625})
    submission(tmp_path, "s")
    assert json.loads(notes.read_text())["real"] == {"public": 0.625}
    submission(tmp_path, "s", seed=1)
    assert json.loads(notes.read_text())["real"] == {}


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nan"), (float("inf"), "inf"), (-0.1, "-0.1")])
def test_a_real_score_that_is_no_log_loss_is_refused(tmp_path, value, said):
    notes = submission(tmp_path, "s").with_suffix(".json")
    before = notes.read_bytes()
    with pytest.raises(InputError, match=rf"--private {said}: expected a log loss, a finite number of 0 or more"):
        note_real_scores(notes, {"public": 1.0, "private": value})
    assert notes.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not json"),
        ("[]", "no 'runs'; expected what `fisheries submit` writes: make the submission anew"),
        ('{"runs": []}', "no 'expected'; expected what"),
    ],
)
def test_a_json_that_is_not_ours_is_marked_and_can_be_written_anew(tmp_path, text, message):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match=rf"s\.json: {message}"):
        read_submission_notes(tmp_path / "s.json")
    assert read_ledger(tmp_path).loc["s", "mark"] == "json of another kind"
    submission(tmp_path, "s")
    assert read_ledger(tmp_path).loc["s", "mark"] == ""
    with pytest.raises(InputError, match=r"none\.json: no such file; `fisheries submit` writes it"):
        read_submission_notes(tmp_path / "none.json")


def test_the_ledger_lists_the_oldest_first_with_what_was_expected(tmp_path):
    for name, created in {"b.1": "2026-01-02T00:00:00+00:00", "c": "2026-01-01T00:00:00+00:00"}.items():
        notes = submission(tmp_path, name).with_suffix(".json")
        notes.write_text(json.dumps({**json.loads(notes.read_text()), "created_utc": created}))
    submission(tmp_path, "a", notes=False)
    (tmp_path / "README.md").touch()
    ledger = read_ledger(tmp_path)
    assert list(ledger.index) == ["c", "b.1", "a"]
    row = ledger.loc["b.1"]
    assert (row["runs"], row["seen_low"], row["unseen_log_loss"], row["mark"]) == ("a", 0.3, 1.1, "")
    assert np.isnan(row["public"])
    assert ledger.loc["a", "mark"] == "no json"


def test_a_submission_changed_since_or_gone_is_marked(tmp_path):
    first, second, _ = (submission(tmp_path, name) for name in "abc")
    first.write_text(first.read_text().replace("img_1", "img_9"))
    second.unlink()
    assert read_ledger(tmp_path)["mark"].to_dict() == {"a": "changed", "b": "no csv", "c": ""}


def test_a_folder_that_is_not_there_and_an_empty_one(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder; `fisheries submit`"):
        read_ledger(tmp_path / "nowhere")
    assert read_ledger(tmp_path).empty


@pytest.mark.parametrize("name", ["2026.1", "2026.1.csv", "2026.1.json"])
def test_a_submission_is_found_by_its_name_its_csv_or_its_json(tmp_path, name):
    submission(tmp_path / "s", "2026.1")
    found = tmp_path / "s" / "2026.1.json"
    assert find_notes(Path(name), tmp_path / "s") == found
    assert find_notes(tmp_path / "s" / name, Path("elsewhere")) == found


def test_an_unknown_submission_is_refused_with_the_nearest(tmp_path):
    submission(tmp_path, "calibrated")
    with pytest.raises(
        InputError, match=r"no submission 'calbrated' with a json beside it \(did you mean 'calibrated'\?\)"
    ):
        find_notes(Path("calbrated"), tmp_path)


def test_scores_from_kaggle_go_to_the_newest_file_of_that_name_and_size(tmp_path):
    sizes = {name: submission(tmp_path, name, seed=seed).stat().st_size for seed, name in enumerate("abc")}
    rows = [
        ("a.csv", sizes["a"], 0.6, 1.3),
        ("a.csv", sizes["a"], 0.9, 1.9),
        ("b.csv", sizes["b"] + 1, 0.7, 1.4),
        ("c.csv", sizes["c"], 0.8, np.nan),
        ("elsewhere.csv", 3, 0.1, 0.1),
    ]
    sent = pd.DataFrame(rows, columns=["file_name", "size_bytes", "public", "private"])
    assert match_scores(tmp_path, sent) == {"a": {"public": 0.6, "private": 1.3}, "c": {"public": 0.8}}
