"""Kaggle's official client, as far as the competition needs it; everything it can't do is one line for the user."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from fisheries.schema import InputError

COMPETITION = "the-nature-conservancy-fisheries-monitoring"
PAGE = f"https://www.kaggle.com/c/{COMPETITION}"
CREDENTIALS = (
    "no credentials for Kaggle: run `kaggle auth login`, or make a token at https://www.kaggle.com/settings/api and save it "
    "as ~/.kaggle/access_token"
)


def connect() -> Any:
    """Return Kaggle's client, with the user's credentials.

    Raises:
        InputError: it is not installed, there are no credentials, or as `told`.
    """
    with told():
        try:
            from kaggle.api.kaggle_api_extended import KaggleApi
        except ImportError as error:
            raise InputError(f"Kaggle's client is not installed ({error}): pip install -e '.[kaggle]'") from error
        client = KaggleApi()
        try:
            client.authenticate()
        except SystemExit as error:  # it prints a page of help and exits
            raise InputError(CREDENTIALS) from error
    return client


def list_files(client: Any) -> list[str]:
    """Return the names of the competition's files."""
    names: list[str] = []
    token = ""
    while True:
        with told():
            answer = client.competition_list_files(COMPETITION, page_token=token, page_size=100)
        names += [str(file.name) for file in answer.files]
        token = answer.next_page_token
        if not token:
            return names


def download_file(client: Any, name: str, folder: Path, *, quiet: bool) -> Path:
    """Download one of the competition's files; one that is there whole is left, and one that is not is gone on with.

    Raises:
        InputError: its name leaves the folder, the client wrote another file, or as `told`.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"Kaggle lists the file {name!r}, which lies outside {folder}; download by hand from {PAGE}/data"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with told():
        client.competition_download_file(COMPETITION, name, path=str(path.parent), force=False, quiet=quiet)
    if not path.is_file():
        raise InputError(f"{path}: Kaggle's client did not write it; download it by hand from {PAGE}/data")
    return path


def submit_file(client: Any, csv_path: Path, message: str) -> str:
    """Submit a file; return what Kaggle answers.

    Raises:
        InputError: it did not arrive, or as `told`.
    """
    with told():
        answer = client.competition_submit(str(csv_path), message, COMPETITION, quiet=True)
    text = str(answer.message)
    if text == getattr(client, "COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE", None):
        raise InputError(f"{csv_path}: the upload broke off; try again, or submit it by hand at {PAGE}/submit")
    return text


def fetch_scores(client: Any) -> pd.DataFrame:
    """Return the user's newest 100 submissions as far as Kaggle has scored them, the newest first.

    Returns:
        Columns file_name, size_bytes, public and private, log losses in nats, NaN where Kaggle does not tell.
    """
    with told():
        answer = client.competition_submissions(COMPETITION, page_size=100) or []
    rows = [
        {
            "file_name": str(sent.file_name),
            "size_bytes": int(sent.total_bytes),
            "date": sent.date,
            "public": pd.to_numeric(sent.public_score, errors="coerce"),
            "private": pd.to_numeric(sent.private_score, errors="coerce"),
        }
        for sent in answer
    ]
    table = pd.DataFrame(rows, columns=["file_name", "size_bytes", "date", "public", "private"])
    scored = table[table[["public", "private"]].notna().any(axis=1)]
    return scored.sort_values("date", ascending=False).drop(columns="date")


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what Kaggle's client raises into one line, and keep to itself what it prints, which may hold a secret.

    Raises:
        InputError: credentials refused, rules not accepted, too many requests, no network, or Kaggle's own words.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except InputError:
        raise
    except Exception as error:
        line = _line(error)
        if line is None:
            raise
        raise InputError(line) from None  # the error's own text may hold an address with a token in it


def _line(error: Exception) -> str | None:
    response = getattr(error, "response", None)
    if response is not None:
        return _answer(int(response.status_code), response)
    names = {base.__name__ for base in type(error).__mro__}
    if names & {"Timeout", "ConnectionError", "ConnectTimeout", "MaxRetryError"}:
        return "can't reach Kaggle: check the network, or a proxy, and try again"
    return None


def _answer(status: int, response: Any) -> str:
    if status == 401:
        return "Kaggle refuses the credentials (HTTP 401): make a new token at https://www.kaggle.com/settings/api"
    if status == 403:
        return (
            f"Kaggle refuses (HTTP 403): accept the competition's rules at {PAGE}/rules with the account of your token"
        )
    if status == 404:
        return f"Kaggle does not know what was asked for (HTTP 404): look at {PAGE}/data"
    if status == 429:
        return "Kaggle has had too many requests (HTTP 429): wait a while and try again"
    return f"Kaggle answers HTTP {status}{_words(response)}; try again later, or by hand at {PAGE}"


def _words(response: Any) -> str:
    """Return Kaggle's own message, if it sent one."""
    try:
        message = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f", {' '.join(str(message).split())[:200]!r}"
