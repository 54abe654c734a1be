"""What stands in the json beside a submission: where it comes from, what it should score, what Kaggle gave it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fisheries.inference.submission import read_submission
from fisheries.schema import InputError, write_atomic

Expected = Mapping[str, Mapping[str, float]]  # "seen", "unseen": log_loss, low, high in nats, perhaps new_boats
REAL = ("public", "private")  # Kaggle's two scores


def _are_scores(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(score, int | float | None) for score in value.values())


# what a json beside a submission must have, since it may come from elsewhere
_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "runs": lambda runs: isinstance(runs, list) and all(isinstance(run, dict) and "name" in run for run in runs),
    "expected": lambda expected: isinstance(expected, dict) and all(map(_are_scores, expected.values())),
    "sha256": lambda sha256: isinstance(sha256, str),
    "created_utc": lambda created_utc: isinstance(created_utc, str),
    "real": _are_scores,
}


def write_submission_notes(
    csv_path: Path | str,
    *,
    tables: Sequence[Path],
    runs: Sequence[Mapping[str, str]],
    git_commit: str,
    expected: Expected,
) -> Path:
    """Write `<name>.json` beside a submission: where it comes from, what it should score and what its bytes are.

    What Kaggle gave the same bytes stays.

    Args:
        csv_path: of the submission.
        tables: of predictions that it was made from.
        runs: name, git_commit and folds_hash of each that these go back to.
        git_commit: of the code that wrote it.
        expected: log_loss, low, high (nats) for boats like training's ("seen") and for new boats ("unseen"), as far
            as they are known.

    Raises:
        InputError: an expected score is not finite, or as `read_submission`.
    """
    csv_path = Path(csv_path)
    for boats, scores in expected.items():
        for name, value in scores.items():
            if not math.isfinite(value):
                raise InputError(f"{csv_path}: {name} of {boats} boats is {value}, not a finite number; leave it out")
    table, sha256, path = read_submission(csv_path), sha256_of(csv_path), csv_path.with_suffix(".json")
    notes = {
        "tables": [_shown(table) for table in tables],
        "runs": [dict(run) for run in runs],
        "git_commit": git_commit,
        "expected": {boats: dict(scores) for boats, scores in expected.items()},
        "sha256": sha256,
        "rows": len(table),
        "classes": list(table.columns),
        "mean_prediction": table.mean().to_dict(),
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "real": _real_scores(path, sha256),
    }
    return _write(notes, path)


def read_submission_notes(path: Path) -> dict[str, Any]:
    """Read the json beside a submission.

    Raises:
        InputError: it is missing, or not what `write_submission_notes` writes.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; `fisheries submit` writes it beside the submission")
    try:
        notes = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not json ({error}); make the submission anew") from error
    for name, is_right in _KINDS.items():
        if not isinstance(notes, dict) or name not in notes or not is_right(notes[name]):
            raise InputError(f"{path}: no {name!r}; expected what `fisheries submit` writes: make the submission anew")
    return notes


def note_real_scores(path: Path, scores: Mapping[str, float]) -> Path:
    """Write what Kaggle gave into the json of a submission; a score that is not given stays as it was.

    Args:
        path: of the json.
        scores: by "public" and "private", in nats.

    Raises:
        InputError: a score is not finite or negative, or as `read_submission_notes`.
    """
    for name, value in scores.items():
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"--{name} {value:g}: expected a log loss, a finite number of 0 or more")
    notes = read_submission_notes(path)
    return _write({**notes, "real": {**notes["real"], **scores}}, path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _real_scores(path: Path, sha256: str) -> dict[str, float]:
    """Return what Kaggle gave a submission of these bytes; {} where the json is of others, or is to be written anew."""
    with contextlib.suppress(InputError):
        notes = read_submission_notes(path)
        return dict(notes["real"]) if notes["sha256"] == sha256 else {}
    return {}


def _shown(table: Path) -> str:
    path, here = table.resolve(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _write(notes: Mapping[str, Any], path: Path) -> Path:
    write_atomic(path, (json.dumps(notes, indent=2, ensure_ascii=False) + "\n").encode())
    return path
