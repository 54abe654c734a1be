"""From a folder of photographs to the tables that everything else starts from, kept from one time to the next."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries import schema
from fisheries.data.annotations import read_annotations
from fisheries.data.boats import find_boats, read_boats, update_boats
from fisheries.data.bursts import find_bursts
from fisheries.data.labels import attach_labels
from fisheries.data.manifest import NOTES, STATUSES, is_hidden, photographs_dir, relate, scan
from fisheries.data.nights import find_nights
from fisheries.data.thumbnails import load_thumbnails
from fisheries.schema import OK, TRAIN, InputError

MANIFEST_CSV, BOXES_CSV, BOATS_CSV, THUMBNAILS = "manifest.csv", "boxes.csv", "boats.csv", "thumbnails.npz"
BURSTS_CSV, LABELS_CSV = "bursts.csv", "labels.csv"
_LOG = logging.getLogger(__name__)


def load_or_scan(
    data_dir: Path,
    *,
    annotations: Sequence[Path] | None,
    boats: Path | None,
    no_fish: str,
    tables_dir: Path,
    progress: bool,
    labels: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring `manifest.csv` and `boxes.csv` in `tables_dir` up to date with a folder of photographs, and return them.

    Nights are found, and boats and bursts where none are given: see `bursts`, `nights` and `boats`. Bursts are given by
    `DATA_DIR/bursts.csv`, see `attach_bursts`.

    Args:
        data_dir: as in `scan`.
        annotations: JSON files; None for `DATA_DIR/annotations/*.json`, or else `DATA_DIR/*_labels.json`.
        boats: as in `attach_boats`; None for `DATA_DIR/boats.csv`, and without one for those found, which are kept in
            `tables_dir`.
        no_fish: label of the images without fish, or "".
        tables_dir: outside of `data_dir`; what an earlier scan left there saves reading the same files again.
        progress: as in `scan`.
        labels: as in `attach_labels`; None for the `labels.csv` in `tables_dir`, if there is one.

    Raises:
        InputError: as in `scan`, `attach_boats`, `attach_bursts`, `attach_labels` and `read_annotations`; `tables_dir` lies in
            `data_dir` or can't be written.
    """
    root = photographs_dir(data_dir)
    _make_tables_dir(tables_dir, root)
    previous = _previous(tables_dir / MANIFEST_CSV)
    manifest = scan(data_dir, previous=previous, workers=max(4, os.cpu_count() or 1), progress=progress)
    attrs = manifest.attrs
    if labels is None and (tables_dir / LABELS_CSV).is_file():
        labels = tables_dir / LABELS_CSV
    if labels is not None:
        manifest = relate(attach_labels(manifest, labels))
    manifest = _with_moments(manifest, previous, tables_dir / THUMBNAILS, progress=progress)
    if (root / BURSTS_CSV).is_file():
        manifest = attach_bursts(manifest, root / BURSTS_CSV)
    if boats is None and (root / BOATS_CSV).is_file():
        boats = root / BOATS_CSV
    if boats is None and (manifest["status"] == OK).any():
        boats = tables_dir / BOATS_CSV
        _discover(manifest, boats, tables_dir / THUMBNAILS, progress=progress)
    if boats is not None:
        manifest = attach_boats(manifest, boats)
    manifest.attrs.update(attrs)
    boxes = read_annotations(_annotation_files(root) if annotations is None else annotations, manifest, no_fish)
    schema.write_table(manifest, tables_dir / MANIFEST_CSV)
    schema.write_table(boxes, tables_dir / BOXES_CSV)
    return manifest, boxes


def tables_dir_of(data_dir: Path, base: Path) -> Path:
    """Return the folder below `base` for the tables of a folder of photographs, another one for each such folder."""
    root = data_dir.resolve()
    return base / f"{root.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest, or any CSV with `image_id` and some of its columns.

    Columns that it lacks are filled: images of training that can be read, by day, each a burst of its own, of unknown
    boat, label, size and path. The boat "-1" means that it isn't known.

    Args:
        path: a CSV file.

    Returns:
        Columns `schema.MANIFEST` by `image_id`.

    Raises:
        InputError: as `schema.read_table`; the file is a folder.
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder; `fisheries manifest {path}` makes its manifest.csv, which is wanted here")
    defaults: dict[str, str | bool] = {"subset": TRAIN, "status": OK, "is_night": False}
    optional: dict[str, str | float | bool] = {
        name: defaults.get(name, "" if kind == "str" else 0) for name, kind in schema.MANIFEST.items()
    }
    table = schema.read_table(path, schema.MANIFEST, optional=optional)
    own = pd.Series(table.index, table.index, dtype="str")
    return table.assign(
        boat=table["boat"].str.strip().replace("-1", ""), burst=table["burst"].where(table["burst"] != "", own)
    )


