from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console, RenderableType

from fisheries.analysis.fold_plan import folds_view, plan_folds, plan_view
from fisheries.data.splits import holdout_ids, make_folds, missing_classes, val_ids
from fisheries.schema import InputError


def fleet(**boats: str) -> pd.DataFrame:
    """Six images of each class on each of its boats, each boat a letter."""
    rows = [(label, boat) for label, names in boats.items() for boat in names for _ in range(6)]
    index = pd.Index([f"img_{number:05}.jpg" for number in range(len(rows))], name="image_id")
    table = pd.DataFrame(rows, columns=["label", "boat"], index=index)
    return table.assign(subset="train", status="ok", burst=index, sha256="")


def printed(view: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(view)
    return console.file.getvalue()


FLEET = fleet(ALB="pqrstuvw", LAG="pqr", DOL="tuvw", SHARK="p")


@pytest.mark.parametrize("split", ["boat", "burst", "random"])
def test_the_plan_describes_the_folds_that_would_be_drawn(split: str):
    plan = plan_folds(FLEET, split=split, seed=3, most=5)
    assert sorted(set(plan["folds"])) == [2, 3, 4, 5]
    for number, rows in plan.groupby("folds"):
        table = make_folds(FLEET, split=split, folds=number, seed=3, seen_share=0)
        assert list(rows["fold"]) == list(range(number))
        assert list(rows["images"]) == [len(val_ids(table, fold)) for fold in range(number)]
        lines = [
            f"fold {row['fold']}: no {row[column]} in its {part} part"
            for _, row in rows.iterrows()
            for column, part in (("not_trained", "training"), ("not_held_out", "held-out"))
            if row[column]
        ]
        assert lines == missing_classes(table, FLEET["label"])
        counts = pd.crosstab(table["fold"], FLEET["label"])
        shares = counts * number / counts.sum()
        for _, row in rows.iterrows():
            assert row["share"] == shares.loc[row["fold"], row["class"]]
            assert abs(row["share"] - 1) == np.abs(shares.loc[row["fold"]] - 1).max()


def test_the_plan_names_the_largest_number_and_why():
    plan = plan_folds(FLEET, split="boat", seed=0)
    assert plan["folds"].max() == 8
    assert plan.attrs["notes"] == make_folds(FLEET, split="boat", folds=None, seed=0).attrs["notes"]
    assert plan.attrs["notes"][0].startswith("3 folds, the most that can be: LAG is on 3 boats only; in a single one")


def test_the_plan_leaves_the_holdout_out():
    plan = plan_folds(FLEET, split="boat", seed=0, holdout=2)
    held_out = holdout_ids(make_folds(FLEET, split="boat", folds=None, seed=0, holdout=2))
    assert FLEET.loc[held_out, "boat"].nunique() == 2
    assert set(plan.groupby("folds")["images"].sum()) == {len(FLEET) - len(held_out)}
    assert set(plan.groupby("folds")["units"].sum()) == {6}


def test_a_file_needs_no_plan():
    with pytest.raises(InputError, match="split=file: there is nothing to plan, its folds are given"):
        plan_folds(FLEET, split="file", seed=0)


def test_the_view_of_a_plan_names_what_is_missing_where():
    text = printed(plan_view(plan_folds(FLEET, split="boat", seed=0, most=4)))
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.count("│") == 6}
    table = make_folds(FLEET, split="boat", folds=2, seed=0)
    trainless = table.loc[FLEET.index[FLEET["label"] == "SHARK"], "fold"].iloc[0]
    assert f"training: SHARK in {trainless}" in rows["2"]
    assert f"held-out part: SHARK in {1 - trainless}" in text
    assert "LAG in" not in rows["3"]
    assert "LAG in" in text[text.index(rows["4"]) :]
    assert "SHARK, 400% in fold" in rows["4"]
    assert "3 folds, the most that can be: LAG is on 3 boats only" in text


def test_a_plan_without_gaps_misses_nothing():
    text = printed(plan_view(plan_folds(fleet(A="pqr", B="pqr"), split="boat", seed=0)))
    assert text.count("nothing") == 2


def test_the_view_of_folds_counts_classes_and_names_boats():
    table = make_folds(FLEET, split="boat", folds=2, seed=0, holdout=["w"], seen_share=0.3)
    text = printed(folds_view(table, FLEET))
    for fold in range(2):
        images = FLEET.loc[val_ids(table, fold)]
        labels = images["label"].value_counts().reindex(sorted(set(FLEET["label"])), fill_value=0)
        values = [len(images), *labels, images["boat"].nunique(), (table["seen_fold"] == fold).sum()]
        row = next(line for line in text.splitlines() if line.startswith(f"│ fold {fold}"))
        assert [int(cell) for cell in row.split("│")[2:-1]] == values
        assert f"fold {fold} holds out {', '.join(sorted(images['boat'].unique()))}\n" in text
    assert "all folds hold out w\n" in text


def test_names_in_brackets_are_shown_as_they_are():
    odd = FLEET.replace({"label": {"LAG": "[red]"}, "boat": {"w": "[bold]"}})
    table = make_folds(odd, split="boat", folds=2, seed=0)
    assert "[red]" in printed(folds_view(table, odd))
    assert "[bold]" in printed(folds_view(table, odd))
    assert "[red]" in printed(plan_view(plan_folds(odd, split="boat", seed=0)))


def test_random_folds_list_no_boats():
    assert "holds out" not in printed(folds_view(make_folds(FLEET, split="random", folds=2, seed=0), FLEET))
