from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from typer.testing import CliRunner

from fisheries import compose, features, launch
from fisheries.cli import app
from fisheries.data import encoded
from fisheries.data.feature_store import PLAIN, open_store
from fisheries.data.transforms import eval_transform
from fisheries.features import View, frozen_store, weights_hash
from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet
from fisheries.predict import predict_folds
from fisheries.run import run
from fisheries.schema import OK, InputError, read_predictions, read_table

CONF = Path(__file__).resolve().parent.parent / "conf"
QUIET = Console(quiet=True)
FROZEN = [
    "model.backbone_frozen=true",
    "transform=none",
    "trainer.max_epochs=3",
    "model.options={widths:[8,16],depths:[1,1]}",
]


@pytest.fixture
def train(tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch):
    """Train on the tiny world in this process, and return the run's folder."""
    monkeypatch.chdir(tmp_path)

    def call(*overrides: str, name: str = "run") -> Path:
        OmegaConf.register_new_resolver("fisheries.run_dir", launch._run_dir, replace=True)
        given = {override.split("=")[0] for override in overrides}
        tiny = ["data=folder", f"data.root={world}", "data.image_hw=[32,48]", "data.workers=0", "split.folds=2"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra_compose("config", [*overrides, *(each for each in tiny if each.split("=")[0] not in given)])
        (tmp_path / name).mkdir()
        run(config, tmp_path / name, name=name, console=QUIET)
        return tmp_path / name

    return call


def losses(run_dir: Path) -> np.ndarray:
    return pd.read_csv(run_dir / "fold-0" / "epochs.csv")["val/log_loss"].to_numpy()


def test_stored_features_give_the_loss_of_the_frozen_backbone_within_float16(train, monkeypatch: pytest.MonkeyPatch):
    stored = losses(train(*FROZEN, name="stored"))
    monkeypatch.setattr(compose, "view_names", lambda config: [])
    assert np.abs(stored - losses(train(*FROZEN, name="seen"))).max() < 2e-3
    assert len(set(stored)) == 3


def test_a_second_run_on_the_same_photographs_computes_nothing(train, tmp_path: Path):
    train(*FROZEN, name="first")
    shards = {path: path.stat().st_mtime_ns for path in tmp_path.glob("tables/features-*/*.npy")}
    assert shards
    train(*FROZEN, "fold=1", "model.head=dense", "optimizer.lr=1e-2", name="second")
    assert shards == {path: path.stat().st_mtime_ns for path in tmp_path.glob("tables/features-*/*.npy")}


def test_other_pictures_or_another_head_that_takes_maps_have_a_store_of_their_own(train, tmp_path: Path):
    train(*FROZEN, name="features")
    train(*FROZEN, "data.image_hw=[32,64]", name="wider")
    train(*FROZEN, "model.head=fcn", "model.head_options={pools:null}", name="maps")
    assert len(list(tmp_path.glob("tables/features-*"))) == 3


def test_augmented_views_are_taken_in_turn_by_epochs(train, tmp_path: Path):
    run_dir = train("model.backbone_frozen=true", "model.views=2", FROZEN[2], FROZEN[3])
    stored = open_store(next(tmp_path.glob("tables/features-*")))
    manifest = read_table(run_dir / "manifest.csv", {"sha256": "str", "subset": "str", "status": "str"})
    readable = manifest[manifest["status"] == OK]
    plain = {key for key in stored.places if "/" not in key}
    assert plain == set(readable["sha256"])
    assert len(stored.places) - len(plain) == 2 * (readable["subset"] == "train").sum()
    views = [key for key in stored.places if key.startswith(manifest["sha256"].iloc[0])]
    assert len({stored.take(stored.locate([view])).tobytes() for view in views}) == 3


def test_features_that_memory_has_no_room_for_are_read_batch_by_batch(train, monkeypatch: pytest.MonkeyPatch):
    views = ["model.backbone_frozen=true", "model.views=2", FROZEN[2], FROZEN[3]]
    kept = losses(train(*views, name="kept"))
    monkeypatch.setattr(encoded, "IN_MEMORY", 0)
    assert (losses(train(*views, name="read")) == kept).all()


def small_net(seed: int = 0) -> FishNet:
    torch.manual_seed(seed)
    return FishNet(create_backbone("small_residual", options={"widths": [8, 16], "depths": [1, 1]}), classes=8)


def test_an_interrupted_computation_goes_on_where_it_was(tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = tables[0][tables[0]["status"] == OK]
    monkeypatch.setattr(features, "_SHARD_IMAGES", 10)
    made: list[int] = []
    whole = features.write_shard

    def dies_after_three(folder: Path, keys: list[str], values: np.ndarray) -> None:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(len(keys))
        whole(folder, keys, values)

    def compute() -> None:
        view = View(images, PLAIN, eval_transform(image_hw=(32, 48)))
        about = {"base": tmp_path, "device": torch.device("cpu"), "batch_size": 5, "workers": 0, "console": QUIET}
        frozen_store(small_net(), [view], about={"backbone": "small_residual"}, **about)

    monkeypatch.setattr(features, "write_shard", dies_after_three)
    with pytest.raises(KeyboardInterrupt):
        compute()
    written: list[str] = []
    monkeypatch.setattr(
        features, "write_shard", lambda folder, keys, values: (written.extend(keys), whole(folder, keys, values))
    )
    compute()
    assert len(written) == images["sha256"].nunique() - sum(made)


def test_views_are_made_of_photographs_folds_averaged_as_told_and_predict_says_the_same(
    train, world: Path, tmp_path: Path
):
    options = [*FROZEN[:2], "trainer.max_epochs=1", FROZEN[3]]
    plain = train(*options, name="plain")
    flipped = train(*options, "tta=flips", "fold_mean=geometric", "fold=all", name="flipped")
    np.testing.assert_array_equal(losses(plain), losses(flipped))  # held-out images are looked at once while it learns
    first, second = (read_predictions(flipped / f"fold-{number}" / "test.csv") for number in (0, 1))
    assert (first - read_predictions(plain / "test.csv").loc[first.index]).abs().to_numpy().max() > 1e-4
    mean, expected = read_predictions(flipped / "test.csv"), np.sqrt(first * second.loc[first.index])
    np.testing.assert_allclose(mean.loc[first.index], expected.div(expected.sum(axis=1), axis=0), rtol=1e-6)
    again = {}
    for chosen in ("", "--tta flips --fold-mean geometric", "--tta none", "--fold-mean arithmetic"):
        paths = [str(world / "test_stg1"), str(world / "test_stg2")]
        arguments = [
            "predict",
            str(flipped),
            *paths,
            *chosen.split(),
            "--workers",
            "0",
            "--out",
            str(tmp_path / "p.csv"),
        ]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        again[chosen] = read_predictions(tmp_path / "p.csv").loc[mean.index]
    np.testing.assert_allclose(again.pop(""), mean, atol=1e-6)
    np.testing.assert_allclose(again.pop("--tta flips --fold-mean geometric"), mean, atol=1e-6)
    assert all((table - mean).abs().to_numpy().max() > 1e-6 for table in again.values())
    outputs = predict_folds(flipped, tmp_path / "views", tta="flips", console=Console(quiet=True))
    for name in ("oof.csv", "test.csv", "fold-0/test.csv", "fold-1/test.csv"):
        of_run = read_predictions(flipped / name)
        np.testing.assert_allclose(read_predictions(tmp_path / "views" / name).loc[of_run.index], of_run, atol=1e-6)
    assert len(outputs.oof) == len(read_predictions(flipped / "oof.csv"))
    wrong = CliRunner().invoke(app, ["predict", str(flipped), str(world), "--tta", "flip"])
    assert "--tta flip: expected none, flips, d4, multiscale (did you mean 'flips'?)" in str(wrong.exception)


def test_a_network_that_takes_no_turned_pictures_is_refused_before_it_trains(train):
    options = ["model=timm", "model.backbone=vit_tiny_patch16_224", "model.options={img_size:[32,48]}"]
    with pytest.raises(InputError, match="tta=d4: vit_tiny_patch16_224 does not take views of 48x32 pixels"):
        train(*options, "model.pretrained=false", "tta=d4")


def test_one_changed_weight_is_another_backbone():
    net = small_net()
    before = weights_hash(net.backbone)
    assert before == weights_hash(small_net().backbone)
    with torch.no_grad():
        next(net.backbone.parameters()).view(-1)[0] += 1e-6
    assert weights_hash(net.backbone) != before


@pytest.fixture
def imported(tmp_path: Path, tables) -> Path:
    """A folder of features that tell a little, with the world's labels, boats and test images, and no photographs."""
    manifest = tables[0][tables[0]["status"] == OK]
    rng = np.random.default_rng(0)
    known = pd.get_dummies(manifest["label"].replace("", "ALB")).to_numpy(dtype=np.float32)
    np.savez(
        tmp_path / "f.npz", features=3 * known + rng.normal(size=known.shape), image_id=manifest.index.to_numpy("U")
    )
    manifest[["label", "boat", "subset", "height", "width"]].to_csv(tmp_path / "images.csv")
    arguments = ["features", "import", str(tmp_path / "f.npz"), "--manifest", str(tmp_path / "images.csv")]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "imported")])
    assert result.exit_code == 0, result.output
    assert "model=imported" in result.output
    return tmp_path / "imported"


