"""Where a run's networks look, laid over a photograph; torch is imported with this file, so only when it is asked for."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

import pandas as pd
from rich.console import Console

from fisheries.analysis.heat import overlay
from fisheries.analysis.looks import Looker, class_heat, read_case
from fisheries.explain import make_looker
from fisheries.nets import load_run
from fisheries.schema import BOXES, InputError
from fisheries.viewer.catalog import Catalog
from fisheries.viewer.pictures import jpeg, large_pixels

_lock = threading.Lock()  # networks keep what they see while they look
_NO_BOXES = pd.DataFrame(columns=list(BOXES))


def heat_picture(catalog: Catalog, image_id: str, label: str) -> tuple[bytes, str]:
    """Return a photograph with a class's heat over it, and by which method it was found: class maps, or Grad-CAM.

    The network is that of the fold that holds the image out, or the first where there is none.

    Args:
        catalog: of a run with networks.
        image_id: of its manifest.
        label: name of the class.

    Returns:
        A JPEG, and the method, with the fold.

    Raises:
        InputError: the networks or the photograph can't be read.
    """
    row = catalog.images.loc[image_id]
    if catalog.run_dir is None:
        raise InputError(f"{catalog.title}: no trained networks in it; a heat map needs a run's folder")
    with _lock:
        lookers = _load(catalog.run_dir)
        fold = next((number for number in lookers if str(number) == row["fold"]), min(lookers))
        looker = lookers[fold]
        case = read_case(looker, row.where(row.index != "label", ""), _NO_BOXES)
        method, heat = class_heat(looker, case, list(looker.classes).index(label))
    words = f"{method} of fold {fold}" + ("" if heat.any() else ": nothing speaks for it")
    return jpeg(overlay(large_pixels(row), heat)), words


@lru_cache(maxsize=1)
def _load(run_dir: Path) -> dict[int, Looker]:
    trained = load_run(run_dir, console=Console(quiet=True))
    return {fold.number: make_looker(trained, fold, gpus="auto") for fold in trained.folds}
