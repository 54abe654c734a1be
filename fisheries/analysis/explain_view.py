"""What the tables of explanations say: means by part, and a sentence."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

from fisheries.inference.evaluation import interval

# columns of the table of changes, and what was done to the photograph
CHANGES = {
    "painted_out": "fish\npainted out",
    "painted_beside": "as much painted\nout beside it",
    "on_deck": "fish on another\nboat's deck",
}
_LITTLE = 0.02  # a change of probability that counts as none


def heat_means(heat: pd.DataFrame) -> pd.DataFrame:
    """Return, by part and method, the mean share of heat inside the fish's boxes beside the boxes' share of the picture.

    Args:
        heat: part, method, share (NaN where an image has no heat), box_share; a row an image and method.

    Returns:
        Columns part, method, images, without_heat, share, box_share, times; the last says how much denser the heat is
        inside of the boxes than in the whole picture. Images without heat are in no mean.
    """
    rows = []
    for (part, method), group in heat.groupby(["part", "method"], sort=False):
        hot = group.dropna(subset="share")
        share, box_share = hot["share"].mean(), hot["box_share"].mean()
        row = {"part": part, "method": method, "images": len(group), "without_heat": len(group) - len(hot)}
        rows.append({**row, "share": share, "box_share": box_share, "times": share / box_share})
    return pd.DataFrame(rows)


def change_means(changes: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return, by part, the mean probability of the true class and its mean change under each of `CHANGES`.

    Args:
        changes: part, boat ("" if not known), probability, deck_alone, and the columns of `CHANGES` (NaN where it
            could not be done), by `image_id`.
        seed: of the bootstrap.

    Returns:
        Columns part, images, probability, deck_alone; each of `CHANGES` as a difference to the photograph as it is;
        and how much more of the probability is lost without the fish than without the boat, `fish_less_boat`, with the
        ends `low` and `high` of its 90 % interval over boats, NaN with less than two.
    """
    differences = changes[list(CHANGES)].sub(changes["probability"], axis=0)
    gap = changes["on_deck"] - changes["painted_out"]
    table = changes[["part", "probability", "deck_alone"]].join(differences).assign(fish_less_boat=gap)
    means = table.groupby("part", sort=False).mean()
    means.insert(0, "images", table.groupby("part", sort=False).size())
    boats = changes["boat"].where(changes["boat"] != "", changes.index.to_series())
    tried = table.dropna(subset="fish_less_boat")
    ends = {part: interval(rows["fish_less_boat"], boats, seed=seed) for part, rows in tried.groupby("part")}
    means[["low", "high"]] = [ends.get(part, (float("nan"), float("nan"))) for part in means.index]
    return means.reset_index()


def verdict(row: pd.Series) -> str:
    """Return a sentence: does the answer hang on the fish, or on the boat? See `change_means`."""
    fish, boat = -row["painted_out"], -row["on_deck"]
    where = f"On {row['part']} boats"
    if boat != boat:
        return f"{where} the true class's probability changes by {-fish:+.2f} without the fish; no other deck was there to try."
    losses = (
        f"the true class's probability changes by {-fish:+.2f} without the fish, and by {-boat:+.2f} where the fish "
        "stays and the boat is another"
    )
    if max(fish, boat) < _LITTLE:
        return f"{where} the answer hangs on neither the fish nor the boat: {losses}."
    if row["low"] > 0:
        return f"{where} the answer hangs on the fish more than on the boat: {losses}."
    if row["high"] < 0:
        return f"{where} the answer hangs on the boat more than on the fish: {losses}."
    return f"{where} {losses}: these photographs do not tell which of the two counts for more."


def heat_view(means: pd.DataFrame) -> Table:
    """Return `heat_means` for a console."""
    view = Table("boats", "method", "images", "without heat", "heat in the box", "box's share", "times")
    for row in means.itertuples():
        numbers = [_number(row.share), _number(row.box_share), _number(row.times)]
        view.add_row(str(row.part), str(row.method), str(row.images), str(row.without_heat), *numbers)
    return view


def change_view(means: pd.DataFrame) -> Table:
    """Return `change_means` for a console."""
    view = Table("boats", "images", "true class", *CHANGES.values(), "that deck alone")
    for _, row in means.iterrows():
        changed = [_signed(row[name]) for name in CHANGES]
        view.add_row(row["part"], str(row["images"]), f"{row['probability']:.3f}", *changed, _number(row["deck_alone"]))
    return view


def _signed(value: float) -> str:
    return f"{value:+.3f}" if value == value else "-"


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "-"
