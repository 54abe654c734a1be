"""A folder of crops: fish cut out of frames, laid out as any other folder of photographs, and kept up to date."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from fisheries.data.cropping import CROPS_JSON, REGION, CropRule, crop_table, cut, fish_boxes
from fisheries.data.images import read_image
from fisheries.data.manifest import list_images
from fisheries.data.tables import BOATS_CSV, BURSTS_CSV
from fisheries.progress import IMAGES, track
from fisheries.schema import KEY, OK, TRAIN, InputError, read_table, write_atomic, write_table

CROPS_CSV = "crops.csv"
CROPS = {
    "frame": "str",  # image_id of the frame it is cut from
    "file": "str",  # its path in the folder
    "sha256": "str",  # of the frame; "" while the crop is not cut yet
    "left": "float64",  # the box, in frame pixels
    "top": "float64",
    "box_width": "float64",
    "box_height": "float64",
    "score": "float64",
    "source": "str",
    "region_left": "int64",  # what the crop shows, in frame pixels; it may leave the frame
    "region_top": "int64",
    "width": "int64",
    "height": "int64",
}
_SAME = ["file", "sha256", *REGION]  # a crop of equal columns has the same pixels


@dataclass(frozen=True)
class CropFolder:
    """What `cut_crops` has made."""

    table: pd.DataFrame  # columns `CROPS`, by the crops' `image_id`
    written: int  # crops that were not there, or others
    without_box: pd.DataFrame  # rows of the manifest of which there is no crop
    missing: list[str]  # classes of fish of which there is no crop to train on


def cut_crops(
    manifest: pd.DataFrame,
    boxes: Sequence[pd.DataFrame],
    out: Path,
    *,
    rule: CropRule,
    no_fish: str,
    progress: bool,
) -> CropFolder:
    """Cut every fish out of its frame into `OUT/train/<class>/`, `OUT/test_stg1/` and so on.

    Crops keep their frame's label, and by `boats.csv` and `bursts.csv` in `OUT` its boat and burst, so that no split
    divides them. `crops.csv` says where each comes from, `crops.json` how it was cut. Crops are PNG: those cut in memory
    for a prediction then have the same pixels as those trained on, and no JPEG is pressed twice. What is there and the
    same is not written again, and crops that the boxes no longer tell of are removed.

    Args:
        manifest: of the frames.
        boxes: as `cropping.read_boxes` returns them, see `cropping.fish_boxes`.
        out: a folder that is new, empty, or has crops of ours.
        rule: how much of the frame a crop shows.
        no_fish: label of the frames without fish, which have no crops; "" if there is none.
        progress: whether to draw a bar on standard error.

    Raises:
        InputError: no box can be used; a frame is without a path or label, gone, damaged or not the one of the manifest;
            two frames' crops have one name; `out` holds something else or can't be written; or as `crop_table`.
    """
    images = _cuttable(manifest, no_fish)
    found = fish_boxes(boxes, images)
    if found.empty:
        count = sum(map(len, boxes))
        raise InputError(
            f"none of {count} boxes can be used for {len(images)} images that can be read and may have fish; "
            "expected boxes by image_id, of status ok or clipped, and with an area in the frame"
        )
    rows = crop_table(found, images, rule)
    rows = rows.assign(file=_files(rows))
    previous = _claim(out)
    known = set(previous[_SAME].itertuples(index=False, name=None))
    there = pd.Series(
        [row in known and (out / row[0]).is_file() for row in rows[_SAME].itertuples(index=False, name=None)],
        rows.index,
        dtype=bool,
    )
    for file in set(previous["file"]) - set(rows["file"]):
        (out / file).unlink(missing_ok=True)
    write_table(rows.assign(sha256=rows["sha256"].where(there, ""))[list(CROPS)], out / CROPS_CSV)
    _cut_frames(rows[~there], images, out, progress=progress)
    rows = rows.set_index(pd.Index(list_images(out).loc[rows["file"]], name=KEY))
    write_table(rows[["boat"]], out / BOATS_CSV)
    ids = pd.Series(rows.index, rows.index)
    write_table(ids.groupby(rows["burst"]).transform("min").to_frame("burst"), out / BURSTS_CSV)
    write_table(rows[list(CROPS)], out / CROPS_CSV)
    write_atomic(out / CROPS_JSON, (json.dumps(asdict(rule)) + "\n").encode())
    without_box = images[~images.index.isin(found.index)]
    missing = sorted(set(images["label"]) - set(rows["label"]) - {""})
    return CropFolder(rows[list(CROPS)], written=int((~there).sum()), without_box=without_box, missing=missing)


def _cuttable(manifest: pd.DataFrame, no_fish: str) -> pd.DataFrame:
    """Return the rows that may have fish and can be read."""
    train = manifest["subset"] == TRAIN
    images = manifest[(manifest["status"] == OK) & ~(train & (manifest["label"] == no_fish) & (no_fish != ""))]
    nowhere = images.index[images["path"] == ""]
    if len(nowhere):
        raise InputError(
            f"{nowhere[0]!r} has no path; {len(nowhere)} such images; give the manifest.csv that `fisheries manifest DIR` makes"
        )
    nameless = images.index[(images["subset"] == TRAIN) & (images["label"] == "")]
    if len(nameless):
        raise InputError(f"{nameless[0]!r} of train has no label; {len(nameless)} such images; name its class")
    return images


def _files(rows: pd.DataFrame) -> list[str]:
    """Return the path of each crop below the folder of crops: its frame's, and its number."""
    files = []
    for row in rows.itertuples():
        folders = [row.subset, row.label] if row.subset == TRAIN else [row.subset]
        name = row.frame
        for folder in folders:
            name = name.removeprefix(f"{folder}/")
        path = PurePosixPath(*folders, name)
        if ".." in path.parts or path.is_absolute():
            raise InputError(f"{row.frame!r}: its crop would lie outside of the folder; rename the image or its class")
        files.append(str(path.with_name(f"{path.stem}_{row.number}.png")))
    twice = pd.Series(files, rows["frame"])[pd.Series(files).duplicated(keep=False).to_numpy()]
    if len(twice):
        one, other = twice.index[twice == twice.iloc[0]][:2]
        raise InputError(f"{one!r} and {other!r} would both be cut into {twice.iloc[0]}; rename one of them")
    return files


