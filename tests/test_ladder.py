from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from rich.console import Console
from scipy.special import softmax

from fisheries import ladder
from fisheries.inference.outputs import Outputs, read_outputs, write_outputs
from fisheries.inference.scoring import read_solution
from fisheries.schema import InputError, table_hash, write_predictions

SILENT = Console(quiet=True)
# how much the true class stands out of the noise, by what a run was asked for
SKILL = {"weak": 0.8, "strong": 1.6, "tta=flips": 0.2, "pseudo": -0.6}


@pytest.fixture(scope="module")
def truth(tables, world) -> pd.Series:
    manifest, _ = tables
    return pd.concat(
        [manifest.loc[manifest["subset"] == "train", "label"], read_solution(world / "solution.csv")["label"]]
    )


@pytest.fixture
def trained(make_outputs, truth, world, monkeypatch) -> list[str]:
    """Replace training by predictions of known skill; the names of the runs, in order."""
    said, overrides = [], {}

    def train(run_dir: Path, given: list[str], *, console: Console) -> Outputs:
        overrides[run_dir] = given
        skill = sum(value for name, value in SKILL.items() if any(name in word for word in given))
        rng = np.random.default_rng(len(said))

        def predict(index: pd.Index, classes: list[str]) -> np.ndarray:
            hits = (truth.loc[index].to_numpy()[:, None] == np.array(classes)).astype(float)
            return softmax(skill * hits + 0.5 * rng.standard_normal(hits.shape), axis=1)

        outputs = make_outputs(predict)
        write_outputs(outputs, run_dir, step={})
        for fold in range(3):
            table = make_outputs(predict).test
            write_predictions(table, run_dir / f"fold-{fold}" / "test.csv", folds_hash=table_hash(outputs.folds))
        OmegaConf.save({"data": {"root": str(world)}, "model": {"backbone": "small_residual"}}, run_dir / "config.yaml")
        said.append(f"{run_dir.name}: {' '.join(given)}")
        return read_outputs(run_dir / "oof.csv")

    def predict_folds(run_dir: Path, out: Path, *, tta: str, console: Console) -> Outputs:
        return train(out, [*overrides[run_dir], f"tta={tta}"], console=console)

    monkeypatch.setattr(ladder, "_train", train)
    monkeypatch.setattr(ladder, "predict_folds", predict_folds)
    return said


def test_a_ladder_keeps_what_helps_on_oof_and_says_the_truth_of_every_step(trained, tmp_path):
    table = ladder.climb(["weak", "strong"], tmp_path, common=["split.folds=3"], console=SILENT).set_index("step")
    assert list(table.index[:3]) == ["constant prior", "recipe 2", "tta=flips"]
    assert (
        table["kept"].to_dict() | {"tta=flips": True, "pseudo-labels": False, "constant prior": False}
        == table["kept"].to_dict()
    )
    kept = table[table["kept"]]
    assert kept["oof_log_loss"].is_monotonic_decreasing
    assert (table[["stg1", "stg2"]] > 0).all().all()
    best = read_outputs(tmp_path / "best" / "oof.csv")
    assert ladder.log_loss(best.oof, best.labels) == pytest.approx(kept["oof_log_loss"].iloc[-1])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "ladder.csv").set_index("step"), table)


def test_the_second_round_is_trained_on_pseudo_labels_of_the_best_run_with_its_test_time_augmentation(
    trained, tmp_path
):
    ladder.climb(["weak", "strong"], tmp_path, common=["split.folds=3"], console=SILENT)
    assert trained == [
        "run-1: split.folds=3 weak fold=all",
        "run-2: split.folds=3 strong fold=all",
        "run-1-flips: split.folds=3 weak fold=all tta=flips",
        "run-2-flips: split.folds=3 strong fold=all tta=flips",
        f"run-1-pseudo: split.folds=3 weak fold=all pseudo={tmp_path / 'pseudo.csv'} tta=flips",
        f"run-2-pseudo: split.folds=3 strong fold=all pseudo={tmp_path / 'pseudo.csv'} tta=flips",
    ]
    assert set(pd.read_csv(tmp_path / "pseudo.csv")["source"]) == {str(tmp_path / "run-2-flips")}


def test_one_recipe_and_a_training_that_fails_are_one_line(tmp_path, capfd):
    with pytest.raises(InputError, match="--recipe was given 1 times; an ensemble is made of two"):
        ladder.climb(["model=resnet18"], tmp_path, console=SILENT)
    with pytest.raises(InputError, match=r"run-1: its training ended with 1, for the reason above"):
        ladder.climb(["model=resnet1", "model=resnet18"], tmp_path, console=SILENT)
    assert "did you mean model=resnet18" in capfd.readouterr().err


def test_a_folder_begun_with_another_recipe_is_refused(trained, tmp_path, monkeypatch):
    ladder.climb(["weak", "strong"], tmp_path, console=SILENT)
    monkeypatch.undo()
    OmegaConf.save({"overrides": ["weak", "fold=all"]}, tmp_path / "run-1" / "config.yaml")
    with pytest.raises(
        InputError, match=r"run-1: was begun with weak fold=all, now it is other fold=all .*; give another --out"
    ):
        ladder.climb(["other", "strong"], tmp_path, console=SILENT)


def test_without_views_and_with_features_made_elsewhere_that_step_is_left_out(trained, tmp_path):
    table = ladder.climb(["weak", "strong"], tmp_path, tta="none", console=SILENT)
    assert table["step"].tolist()[:3] == ["constant prior", "recipe 2", "ensemble of 2"]
    assert [line for line in trained if "tta" in line and "pseudo" not in line] == []
    with pytest.raises(InputError, match="--tta flip: expected none, flips, d4, multiscale"):
        ladder.climb(["weak", "strong"], tmp_path, tta="flip", console=SILENT)
