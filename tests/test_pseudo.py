from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console
from typer.testing import CliRunner

from fisheries.cli import app
from fisheries.config import read_config
from fisheries.data.pseudo_rows import fold_rows, read_pseudo
from fisheries.data.splits import make_folds, seen_ids, train_ids, val_ids
from fisheries.pseudo import make_pseudo, match_mean, pseudo_gain
from fisheries.run import run
from fisheries.schema import FOLDS, MANIFEST, InputError, read_table, table_hash, write_predictions, write_table
from tests.test_features import imported, train  # noqa: F401 - fixtures

CLASSES = ["ALB", "BET", "DOL", "LAG", "NoF", "OTHER", "SHARK", "YFT"]


@pytest.fixture
def teacher(tmp_path: Path, tables) -> Path:
    """A run's folder, as far as pseudo-labels need it; each fold's network is as sure as it likes of its own class."""
    return write_teacher(tmp_path / "teacher", tables[0])


def write_teacher(folder: Path, manifest: pd.DataFrame) -> Path:
    folds = make_folds(manifest, split="boat", folds=2, seed=0, seen_share=0.1)
    test = manifest.index[manifest["subset"] != "train"]
    rng = np.random.default_rng(0)
    parts = [pd.DataFrame(rng.dirichlet(np.full(8, 0.3), len(test)), test, CLASSES) for _ in range(2)]
    for number, part in enumerate(parts):
        write_predictions(part, folder / f"fold-{number}" / "test.csv", folds_hash=table_hash(folds))
    write_predictions(sum(parts) / 2, folder / "test.csv", folds_hash=table_hash(folds))
    write_table(manifest, folder / "manifest.csv")
    write_table(folds, folder / "folds.csv")
    return folder


