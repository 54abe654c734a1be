"""The page of `fisheries view` in a real browser."""

from __future__ import annotations

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

import pandas as pd
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from fisheries.inference.outputs import Outputs
from tests.viewer.conftest import HOSTILE, make_run, rows_of


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
