"""Cues: what there is to be had of each image besides a look at the whole of it, in tables by `image_id`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.data.archives import MOST_RATIO
from fisheries.data.photo_cues import find_photographs, photograph_cues
from fisheries.data.splits import usable_images
from fisheries.schema import KEY, InputError

_FREE_BYTES = 1 << 30  # up to which it does not matter how well features compress
# In the order in which they are shown, with how the label is told from them, see `analysis.probes`.
KINDS: Mapping[str, str] = {
    "image size": "category",
    "boat": "category",
    "file number": "number",
    "file size": "number",
    "JPEG coding": "category",
    "EXIF": "category",
    "color histogram": "picture",
    "8 x 8 thumbnail": "picture",
    "border": "picture",
    "frame without fish": "picture",
    "fish alone": "picture",
    "linear probe": "picture",
}


def labeled_images(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the usable training images that have a label, each a burst of its own where the burst isn't known.

    Raises:
        InputError: there is none, or all are of one class.
    """
    usable = usable_images(manifest)
    labeled = usable[usable["label"] != ""]
    if labeled.empty:
        raise InputError(f"none of the {len(usable)} usable training images has a label; expected a column label")
    if labeled["label"].nunique() == 1:
        raise InputError(
            f"all {len(labeled)} labeled images are of the class {labeled['label'].iloc[0]!r}; expected two classes or more"
        )
    return labeled.assign(burst=own_bursts(labeled["burst"]))


def own_bursts(bursts: pd.Series) -> pd.Series:
    """Fill the bursts that aren't known, by `image_id`, with the image's own id."""
    return bursts.where(bursts != "", pd.Series(bursts.index, bursts.index, dtype="str"))


def collect_cues(
    manifest: pd.DataFrame,
    *,
    images: Path | None = None,
    boxes: pd.DataFrame | None = None,
    features: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, pd.DataFrame]:
    """Return all cues that can be had of the images of `labeled_images`.

    Args:
        manifest: the photographs are read if there are paths in it or `images` is given.
        images: see `find_photographs`.
        boxes: see `photograph_cues`.
        features: see `read_features`.
        workers: see `photograph_cues`.
        progress: see `photograph_cues`.

    Returns:
        Name, in the order of `KINDS`, -> a table by `image_id` with the images of which the cue is known.

    Raises:
        InputError: as `labeled_images`, `find_photographs`, `photograph_cues` and `read_features`.
    """
    rows = labeled_images(manifest)
    cues = metadata_cues(rows)
    if features is not None:
        cues["linear probe"] = read_features(features, rows.index)
    paths = find_photographs(rows, images)
    if len(paths):
        read = photograph_cues(rows, paths, boxes, workers=workers, progress=progress)
        cues = cues | read if cues["file size"].empty else read | cues
    return {name: cues[name] for name in KINDS if name in cues}


def metadata_cues(images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the cues that rows of a manifest tell without the photographs.

    Returns:
        "image size" (size, as "<width>x<height>"), "boat" (boat), "file number" (number: the last digits of the file's
        name) and "file size" (bytes, bytes_per_px), each a table by `image_id` of the images that have it, maybe none.
    """
    sized = images[(images["width"] > 0) & (images["height"] > 0)]
    stored = sized.loc[sized["size_bytes"] > 0, ["width", "height", "size_bytes"]].astype("float64")
    names = pd.Series([PurePath(image_id).stem for image_id in images.index], images.index, dtype="str")
    number = names.str.extract(r"(\d+)\D*$")[0].dropna().astype("float64")
    return {
        "image size": (sized["width"].astype(str) + "x" + sized["height"].astype(str)).to_frame("size"),
        "boat": images.loc[images["boat"] != "", ["boat"]],
        "file number": number[np.isfinite(number)].to_frame("number"),
        "file size": pd.DataFrame(
            {"bytes": stored["size_bytes"], "bytes_per_px": stored["size_bytes"] / (stored["width"] * stored["height"])}
        ),
    }


def read_features(path: Path, image_ids: pd.Index) -> pd.DataFrame:
    """Read features of images, such as a network's last layer.

    Args:
        path: an .npz with `features` (N, F), numbers, and `image_id` (N,), text.
        image_ids: the images wanted; features of others are dropped, and not all need to have some.

    Returns:
        float32, indexed by `image_id`, in the order of `image_ids`.

    Raises:
        InputError: the file is no such .npz; an id occurs twice; none is wanted; a value is not finite.
    """
    values, names = _load_features(path)
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as not finite
        table = pd.DataFrame(values.astype(np.float32), index=pd.Index(names, name=KEY, dtype="str"))
    twice = table.index.duplicated()
    if twice.any():
        raise InputError(
            f"{path}: {table.index[twice][0]!r} occurs more than once; {int(twice.sum())} such rows; keep one of each"
        )
    wanted = image_ids[image_ids.isin(table.index)]
    if not len(wanted):
        raise InputError(
            f"{path}: none of its {len(table)} ids{f', such as {table.index[0]!r},' if len(table) else ''} is among the images; "
            f"expected ids such as {image_ids[0]!r}"
        )
    bad = ~np.isfinite(table.to_numpy()).all(axis=1)
    if bad.any():
        raise InputError(
            f"{path}: {table.index[bad][0]!r} has a feature that is not finite; {int(bad.sum())} such rows; "
            "compute them anew, or take them out"
        )
    return table.loc[wanted]


def _load_features(path: Path) -> tuple[NDArray[np.number], NDArray[np.str_]]:
    expected = "expected an .npz with features (N, F) and image_id (N,)"
    if not path.is_file():
        raise InputError(f"{path}: no such file; {expected}")
    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = sum(member.file_size for member in archive.infolist())
        if size_bytes > max(_FREE_BYTES, MOST_RATIO * path.stat().st_size):
            raise ValueError(f"unpacks to {size_bytes / path.stat().st_size:.0f} times its size, and may be a bomb")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("features", KEY)}
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]}; {expected}") from error
    except Exception as error:  # whatever a damaged or foreign file makes NumPy stumble over
        raise InputError(f"{path}: can't be read ({' '.join(str(error).split())}); {expected}, no objects") from error
    values, names = arrays["features"], arrays[KEY]
    if values.ndim != 2 or names.shape != values.shape[:1] or not values.shape[1]:
        raise InputError(f"{path}: features have the shape {values.shape}, {KEY} {names.shape}; {expected}")
    if values.dtype.kind not in "fiu" or names.dtype.kind != "U":
        raise InputError(
            f"{path}: features are of type {values.dtype}, {KEY} of {names.dtype}; {expected}, numbers and text"
        )
    return values, names
