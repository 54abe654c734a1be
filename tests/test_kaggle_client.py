"""Kaggle's client is played by a small one with its methods and its ways to fail: the tests need no network."""

from __future__ import annotations

import shutil
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.inference.submission import CLASSES, write_submission
from fisheries.inference.submission_notes import read_submission_notes, write_submission_notes
from fisheries.kaggle_client import COMPETITION, connect, download_file, fetch_scores, list_files, submit_file
from fisheries.schema import InputError

SECRET = "s3cr3t-token"


def http_error(status: int, body: bytes = b"") -> requests.HTTPError:
    response = requests.Response()
    response.status_code, response._content = status, body
    return requests.HTTPError(f"{status} for https://storage/x?token={SECRET}", response=response)


class Kaggle:
    """What Kaggle holds, and what becomes of a call: `failure` is raised by all but `authenticate`."""

    COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE = "Could not submit to competition"
    archives: Path
    failure: BaseException | None = None
    has_credentials = True
    answer = "Successfully submitted"
    submissions: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def authenticate(self) -> None:
        print("Authentication required", SECRET)
        if not self.has_credentials:
            sys.exit(1)

    def _called(self, *call: Any) -> None:
        print("---Request---\nAuthorization: Bearer", SECRET)
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure

    def competition_list_files(self, competition: str, page_token: str | None = None, page_size: int = 20) -> Any:
        self._called("list", competition)
        names = sorted(path.name for path in self.archives.iterdir())
        first, rest = (names[:2], names[2:]) if not page_token else (names[2:], [])
        return SimpleNamespace(files=[SimpleNamespace(name=name) for name in first], next_page_token="2" * bool(rest))

    def competition_download_file(
        self, competition: str, file_name: str, path: str | None = None, force: bool = False, quiet: bool = False
    ) -> None:
        self._called("download", file_name)
        shutil.copy(self.archives / file_name, Path(str(path)) / file_name)

    def competition_submit(self, file_name: str, message: str, competition: str, quiet: bool = False) -> Any:
        self._called("submit", file_name, message, competition)
        return SimpleNamespace(message=self.answer)

    def competition_submissions(self, competition: str, page_size: int = 20) -> list[Any]:
        self._called("submissions", competition)
        return list(self.submissions)


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Kaggle]:
    """The class that plays Kaggle's client, installed."""
    played = type("KaggleApi", (Kaggle,), {"archives": tmp_path / "kaggle"})
    played.archives.mkdir()
    for name in ("kaggle", "kaggle.api", "kaggle.api.kaggle_api_extended"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["kaggle.api.kaggle_api_extended"].KaggleApi = played  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    return played


def call(*arguments: object) -> str:
    answer = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False, terminal_width=200)
    assert answer.exit_code == 0, answer.output
    assert SECRET not in answer.output
    return " ".join(answer.output.split())


def submission(path: Path, names: list[str]) -> Path:
    values = np.random.default_rng(0).dirichlet(np.ones(8), len(names))
    return write_submission(pd.DataFrame(values, pd.Index(names, name="image_id"), list(CLASSES)), path).path


@pytest.fixture
def stage1(tmp_path: Path) -> Path:
    return submission(tmp_path / "submissions" / "s.csv", [f"img_{number:05}.jpg" for number in range(1000)])


def test_without_the_client_the_remedy_is_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(InputError, match=r"Kaggle's client is not installed \(.*\): pip install -e '\.\[kaggle\]'"):
        connect()


def test_without_credentials_the_remedy_is_how_to_make_them(kaggle: type[Kaggle], capsys: pytest.CaptureFixture[str]):
    kaggle.has_credentials = False
    with pytest.raises(InputError, match="no credentials for Kaggle: run `kaggle auth login`, or make a token at"):
        connect()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (http_error(401), r"Kaggle refuses the credentials \(HTTP 401\): make a new token at"),
        (http_error(403), rf"Kaggle refuses \(HTTP 403\): accept the competition's rules at .*/c/{COMPETITION}/rules"),
        (http_error(404), r"Kaggle does not know what was asked for \(HTTP 404\)"),
        (http_error(429), r"Kaggle has had too many requests \(HTTP 429\): wait a while"),
        (http_error(400, b'{"message": "Daily\\nlimit"}'), r"Kaggle answers HTTP 400, 'Daily limit'; try again later"),
        (http_error(500, b"<html>"), r"Kaggle answers HTTP 500; try again later, or by hand at"),
        (requests.ConnectionError(SECRET), "can't reach Kaggle: check the network"),
        (requests.Timeout(SECRET), "can't reach Kaggle: check the network"),
    ],
)
def test_what_the_client_raises_is_one_line_without_secrets(
    kaggle: type[Kaggle], failure: Exception, message: str, capsys: pytest.CaptureFixture[str]
):
    kaggle.failure = failure
    calls = [
        lambda client: list_files(client),
        lambda client: download_file(client, "train.zip", Path("d"), quiet=True),
        lambda client: submit_file(client, Path("s.csv"), "m"),
        lambda client: fetch_scores(client),
    ]
    for ask in calls:
        with pytest.raises(InputError, match=message) as caught:
            ask(connect())
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__suppress_context__
    assert capsys.readouterr().out == ""


