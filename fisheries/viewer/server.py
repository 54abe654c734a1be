"""The local web server: photographs by `image_id`, and the page around them."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pandas as pd
import uvicorn
from fastapi import FastAPI, HTTPException, Response
from nicegui import ui
from rich.console import Console

from fisheries.schema import InputError
from fisheries.viewer.catalog import read_catalog
from fisheries.viewer.guard import OwnPageOnly
from fisheries.viewer.page import add_page
from fisheries.viewer.pictures import large, placeholder, thumbnail
from fisheries.viewer.store import Store

_CACHED = {"Cache-Control": "private, max-age=600"}


def serve(source: Path, *, port: int, browser: bool, console: Console) -> None:
    """Show the page until Ctrl-C, to this computer alone.

    Args:
        source: as `read_catalog`.
        port: to listen on; 0 for any that is free.
        browser: whether to open it.
        console: where to say its address.

    Raises:
        InputError: as `read_catalog` and `Store`; the port is taken.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    store = Store(read_catalog(source))
    listener = _listen(port)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = make_app(store, port=listener.getsockname()[1], console=console)
    add_page(store)
    ui.run_with(app, title="fisheries view", dark=True, reconnect_timeout=30, show_welcome_message=False)
    console.print(f"{len(store.images):,} images of {source}: {address} (Ctrl-C ends it)", markup=False)
    if browser:
        webbrowser.open(address)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    server.run(sockets=[listener])
    if server.should_exit:
        raise KeyboardInterrupt  # which asyncio of Python 3.12 does not pass on


def make_app(store: Store, *, port: int, console: Console) -> FastAPI:
    """Return the server of the photographs, without the page."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(OwnPageOnly, port=port)

    @lru_cache(maxsize=10_000)
    def say(line: str) -> None:  # once for each photograph
        console.print(f"fisheries: {line}", style="yellow", markup=False)

    def answer(image_id: str, draw: Callable[[pd.Series], bytes]) -> Response:
        if image_id not in store.images.index:
            raise HTTPException(404, "no such image")
        try:
            return Response(draw(store.images.loc[image_id]), media_type="image/jpeg", headers=_CACHED)
        except InputError as error:
            say(str(error))
            return Response(placeholder(), media_type="image/jpeg")

    @app.get("/thumbnail")
    def get_thumbnail(image_id: str) -> Response:
        return answer(image_id, thumbnail)

    @app.get("/photo")
    def get_photo(image_id: str) -> Response:
        return answer(image_id, large)

    return app


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # a browser that is quicker than the server waits
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--port {port}: {reason}; give another, or 0 for any that is free") from error
    return listener
