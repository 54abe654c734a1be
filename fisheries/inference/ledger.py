"""The submissions of a folder, by the json beside each: what they were to score, and what Kaggle gave them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fisheries.inference.submission_notes import REAL, read_submission_notes, sha256_of
from fisheries.schema import InputError, nearest

EXPECTED = tuple(f"{boats}_{end}" for boats in ("seen", "unseen") for end in ("log_loss", "low", "high"))
COLUMNS = ("created_utc", "runs", *EXPECTED, "public", "private", "mark")


def read_ledger(folder: Path) -> pd.DataFrame:
    """Return a row for each submission of a folder, the oldest first.

    Returns:
        By name: created_utc; runs, separated by commas; log_loss, low and high (nats, 90 % interval) expected of seen
        and of unseen boats; public and private, as Kaggle scored it; NaN where they are not known; mark, which is
        "changed" where the csv is not the one that the json was written for, "no csv", "no json", "json of another
        kind" or "".

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `fisheries submit` and train.py write submissions/")
    names = sorted({path.stem for path in folder.iterdir() if path.suffix in (".csv", ".json")})
    table = pd.DataFrame([_row(folder / name) for name in names], index=pd.Index(names, name="name"), columns=COLUMNS)
    return table.sort_values("created_utc", kind="stable", na_position="last")


def find_notes(name: Path, folder: Path) -> Path:
    """Return the path of a submission's json.

    Args:
        name: of the submission, of its csv or of its json, with or without a folder.
        folder: where it is looked for if `name` has none.

    Raises:
        InputError: there is none, with the nearest that there is.
    """
    folder = folder if name.parent == Path() else name.parent
    wanted = name.name.removesuffix(".csv").removesuffix(".json")
    path = folder / f"{wanted}.json"
    if not path.is_file():
        known = sorted(path.stem for path in folder.glob("*.json"))
        raise InputError(
            f"{folder}: no submission {wanted!r} with a json beside it{nearest(wanted, known)}; "
            f"`fisheries submissions {folder}` lists them"
        )
    return path


def match_scores(folder: Path, sent: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return, by name, what Kaggle gave the submissions of a folder that still are what was sent.

    Args:
        folder: of submissions.
        sent: file_name, size_bytes, public and private of what Kaggle has, the newest first.
    """
    matched = {}
    for path in sorted(folder.glob("*.json")):
        csv_path = path.with_suffix(".csv")
        size_bytes = csv_path.stat().st_size if csv_path.is_file() else -1
        rows = sent[(sent["file_name"] == csv_path.name) & (sent["size_bytes"] == size_bytes)]
        if len(rows):
            matched[path.stem] = rows.iloc[0][list(REAL)].dropna().to_dict()
    return matched


def _row(path: Path) -> dict[str, Any]:
    csv_path, json_path = Path(f"{path}.csv"), Path(f"{path}.json")
    if not json_path.is_file():
        return {"mark": "no json"}
    try:
        notes = read_submission_notes(json_path)
    except InputError:
        return {"mark": "json of another kind"}
    facts = {"created_utc": notes["created_utc"], "runs": ", ".join(str(run["name"]) for run in notes["runs"])}
    return {**facts, **_expected(notes["expected"]), **notes["real"], "mark": _mark(csv_path, notes["sha256"])}


def _expected(expected: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{boats}_{name}": value for boats, scores in expected.items() for name, value in scores.items()}


def _mark(csv_path: Path, sha256: str) -> str:
    if not csv_path.is_file():
        return "no csv"
    return "" if sha256_of(csv_path) == sha256 else "changed"