def read_photographs(path: Path, *, progress: bool) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Read a manifest with its thumbnails, which are kept beside it.

    Returns:
        The manifest, see `read_manifest`, and the thumbnails, see `load_thumbnails`.

    Raises:
        InputError: as `read_manifest` and `load_thumbnails`; an image without a path.
    """
    manifest = read_manifest(path)
    nowhere = manifest.index[(manifest["status"] == OK) & (manifest["path"] == "")]
    if len(nowhere):
        raise InputError(
            f"{path}: {nowhere[0]!r} has no path; {len(nowhere)} such images; give the manifest.csv that "
            "`fisheries manifest DIR` makes of the photographs"
        )
    return manifest, load_thumbnails(manifest, path.parent / THUMBNAILS, progress=progress)


def attach_boats(manifest: pd.DataFrame, boats_csv: Path) -> pd.DataFrame:
    """Fill the column `boat` from a CSV with columns `image_id,boat`; "", "-1" and absence mean that it isn't known.

    Raises:
        InputError: the file is no such table, or none of its ids is in the manifest.
    """
    boats = schema.read_table(boats_csv, schema.BOATS)["boat"].str.strip().replace("-1", "")
    strange = ~boats.index.isin(manifest.index)
    if strange.all():
        example = f", such as {boats.index[0]!r}," if len(boats) else ""
        raise InputError(
            f"{boats_csv}: none of its {len(boats)} ids{example} is in the manifest; expected ids such as "
            f"{manifest.index[0]!r}"
        )
    lookup = boats.to_dict()
    _LOG.info("%s: %d ids are not in the manifest", boats_csv, strange.sum())
    boat = [lookup.get(image_id, "") for image_id in manifest.index]
    return manifest.assign(boat=pd.Series(boat, manifest.index, dtype="str"))


def attach_bursts(manifest: pd.DataFrame, bursts_csv: Path) -> pd.DataFrame:
    """Fill the column `burst` from a CSV with columns `image_id,burst`; an image that it lacks keeps its own.

    Raises:
        InputError: the file is no such table.
    """
    bursts = schema.read_table(bursts_csv, {"burst": "str"})["burst"]
    known = bursts[(bursts != "") & bursts.index.isin(manifest.index)]
    burst = manifest["burst"].copy()
    burst[known.index] = known
    return manifest.assign(burst=burst)


def fill_boats(manifest_csv: Path, boats: pd.DataFrame, previous: pd.DataFrame | None) -> bool:
    """Write boats into the manifest's column `boat`, unless boats from elsewhere are there: those given always win.

    Args:
        manifest_csv: the manifest to change.
        boats: with a column `boat`, by `image_id`.
        previous: the table before this one; the manifest's boats are ours if they are its.

    Returns:
        Whether they were written.
    """
    manifest = read_manifest(manifest_csv)
    known = manifest.loc[manifest["boat"] != "", "boat"]
    ours = known.empty or (
        previous is not None
        and known.index.isin(previous.index).all()
        and (previous.loc[known.index, "boat"] == known).all()
    )
    if ours:
        schema.write_table(manifest.assign(boat=boats["boat"].reindex(manifest.index, fill_value="")), manifest_csv)
    return bool(ours)


def _with_moments(
    manifest: pd.DataFrame, previous: pd.DataFrame | None, thumbnails: Path, *, progress: bool
) -> pd.DataFrame:
    """Fill the columns burst and is_night, from the previous table if no photograph came, went or changed."""
    if previous is not None and _same_photographs(manifest, previous):
        rows = previous.loc[manifest.index]
        return manifest.assign(burst=rows["burst"], is_night=rows["is_night"])
    pictures = load_thumbnails(manifest, thumbnails, progress=progress)
    bursts = find_bursts(manifest, pictures, progress=progress)
    return manifest.assign(burst=bursts, is_night=find_nights(manifest, pictures))


def _same_photographs(manifest: pd.DataFrame, previous: pd.DataFrame) -> bool:
    if len(manifest) != len(previous) or not manifest.index.isin(previous.index).all():
        return False
    before = previous.loc[manifest.index]
    return bool(
        (before["sha256"] == manifest["sha256"]).all()
        and (before["status"] == manifest["status"]).all()
        and (before["burst"] != "").all()
    )


def _discover(manifest: pd.DataFrame, boats_csv: Path, thumbnails: Path, *, progress: bool) -> None:
    """Find boats and write them, unless the file has all readable photographs already."""
    previous = read_boats(boats_csv) if boats_csv.is_file() else None
    readable = manifest.index[manifest["status"] == OK]
    if previous is not None and readable.isin(previous.index).all():
        return
    pictures = load_thumbnails(manifest, thumbnails, progress=progress)
    if previous is not None:
        previous = previous[previous.index.isin(manifest.index)]  # photographs that were taken out
    found = find_boats(manifest, pictures, progress=progress)
    schema.write_table(update_boats(found, previous, manifest, pictures), boats_csv)


def _previous(file: Path) -> pd.DataFrame | None:
    if not file.exists():
        return None
    try:
        table = schema.read_table(file, schema.MANIFEST)
    except (InputError, OSError) as error:
        _LOG.warning("%s can't be used again, so all files are read anew", error)
        return None
    strange = (set(table["status"]) - set(STATUSES)) | (set(" ".join(table["notes"]).split()) - set(NOTES))
    if strange:
        _LOG.warning("%s: made by another version (%r), so all files are read anew", file, min(strange))
        return None
    return table


def _make_tables_dir(tables_dir: Path, root: Path) -> None:
    if tables_dir.resolve().is_relative_to(root):
        raise InputError(f"{tables_dir}: lies in the folder of the photographs, where nothing is written; give another")
    try:
        tables_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{tables_dir}: can't be made ({error.strerror}); expected a folder for tables") from error


def _annotation_files(root: Path) -> list[Path]:
    files = sorted(root.glob("annotations/*.json")) or sorted(root.glob("*_labels.json"))
    return [file for file in files if not is_hidden(file.name)]
