"""The page: filters, a grid of thumbnails, and the large view over it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
from nicegui import ui

from fisheries.schema import OK, InputError
from fisheries.viewer.choice import Choice, choose, has_losses, is_marked, is_wrong, offered
from fisheries.viewer.large_view import LargeView
from fisheries.viewer.store import Store
from fisheries.viewer.words import photo_url

PER_PAGE = 48
_ORDERS = {"log_loss": "loss, highest first", "image_id": "image_id", "boat": "boat"}
_TITLES = {"boat": "boat", "label": "class", "guess": "predicted class", "fold": "fold", "part": "prediction of"}
_NONE = {"boat": "not known", "label": "none: test", "guess": "none", "fold": "none", "part": "none: trained on"}


def add_page(store: Store) -> None:
    """Make `/` show the page; each tab has its own filters."""
    ui.page("/")(partial(_Page, store))


class _Page:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.has_losses = has_losses(store.images)
        self.choice = Choice(order="log_loss" if self.has_losses else "image_id")
        self.ids = store.images.index
        self.large = LargeView(store, step=self._step, changed=self._draw)
        with ui.left_drawer(value=True).classes("bg-slate-800 gap-3").props("width=260") as drawer:
            self._filters()
        with ui.header().classes("items-center bg-slate-800 px-4 py-2 gap-4"):
            ui.button(icon="tune", on_click=drawer.toggle).props("flat dense color=white aria-label=filters")
            ui.label("fisheries view").classes("text-lg font-medium")
            ui.label(store.catalog.title).classes("text-sm text-slate-400 truncate grow")
            self.count = ui.label().classes("text-sm tabular-nums").mark("count")
        with ui.column().classes("w-full items-center gap-4"):
            self.grid = ui.element("div").classes("w-full grid gap-3")
            self.grid.style("grid-template-columns: repeat(auto-fill, minmax(220px, 1fr))")
            self.pages = ui.pagination(1, 1, direction_links=True, on_change=self._draw_page)
            self.pages.props("max-pages=9 boundary-links boundary-numbers")
        self._draw()

    def _filters(self) -> None:
        images, props = self.store.images, "dense outlined clearable options-dense"
        search = ui.input("search image_id", on_change=lambda event: self._set(search=event.value or ""))
        search.props("dense outlined clearable debounce=300").classes("w-full")
        order = {name: title for name, title in _ORDERS.items() if name != "log_loss" or self.has_losses}
        ui.select(
            order, value=self.choice.order, label="sort by", on_change=lambda event: self._set(order=event.value)
        ).props("dense outlined options-dense").classes("w-full")
        for name, values in offered(images).items():
            options = {value: value or _NONE[name] for value in values}
            picked = ui.select(options, label=_TITLES[name], with_input=True, on_change=partial(self._picked, name))
            picked.props(props).classes("w-full")
        ui.toggle(
            {None: "all", False: "day", True: "night"},
            value=None,
            on_change=lambda event: self._set(is_night=event.value),
        ).props("dense no-caps spread").classes("w-full")
        if self.has_losses:
            ui.switch("misclassified only", on_change=lambda event: self._set(wrong=event.value))
            above = ui.number("loss above", min=0, step=0.5, on_change=lambda event: self._set(above=event.value))
            above.props("dense outlined clearable debounce=300").classes("w-full")
        ui.switch("label corrected or doubted", on_change=lambda event: self._set(marked=event.value))
        if (images["status"] != OK).any():
            ui.switch("can't be used", on_change=lambda event: self._set(unusable=event.value))

    def _picked(self, name: str, event: Any) -> None:
        self._set(**{name: event.value})

    def _set(self, **asked: Any) -> None:
        self.choice = replace(self.choice, **asked)
        self.pages.value = 1
        self._draw()

    def _draw(self) -> None:
        try:
            self.store.refresh()
        except InputError as error:  # the tables as they were stay in use
            ui.notify(str(error), type="negative", position="bottom-left", timeout=10_000)
        self.ids = choose(self.store.images, self.choice)
        self.count.set_text(f"{len(self.ids):,} of {len(self.store.images):,} images")
        self.pages.max = max(1, -(-len(self.ids) // PER_PAGE))
        self._draw_page()

    def _draw_page(self) -> None:
        page = min(self.pages.value or 1, self.pages.max)
        rows = self.store.images.loc[self.ids[(page - 1) * PER_PAGE : page * PER_PAGE]]
        facts = pd.DataFrame({"wrong": is_wrong(rows), "marked": is_marked(rows)})
        self.grid.clear()
        with self.grid:
            for image_id, row in rows.iterrows():
                self._card(row, wrong=facts.loc[image_id, "wrong"], marked=facts.loc[image_id, "marked"])
            if rows.empty:
                ui.label("No image is like that.").classes("text-slate-400 p-8")

    def _card(self, row: pd.Series, *, wrong: bool, marked: bool) -> None:
        card = ui.card().classes("p-0 gap-0 cursor-pointer overflow-hidden bg-slate-800 hover:ring-2 ring-sky-400")
        with card.on("click", partial(self.large.open, row.name)).mark("card"):
            ui.image(photo_url("thumbnail", row)).props("ratio=1.6 fit=contain no-spinner").classes("w-full bg-black")
            with ui.row(wrap=False).classes("w-full items-center gap-1 px-2 pt-1 text-sm"):
                ui.label(row["label"] or row["subset"]).classes("font-medium truncate")
                if row["guess"]:
                    ui.label(f"→ {row['guess']} {row['confidence']:.2f}").classes(
                        "truncate "
                        + ("text-red-400" if wrong else "text-green-400" if row["label"] else "text-sky-300")
                    )
                ui.space()
                if marked:
                    ui.icon("flag", color="amber-5")
                if row["is_night"]:
                    ui.icon("dark_mode", color="indigo-3")
            with ui.row(wrap=False).classes("w-full gap-2 px-2 pb-1 text-xs text-slate-400"):
                ui.label(str(row.name)).classes("truncate grow")
                ui.label(row["boat"] or "boat ?").classes("truncate").style("max-width: 45%")

    def _step(self, image_id: str, places: int) -> str | None:
        if image_id not in self.ids:
            return None
        place = self.ids.get_loc(image_id) + places
        return str(self.ids[place]) if 0 <= place < len(self.ids) else None
