"""What `fisheries view` shows of a run, and which of it a choice keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fisheries.schema import InputError, read_table, write_table
from fisheries.viewer.catalog import read_catalog
from fisheries.viewer.choice import Choice, choose, has_losses, offered
from fisheries.viewer.store import Store
from tests.viewer.conftest import rows_of


def test_a_run_shows_each_image_with_what_was_said_of_it_unseen(store: Store, run_dir: Path):
    images, oof = store.images, read_table(run_dir / "oof.csv", dict.fromkeys(store.catalog.classes, "float64"))
    assert (images["part"].value_counts()[["unseen boats", "test"]] == [len(oof), 30]).all()
    for image_id in oof.index[:20]:
        assert images.loc[image_id, "guess"] == oof.loc[image_id].idxmax()
        said = oof.loc[image_id, images.loc[image_id, "label"]]
        assert images.loc[image_id, "log_loss"] == pytest.approx(-np.log(said))
    assert images.loc[images["subset"] != "train", "log_loss"].isna().all()
    assert len(store.catalog.true_boxes) > 50
    assert has_losses(images)
    assert set(offered(images)) == {"boat", "label", "guess", "fold", "part"}


def test_a_manifest_alone_has_no_predictions(run_dir: Path):
    images = read_catalog(run_dir / "manifest.csv").images
    assert images["log_loss"].isna().all()
    assert set(images["guess"]) == set(images["part"]) == {""}
    assert not has_losses(images)
    assert offered(images)["fold"] == ["0", "1", "2", ""]
    assert set(offered(images)) == {"boat", "label", "fold"}


def test_predictions_of_images_that_the_manifest_lacks_are_refused(run_dir: Path):
    manifest = rows_of(run_dir / "manifest.csv")
    write_table(manifest.drop(index=rows_of(run_dir / "oof.csv").index[0]), run_dir / "manifest.csv")
    with pytest.raises(
        InputError, match=r"oof\.csv: 'img_\d+\.jpg' is not in .*manifest\.csv.*1 such images; both must"
    ):
        read_catalog(run_dir)


def test_what_is_no_run_and_no_manifest_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no manifest\.csv in it; expected a run's folder, or the manifest\.csv"):
        read_catalog(tmp_path)
    (tmp_path / "manifest.csv").write_text("image_id,label\n")
    with pytest.raises(InputError, match=r"manifest\.csv: no images in it"):
        read_catalog(tmp_path / "manifest.csv")
    (tmp_path / "manifest.csv").write_text("image_id,label\na.jpg,ALB\n")
    (tmp_path / "config.yaml").write_text("{")
    with pytest.raises(InputError, match=r"config\.yaml: no YAML .*; expected a run's configuration"):
        read_catalog(tmp_path)


@pytest.mark.parametrize(
    ("choice", "column", "values"),
    [
        (Choice(label="ALB"), "label", {"ALB"}),
        (Choice(label=""), "subset", {"test_stg1", "test_stg2"}),
        (Choice(fold="1"), "fold", {"1"}),
        (Choice(part="test"), "part", {"test"}),
        (Choice(is_night=True), "is_night", {True}),
        (Choice(is_night=False, guess="YFT"), "guess", {"YFT"}),
    ],
)
def test_a_filter_keeps_all_that_fit_and_no_others(store: Store, choice: Choice, column: str, values: set[Any]):
    found = choose(store.images, choice)
    assert len(found)
    assert set(store.images.loc[found, column]) == values
    if choice.guess is None:
        assert len(found) == store.images[column].isin(values).sum()


def test_errors_are_the_misclassified_and_those_of_high_loss(store: Store):
    wrong = store.images.loc[choose(store.images, Choice(wrong=True))]
    assert (wrong["guess"] != wrong["label"]).all()
    assert (wrong["label"] != "").all()
    assert len(wrong) + (store.images["guess"] == store.images["label"]).sum() == store.images["log_loss"].notna().sum()
    worst = store.images.loc[choose(store.images, Choice(above=2.0, order="log_loss"))]
    assert (worst["log_loss"] > 2).all()
    assert worst["log_loss"].is_monotonic_decreasing


def test_a_search_is_for_letters_not_for_a_pattern(store: Store):
    assert len(choose(store.images, Choice(search=" IMG_"))) == store.images.index.str.contains("img_").sum()
    assert choose(store.images, Choice(search="test_stg2/")).str.startswith("test_stg2/").all()
    assert choose(store.images, Choice(search=".*")).empty
    assert choose(store.images, Choice(search="(")).empty


def test_orders_put_what_has_no_loss_last_and_equals_by_name(store: Store):
    images = store.images
    assert choose(images, Choice()).is_monotonic_increasing
    by_loss = images.loc[choose(images, Choice(order="log_loss")), "log_loss"]
    assert by_loss.isna().to_numpy().argmax() == by_loss.notna().sum()
    by_boat = images.loc[choose(images, Choice(order="boat")), "boat"]
    assert by_boat.is_monotonic_increasing
    assert all(own.index.is_monotonic_increasing for _, own in by_boat.groupby(by_boat))