def test_a_mistake_of_ours_stays_one(kaggle: type[Kaggle]):
    kaggle.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        list_files(connect())


def test_the_competition_is_downloaded_and_unpacked_and_what_is_there_left(kaggle: type[Kaggle], tmp_path: Path):
    for name, member in {"train": "train/ALB/img_00003.jpg", "sample_submission_stg1.csv": "sample.csv"}.items():
        with zipfile.ZipFile(kaggle.archives / f"{name}.zip", "w") as archive:
            archive.writestr(member, b"x" * 100)
    (kaggle.archives / "test_stg2.7z").write_bytes(b"7z")
    printed = call("download", "data")
    assert "data/archives/train.zip: 1 files unpacked into data" in printed
    assert "test_stg2.7z: encrypted: look its password up on the competition's pages" in printed
    assert "run `7z x data/archives/test_stg2.7z -odata`" in printed
    assert Path("data/train/ALB/img_00003.jpg").read_bytes() == b"x" * 100
    assert Path("data/sample.csv").is_file()
    Path("data/test_stg2").mkdir()
    printed = call("download", "data")
    assert "data/archives/train.zip: is unpacked already" in printed
    assert "encrypted" not in printed


def test_a_hostile_archive_from_kaggle_stops_the_download(kaggle: type[Kaggle]):
    with zipfile.ZipFile(kaggle.archives / "train.zip", "w") as archive:
        archive.writestr("../evil.txt", b"x")
    with pytest.raises(InputError, match=r"'../evil.txt' lies outside data"):
        call("download", "data")


def test_a_file_whose_name_leaves_the_folder_or_that_is_not_written_is_refused(kaggle: type[Kaggle], monkeypatch):
    with pytest.raises(InputError, match=r"Kaggle lists the file '../x.zip', which lies outside d"):
        download_file(connect(), "../x.zip", Path("d"), quiet=True)
    monkeypatch.setattr(kaggle, "competition_download_file", lambda self, *args, **options: None)
    with pytest.raises(InputError, match=r"d/x\.zip: Kaggle's client did not write it"):
        download_file(connect(), "x.zip", Path("d"), quiet=True)


def test_a_submission_that_passes_the_check_is_sent_with_its_message(kaggle: type[Kaggle], stage1: Path, monkeypatch):
    sent = []
    monkeypatch.setattr(kaggle, "_called", lambda self, *call: sent.append(call))
    assert f"Sent {stage1}: Successfully submitted" in call("upload", stage1, "-m", "three folds")
    assert sent == [("submit", str(stage1), "three folds", COMPETITION)]


def test_a_submission_that_kaggle_would_refuse_is_not_sent(kaggle: type[Kaggle], tmp_path: Path):
    path = submission(tmp_path / "few.csv", ["img_00001.jpg", "test_stg2/image_00001.jpg"])
    kaggle.failure = AssertionError("called")
    with pytest.raises(InputError, match=r"few\.csv: Kaggle would refuse it, for the reasons above; nothing is sent"):
        call("upload", path, "-m", "x")


def test_an_upload_that_broke_off_is_told(kaggle: type[Kaggle], stage1: Path):
    kaggle.answer = kaggle.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE
    with pytest.raises(InputError, match=r"s\.csv: the upload broke off; try again"):
        call("upload", stage1, "-m", "x")


def test_real_scores_are_fetched_into_the_ledger(kaggle: type[Kaggle], stage1: Path):
    write_submission_notes(stage1, tables=[], runs=[], git_commit="", expected={})
    size = stage1.stat().st_size

    def sent(day: int, public: str, private: str, name: str = "s.csv") -> SimpleNamespace:
        facts = {"file_name": name, "total_bytes": size, "date": datetime(2026, 1, day)}
        return SimpleNamespace(**facts, public_score=public, private_score=private)

    kaggle.submissions = (sent(1, "9.5", "9.75"), sent(3, "", ""), sent(2, "1.25", "1.5"), sent(2, "0.5", "", "t.csv"))
    printed = call("submissions", "submissions", "--fetch")
    assert "Kaggle has scored 3 submissions, 1 of those in submissions" in printed
    assert read_submission_notes(stage1.with_suffix(".json"))["real"] == {"public": 1.25, "private": 1.5}
    assert "1.250" in printed
