"""One page with some photographs of every boat, to see in a minute whether they are one camera each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fisheries.analysis.page import photo_uri, render_page
from fisheries.data.images import read_small
from fisheries.progress import track
from fisheries.schema import TRAIN

DOUBTFUL = 0.4  # confidence below which a photograph is framed
_HEIGHT_PX = 76  # so that eight lie side by side on a laptop
_WIDEST_PX = 160


def contact_sheet(
    table: pd.DataFrame, manifest: pd.DataFrame, *, per_boat: int = 8, title: str = "Boats", progress: bool = False
) -> str:
    """Return a self-contained page: a row a boat, with its counts and some of its photographs.

    Boats with images of the same size follow each other, the largest first, since what is one camera taken for two
    mostly has one size. The photographs are the least confident ones, some by night, and others up to the most typical.

    Args:
        table: `boats.COLUMNS` by `image_id`.
        manifest: with `path`, `subset`, `label`, `height`, `width` and `is_night` of these images.
        per_boat: at most so many photographs of each.
        title: of the page.
        progress: whether to draw a bar on standard error.

    Raises:
        InputError: a photograph that is shown is gone or damaged.
    """
    images = table.join(manifest[["path", "subset", "label", "height", "width", "is_night"]])
    images["size"] = images["width"].astype(str) + "x" + images["height"].astype(str)
    boats = [images[images["boat"] == name] for name in _ordered(images)]
    shown = track(boats, "Drawing boats", disable=not progress)
    rows = [_row(boat, per_boat=per_boat) for boat in shown]
    test = images[images["subset"] != TRAIN]
    return render_page(
        "contact_sheet.html",
        title=title,
        rows=rows,
        count=len(images),
        test=len(test),
        new=int((~test["known"]).sum()),
        doubtful=int((images["confidence"] < DOUBTFUL).sum()),
        by_hand=int((images["boat"] != images["found"]).sum()),
        has_night=bool(images["is_night"].any()),
        limit=DOUBTFUL,
    )


def _ordered(images: pd.DataFrame) -> list[str]:
    """Return the boats, those of one image size together."""
    facts = images.groupby("boat").agg(count=("size", "size"), size=("size", lambda sizes: sizes.mode()[0]))
    facts["of_size"] = facts.groupby("size")["count"].transform("sum")
    return list(facts.sort_values(["of_size", "size", "count"], ascending=[False, True, False], kind="stable").index)


def _row(boat: pd.DataFrame, *, per_boat: int) -> dict[str, object]:
    is_train = boat["subset"] == TRAIN
    return {
        "name": boat["boat"].iloc[0],
        "known": bool(boat["known"].iloc[0]),
        "train": int(is_train.sum()),
        "test": int((~is_train).sum()),
        "sizes": _counted(boat["size"]),
        "classes": _counted(boat.loc[is_train, "label"]),
        "night": int(boat["is_night"].sum()),
        "confidence": float(boat["confidence"].mean()),
        "by_hand": int((boat["boat"] != boat["found"]).sum()),
        "photos": [_photo(image) for _, image in boat.loc[_chosen(boat, per_boat)].iterrows()],
    }


def _counted(words: pd.Series) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in words.value_counts().items())


def _chosen(boat: pd.DataFrame, count: int) -> list[str]:
    """Return the least confident images, some by night, and others at equal distances up to the most confident."""
    ranked = boat.sort_index().sort_values("confidence", kind="stable")
    quarter = count // 4
    chosen = list(ranked.index[:quarter])
    chosen += _spread(ranked.index[ranked["is_night"] & ~ranked.index.isin(chosen)], quarter)
    chosen += _spread(ranked.index[~ranked.index.isin(chosen)], count - len(chosen))
    return [image_id for image_id in ranked.index if image_id in chosen]


def _spread(ids: Sequence[str], count: int) -> list[str]:
    """Return `count` of them at equal distances, with the last."""
    return [ids[number] for number in np.linspace(len(ids) - 1, 0, min(count, len(ids))).round().astype(int)]


def _photo(image: pd.Series) -> dict[str, object]:
    wide = round(_HEIGHT_PX * image["width"] / max(image["height"], 1))
    pixels = read_small(image["path"], image_hw=(_HEIGHT_PX, min(max(wide, 1), _WIDEST_PX)))
    return {
        "uri": photo_uri(pixels, quality=70),
        "wide": pixels.shape[1],
        "name": image.name,
        "confidence": float(image["confidence"]),
        "doubtful": bool(image["confidence"] < DOUBTFUL),
        "night": bool(image["is_night"]),
        "label": image["label"] or image["subset"],
        "found": image["found"] if image["found"] != image["boat"] else "",
    }
