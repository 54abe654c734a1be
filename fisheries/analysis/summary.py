"""What a manifest and its boxes hold, to be printed with rich."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from fisheries.data import annotations as rectangles
from fisheries.data.manifest import NOTES, STATUSES, size_as_boat
from fisheries.schema import OK, TRAIN, USABLE

_LISTED = 20


def summary(manifest: pd.DataFrame, boxes: pd.DataFrame) -> Group:
    """Return what there is and what can't be used, to be printed with rich."""
    words = {
        "size": (_sizes(manifest), {}),
        "images": (manifest["status"], STATUSES),
        "notes": (manifest["notes"].str.split().explode().dropna(), NOTES),
        "rectangles": (boxes["status"], rectangles.STATUSES),
    }
    parts: list[RenderableType] = [_class_table(manifest, boxes)]
    parts += [_count_table(title, column, meanings) for title, (column, meanings) in words.items() if len(column)]
    parts += _unusable_lines(manifest)
    if manifest.attrs.get("skipped"):
        parts.append(Text(f"{manifest.attrs['skipped']} hidden files were skipped"))
    return Group(*parts)


def boats_view(boats: pd.DataFrame, manifest: pd.DataFrame) -> Group:
    """Return how many boats there are, and how many of the test images are of known and of new ones.

    Args:
        boats: with `boat`, `found` and `known`, by `image_id`.
        manifest: of the same photographs.
    """
    subset = manifest["subset"].loc[boats.index]
    table = Table(
        "subset", *(Column(name, justify="right") for name in ("images", "boats", "of known boats", "of new"))
    )
    for name, rows in boats.groupby(subset.where(subset != TRAIN, " train")):
        known = rows["known"].sum()
        values = (len(rows), rows["boat"].nunique(), known, len(rows) - known)
        table.add_row(_shown(str(name).strip()), *(f"{value:,}" for value in values))
    corrected = (boats["boat"] != boats["found"]).sum()
    lines = [
        f"{boats['boat'].nunique()} boats, {boats.loc[~boats['known'], 'boat'].nunique()} of them without a training image"
    ]
    lines += [f"{corrected:,} images were corrected by hand"] if corrected else []
    return Group(table, *(Text(line) for line in lines))


def bursts_view(manifest: pd.DataFrame) -> Group:
    """Return how many frames have near-duplicates, and which bursts are of several labels or boats."""
    readable = manifest[manifest["status"] == OK]
    bursts = readable.groupby("burst")
    size, several = bursts["path"].transform("size"), bursts["path"].size() > 1
    both = bursts["subset"].agg(lambda names: TRAIN in set(names) and set(names) != {TRAIN})
    lines = [
        f"{several.sum():,} bursts of 2 to {size.max()} frames hold {(size > 1).sum():,} of {len(readable):,} images; "
        f"{both.sum():,} of them are in train and test"
    ]
    for column in ("label", "boat"):
        named = readable[readable[column] != ""]
        kinds = named.groupby("burst")[column].nunique()
        mixed = kinds.index[kinds > 1]
        if len(mixed):
            lines.append(f"{len(mixed):,} bursts have frames of several {column}s, such as that of {mixed[0]}")
    return Group(*(Text(line) for line in lines))


def _class_table(manifest: pd.DataFrame, boxes: pd.DataFrame) -> Table:
    boxed = manifest.index.isin(boxes.index[boxes["status"].isin(USABLE)])
    facts = manifest.assign(usable=manifest["status"] == OK, boxed=boxed, boat=manifest["boat"].replace("", None))
    counts = facts.groupby(["subset", "label"]).agg(
        images=("status", "size"), usable=("usable", "sum"), boxed=("boxed", "sum"), boats=("boat", "nunique")
    )
    for name in manifest.attrs.get("empty_classes", []):
        counts.loc[(TRAIN, name), :] = 0
    table = Table(
        "subset", "class", *(Column(name, justify="right") for name in ("images", "usable", "with box", "boats"))
    )
    for (subset, label), row in counts.sort_index(ascending=[False, True]).iterrows():
        table.add_row(_shown(subset), _shown(label), *(f"{int(value):,}" for value in row))
    return table


def _count_table(title: str, words: pd.Series, meanings: Mapping[str, str]) -> Table:
    table = Table(title, Column("count", justify="right"), *(["meaning"] if meanings else []))
    counts = words.value_counts()
    for word, count in counts[:_LISTED].items():
        table.add_row(_shown(str(word)), f"{count:,}", *([meanings.get(str(word), "")] if meanings else []))
    if len(counts) > _LISTED:
        table.add_row(f"{len(counts) - _LISTED:,} others", f"{counts[_LISTED:].sum():,}")
    return table


def _sizes(manifest: pd.DataFrame) -> pd.Series:
    return size_as_boat(manifest[manifest["height"] > 0])["boat"]


def _unusable_lines(manifest: pd.DataFrame) -> list[Text]:
    unusable = manifest[manifest["status"] != OK]
    lines = [
        Text(f"{_shown(path)}: {STATUSES.get(status, status)}")
        for path, status in zip(unusable["path"][:_LISTED], unusable["status"][:_LISTED], strict=True)
    ]
    if len(unusable) > _LISTED:
        lines.append(Text(f"... and {len(unusable) - _LISTED} more, see manifest.csv"))
    return lines


def _shown(name: str) -> Text:
    return Text(name if name.isprintable() else repr(name))
