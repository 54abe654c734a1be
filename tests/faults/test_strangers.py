"""Files from strangers"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from fisheries.config import read_config
from fisheries.data.archives import unpack_zip
from fisheries.data.cropping import read_rule
from fisheries.data.cues import read_features
from fisheries.data.feature_store import open_store, write_shard
from fisheries.inference.ledger import read_ledger
from fisheries.inference.submission_notes import read_submission_notes
from fisheries.models.weights import BackboneError, load_weights
from fisheries.schema import InputError
from tests.conftest import ROOT, run_dir
from tests.faults.conftest import Spoiled, refusal
from tests.processes import FISHERIES, TRAIN, call


class Hostile:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("/tmp/a-stranger-was-here",)


def truncated(path: Path) -> bytes:
    return path.read_bytes()[: path.stat().st_size // 2]


def foreign(path: Path) -> bytes:
    return saved({"state_dict": {"net.other": torch.zeros(3)}})


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


CHECKPOINTS: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda path: b"",
    "truncated": truncated,
    "foreign": foreign,
    "of_text": lambda path: b"weights" * 99,
    "hostile": lambda path: saved({"state_dict": Hostile()}),
    "pickled": lambda path: pickle.dumps({"state_dict": Hostile()}),
}


@pytest.fixture(scope="module")
def run_of_one_fold(finished: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a finished run."""
    folder = tmp_path_factory.mktemp("copied")
    return Path(shutil.copytree(run_dir(finished[0]), folder / "run"))


@pytest.fixture(autouse=True)
def nothing_ran():
    yield
    assert not Path("/tmp/a-stranger-was-here").exists()


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoint_empty_or_truncated_or_foreign_or_hostile(kind: str, run_of_one_fold: Path, world: Path):
    """One line names the file and what is wrong with it; nothing in it is run."""
    best = run_of_one_fold / "fold-0" / "best.ckpt"
    whole = best.read_bytes()
    try:
        best.write_bytes(CHECKPOINTS[kind](best))
        line = refusal(
            call(FISHERIES, "predict", run_of_one_fold, world / "test_stg1", cwd=run_of_one_fold, check=False)
        )
    finally:
        best.write_bytes(whole)
    assert line.startswith(f"{best}: not a checkpoint of this run's network (")


@pytest.mark.parametrize("kind", ["truncated", "hostile"])
def test_last_checkpoint_broken_when_a_run_goes_on(kind: str, run_of_one_fold: Path):
    """One line names the file and how to train its fold anew; nothing in it is run."""
    fold = run_of_one_fold / "fold-0"
    (fold / "oof.csv").rename(fold / "kept.csv")
    whole = (fold / "last.ckpt").read_bytes()
    try:
        (fold / "last.ckpt").write_bytes(CHECKPOINTS[kind](fold / "last.ckpt"))
        answer = call(TRAIN, f"resume={run_of_one_fold}", cwd=run_of_one_fold.parent, check=False)
    finally:
        (fold / "last.ckpt").write_bytes(whole)
        (fold / "kept.csv").rename(fold / "oof.csv")
    line = refusal(answer)
    assert line.startswith(f"{fold / 'last.ckpt'}: ")
    assert "remove it to train the fold from its beginning" in line


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", {"_target_": "os.mkdir", "path": "/tmp/a-stranger-was-here"}), ("seed", "${oc.env:HOME}")],
)
def test_hostile_configuration_of_a_run(key: str, value: object, run_of_one_fold: Path, world: Path):
    """No object that it names is built, and no variable of the environment is read: one line refuses it."""
    path = run_of_one_fold / "config.yaml"
    whole = path.read_text()
    config = yaml.safe_load(whole)
    config[key] = {**config[key], **value} if isinstance(value, dict) else value
    try:
        path.write_text(yaml.safe_dump(config))
        answer = call(FISHERIES, "predict", run_of_one_fold, world / "test_stg1", cwd=run_of_one_fold, check=False)
    finally:
        path.write_text(whole)
    line = refusal(answer)
    assert line.startswith(f"{path}: {key}")


def test_hostile_target_in_an_option(tmp_path: Path):
    """Hydra builds what is among its own parts and ours; another `_target_` is refused before anything is built."""
    word = "+hydra.callbacks.x={_target_:os.mkdir,path:/tmp/a-stranger-was-here}"
    line = refusal(call(TRAIN, word, "fold=9", cwd=tmp_path, check=False))
    assert line == "hydra.callbacks.x._target_=os.mkdir: only parts of Hydra and of ours are built"


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.jpg", bytes(200 * 2**20))


