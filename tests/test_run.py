from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from fisheries.schema import FOLDS, MANIFEST, read_folds_hash, read_predictions, read_table
from tests.conftest import run_dir
from tests.processes import FISHERIES, call


def test_a_run_leaves_its_configuration_tables_curves_weights_and_scores(finished):
    run = run_dir(finished[0])
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    expected = {
        "config.yaml",
        "manifest.csv",
        "boxes.csv",
        "folds.csv",
        "curves.png",
        "scores.csv",
        "run.json",
        "oof.csv",
        "seen.csv",
        "test.csv",
        "report.html",
    }
    for fold in (0, 1):
        expected |= {
            f"fold-{fold}/{name}"
            for name in ("best.ckpt", "last.ckpt", "epochs.csv", "sizes.json", "oof.csv", "seen.csv", "test.csv")
        }
    assert expected <= files
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["classes"][:3] == ["ALB", "BET", "DOL"]
    assert "${" not in (run / "config.yaml").read_text()
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_all_folds_together_hold_out_every_training_image_once(finished):
    run = run_dir(finished[0])
    oof = read_predictions(run / "oof.csv")
    manifest = read_table(run / "manifest.csv", MANIFEST)
    assert sorted(oof.index) == sorted(manifest.index[(manifest["subset"] == "train") & (manifest["status"] == "ok")])
    folds = read_table(run / "folds.csv", FOLDS)
    for number in (0, 1):
        part = read_predictions(run / f"fold-{number}" / "oof.csv")
        assert list(part.index) == list(folds.index[folds["fold"] == number])


def test_test_predictions_are_the_mean_over_folds(finished):
    run = run_dir(finished[0])
    first, second, mean = (read_predictions(run / name) for name in ("fold-0/test.csv", "fold-1/test.csv", "test.csv"))
    np.testing.assert_allclose(mean, (first + second.loc[first.index]) / 2, rtol=1e-9)
    assert len(mean) == 30


def test_a_run_says_its_scores_on_unseen_and_seen_boats_beside_the_constant_priors(finished):
    folder, printed = finished
    run = run_dir(folder)
    scores = pd.read_csv(run / "scores.csv").set_index(["part", "by", "name"]).sort_index()
    assert set(scores.index.get_level_values("part")) == {"unseen", "seen"}
    whole = scores.loc[("unseen", "all", "all")]
    assert whole["images"] == 96
    assert whole["boats"] == 8
    assert whole["low"] < whole["log_loss"] < whole["high"]
    assert 0 <= whole["box_iou"] <= 1
    assert len(scores.loc[("unseen", "boat")]) == 8
    record = json.loads((run / "run.json").read_text())
    assert record["scores"]["unseen"]["log_loss"] == pytest.approx(whole["log_loss"])
    assert set(record["test"]) == {"stg1", "stg2", "all"}
    assert record["forecast"]["new_boats"] == 3
    assert re.search(r"unseen +96 +8 +\d\.\d+ +\d\.\d+ to \d\.\d+", printed)
    assert re.search(
        r"The leak is \d\.\d+: a split that knows the boats would have promised|No leak to be seen", printed
    )
    *_, forecast, submission, stage1, stage2, report = printed.strip().splitlines()
    assert re.search(
        r"Forecast for the 3 new boats in test: log loss \d\.\d+, 90 % interval \d\.\d+ to \d\.\d+", forecast
    )
    assert re.search(r"Submission: submissions/\S+\.csv \(30 rows\)", submission)
    assert re.search(r"stage 1, boats of training: log loss \d\.\d+, constant prior \d\.\d+", stage1)
    assert re.search(r"stage 2, boats never seen: log loss \d\.\d+, constant prior \d\.\d+", stage2)
    assert report == f"Report: {run / 'report.html'}"


def test_the_sample_of_seen_boats_is_predicted_by_networks_that_know_their_boats_and_not_the_images(finished):
    run = run_dir(finished[0])
    seen = read_predictions(run / "seen.csv")
    folds = read_table(run / "folds.csv", FOLDS)
    manifest = read_table(run / "manifest.csv", MANIFEST)
    assert 2 <= len(seen) <= 20
    for number in (0, 1):
        part = read_predictions(run / f"fold-{number}" / "seen.csv")
        assert (folds.loc[part.index, "seen_fold"] == number).all()
        assert (folds.loc[part.index, "fold"] != number).all()
        trained = folds.index[(folds["fold"] != number) & (folds["seen_fold"] != number)]
        assert set(manifest.loc[part.index, "boat"]) <= set(manifest.loc[trained, "boat"])
        assert not set(manifest.loc[part.index, "burst"]) & set(manifest.loc[trained, "burst"])


