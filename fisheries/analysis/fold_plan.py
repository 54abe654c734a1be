"""How many folds the boats carry, and what is in each, as tables to be printed with rich."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from fisheries.data.fold_groups import CLAIMS, connect, count_classes
from fisheries.data.splits import HOLDOUT, MOST, make_folds, seen_ids
from fisheries.progress import track
from fisheries.schema import InputError


def plan_folds(
    manifest: pd.DataFrame,
    *,
    split: str,
    seed: int,
    holdout: int | str | Sequence[str] = 0,
    most: int = MOST,
    progress: bool = False,
) -> pd.DataFrame:
    """Draw folds in every number from 2 to `most`, and say what each lacks.

    Args:
        manifest: as in `make_folds`, as are `seed` and `holdout`.
        split: "random", "burst" or "boat".
        seed: see above.
        holdout: see above.
        most: the largest number of folds.
        progress: whether to draw a bar on standard error.

    Returns:
        One row for each fold of each number. Columns `folds` (the number), `fold`, `images`, `units` (boats, counting
        those once that share a burst; bursts; or images), `not_trained` and `not_held_out` (the classes that the fold's
        training or held-out part lacks, separated by ", "), `class` (the one farthest from its even share) and `share`
        (what it has of that share: 1 all, 0 nothing, 2 twice as much). `attrs["notes"]` are those of `make_folds` for
        the largest number that will do; they say whether more are impossible or were not found.

    Raises:
        InputError: as `make_folds`; the folds are given by a file.
    """
    if split == "file":
        raise InputError("split=file: there is nothing to plan, its folds are given; expected random, burst or boat")
    best = make_folds(manifest, split=split, folds=None, seed=seed, holdout=holdout, seen_share=0, most=most)
    divided = manifest.loc[best.index[best["fold"] != HOLDOUT]]
    held_out = sorted(set(manifest.loc[best.index[best["fold"] == HOLDOUT], "boat"]) - {""})
    groups = pd.Series(connect(divided, CLAIMS[split]), divided.index)
    numbers = range(2, min(most, groups.nunique()) + 1)
    parts = []
    for folds in track(numbers, "Searching folds", disable=not progress):
        table = make_folds(manifest, split=split, folds=folds, seed=seed, holdout=held_out, seen_share=0)
        parts.append(_describe(table.loc[divided.index, "fold"], groups, divided["label"]).assign(folds=folds))
    plan = pd.concat(parts, ignore_index=True)[["folds", *parts[0].columns.drop("folds")]]
    plan.attrs["notes"] = best.attrs["notes"]
    return plan


def _describe(fold: pd.Series, groups: pd.Series, labels: pd.Series) -> pd.DataFrame:
    counts = count_classes(fold.to_numpy(), labels)  # (K, C)
    share = counts * len(counts) / counts.sum()
    worst = (share - 1).abs().idxmax(axis=1)
    return pd.DataFrame(
        {
            "fold": counts.index,
            "images": counts.sum(axis=1),
            "units": groups.groupby(fold).nunique(),
            "not_trained": [", ".join(counts.columns[row]) for row in (counts == counts.sum()).to_numpy()],
            "not_held_out": [", ".join(counts.columns[row]) for row in (counts == 0).to_numpy()],
            "class": worst,
            "share": [share.loc[number, name] for number, name in worst.items()],
        }
    )


def plan_view(plan: pd.DataFrame) -> Group:
    """Return the table of `plan_folds`, a row for each number of folds, and its notes, to be printed with rich."""
    table = Table(
        *(Column(name, justify="right") for name in ("folds", "smallest", "largest", "farthest from even")),
        "classes missing in folds",
    )
    for folds, rows in plan.groupby("folds"):
        worst = rows.loc[(rows["share"] - 1).abs().idxmax()]
        table.add_row(
            str(folds),
            f"{rows['images'].min():,}",
            f"{rows['images'].max():,}",
            Text(f"{worst['class']}, {worst['share']:.0%} in fold {worst['fold']}"),
            Text("\n".join(_missing(rows)) or "nothing"),
        )
    return Group(table, *(Text(note) for note in plan.attrs.get("notes", [])))


def _missing(rows: pd.DataFrame) -> list[str]:
    lines = []
    for column, part in (("not_trained", "training"), ("not_held_out", "held-out part")):
        lacking = rows.set_index("fold")[column].str.split(", ").explode()
        folds = lacking[lacking != ""].reset_index().groupby(column)["fold"].apply(list)
        places = [f"{name} in {', '.join(map(str, numbers))}" for name, numbers in folds.items()]
        if places:
            lines.append(f"{part}: {'; '.join(places)}")
    return lines


def folds_view(folds: pd.DataFrame, manifest: pd.DataFrame) -> Group:
    """Return what each fold of a fold table holds out, with its classes and boats, to be printed with rich.

    Args:
        folds: a fold table.
        manifest: with all of its images.
    """
    images = manifest.loc[folds.index]
    counts = count_classes(folds["fold"].to_numpy(), images["label"])
    numbers = [*(number for number in counts.index if number != HOLDOUT), *counts.index.intersection([HOLDOUT])]
    names = ("images", *counts.columns, "boats", "seen sample")
    table = Table("held out by", *(Column(Text(name), justify="right") for name in names))
    lines = []
    for number in numbers:
        boats = sorted(
            set(images.loc[folds.index[folds["fold"] == number], "boat"]) - {""}, key=lambda name: (len(name), name)
        )
        seen = "" if number == HOLDOUT else f"{len(seen_ids(folds, number)):,}"
        name = "all folds" if number == HOLDOUT else f"fold {number}"
        values = [counts.loc[number].sum(), *counts.loc[number], len(boats)]
        table.add_row(name, *(f"{value:,}" for value in values), seen)
        lines.append(Text(f"{name} hold{'s' * (number != HOLDOUT)} out {', '.join(boats) or 'no known boat'}"))
    by_boat = (folds["split"] == "boat").all()
    return Group(table, *(lines if by_boat else []), *(Text(note) for note in folds.attrs.get("notes", [])))
