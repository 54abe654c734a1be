"""`fisheries view`: its tables and corrections, its server, and the page in a real browser."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from fastapi.testclient import TestClient
from PIL import Image
from rich.console import Console
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from starlette.websockets import WebSocketDisconnect

from fisheries.commands.view import view
from fisheries.data.labels import read_labels
from fisheries.data.tables import load_or_scan, tables_dir_of
from fisheries.inference.outputs import Outputs
from fisheries.schema import InputError, read_table, table_hash, write_predictions, write_table
from fisheries.viewer.catalog import Catalog, read_catalog
from fisheries.viewer.choice import Choice, choose, has_losses, offered
from fisheries.viewer.pictures import thumbnail
from fisheries.viewer.server import make_app, serve
from fisheries.viewer.sources import find_sources
from fisheries.viewer.store import Store

HOSTILE = "<img src=x onerror=window.hacked=1>"
OWN = "http://127.0.0.1:8765"


def make_run(folder: Path, outputs: Outputs, boxes: pd.DataFrame, rename: dict[str, str] | None = None) -> Path:
    """Write what a finished run leaves, but for networks; its hand-edited tables lie in `folder`, too."""
    named = {
        name: table.rename(index=rename or {})
        for name, table in {"manifest": outputs.manifest, "folds": outputs.folds, "boxes": boxes}.items()
    }
    for name, table in named.items():
        write_table(table, folder / f"{name}.csv")
    for name, table in {"oof": outputs.oof, "test": outputs.test}.items():
        write_predictions(
            table.rename(index=rename or {}), folder / f"{name}.csv", folds_hash=table_hash(outputs.folds)
        )
    write_table(named["manifest"][["boat"]].assign(note="by hand"), folder / "my_boats.csv")
    given = {"boats": str(folder / "my_boats.csv"), "labels": str(folder / "my_labels.csv")}
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"root": str(folder), **given}}))
    return folder


@pytest.fixture
def run_dir(tmp_path: Path, tables: tuple[pd.DataFrame, pd.DataFrame], make_outputs: Callable[..., Outputs]) -> Path:
    return make_run(tmp_path, make_outputs(), tables[1])


@pytest.fixture
def store(run_dir: Path) -> Store:
    return Store(read_catalog(run_dir))


@pytest.fixture
def client(store: Store) -> TestClient:
    return TestClient(make_app(store, port=8765, console=Console(quiet=True)), base_url=OWN)


def rows_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, index_col="image_id")


# what is shown


def test_a_run_shows_each_image_with_what_was_said_of_it_unseen(store: Store, run_dir: Path):
    images, oof = store.images, read_table(run_dir / "oof.csv", dict.fromkeys(store.catalog.classes, "float64"))
    assert (images["part"].value_counts()[["unseen boats", "test"]] == [len(oof), 30]).all()
    for image_id in oof.index[:20]:
        assert images.loc[image_id, "guess"] == oof.loc[image_id].idxmax()
        said = oof.loc[image_id, images.loc[image_id, "label"]]
        assert images.loc[image_id, "log_loss"] == pytest.approx(-np.log(said))
    assert images.loc[images["subset"] != "train", "log_loss"].isna().all()
    assert len(store.catalog.true_boxes) > 50
    assert has_losses(images)
    assert set(offered(images)) == {"boat", "label", "guess", "fold", "part"}


def test_a_manifest_alone_has_no_predictions(run_dir: Path):
    images = read_catalog(run_dir / "manifest.csv").images
    assert images["log_loss"].isna().all()
    assert set(images["guess"]) == set(images["part"]) == {""}
    assert not has_losses(images)
    assert offered(images)["fold"] == ["0", "1", "2", ""]
    assert set(offered(images)) == {"boat", "label", "fold"}


def test_predictions_of_images_that_the_manifest_lacks_are_refused(run_dir: Path):
    manifest = rows_of(run_dir / "manifest.csv")
    write_table(manifest.drop(index=rows_of(run_dir / "oof.csv").index[0]), run_dir / "manifest.csv")
    with pytest.raises(
        InputError, match=r"oof\.csv: 'img_\d+\.jpg' is not in .*manifest\.csv.*1 such images; both must"
    ):
        read_catalog(run_dir)


def test_what_is_no_run_and_no_manifest_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no manifest\.csv in it; expected a run's folder, or the manifest\.csv"):
        read_catalog(tmp_path)
    (tmp_path / "manifest.csv").write_text("image_id,label\n")
    with pytest.raises(InputError, match=r"manifest\.csv: no images in it"):
        read_catalog(tmp_path / "manifest.csv")
    (tmp_path / "manifest.csv").write_text("image_id,label\na.jpg,ALB\n")
    (tmp_path / "config.yaml").write_text("{")
    with pytest.raises(InputError, match=r"config\.yaml: no YAML .*; expected a run's configuration"):
        read_catalog(tmp_path)


@pytest.mark.parametrize(
    ("choice", "column", "values"),
    [
        (Choice(label="ALB"), "label", {"ALB"}),
        (Choice(label=""), "subset", {"test_stg1", "test_stg2"}),
        (Choice(fold="1"), "fold", {"1"}),
        (Choice(part="test"), "part", {"test"}),
        (Choice(is_night=True), "is_night", {True}),
        (Choice(is_night=False, guess="YFT"), "guess", {"YFT"}),
    ],
)
def test_a_filter_keeps_all_that_fit_and_no_others(store: Store, choice: Choice, column: str, values: set[Any]):
    found = choose(store.images, choice)
    assert len(found)
    assert set(store.images.loc[found, column]) == values
    if choice.guess is None:
        assert len(found) == store.images[column].isin(values).sum()


def test_errors_are_the_misclassified_and_those_of_high_loss(store: Store):
    wrong = store.images.loc[choose(store.images, Choice(wrong=True))]
    assert (wrong["guess"] != wrong["label"]).all()
    assert (wrong["label"] != "").all()
    assert len(wrong) + (store.images["guess"] == store.images["label"]).sum() == store.images["log_loss"].notna().sum()
    worst = store.images.loc[choose(store.images, Choice(above=2.0, order="log_loss"))]
    assert (worst["log_loss"] > 2).all()
    assert worst["log_loss"].is_monotonic_decreasing


def test_a_search_is_for_letters_not_for_a_pattern(store: Store):
    assert len(choose(store.images, Choice(search=" IMG_"))) == store.images.index.str.contains("img_").sum()
    assert choose(store.images, Choice(search="test_stg2/")).str.startswith("test_stg2/").all()
    assert choose(store.images, Choice(search=".*")).empty
    assert choose(store.images, Choice(search="(")).empty


def test_orders_put_what_has_no_loss_last_and_equals_by_name(store: Store):
    images = store.images
    assert choose(images, Choice()).is_monotonic_increasing
    by_loss = images.loc[choose(images, Choice(order="log_loss")), "log_loss"]
    assert by_loss.isna().to_numpy().argmax() == by_loss.notna().sum()
    by_boat = images.loc[choose(images, Choice(order="boat")), "boat"]
    assert by_boat.is_monotonic_increasing
    assert all(own.index.is_monotonic_increasing for _, own in by_boat.groupby(by_boat))


# what is corrected


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


# what is served


def test_photographs_are_served_by_name_small_and_large(client: TestClient, store: Store):
    for image_id in (store.images.index[0], store.images.index[-1]):
        small = Image.open(io.BytesIO(client.get("/thumbnail", params={"image_id": image_id}).content))
        large = Image.open(io.BytesIO(client.get("/photo", params={"image_id": image_id}).content))
        height, width = store.images.loc[image_id, ["height", "width"]]
        assert small.format == large.format == "JPEG"
        assert max(small.size) == min(320, max(height, width))
        assert large.size == (width, height)


@pytest.mark.parametrize("name", ["/etc/passwd", "../manifest.csv", "manifest.csv", "", "train/ALB/img_00001.jpg"])
def test_nothing_but_the_manifests_images_is_served(client: TestClient, name: str):
    for kind in ("thumbnail", "photo"):
        assert client.get(f"/{kind}", params={"image_id": name}).status_code == 404
    assert client.get("/openapi.json").status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8765", "origin": "http://localhost:8765"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1:80"}, 403),
        ({"host": "127.0.0.1"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://127.0.0.1:8765"}, 403),
    ],
)
def test_other_names_and_other_pages_are_refused(
    client: TestClient, store: Store, headers: dict[str, str], status: int
):
    answer = client.get("/thumbnail", params={"image_id": store.images.index[0]}, headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_connection_from_another_page_is_refused(client: TestClient):
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/_nicegui_ws/socket.io/", headers={"origin": "http://evil.example"}),
    ):
        pass


def test_a_photograph_that_is_gone_is_said_once_and_has_a_placeholder(store: Store, tmp_path: Path):
    image_id, said = store.images.index[0], io.StringIO()
    store.images = store.images.assign(
        path=store.images["path"].where(store.images.index != image_id, str(tmp_path / "x"))
    )
    client = TestClient(make_app(store, port=8765, console=Console(file=said, width=400)), base_url=OWN)
    for kind in ("thumbnail", "photo", "thumbnail"):
        answer = client.get(f"/{kind}", params={"image_id": image_id})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert "cache-control" not in answer.headers  # it may come back
    assert len(said.getvalue().strip().splitlines()) == 1
    assert "can't be read" in said.getvalue()


def test_a_broken_photograph_is_not_read_and_its_status_is_drawn(store: Store):
    sound = store.images.iloc[0]
    drawn = {status: thumbnail(sound.where(sound.index != "status", status)) for status in ("truncated", "empty", "ok")}
    assert len(set(drawn.values())) == 3
    assert thumbnail(sound.where(sound.index != "path", "")) not in drawn.values()
    assert drawn["ok"] == thumbnail(sound)


def test_heat_lets_the_photograph_shine_through_where_it_is_cold():
    from fisheries.analysis.heat import overlay

    photo = np.full((40, 60, 3), 100, np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[:, 4:] = 1
    drawn = overlay(photo, heat)
    assert (drawn[:, :30] == 100).all()
    assert (np.abs(drawn[:, 50:].astype(int) - 100).max(axis=2) > 30).all()


def test_heat_is_of_the_fold_that_held_the_image_out(store: Store, monkeypatch: pytest.MonkeyPatch):
    from fisheries.viewer import heat

    asked = []

    def looked(looker: Any, case: Any, label: int) -> tuple[str, np.ndarray]:
        asked.append((looker, label))
        return "Grad-CAM", np.ones((4, 6), np.float32)

    lookers = {fold: type("Looker", (), {"classes": store.catalog.classes, "fold": fold}) for fold in (0, 1, 2)}
    monkeypatch.setattr(heat, "_load", lambda _: lookers)
    monkeypatch.setattr(heat, "read_case", lambda *_: None)
    monkeypatch.setattr(heat, "class_heat", looked)
    with pytest.raises(InputError, match="no trained networks in it; a heat map needs a run's folder"):
        heat.heat_picture(store.catalog, store.images.index[0], "YFT")
    catalog = Catalog(**{**vars(store.catalog), "run_dir": Path("run")})
    held_out = store.images.index[store.images["fold"] == "2"][0]
    picture, words = heat.heat_picture(catalog, held_out, "YFT")
    assert words == "Grad-CAM of fold 2"
    assert Image.open(io.BytesIO(picture)).size == tuple(store.images.loc[held_out, ["width", "height"]])
    assert heat.heat_picture(catalog, store.images.index[-1], "YFT")[1] == "Grad-CAM of fold 0"
    assert asked[0] == (lookers[2], store.catalog.classes.index("YFT"))


def test_a_port_that_is_taken_is_named(run_dir: Path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port {port}: Address already in use; give another, or 0 for any"):
            serve(run_dir, port=port, browser=False, console=Console(quiet=True))


def test_without_its_library_the_extra_is_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fisheries.commands.view.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"not installed: pip install -e '\.\[view\]'"):
        view(run_dir, port=0, browser=False)


# the page in a browser


@pytest.fixture(scope="module")
def hostile_run(
    tmp_path_factory: pytest.TempPathFactory,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    make_outputs: Callable[..., Outputs],
) -> Path:
    """A run with an image, a boat and a class whose names are HTML, and an image that is broken."""
    outputs = make_outputs()
    manifest, classes = outputs.manifest.copy(), {"YFT": HOSTILE}
    first, broken = outputs.oof.index[:2]
    manifest["label"] = manifest["label"].replace(classes)
    manifest.loc[first, "boat"] = HOSTILE
    manifest.loc[broken, "status"] = "truncated"
    renamed = Outputs(
        outputs.oof.rename(columns=classes), outputs.test.rename(columns=classes), manifest, outputs.folds
    )
    folder = tmp_path_factory.mktemp("hostile") / HOSTILE
    return make_run(folder, renamed, tables[1], {first: f"0{HOSTILE}.jpg"})


@pytest.fixture(scope="module")
def server(hostile_run: Path) -> Iterator[tuple[str, int]]:
    """The real command, its address and its process."""
    command = [
        str(Path(sys.executable).with_name("fisheries")),
        "view",
        str(hostile_run),
        "--port",
        "0",
        "--no-browser",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert address, said + process.stdout.read()
        yield address.group(), process.pid
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(20) == 128 + signal.SIGINT
        assert "Traceback" not in rest
        assert not (Path.cwd() / ".nicegui").exists()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "no chromium and chromedriver here: apt-get install -y chromium chromium-driver"
        assert os.environ.get("FISHERIES_NEED_BROWSER") != "1", reason
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    switches += "disable-component-update disable-sync window-size=1400,900"
    for switch in [*switches.split(), f"user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(f"--{switch}")
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.1)
    return value


def test_open_filter_page_and_correct_a_boat(
    browser: webdriver.Chrome, server: tuple[str, int], hostile_run: Path, tmp_path: Path
):
    address, pid = server
    browser.get(address)

    def shown() -> str:
        return browser.find_element(By.TAG_NAME, "body").text

    def cards() -> list[Any]:
        return browser.find_elements(By.CSS_SELECTOR, ".nicegui-card.cursor-pointer")

    def press(text: str) -> None:
        browser.find_element(
            By.XPATH, f"//*[self::button or contains(@class, 'q-toggle')][contains(., '{text}')]"
        ).click()

    def field(name: str, within: str = ".q-dialog") -> Any:
        return browser.find_element(By.CSS_SELECTOR, f"{within} input[aria-label='{name}']")

    images = rows_of(hostile_run / "manifest.csv")
    until(lambda: len(cards()) == 48)
    assert f"{len(images)} of {len(images)} images" in shown()
    assert browser.save_screenshot(str(tmp_path / "grid.png"))
    browser.find_element(By.CSS_SELECTOR, ".q-pagination button[aria-label='3']").click()
    until(lambda: len(cards()) == len(images) - 96)
    press("misclassified only")
    until(lambda: f"{len(images)} of" not in shown() and len(cards()) == 48)
    press("misclassified only")
    browser.execute_script("window.scrollTo(0, 0)")
    field("class", ".q-drawer").click()
    until(lambda: HOSTILE in browser.find_element(By.CSS_SELECTOR, ".q-menu").text.splitlines())
    browser.find_element(By.XPATH, f"//div[@role='option'][contains(., '{HOSTILE}')]").click()
    until(lambda: f"{(images['label'] == HOSTILE).sum()} of {len(images)} images" in shown())
    browser.find_element(
        By.CSS_SELECTOR, ".q-drawer button[aria-label='Clear'], .q-drawer .q-field__focusable-action"
    ).click()
    until(lambda: f"{len(images)} of {len(images)} images" in shown())
    field("search image_id", ".q-drawer").send_keys("0<img")
    until(lambda: f"1 of {len(images)} images" in shown() and len(cards()) == 1)
    assert f"0{HOSTILE}.jpg" in cards()[0].text
    assert HOSTILE in cards()[0].text.splitlines()  # the boat
    picture = cards()[0].find_element(By.TAG_NAME, "img")
    until(lambda: browser.execute_script("return arguments[0].naturalWidth", picture) == 320)

    cards()[0].click()
    until(lambda: browser.find_elements(By.CSS_SELECTOR, ".q-dialog svg rect"))
    assert HOSTILE in shown()  # the class
    boat = field("boat")
    assert boat.get_attribute("value") == HOSTILE
    boat.send_keys(Keys.CONTROL, "a")
    boat.send_keys("<b>new</b> & boat")
    press("Save boat")
    until(
        lambda: (
            rows_of(hostile_run / "my_boats.csv").loc[f"0{HOSTILE}.jpg"].tolist() == ["<b>new</b> & boat", "by hand"]
        )
    )
    assert (rows_of(hostile_run / "my_boats.csv")["note"] == "by hand").all()
    until(lambda: f"Saved in {hostile_run / 'my_boats.csv'}; train with data.boats=" in shown())
    field("note").send_keys(HOSTILE)
    browser.find_element(By.XPATH, "//button[.='Save']").click()
    until(lambda: (hostile_run / "my_labels.csv").is_file() and "Take back" in shown())
    assert rows_of(hostile_run / "my_labels.csv").loc[f"0{HOSTILE}.jpg"].tolist() == ["", HOSTILE]

    assert browser.save_screenshot(str(tmp_path / "large.png"))
    assert Image.open(tmp_path / "large.png").width >= 1000
    assert browser.execute_script("return window.hacked") is None
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(loaded) > 10
    assert all(name.startswith((address, "data:")) for name in loaded)
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors
    maps = Path(f"/proc/{pid}/maps")
    assert not maps.is_file() or "libtorch" not in maps.read_text()