def tables_of(teacher: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return read_table(teacher / "manifest.csv", MANIFEST), read_table(teacher / "folds.csv", FOLDS)


def test_a_folds_targets_are_its_own_networks_and_of_boats_that_it_does_not_hold_out(teacher: Path):
    manifest, folds = tables_of(teacher)
    rows = make_pseudo(teacher / "test.csv", match_prior=False, weight=0.5)
    assert set(rows["fold"]) == {0, 1}
    for fold in (0, 1):
        own = rows[rows["fold"] == fold]
        table = pd.read_csv(teacher / f"fold-{fold}" / "test.csv", index_col="image_id")
        np.testing.assert_allclose(own[CLASSES], table.loc[own.index, CLASSES])
        held_out = manifest.loc[val_ids(folds, fold)]
        twins = manifest.loc[val_ids(folds, fold).append(seen_ids(folds, fold))]
        facts = manifest.loc[own.index]
        assert not set(facts["boat"]) & set(held_out["boat"])
        assert not set(facts["burst"]) & set(twins["burst"])
        assert set(facts["boat"]) & set(manifest.loc[train_ids(folds, fold), "boat"])
        left_out = rows.attrs["left_out"][fold]
        assert left_out["held-out boat"] > 0
        assert len(own) + sum(left_out.values()) == len(table)
    assert (rows["weight"] == 0.5).all()


def test_the_mean_over_folds_alone_is_refused(teacher: Path, tmp_path: Path):
    for name in ("test.csv", "manifest.csv", "folds.csv"):
        shutil.copy(teacher / name, tmp_path / name)
    with pytest.raises(
        InputError, match=r"no fold-\*/test.csv beside it; a fold must not learn from the others' networks"
    ):
        make_pseudo(tmp_path / "test.csv")


def test_tables_of_other_folds_or_images_are_refused(teacher: Path):
    own = teacher / "fold-1" / "test.csv"
    table = pd.read_csv(own, index_col="image_id").drop(columns="folds")
    write_predictions(table, own, folds_hash="0" * 16)
    with pytest.raises(
        InputError, match=r"fold-1/test.csv: its network was trained on the folds 0{16}, folds.csv beside"
    ):
        make_pseudo(teacher / "test.csv")
    write_predictions(table.iloc[1:], own, folds_hash="0" * 16)
    with pytest.raises(
        InputError, match=rf"'{table.index[0]}' is in it or in fold-1/test.csv, not in both; 1 such images"
    ):
        make_pseudo(teacher / "test.csv")


def test_images_are_left_out_for_a_reason_that_is_counted(teacher: Path):
    manifest, _ = tables_of(teacher)
    test = manifest.index[manifest["subset"] == "test_stg2"]
    write_table(
        manifest.assign(
            boat=manifest["boat"].mask(manifest.index == test[0], ""),
            status=manifest["status"].mask(manifest.index == test[1], "truncated"),
        ),
        teacher / "manifest.csv",
    )
    rows = make_pseudo(teacher / "test.csv", threshold=0.5)
    assert not set(rows.index) & set(test[:2])
    for fold in (0, 1):
        sureness = pd.read_csv(teacher / f"fold-{fold}" / "test.csv", index_col="image_id")[CLASSES].max(axis=1)
        assert (sureness[rows.index[rows["fold"] == fold]] >= 0.5).all()
        reasons = rows.attrs["left_out"][fold]
        assert reasons["unknown boat"] == reasons["can't be read"] == 1
        assert reasons["less sure"] > 0


def test_at_most_so_many_of_a_boat_and_class_are_the_surest(teacher: Path):
    manifest, _ = tables_of(teacher)
    every, most = (make_pseudo(teacher / "test.csv", match_prior=False, most=number) for number in (None, 1))
    for fold in (0, 1):
        whole, kept = (rows[rows["fold"] == fold][CLASSES] for rows in (every, most))
        by = [manifest["boat"].loc[whole.index], whole.idxmax(axis=1)]
        assert whole.groupby(by).size().max() > 1
        assert set(kept.index) == set(whole.max(axis=1).groupby(by).idxmax())


def test_the_mean_of_a_folds_targets_is_the_class_mix_that_it_trains_on_or_the_one_expected(
    teacher: Path, tmp_path: Path
):
    manifest, folds = tables_of(teacher)
    rows = make_pseudo(teacher / "test.csv")
    for fold in (0, 1):
        prior = manifest["label"].loc[train_ids(folds, fold)].value_counts(normalize=True)
        mean = rows.loc[rows["fold"] == fold, CLASSES].mean()
        np.testing.assert_allclose(mean, prior.reindex(CLASSES, fill_value=0), atol=1e-5)
    pd.DataFrame({"class": ["ALB", "YFT"], "share": [0.5, 0.5]}).to_csv(tmp_path / "mix.csv", index=False)
    expected = make_pseudo(teacher / "test.csv", expect=str(tmp_path / "mix.csv"))
    np.testing.assert_allclose(expected.groupby("fold")[["ALB", "YFT"]].mean(), 0.5, atol=1e-5)
    with pytest.raises(
        InputError, match="--expect published and --no-prior: targets are brought to a class mix, or left"
    ):
        make_pseudo(teacher / "test.csv", expect="published", match_prior=False)


@given(
    logits=arrays(np.float64, (12, 3), elements=st.floats(-4, 4)),
    shares=arrays(np.float64, 3, elements=st.floats(0.1, 1)),
)
def test_targets_brought_to_a_mix_have_it_as_their_mean_and_keep_the_order_of_images(logits, shares):
    targets = pd.DataFrame(np.exp(logits), columns=["A", "B", "C"])
    targets = targets.div(targets.sum(axis=1), axis=0)
    prior = pd.Series(shares / shares.sum(), ["A", "B", "C"])
    matched = match_mean(targets, prior)
    np.testing.assert_allclose(matched.sum(axis=1), 1)
    np.testing.assert_allclose(matched.mean(), prior, atol=2e-6)
    odds, before = np.log(matched["A"] / matched["B"]), np.log(targets["A"] / targets["B"])
    np.testing.assert_allclose(odds - odds.mean(), before - before.mean(), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "--threshold 1.5: expected a number from 0 to 1"),
        ({"weight": 0}, "--weight 0: expected a number from 1e-06 to 100"),
        ({"most": 0}, "--most-per-class-and-boat 0: expected a number from 1"),
        ({"threshold": 1.0}, "no image is left for any fold .*less sure.* lower --threshold"),
    ],
)
def test_what_leaves_nothing_or_makes_no_sense_is_refused(teacher: Path, options, message: str):
    with pytest.raises(InputError, match=message):
        make_pseudo(teacher / "test.csv", **options)


