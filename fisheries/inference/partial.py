"""What is predicted is kept as it goes, so that a prediction that was stopped, however suddenly, goes on where it was."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fisheries.inference.predict import BOX, Predictions, join_predictions
from fisheries.schema import KEY, write_atomic

_ABOUT = "about.json"
_SHARE = 0.01  # of the time may go into keeping


@dataclass(frozen=True)
class Partial:
    """A folder of answers, which is of use to the same prediction only.

    Attributes:
        folder: for files of some batches each, numbered by the images before them.
        about: what the answers depend on: networks, images, settings; kept with them.
        classes: names of the columns.
    """

    folder: Path
    about: Mapping[str, object]
    classes: Sequence[str]

    def read(self) -> tuple[str | None, list[list[Predictions]]]:
        """Return the way in which the prediction began, and its answers so far: a list for each file, of networks.

        The way is None where nothing is kept of this prediction; what is there of another is deleted.
        """
        try:
            found = json.loads((self.folder / _ABOUT).read_text())
        except (OSError, ValueError):
            found = {}
        way = found.pop("way", None)
        if found != json.loads(json.dumps(self.about)):
            shutil.rmtree(self.folder, ignore_errors=True)
            return None, []
        return way, list(self._files())

    def begin(self, way: str) -> None:
        """Say what the answers to come depend on."""
        write_atomic(self.folder / _ABOUT, json.dumps({**self.about, "way": way}).encode())

    def keep(self, answers: Iterable[list[Predictions]], *, done: int) -> Iterator[list[Predictions]]:
        """Pass answers on, and write them, whole batches at once, as often as a hundredth of the time allows.

        Args:
            answers: of each batch, by networks.
            done: images that were predicted before.
        """
        waiting: list[list[Predictions]] = []
        due_s = 0.0
        for answer in answers:
            waiting.append(answer)
            began_s = time.monotonic()
            if began_s >= due_s:
                done += self._write(
                    [join_predictions(of_one, self.classes) for of_one in zip(*waiting, strict=True)], done
                )
                waiting, written_s = [], time.monotonic()
                due_s = written_s + (written_s - began_s) / _SHARE
            yield answer

    def _write(self, answer: Sequence[Predictions], done: int) -> int:
        tables: dict[str, Any] = {
            "probabilities": np.stack([one.probabilities.to_numpy() for one in answer])
        }  # (networks, N, C)
        boxes = [one.boxes_cxcywh.to_numpy() for one in answer if one.boxes_cxcywh is not None]
        if boxes:
            tables["boxes"] = np.stack(boxes)  # (networks, N, 4)
        image_ids = answer[0].probabilities.index
        buffer = io.BytesIO()
        np.savez(buffer, image_id=image_ids.to_numpy(dtype="U"), **tables)
        write_atomic(self.folder / f"{done:09d}.npz", buffer.getvalue())
        return len(image_ids)

    def _files(self) -> Iterator[list[Predictions]]:
        """Read as many files as follow one another without a gap."""
        done = 0
        while (path := self.folder / f"{done:09d}.npz").is_file():
            try:
                with np.load(path, allow_pickle=False) as file:
                    index = pd.Index(file["image_id"], name=KEY, dtype="str")
                    said = [pd.DataFrame(values, index, list(self.classes)) for values in file["probabilities"]]
                    found = (
                        [pd.DataFrame(values, index, list(BOX)) for values in file["boxes"]] if "boxes" in file else []
                    )
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                return  # a disk that failed, say; the rest is predicted again
            done += len(index)
            yield [Predictions(*pair) for pair in zip(said, found or [None] * len(said), strict=True)]
