"""Hand-edited tables, changed a row at a time: what others wrote meanwhile stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fisheries.schema import KEY, InputError, write_table

_MOST = 500  # characters of a name or note


def change_row(
    path: Path,
    image_id: str,
    values: Mapping[str, str] | None,
    *,
    shown: Mapping[str, str],
    start: pd.DataFrame | None,
) -> None:
    """Change one row of a CSV, or take it out; all others stay as they are in the file now.

    Args:
        path: the CSV, with a column `image_id`.
        image_id: of the row, which may be new.
        values: by column; None takes the row out.
        shown: the values that the person saw, by column; "" and "-1" are the same there.
        start: the table to begin with where there is no file; None if there was one.

    Raises:
        InputError: the row is not as it was shown, the file is gone, or can't be read or written.
    """
    table = _read(path, start)
    own = table.loc[image_id] if image_id in table.index else pd.Series(dtype="str")
    now = {name: _known(str(own.get(name, ""))) for name in shown}
    if now != {name: _known(value) for name, value in shown.items()}:
        said = ", ".join(f"{name} {value!r}" for name, value in now.items())
        raise InputError(
            f"{path}: {image_id!r} was changed meanwhile, to {said}; it is shown now, and nothing is saved"
        )
    if values is None:
        table = table.drop(index=image_id, errors="ignore")
    else:
        for name, value in values.items():
            table.loc[image_id, name] = value
    try:
        write_table(table.fillna(""), path)
    except OSError as error:
        raise InputError(f"{path}: can't be written ({error.strerror}); expected room and a writable folder") from error


def one_line(text: str, name: str) -> str:
    """Return a text as one line without blanks at its ends.

    Raises:
        InputError: it is too long, or has characters that can't be written.
    """
    line = " ".join(text.split())
    if len(line) > _MOST or not line.isprintable():
        raise InputError(
            f"{name}: expected at most {_MOST} characters that can be printed; {line[:40]!r} … is not saved"
        )
    return line


def _read(path: Path, start: pd.DataFrame | None) -> pd.DataFrame:
    if path.is_file():
        return pd.read_csv(path, dtype=str, keep_default_na=False).set_index(KEY)
    if start is None:
        raise InputError(f"{path}: is gone since the page was opened; put it back, or open the page again")
    return start.copy()


def _known(value: str) -> str:
    name = value.strip()
    return "" if name == "-1" else name
