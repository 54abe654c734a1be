"""Which images a person wants to see, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fisheries.schema import OK

ORDERS = ("log_loss", "image_id", "boat")
COLUMNS = ("boat", "label", "guess", "fold", "part")  # of which one value can be asked for


@dataclass(frozen=True)
class Choice:
    """What is asked for; None asks for nothing.

    Attributes:
        search: part of the `image_id`, in upper or lower case.
        boat: its name, "" for those that are not known.
        label: name of the class, "" for images without.
        guess: name of the class predicted.
        fold: as in `Catalog.images`.
        part: likewise.
        is_night: whether lit by a lamp alone.
        wrong: only images taken for another class.
        above: only images with a higher log loss.
        marked: only images whose label a person corrected or doubted.
        unusable: only images that can't be used.
        order: one of `ORDERS`; the highest loss comes first, and images without last.
    """

    search: str = ""
    boat: str | None = None
    label: str | None = None
    guess: str | None = None
    fold: str | None = None
    part: str | None = None
    is_night: bool | None = None
    wrong: bool = False
    above: float | None = None
    marked: bool = False
    unusable: bool = False
    order: str = "image_id"


def choose(images: pd.DataFrame, choice: Choice) -> pd.Index:
    """Return the `image_id` of those asked for, in order.

    Args:
        images: as `Store.images`.
        choice: what is asked for.
    """
    keep = images.index.str.contains(choice.search.strip(), case=False, regex=False)
    for name in (*COLUMNS, "is_night"):
        if getattr(choice, name) is not None:
            keep &= (images[name] == getattr(choice, name)).to_numpy()
    if choice.wrong:
        keep &= is_wrong(images).to_numpy()
    if choice.above is not None:
        keep &= (images["log_loss"] > choice.above).to_numpy()
    if choice.marked:
        keep &= is_marked(images).to_numpy()
    if choice.unusable:
        keep &= (images["status"] != OK).to_numpy()
    return _ordered(images[keep], choice.order).index


def offered(images: pd.DataFrame) -> dict[str, list[str]]:
    """Return the values that can be asked for, by column, numbers in their order and "" last; columns without any are left out."""
    values = {name: sorted(set(images[name]), key=_natural) for name in COLUMNS}
    return {name: named for name, named in values.items() if any(named)}


def has_losses(images: pd.DataFrame) -> bool:
    """Return whether errors can be asked for: some image has a label and a prediction."""
    return bool(images["log_loss"].notna().any())


def is_wrong(images: pd.DataFrame) -> pd.Series:
    """Return which images were taken for another class than their label."""
    return (images["guess"] != "") & (images["label"] != "") & (images["guess"] != images["label"])


def is_marked(images: pd.DataFrame) -> pd.Series:
    """Return of which images a person corrected or doubted the label."""
    return (images["new_label"] != "") | (images["note"] != "")


def _ordered(images: pd.DataFrame, order: str) -> pd.DataFrame:
    images = images.sort_index(kind="stable")
    if order == "image_id":
        return images
    return images.sort_values(order, ascending=order != "log_loss", kind="stable", na_position="last")


def _natural(value: str) -> tuple[int, int, str]:
    return (2, 0, "") if value == "" else (0, int(value), value) if value.isdecimal() else (1, 0, value)