def test_imported_features_go_all_the_way_to_a_submission(train, imported: Path, tmp_path: Path, tables):
    run_dir = train(
        "model=imported",
        f"data.root={imported}",
        "fold=all",
        "optimizer.lr=1e-2",
        "model.dropout=0.2",
        "model.epochs=20",
    )
    manifest = tables[0]
    oof = read_predictions(run_dir / "oof.csv")
    assert set(oof.index) == set(manifest.index[(manifest["subset"] == "train") & (manifest["status"] == OK)])
    record = json.loads((run_dir / "run.json").read_text())
    assert record["scores"]["unseen"]["log_loss"] < record["scores"]["unseen"]["prior_log_loss"]
    test_images = set(manifest.index[(manifest["subset"] != "train") & (manifest["status"] == OK)])
    assert set(read_predictions(run_dir / "test.csv").index) == test_images
    assert (tmp_path / "submissions" / "run.csv").is_file()
    assert (run_dir / "report.html").is_file()


def test_features_and_photographs_are_not_taken_for_one_another(train, imported: Path, world: Path):
    with pytest.raises(InputError, match="it holds imported features, no photographs: give model=imported"):
        train(f"data.root={imported}", name="a")
    with pytest.raises(InputError, match="there are no imported features: see `fisheries features import`"):
        train("model=imported", name="b")


def test_a_run_on_imported_features_says_that_it_sees_no_photographs(
    train, imported: Path, world: Path, tmp_path: Path
):
    run_dir = train("model=imported", f"data.root={imported}")
    result = CliRunner().invoke(app, ["predict", str(run_dir), str(world / "train"), "--out", str(tmp_path / "p.csv")])
    assert result.exit_code == 1
    assert "was trained on imported features, and can't see photographs" in str(result.exception)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.views=3"], "model.views=3: are augmented views that a frozen backbone sees once"),
        (
            ["model.views=3", "model.backbone_frozen=true", "transform=none"],
            "a transform that leaves something to chance",
        ),
        (["model.views=0", "model.backbone_frozen=true"], "model.views=0: expected a whole number from 1 to 1000"),
        (
            ["model.views=2", "model.backbone_frozen=true", "model.predict_box=true"],
            "boxes would not follow model.views",
        ),
        (["model=imported", "model.head=fcn"], "model=imported trains a head on features"),
        (["model.backbone_frozen=1"], "model.backbone_frozen=1: expected true or false"),
    ],
)
def test_settings_that_do_not_go_together_are_told_before_anything_is_read(train, overrides: list[str], message: str):
    with pytest.raises(InputError, match=message):
        train(*overrides)