def escaping(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside.jpg", b"x")


def linked(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("link.jpg")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")


@pytest.mark.parametrize(
    ("make", "said"), [(bomb, "times its size"), (escaping, "lies outside"), (linked, "is a link or a device")]
)
def test_hostile_zip(tmp_path: Path, make: Callable[[Path], None], said: str):
    """Nothing is unpacked: one line names the archive and what it tries, a path outside, a link or a bomb."""
    make(tmp_path / "a.zip")
    with pytest.raises(InputError, match=said):
        unpack_zip(tmp_path / "a.zip", tmp_path / "deep" / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.zip"]


def test_hostile_tar(tmp_path: Path):
    """Only zip archives are unpacked, so a tar, whatever is in it, is one line."""
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../outside.jpg"))
    with pytest.raises(InputError, match=r"a.tar.gz: truncated or damaged \(File is not a zip file\)"):
        unpack_zip(tmp_path / "a.tar.gz", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_pickled_features(tmp_path: Path, world: Path):
    """Features that hold Python objects are refused unread."""
    np.savez(tmp_path / "f.npz", features=np.array([Hostile()], dtype=object), image_id=np.array(["a"]))
    (tmp_path / "manifest.csv").write_text("image_id,label\na,ALB\n")
    arguments = ["features", "import", "f.npz", "--manifest", "manifest.csv", "--out", "out"]
    line = refusal(call(FISHERIES, *arguments, cwd=tmp_path, check=False))
    assert line.startswith("f.npz: ")
    assert not (tmp_path / "out").exists()


def test_features_that_would_fill_the_memory(tmp_path: Path):
    """They are refused by the size that their archive declares, before anything is unpacked."""
    np.savez_compressed(tmp_path / "whole.npz", features=np.ones((2, 3)), image_id=np.array(["a", "b"]))
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "f.npz", "w") as bomb:
        for member in whole.infolist():
            bomb.writestr(member.filename, whole.read(member))
        bomb.filelist[0].file_size = (1 << 31) - 1
    assert len(read_features(tmp_path / "whole.npz", pd.Index(["a", "b"]))) == 2
    with pytest.raises(InputError, match=r"f\.npz: can't be read \(unpacks to \d+ times its size"):
        read_features(tmp_path / "f.npz", pd.Index(["a", "b"]))


def test_broken_weights(tmp_path: Path):
    """A file that makes PyTorch's reader stumble is one line, whatever it stumbles over."""
    (tmp_path / "w.pth").write_bytes(b"\x80\x02.")  # ends before there is anything
    with pytest.raises(BackboneError, match=r"w\.pth: not a plain file of tensors \(IndexError"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "w.pth")


def test_broken_zip(tmp_path: Path):
    """A member without a name is one line, too."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("member", b"x")
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"member", b"\0ember"))
    with pytest.raises(InputError, match=r"a\.zip: truncated or damaged"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")


def test_broken_store_of_features(tmp_path: Path):
    """A damaged file is one line that says how to get rid of it."""
    name = write_shard(tmp_path, ["a", "b"], np.ones((2, 3), np.float32))
    whole = (tmp_path / f"{name}.npy").read_bytes()
    objects = io.BytesIO()
    np.save(objects, np.array([Hostile(), None]), allow_pickle=True)
    for data in (
        b"",
        whole[:-5],
        whole.replace(b"descr", b"dxscr"),
        whole.replace(b"(2, 3)", b"(3, 2)"),
        objects.getvalue(),
    ):
        (tmp_path / f"{name}.npy").write_bytes(data)
        with pytest.raises(InputError, match=rf"{name}\.npy: .*; remove its folder"):
            open_store(tmp_path)


def test_broken_json(tmp_path: Path):
    """Nested without end, or with other values than it should have, it is one line; the ledger goes on with the others."""
    notes = {"runs": [], "expected": {}, "sha256": "", "created_utc": "", "real": {}}
    for broken in ("[" * 100_000, json.dumps({**notes, "runs": [{}]}), json.dumps({**notes, "expected": {"seen": 1}})):
        (tmp_path / "a.json").write_text(broken)
        with pytest.raises(InputError, match=r"a\.json: (not json|no 'runs'|no 'expected')"):
            read_submission_notes(tmp_path / "a.json")
        assert read_ledger(tmp_path)["mark"].tolist() == ["json of another kind"]
    (tmp_path / "crops.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"crops\.json: not JSON"):
        read_rule(tmp_path)


def test_broken_yaml(tmp_path: Path):
    """A configuration that is none, or would fill the memory with aliases, is one line."""
    lines = [
        "a: &a [x, x]",
        *(f"{name}: &{name} [*{before}, *{before}]" for before, name in zip("abcde", "bcdef", strict=True)),
    ]
    for text in ("\n".join(lines), "[" * 5000, "- x", "model: 1", "? [\n", "data: \x00"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(InputError, match=r"config\.yaml: "):
            read_config(tmp_path)


def test_names_that_a_terminal_would_obey(tmp_path: Path):
    """Escape sequences and line ends in names and values are written as escapes."""
    (tmp_path / "labels.csv").write_text('"image_id\x1b[2J\nfisheries: all is well","label"\na,b\n')
    answer = call(FISHERIES, "view", "labels.csv", cwd=tmp_path, check=False)
    assert "\x1b" not in refusal(answer)
    assert "all is well" not in answer.stderr.splitlines()


def test_names_that_are_html(spoiled: Spoiled):
    """Boats, classes and files keep their names as text in every page: nothing of them is a tag."""
    report = (spoiled.run / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $" in report
    assert "<script" not in report
    assert "<img src=x" not in report
    templates = list((ROOT / "fisheries" / "analysis" / "templates").glob("*.html"))
    assert len(templates) > 5
    assert not [path for path in templates if re.search(r"\|\s*safe|autoescape", path.read_text())]
    sources = [path for path in (ROOT / "fisheries").rglob("*.py") if "Markup(" in path.read_text()]
    assert [path.name for path in sources] == ["page.py"]  # of pictures