def _claim(out: Path) -> pd.DataFrame:
    """Make the folder, or check that it is ours, and return its table of crops."""
    table = out / CROPS_CSV
    if out.exists() and not table.is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is no folder of crops; give --out another folder, or remove it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / CROPS_JSON).unlink(missing_ok=True)  # until all are cut again
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); expected a folder for crops") from error
    return read_table(table, CROPS) if table.is_file() else pd.DataFrame(columns=list(CROPS))


def _cut_frames(rows: pd.DataFrame, images: pd.DataFrame, out: Path, *, progress: bool) -> None:
    groups = [group for _, group in rows.groupby("frame", sort=False)]
    pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1))
    try:
        done = pool.map(lambda group: _cut_frame(group, images.loc[group["frame"].iloc[0]], out), groups)
        show = progress and len(groups) > 0
        for _ in track(done, "Cutting crops", total=len(groups), disable=not show, unit=IMAGES):
            pass
    finally:
        pool.shutdown(cancel_futures=True)  # or Ctrl-C waits for all frames


def _cut_frame(rows: pd.DataFrame, frame: pd.Series, out: Path) -> None:
    image = read_image(frame["path"])
    if image.shape[:2] != (frame["height"], frame["width"]):
        raise InputError(
            f"{frame['path']}: {image.shape[1]} x {image.shape[0]} pixels, not the manifest's {frame['width']} x "
            f"{frame['height']}; run `fisheries manifest` again"
        )
    for file, region in zip(rows["file"], rows[list(REGION)].to_numpy(dtype="int64"), strict=True):
        picture = io.BytesIO()
        Image.fromarray(cut(image, region)).save(picture, format="PNG", compress_level=4)
        write_atomic(out / file, picture.getvalue())
