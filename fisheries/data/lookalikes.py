"""Look-alikes: which images are of one burst, and how alike their photographs are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.data.bursts import SAME_TONES, compare_frames
from fisheries.data.tables import MANIFEST_CSV, read_photographs
from fisheries.data.thumbnails import load_thumbnails
from fisheries.schema import KEY, OK, InputError


def burst_pairs(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return any two images of one burst that can be read, each way round.

    Args:
        manifest: with `burst` and `status`, by `image_id`.

    Returns:
        Columns image_id, lookalike, its `image_id`, and similarity, which is 1 as long as nothing more is known.
    """
    burst = manifest.loc[(manifest["status"] == OK) & (manifest["burst"] != ""), "burst"].rename_axis(KEY).reset_index()
    pairs = burst.merge(burst.rename(columns={KEY: "lookalike"}), on="burst").drop(columns="burst")
    return pairs[pairs[KEY] != pairs["lookalike"]].reset_index(drop=True).assign(similarity=1.0)


def missing_photographs(pairs: pd.DataFrame, manifest: pd.DataFrame) -> pd.Series:
    """Return the paths, "" included, at which there is no photograph of an image in `pairs`, by `image_id`."""
    paths = manifest.loc[pairs[KEY].unique(), "path"]
    return paths[[not Path(path).is_file() for path in paths]]


def load_pair_thumbnails(
    pairs: pd.DataFrame, manifest: pd.DataFrame, tables: Path | None = None, *, progress: bool = False
) -> tuple[pd.Index, NDArray[np.uint8]]:
    """Return the images of some pairs, and their thumbnails.

    Args:
        pairs: see `burst_pairs`.
        manifest: has the images' paths.
        tables: the folder that `fisheries manifest` wrote, where thumbnails are kept; by default photographs are read.
        progress: whether to draw a bar on standard error.

    Returns:
        The `image_id` of N images, and (N, H, W, 3) RGB in their order.

    Raises:
        InputError: as `read_photographs` and `load_thumbnails`; an image of the pairs is not in the tables.
    """
    image_ids = pd.Index(pairs[KEY].unique())
    if tables is None:
        return image_ids, load_thumbnails(manifest.loc[image_ids], progress=progress)
    known, thumbnails = read_photographs(tables / MANIFEST_CSV, progress=progress)
    absent = image_ids.difference(known.index)
    if len(absent):
        raise InputError(
            f"{tables / MANIFEST_CSV}: lacks {absent[0]!r}; {len(absent)} such images; give the tables of the same photographs"
        )
    return known.index, thumbnails


def compare_pairs(
    pairs: pd.DataFrame, image_ids: pd.Index, thumbnails: NDArray[np.uint8], *, progress: bool = False
) -> pd.DataFrame:
    """Return pairs with the similarity of their photographs.

    Args:
        pairs: see `burst_pairs`.
        image_ids: of the thumbnails.
        thumbnails: (N, H, W, 3) RGB.
        progress: whether to draw a bar on standard error.

    Returns:
        The pairs, similarity in [0, 1]: 1 where nothing differs, 0.37 where the frames are just alike enough to be known
        as one moment, and less between frames that are of one burst by way of others.
    """
    numbers = np.stack([image_ids.get_indexer(pairs[name]) for name in (KEY, "lookalike")], axis=1)
    differences = compare_frames(thumbnails, numbers, progress=progress)
    return pairs.assign(similarity=np.exp(-differences.astype(np.float64) / SAME_TONES))
