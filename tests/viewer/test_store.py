"""What is corrected in `fisheries view`, and the tables that the next run reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fisheries.data.labels import read_labels
from fisheries.data.tables import load_or_scan, tables_dir_of
from fisheries.schema import InputError, write_table
from fisheries.viewer.catalog import read_catalog
from fisheries.viewer.choice import Choice, choose
from fisheries.viewer.sources import find_sources
from fisheries.viewer.store import Store
from tests.viewer.conftest import HOSTILE, rows_of


def test_the_next_run_reads_what_is_saved(tmp_path: Path, world: Path):
    data = tmp_path / "data"
    for photo in sorted(world.glob("train/*/*"))[::8]:
        (data / "train" / photo.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, data / "train" / photo.parent.name)
    tables_dir = tables_dir_of(data, tmp_path / "tables")

    def scan() -> pd.DataFrame:
        options = {"annotations": None, "boats": None, "no_fish": "NoF", "progress": False}
        return load_or_scan(data, tables_dir=tables_dir, **options)[0]

    before = scan()
    found = rows_of(tables_dir / "boats.csv")
    store = Store(read_catalog(tables_dir / "manifest.csv"))
    assert store.catalog.sources.boats.option == store.catalog.sources.labels.option == ""
    image_id = before.index[0]
    other = next(name for name in before["label"] if name != before.loc[image_id, "label"])
    store.set_boat(image_id, " my  boat ", shown=before.loc[image_id, "boat"])
    store.set_label(image_id, other, "so it is", shown=("", ""))
    after = scan()
    assert after.loc[image_id, ["boat", "label", "notes"]].tolist() == ["my boat", other, "relabeled"]
    assert after.drop(index=image_id)[["boat", "label"]].equals(before.drop(index=image_id)[["boat", "label"]])
    saved = rows_of(tables_dir / "boats.csv")
    assert saved.drop(index=image_id).equals(found.drop(index=image_id))
    assert saved.loc[image_id].drop("boat").equals(found.loc[image_id].drop("boat"))
    store.drop_label(image_id, shown=(other, "so it is"))
    assert scan()["label"].equals(before["label"])


def test_what_others_wrote_meanwhile_is_kept_and_shown(store: Store, run_dir: Path):
    table = rows_of(run_dir / "my_boats.csv")
    first, second, third = table.index[:3]
    table.loc[second, ["boat", "note"]] = ["theirs", "by another hand"]
    write_table(table, run_dir / "my_boats.csv")
    store.set_boat(first, "mine", shown=table.loc[first, "boat"])
    assert rows_of(run_dir / "my_boats.csv").loc[[first, second], "boat"].tolist() == ["mine", "theirs"]
    assert store.images.loc[[first, second], "boat"].tolist() == ["mine", "theirs"]
    text = (run_dir / "my_boats.csv").read_bytes()
    with pytest.raises(InputError, match=r"'img_\d+\.jpg' was changed meanwhile, to boat 'theirs'; it is shown now"):
        store.set_boat(second, "mine", shown=store.catalog.images.loc[second, "boat"])
    assert (run_dir / "my_boats.csv").read_bytes() == text
    store.set_boat(third, HOSTILE, shown=table.loc[third, "boat"])
    assert store.images.loc[third, "boat"] == HOSTILE


@pytest.mark.parametrize(
    ("text", "message"),
    [("image_id,ship\na,b\n", r"no column 'boat'"), ("image_id,boat\na,b\na,c\n", r"'a' occurs more than once")],
)
def test_a_table_that_someone_broke_is_not_written(store: Store, run_dir: Path, text: str, message: str):
    image_id = store.images.index[0]
    (run_dir / "my_boats.csv").write_text(text)
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            store.set_boat(image_id, "mine", shown=store.images.loc[image_id, "boat"])
    assert (run_dir / "my_boats.csv").read_text() == text
    assert store.images.loc[image_id, "boat"] == store.catalog.images.loc[image_id, "boat"]


def test_a_table_of_boats_that_is_gone_is_not_made_anew(store: Store, run_dir: Path):
    image_id = store.images.index[0]
    (run_dir / "my_boats.csv").unlink()
    with pytest.raises(InputError, match=r"my_boats\.csv: is gone since the page was opened; put it back"):
        store.set_boat(image_id, "mine", shown=store.images.loc[image_id, "boat"])


def test_without_a_table_all_boats_of_the_manifest_are_written(run_dir: Path):
    (run_dir / "my_boats.csv").unlink()
    store = Store(read_catalog(run_dir))
    store.set_boat(store.images.index[0], "mine", shown=store.images["boat"].iloc[0])
    assert rows_of(run_dir / "my_boats.csv")["boat"].to_dict() == store.images["boat"].to_dict()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store, train, _: store.set_boat(train, " ", shown=""), "boat: expected a name"),
        (lambda store, train, _: store.set_boat(train, "x" * 501, shown=""), "boat: expected at most 500 characters"),
        (
            lambda store, train, _: store.set_boat(train, "a\0b", shown=""),
            "boat: expected at most 500 characters that can",
        ),
        (
            lambda store, train, _: store.set_label(train, "", " ", shown=("", "")),
            "label: give the right class, or a note",
        ),
        (
            lambda store, train, _: store.set_label(train, "TUNA", "", shown=("", "")),
            "label 'TUNA': expected one of ALB, ",
        ),
        (
            lambda store, _, test: store.set_label(test, "ALB", "", shown=("", "")),
            "a test image has no label to correct",
        ),
    ],
)
def test_what_can_not_be_saved_is_refused(store: Store, call: Callable[..., None], message: str):
    train, test = store.images.index[0], store.images.index[-1]
    with pytest.raises(InputError, match=message):
        call(store, train, test)


def test_a_folder_that_can_not_be_written_is_named(store: Store, run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fisheries.viewer.corrections.write_table", full)
    image_id = store.images.index[0]
    with pytest.raises(InputError, match=r"my_boats\.csv: can't be written \(No space left on device\)"):
        store.set_boat(image_id, "mine", shown=store.images.loc[image_id, "boat"])


def test_a_doubted_label_is_marked_until_it_is_taken_back(store: Store, run_dir: Path):
    image_id = store.images.index[5]
    store.set_label(image_id, "", f"a \n{HOSTILE}", shown=("", ""))
    assert read_labels(run_dir / "my_labels.csv").loc[image_id].tolist() == ["", f"a {HOSTILE}"]
    assert choose(store.images, Choice(marked=True)).tolist() == [image_id]
    with pytest.raises(InputError, match="was changed meanwhile"):
        store.set_label(image_id, "ALB", "", shown=("", ""))
    store.drop_label(image_id, shown=("", f"a {HOSTILE}"))
    assert choose(store.images, Choice(marked=True)).empty


def test_boats_beside_the_photographs_win_and_others_need_an_option(tmp_path: Path):
    photo = tmp_path / "data" / "train" / "ALB" / "a.jpg"
    manifest = pd.DataFrame({"path": [str(photo)], "subset": ["train"]}, ["a.jpg"])
    photo.parent.mkdir(parents=True)
    elsewhere = find_sources(tmp_path / "mine", manifest)
    assert elsewhere.boats.option == f"data.boats={tmp_path / 'mine' / 'boats.csv'}"
    assert elsewhere.labels.option == f"data.labels={tmp_path / 'mine' / 'labels.csv'}"
    (tmp_path / "data" / "boats.csv").touch()
    beside = find_sources(tmp_path / "mine", manifest)
    assert (beside.boats.path, beside.boats.option) == (tmp_path / "data" / "boats.csv", "")
    nowhere = find_sources(tmp_path / "mine", manifest.assign(path=""))
    assert nowhere.boats.path == tmp_path / "mine" / "boats.csv"
