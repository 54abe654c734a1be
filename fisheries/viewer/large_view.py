"""The large view of one photograph: boxes, heat, what the network says, and corrections."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
from nicegui import run, ui

from fisheries.schema import TRAIN, InputError
from fisheries.viewer.pictures import LARGE_PX, refusal
from fisheries.viewer.store import Store
from fisheries.viewer.words import box_svg, facts, photo_url, saved

if TYPE_CHECKING:
    from nicegui.events import KeyEventArguments

TRUE, PREDICTED = "#4ade80", "#f87171"  # green and red, as in the report
_DOUBTED = "not sure which: a note only"


class LargeView:
    """A dialog over the page; `open` shows an image, and the arrow keys the one before and after it.

    Args:
        store: what is shown.
        step: returns the image so many places from another one in the order shown, or None beyond the ends.
        changed: called when something was saved.
    """

    def __init__(self, store: Store, *, step: Callable[[str, int], str | None], changed: Callable[[], None]) -> None:
        self.store, self.step, self.changed = store, step, changed
        self.image_id = ""
        self.neighbors: dict[int, str | None] = {}
        self.show_boxes, self.show_heat = True, False
        self.heat_class = ""
        with (
            ui.dialog().props("maximized") as self.dialog,
            ui.card().classes("w-full h-full p-0 bg-slate-900 no-shadow"),
        ):
            self.body = ui.row(wrap=False).classes("w-full h-full gap-0")
        ui.keyboard(on_key=self._key, ignore=["input", "select", "textarea"])

    async def open(self, image_id: str) -> None:
        """Show an image."""
        self.image_id = image_id
        # kept, since a correction may take the image out of the order shown
        self.neighbors = {places: self.step(image_id, places) for places in (-1, 1)}
        guess = self.store.images.loc[image_id, "guess"]
        self.heat_class = guess or self.heat_class
        self.dialog.open()
        await self._draw()

    async def _key(self, event: KeyEventArguments) -> None:
        if event.action.keydown and self.dialog.value and (event.key.arrow_left or event.key.arrow_right):
            await self._go(-1 if event.key.arrow_left else 1)

    async def _go(self, places: int) -> None:
        image_id = self.neighbors.get(places)
        if image_id is not None:
            await self.open(image_id)

    async def _draw(self) -> None:
        row = self.store.images.loc[self.image_id]
        self.body.clear()
        with self.body:
            with ui.column().classes("grow h-full gap-2 p-4 min-w-0"):
                self._toolbar(row)
                with ui.element("div").classes("w-full grow flex items-center justify-center min-h-0"):
                    self._photo(row)
                self.caption = ui.label().classes("text-sm text-slate-400 self-center")
            with ui.scroll_area().classes("h-full bg-slate-800").style("width: 400px; flex: none"):
                self._probabilities(row)
                self._boat_form(row)
                if row["subset"] == TRAIN and row["label"]:
                    self._label_form(row)
                ui.separator().classes("my-3")
                self._facts(row)
        if self.show_heat:
            await self._heat()

    def _toolbar(self, row: pd.Series) -> None:
        catalog = self.store.catalog
        with ui.row(wrap=False).classes("w-full items-center gap-3"):
            ui.button(icon="chevron_left", on_click=lambda: self._go(-1)).props("flat dense aria-label=previous")
            ui.button(icon="chevron_right", on_click=lambda: self._go(1)).props("flat dense aria-label=next")
            ui.label(self.image_id).classes("text-lg font-medium truncate grow").mark("name")
            for words, boxes, color in self._drawn():
                if len(boxes):
                    ui.label(words).classes("text-sm whitespace-nowrap").style(f"color: {color}")
            if self._boxes():
                ui.switch("boxes", value=self.show_boxes, on_change=lambda event: self._set_boxes(event.value))
            if catalog.run_dir is not None and not refusal(row):
                ui.switch("heat map", value=self.show_heat, on_change=lambda event: self._set_heat(event.value))
                if not self.heat_class:
                    self.heat_class = catalog.classes[0]
                ui.select(
                    catalog.classes, value=self.heat_class, on_change=lambda event: self._set_class(event.value)
                ).props("dense outlined options-dense")
            ui.button(icon="close", on_click=self.dialog.close).props("flat dense aria-label=close")

    def _photo(self, row: pd.Series) -> None:
        height, width = int(row["height"]) or 9, int(row["width"]) or 16
        fits = f"width: min(100%, calc((100vh - 130px) * {width / height:.4f}))"
        self.photo = ui.interactive_image(photo_url("photo", row), content=self._boxes() if self.show_boxes else "")
        self.photo.classes("rounded").style(fits)

    def _boxes(self) -> str:
        """Return the boxes as SVG, in pixels of the large picture: numbers and nothing else."""
        row = self.store.images.loc[self.image_id]
        scale = min(1.0, LARGE_PX / max(row["height"], row["width"], 1))
        return "".join(box_svg(boxes, scale=scale, color=color) for _, boxes, color in self._drawn())

    def _drawn(self) -> list[tuple[str, pd.DataFrame, str]]:
        catalog = self.store.catalog
        tables = [("annotated", catalog.true_boxes, TRUE), ("predicted", catalog.predicted_boxes, PREDICTED)]
        return [(words, boxes[boxes.index == self.image_id], color) for words, boxes, color in tables]

    def _set_boxes(self, shown: bool) -> None:
        self.show_boxes = shown
        self.photo.set_content(self._boxes() if shown else "")

    async def _set_class(self, name: str) -> None:
        self.heat_class = name
        if self.show_heat:
            await self._heat()

    async def _set_heat(self, shown: bool) -> None:
        self.show_heat = shown
        if shown:
            await self._heat()
        else:
            self.caption.set_text("")
            self.photo.set_source(photo_url("photo", self.store.images.loc[self.image_id]))

    async def _heat(self) -> None:
        image_id, label = self.image_id, self.heat_class
        self.caption.set_text("The network is looking …")
        try:
            drawn = await run.io_bound(_heat_picture, self.store, image_id, label)
        except InputError as error:
            self.caption.set_text("")
            ui.notify(str(error), type="negative", position="bottom-left", timeout=10_000)
            return
        asked = image_id, label, True
        if drawn is not None and asked == (
            self.image_id,
            self.heat_class,
            self.show_heat,
        ):  # or another is shown by now
            picture, method = drawn
            self.photo.set_source(f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}")
            self.caption.set_text(f"{label}: {method}")

    def _probabilities(self, row: pd.Series) -> None:
        table = self.store.catalog.probabilities
        if self.image_id not in table.index:
            return
        with ui.column().classes("w-full gap-1 mb-4"):
            ui.label(f"What the network says ({row['part']})").classes("text-sm text-slate-400")
            for name, value in table.loc[self.image_id].items():
                color = "green-5" if name == row["label"] else "red-4" if name == row["guess"] else "blue-grey-4"
                with ui.row(wrap=False).classes("w-full items-center gap-2"):
                    ui.label(str(name)).classes("text-sm w-20 truncate")
                    bar = ui.linear_progress(float(value), show_value=False, size="14px").props(
                        "rounded instant-feedback"
                    )
                    bar.props["color"] = color
                    ui.label(f"{value:.3f}").classes("text-sm w-12 text-right tabular-nums")

    def _facts(self, row: pd.Series) -> None:
        with ui.grid(columns="88px 1fr").classes("w-full gap-x-2 gap-y-1 text-sm"):
            for name, value in facts(row, self.store.catalog.images.loc[self.image_id, "boat"]).items():
                ui.label(name).classes("text-slate-400")
                ui.label(value).classes("break-all")

    def _boat_form(self, row: pd.Series) -> None:
        known = sorted(set(self.store.images["boat"]) - {""})
        with ui.row(wrap=False).classes("w-full items-end gap-2"):
            field = ui.input("boat", value=row["boat"], autocomplete=known).props("dense outlined aria-label=boat")
            field.classes("grow")
            ui.button("Save boat", on_click=lambda: self._save_boat(field.value, row["boat"])).props("dense no-caps")

    def _label_form(self, row: pd.Series) -> None:
        shown = row["new_label"], row["note"]
        with ui.column().classes("w-full gap-2 mt-4"):
            ui.label("Is the label wrong?").classes("text-sm text-slate-400")
            choices = {"": _DOUBTED, **{name: name for name in self.store.catalog.classes if name != row["label"]}}
            picked = ui.select(choices, value=shown[0] if shown[0] in choices else "", label="right class")
            picked.props("dense outlined options-dense").classes("w-full")
            note = ui.input("note", value=shown[1]).props("dense outlined aria-label=note").classes("w-full")
            with ui.row().classes("gap-2"):
                ui.button("Save", on_click=lambda: self._save_label(picked.value, note.value, shown)).props(
                    "dense no-caps"
                )
                if any(shown):
                    ui.button("Take back", on_click=lambda: self._drop_label(shown)).props("dense no-caps flat")

    async def _save_boat(self, boat: str, shown: str) -> None:
        await self._save(lambda image_id: self.store.set_boat(image_id, boat, shown=shown), "boats")

    async def _save_label(self, label: str, note: str, shown: tuple[str, str]) -> None:
        await self._save(lambda image_id: self.store.set_label(image_id, label, note, shown=shown), "labels")

    async def _drop_label(self, shown: tuple[str, str]) -> None:
        await self._save(lambda image_id: self.store.drop_label(image_id, shown=shown), "labels")

    async def _save(self, change: Callable[[str], None], name: str) -> None:
        try:
            await run.io_bound(change, self.image_id)
            ui.notify(
                saved(getattr(self.store.catalog.sources, name)), type="positive", position="bottom-left", timeout=6_000
            )
        except InputError as error:
            ui.notify(str(error), type="negative", position="bottom-left", timeout=10_000)
        self.changed()
        await self._draw()


def _heat_picture(store: Store, image_id: str, label: str) -> tuple[bytes, str]:
    from fisheries.viewer.heat import heat_picture

    return heat_picture(store.catalog, image_id, label)
