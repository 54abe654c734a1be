"""What `fisheries view` serves, and to whom."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from rich.console import Console
from starlette.websockets import WebSocketDisconnect

from fisheries.commands.view import view
from fisheries.schema import InputError
from fisheries.viewer.catalog import Catalog
from fisheries.viewer.pictures import thumbnail
from fisheries.viewer.server import make_app, serve
from fisheries.viewer.store import Store
from tests.viewer.conftest import OWN


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
