"""The tables that all open pages share, kept up to date with the hand-edited ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fisheries.data.boats import read_boats
from fisheries.data.labels import LABELS, read_labels
from fisheries.data.tables import attach_boats
from fisheries.schema import KEY, TRAIN, InputError
from fisheries.viewer.catalog import Catalog
from fisheries.viewer.corrections import change_row, one_line

_NO_LABELS = pd.DataFrame({name: pd.Series(dtype="str") for name in LABELS}).rename_axis(KEY)
_UNREAD = (-1, -1)


class Store:
    """A catalog whose boats and labels can be corrected.

    Attributes:
        catalog: as it was read.
        images: the catalog's, with `boat` as the next run will see it, and `new_label` and `note` of a person, else "".
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.images = catalog.images.assign(new_label="", note="")
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[int, int] | None] = {}
        self._boats_were_there = False
        self.refresh()

    def refresh(self) -> None:
        """Read those hand-edited tables again that have changed.

        Raises:
            InputError: one can't be read; what was read before stays in use.
        """
        with self._lock:
            self._read_if_new(self.catalog.sources.boats.path, self._read_boats)
            self._read_if_new(self.catalog.sources.labels.path, self._read_labels)

    def set_boat(self, image_id: str, boat: str, *, shown: str) -> None:
        """Save the boat of an image.

        Args:
            image_id: of the manifest.
            boat: its name.
            shown: the boat that the person saw.

        Raises:
            InputError: no name, or as `change_row`.
        """
        name = one_line(boat, "boat")
        if name in ("", "-1"):
            raise InputError("boat: expected a name, such as one of those in the list; nothing is saved")
        known = self.images.loc[self.images["boat"] != "", ["boat"]]
        start = None if self._boats_were_there else known  # or corrections made earlier would be lost
        self._change(self.catalog.sources.boats.path, image_id, {"boat": name}, {"boat": shown}, start)

    def set_label(self, image_id: str, label: str, note: str, *, shown: tuple[str, str]) -> None:
        """Save what a person says of a label: the right one, or "" where it is only doubted, and a note.

        Args:
            image_id: of a training image.
            label: one of the classes, or "".
            note: any text.
            shown: label and note that the person saw; ("", "") for none.

        Raises:
            InputError: an image that is not of training, an unknown class, nothing said, or as `change_row`.
        """
        if self.images.loc[image_id, "subset"] != TRAIN:
            raise InputError(f"{image_id}: a test image has no label to correct")
        if label not in ("", *self.catalog.classes):
            raise InputError(f"label {label!r}: expected one of {', '.join(self.catalog.classes)}; nothing is saved")
        values = {"label": label, "note": one_line(note, "note")}
        if not any(values.values()):
            raise InputError("label: give the right class, or a note that says what is wrong; nothing is saved")
        self._change_label(image_id, values, shown)

    def drop_label(self, image_id: str, *, shown: tuple[str, str]) -> None:
        """Take back what was said of a label; raises as `change_row`."""
        self._change_label(image_id, None, shown)

    def _change_label(self, image_id: str, values: dict[str, str] | None, shown: tuple[str, str]) -> None:
        seen = dict(zip(LABELS, shown, strict=True))
        self._change(self.catalog.sources.labels.path, image_id, values, seen, _NO_LABELS)

    def _change(
        self,
        path: Path,
        image_id: str,
        values: dict[str, str] | None,
        shown: dict[str, str],
        start: pd.DataFrame | None,
    ) -> None:
        self.refresh()  # or a table that can't be read would be written again
        with self._lock:
            try:
                change_row(path, image_id, values, shown=shown, start=start)
            finally:
                self._read[path] = _UNREAD
        self.refresh()

    def _read_if_new(self, path: Path, read: Callable[[Path], None]) -> None:
        stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None
        if stamp != self._read.get(path):
            self._read[path] = _UNREAD
            read(path)
            self._read[path] = stamp

    def _read_boats(self, path: Path) -> None:
        if path.is_file():
            self._boats_were_there = True
            read_boats(path)  # says more of what is wrong
            self.images = self.images.assign(boat=attach_boats(self.catalog.images, path)["boat"])

    def _read_labels(self, path: Path) -> None:
        rows = read_labels(path) if path.is_file() else _NO_LABELS
        texts = {name: [rows[name].get(image_id, "") for image_id in self.images.index] for name in LABELS}
        self.images = self.images.assign(new_label=texts["label"], note=texts["note"])