def test_prediction_tables_carry_the_hash_of_the_folds(finished):
    run = run_dir(finished[0])
    record = json.loads((run / "run.json").read_text())
    for name in ("oof.csv", "seen.csv", "test.csv", "fold-0/oof.csv", "fold-1/test.csv"):
        assert read_folds_hash(run / name) == record["folds"]
    (notes,) = (finished[0] / "submissions").glob("*.json")
    assert json.loads(notes.read_text())["runs"][0]["folds_hash"] == record["folds"]


def test_checkpoints_say_what_they_were_trained_on_and_need_no_unpickling(finished):
    run = run_dir(finished[0])
    record = json.loads((run / "run.json").read_text())
    checkpoint = torch.load(run / "fold-0" / "best.ckpt", weights_only=True)
    assert checkpoint["fisheries"]["folds"] == record["folds"]
    assert checkpoint["fisheries"]["manifest"] == record["manifest"]


def test_the_submission_is_what_the_check_and_the_score_want(finished, world: Path, tmp_path: Path):
    folder, _ = finished
    (submission,) = (folder / "submissions").glob("*.csv")
    notes = json.loads(submission.with_suffix(".json").read_text())
    assert notes["rows"] == 30
    scored = call(FISHERIES, "score", submission, world / "solution.csv", cwd=tmp_path).stdout
    assert "stg1" in scored
    assert "stg2" in scored
    sample = world / "sample_submission_stg1.csv"
    arguments = ["submit", run_dir(folder) / "test.csv", "--sample", sample, "--out", tmp_path / "s.csv"]
    printed = call(FISHERIES, *arguments, cwd=tmp_path).stdout
    assert "s.csv (12 rows)" in printed
    assert "18 predictions of the other stage are left out" in printed
    assert "names, columns, values and sums are as the competition wants them" in printed


def test_predicting_again_from_the_folder_gives_the_same_predictions_and_boxes(finished, world: Path, tmp_path: Path):
    run = run_dir(finished[0])
    arguments = [run, world / "test_stg1", world / "test_stg2", "--out", tmp_path / "again.csv", "--workers", 0]
    call(FISHERIES, "predict", *arguments, cwd=tmp_path, fresh=True)
    again, first = read_predictions(tmp_path / "again.csv"), read_predictions(run / "test.csv")
    np.testing.assert_allclose(again.loc[first.index], first, rtol=1e-5, atol=1e-7)
    boxes = pd.read_csv(tmp_path / "again_boxes.csv", index_col="image_id")
    assert sorted(boxes.index) == sorted(first.index)


def test_a_photograph_that_cannot_be_read_gets_the_prior_and_is_named(finished, world: Path, tmp_path: Path):
    run = run_dir(finished[0])
    photos = tmp_path / "photos"
    photos.mkdir()
    good = next((world / "test_stg1").iterdir())
    (photos / "good.jpg").write_bytes(good.read_bytes())
    (photos / "cut.jpg").write_bytes(good.read_bytes()[:2000])
    printed = call(FISHERIES, "predict", run, photos, "--workers", 0, cwd=tmp_path).stdout
    assert "1 files can't be read and get the prior" in printed
    assert "cut.jpg: truncated" in printed
    table = read_predictions(tmp_path / "predictions.csv")
    manifest = read_table(run / "manifest.csv", MANIFEST)
    frequencies = manifest.loc[manifest["subset"] == "train", "label"].value_counts(normalize=True)
    np.testing.assert_allclose(table.loc["cut.jpg"], frequencies[table.columns])


def test_two_runs_with_one_seed_are_identical_and_another_seed_is_not(train_py, tmp_path: Path):
    train_py("data.workers=0")
    train_py("data.workers=1", fresh=True)  # and so with hashes of its own
    train_py("seed=1")
    one, two, other = (
        run / "oof.csv" for run in sorted((tmp_path / "runs").iterdir(), key=lambda run: run.stat().st_ctime)
    )
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes() != other.read_bytes()


def test_a_multirun_trains_every_combination_into_a_folder_of_its_own(train_py, tmp_path: Path):
    train_py("-m", "model.head=linear,dense", "logger=none")
    (sweep,) = (tmp_path / "multirun").iterdir()
    assert sorted(folder.name for folder in sweep.iterdir() if folder.is_dir()) == ["0", "1"]
    heads = [yaml.safe_load((sweep / job / "config.yaml").read_text())["model"]["head"] for job in ("0", "1")]
    assert heads == ["linear", "dense"]
    assert len(list((tmp_path / "submissions").glob("*.csv"))) == 2