@pytest.fixture
def file(teacher: Path, tmp_path: Path) -> Path:
    """What the command writes."""
    return make_pseudo_csv(teacher, tmp_path / "p.csv")


def make_pseudo_csv(teacher: Path, out: Path) -> Path:
    result = CliRunner().invoke(app, ["pseudo", str(teacher / "test.csv"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "held-out boat" in result.output
    return out


def test_rows_that_came_to_be_of_a_held_out_boat_since_are_left_out_and_counted(teacher: Path, file: Path):
    manifest, folds = tables_of(teacher)
    pseudo = read_pseudo(file, CLASSES, manifest=manifest, folds=folds)
    entered = fold_rows(pseudo, manifest, folds, 0)
    assert entered.left_out == {}
    first, second, third = entered.rows.index[:3]
    held_out = manifest.loc[val_ids(folds, 0)].iloc[0]
    corrected = manifest.copy()
    corrected.loc[first, "boat"] = held_out["boat"]
    corrected.loc[second, "burst"] = held_out["burst"]
    corrected.loc[third, ["boat", "burst"]] = ["", third]
    fewer = fold_rows(pseudo, corrected, folds, 0)
    assert fewer.left_out == {"held-out boat": 1, "held-out burst": 1, "unknown boat": 1}
    assert set(entered.rows.index) - set(fewer.rows.index) == {first, second, third}
    with pytest.raises(InputError, match=r"no row that fold 0 may train on .*of unknown boat"):
        fold_rows(pseudo, manifest.assign(boat="").assign(burst=manifest.index), folds.assign(seen_fold=-1), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.assign(folds="0" * 16), "made with the folds 0{16}, this run's are .* give split=file"),
        (lambda rows: pd.concat([rows, rows.iloc[:1]]), "occurs twice in a fold; 1 such rows"),
        (
            lambda rows: rows.rename(index={rows.index[0]: "x.jpg"}),
            "'x.jpg' is no test image of the manifest that can be",
        ),
        (lambda rows: rows.assign(weight=0), "weight of .* is 0.0; expected a number above 0"),
        (lambda rows: rows.assign(ALB=0), "sums to"),
        (lambda rows: rows.drop(columns="fold"), "no column 'fold'"),
    ],
)
def test_a_file_that_is_not_of_these_folds_and_images_is_refused(teacher: Path, file: Path, change, message: str):
    manifest, folds = tables_of(teacher)
    rows = change(pd.read_csv(file, index_col="image_id"))
    rows.to_csv(file)
    with pytest.raises(InputError, match=message):
        read_pseudo(file, CLASSES, manifest=manifest, folds=folds)


@pytest.fixture
def file_of_features(imported: Path, tmp_path: Path) -> Path:  # noqa: F811
    return make_pseudo_csv(
        write_teacher(tmp_path / "t", read_table(imported / "manifest.csv", MANIFEST)), tmp_path / "f.csv"
    )


def test_a_run_says_how_many_rows_entered_and_gives_the_next_round(train, imported: Path, file_of_features: Path):  # noqa: F811
    options = ["model=imported", f"data.root={imported}", "fold=all", "trainer.max_epochs=2", "mix.pseudo=0.5"]
    run_dir = train(*options, f"pseudo={file_of_features}")
    record = json.loads((run_dir / "run.json").read_text())
    counts = pd.read_csv(file_of_features)["fold"].value_counts()
    assert record["pseudo"]["folds"] == {str(fold): {"rows": counts[fold], "left_out": {}} for fold in (0, 1)}
    assert "change" not in record["pseudo"]  # the first run has no oof.csv
    assert record["scores"]["unseen"]["images"] == 96
    assert set(make_pseudo(run_dir / "test.csv")["fold"]) == {0, 1}


def test_the_gain_is_the_change_of_the_loss_on_held_out_images_with_an_error_over_boats(teacher: Path):
    manifest, folds = tables_of(teacher)
    images = manifest.loc[val_ids(folds, 0)]
    rows = make_pseudo(teacher / "test.csv")
    truth = pd.get_dummies(images["label"]).reindex(columns=CLASSES, fill_value=0).astype(float)
    before, after = 0.2 * truth + 0.1, 0.6 * truth + 0.05  # rows of 8 classes sum to 1
    assert pseudo_gain(rows, after, manifest) == {}
    write_predictions(before.iloc[::-1], teacher / "oof.csv", folds_hash=table_hash(folds))
    gain = pseudo_gain(rows, after, manifest)
    assert gain["log_loss_before"] == pytest.approx(-np.log(0.3))
    assert gain["change"] == pytest.approx(np.log(0.3) - np.log(0.65))
    assert gain["standard_error"] == pytest.approx(0, abs=1e-12)
    write_predictions(before.iloc[1:], teacher / "oof.csv", folds_hash=table_hash(folds))
    assert pseudo_gain(rows, after, manifest) == {}


def test_a_frozen_backbones_views_are_stored_of_pseudo_rows_too(train, file: Path):  # noqa: F811
    options = ["model.backbone_frozen=true", "model.views=2", "trainer.max_epochs=1", "mix.pseudo=0.5"]
    run_dir = train(*options, f"pseudo={file}")
    rows = pd.read_csv(run_dir / "pseudo.csv")
    assert json.loads((run_dir / "run.json").read_text())["pseudo"]["folds"]["0"]["rows"] == (rows["fold"] == 0).sum()


def test_a_resumed_run_with_pseudo_rows_ends_as_the_uninterrupted_one_and_without_their_file(
    train,  # noqa: F811
    imported: Path,  # noqa: F811
    file_of_features: Path,
):
    options = ["model=imported", f"data.root={imported}", "schedule=constant", "model.head=dense", "model.dropout=0.5"]
    options += ["logger=none", f"pseudo={file_of_features}"]
    whole, begun = (train(*options, f"trainer.max_epochs={epochs}", name=f"{epochs}") for epochs in (3, 1))
    assert (whole / "oof.csv").read_bytes() != (begun / "oof.csv").read_bytes()
    file_of_features.unlink()
    (begun / "fold-0" / "oof.csv").unlink()
    config = read_config(begun)
    config.trainer.max_epochs = 3
    run(config, begun, name="begun", console=Console(quiet=True))
    assert (whole / "oof.csv").read_bytes() == (begun / "oof.csv").read_bytes()


def test_a_fold_without_rows_is_refused_before_another_is_trained(train, file: Path, tmp_path: Path):  # noqa: F811
    rows = pd.read_csv(file)
    rows[rows["fold"] == 0].to_csv(file, index=False)
    with pytest.raises(
        InputError, match=r"no row that fold 1 may train on \(the file has none\); make the file of a run"
    ):
        train("fold=all", f"pseudo={file}")
    assert not list((tmp_path / "run").glob("fold-*"))


def test_pseudo_rows_of_other_folds_or_a_file_that_is_not_there_stop_a_run_before_it_trains(train, file: Path):  # noqa: F811
    with pytest.raises(InputError, match=r"made with the folds .* its networks may know boats that are held out here"):
        train(f"pseudo={file}", "split.folds=3", name="a")
    with pytest.raises(InputError, match=r"pseudo=.*q.csv: no such file \(did you mean 'p.csv'\?\)"):
        train(f"pseudo={file.with_name('q.csv')}", name="b")