def test_without_test_images_there_are_scores_and_no_submission(train_py, tmp_path: Path, world: Path):
    crops = tmp_path / "crops"
    crops.mkdir()
    (crops / "train").symlink_to(world / "train")
    answer = train_py(f"data.root={crops}", f"data.boats={world / 'boats.csv'}")
    assert "On boats it has not trained on" in answer.stdout
    assert "Submission" not in answer.stdout
    assert not (tmp_path / "submissions").exists()


def test_fast_dev_run_writes_no_predictions(train_py, tmp_path: Path):
    answer = train_py("trainer.fast_dev_run=true")
    assert "nothing is predicted or written" in answer.stdout
    assert not list((tmp_path / "runs").rglob("oof.csv"))


def test_a_search_for_the_learning_rate_draws_what_it_found_and_trains_nothing(train_py, tmp_path: Path):
    answer = train_py("find_lr=true", "fold=all", "ema=0.9", "data.batch_size=4")
    run = run_dir(tmp_path)
    (suggested,) = re.findall(r"the loss falls fastest at optimizer.lr=(\S+) ", answer.stdout)
    table = pd.read_csv(run / "lr_find.csv")
    assert len(table) == 100
    assert float(suggested) == pytest.approx(
        table["lr"].iloc[(table["lr"] - float(suggested)).abs().argmin()], rel=0.05
    )
    assert (run / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    files = {path.name for path in run.rglob("*")}
    assert files == {"config.yaml", "manifest.csv", "boxes.csv", "folds.csv", "lr_find.csv", "lr_find.png"}
    assert not (tmp_path / "submissions").exists()


def test_it_runs_without_held_out_batches(train_py, tmp_path: Path):
    train_py("trainer.limit_val_batches=0")
    assert (run_dir(tmp_path) / "oof.csv").is_file()


def test_two_processes_train_together_and_hold_out_each_image_once(train_py, tmp_path: Path):
    train_py("trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp")
    run = run_dir(tmp_path)
    oof = read_predictions(run / "oof.csv")
    folds = read_table(run / "folds.csv", FOLDS)
    assert sorted(oof.index) == sorted(folds.index[folds["fold"] == 0])


def test_holdout_boats_are_scored_by_the_mean_of_all_folds_and_trained_on_by_none(train_py, tmp_path: Path):
    train_py("fold=all", "split.holdout=1", "split.seen_share=0")
    run = run_dir(tmp_path)
    folds, manifest = read_table(run / "folds.csv", FOLDS), read_table(run / "manifest.csv", MANIFEST)
    (boat,) = set(manifest.loc[folds.index[folds["fold"] == -1], "boat"])
    holdout = read_predictions(run / "holdout.csv")
    assert set(manifest.loc[holdout.index, "boat"]) == {boat}
    first, second = (read_predictions(run / f"fold-{number}" / "holdout.csv") for number in (0, 1))
    np.testing.assert_allclose(holdout, (first + second.loc[first.index]) / 2, rtol=1e-9)
    assert set(pd.read_csv(run / "scores.csv")["part"]) == {"unseen", "holdout"}
    assert not (run / "seen.csv").exists()


def test_a_random_split_says_that_its_score_is_not_one_of_unseen_boats(train_py, tmp_path: Path):
    printed = train_py("split=random").stdout
    assert "No boat is kept apart, so new boats will score far worse than this: use split=boat" in printed
    assert "Forecast" not in printed
    assert set(pd.read_csv(run_dir(tmp_path) / "scores.csv")["part"]) == {"seen"}


def test_the_folds_of_a_run_can_be_used_by_another(train_py, finished, tmp_path: Path):
    run = run_dir(finished[0])
    train_py("split=file", f"split.file={run / 'folds.csv'}", "split.folds=null")
    record = json.loads((run / "run.json").read_text())
    assert read_folds_hash(run_dir(tmp_path) / "oof.csv") == record["folds"]


def test_the_leak_meter_says_how_well_a_runs_features_tell_the_boat(finished, tmp_path: Path):
    run = run_dir(finished[0])
    printed = call(FISHERIES, "leakage", run / "manifest.csv", "--run", run, cwd=tmp_path).stdout
    assert re.search(r"The run's features tell 8 boats apart in \d+% of the images", " ".join(printed.split()))


def test_a_report_can_be_written_anew(finished, tmp_path: Path):
    run = run_dir(finished[0])
    (run / "report.html").unlink()
    assert "report.html" in call(FISHERIES, "report", run, cwd=tmp_path).stdout
    assert "unseen boats" in (run / "report.html").read_text()
