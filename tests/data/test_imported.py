from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fisheries.data.imported import import_features, is_imported, read_imported
from fisheries.schema import InputError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    names = ["a.jpg", "b.jpg", "c.jpg", "test_stg2/x.jpg", "y.jpg"]
    values = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float16)
    np.savez(tmp_path / "seen.npz", features=values, image_id=np.array(names))
    table = pd.DataFrame({"image_id": [*names[::-1], "gone.jpg"], "label": ["", "", "ALB", "BET", "ALB", "BET"]})
    table.assign(boat=["", "", "1", "2", "-1", "2"]).to_csv(tmp_path / "images.csv", index=False)
    return tmp_path / "seen.npz", tmp_path / "images.csv", values


def test_features_are_joined_to_images_by_id_and_not_by_position(files: tuple[Path, Path, np.ndarray], tmp_path: Path):
    npz, csv, values = files
    import_features(npz, csv, tmp_path / "out")
    manifest, stored = read_imported(tmp_path / "out")
    order = ["a.jpg", "b.jpg", "c.jpg", "test_stg2/x.jpg", "y.jpg"]
    assert (stored.take(stored.locate(manifest.loc[order, "sha256"].tolist())) == values.astype(np.float32)).all()
    assert manifest.loc[order, "label"].tolist() == ["ALB", "BET", "ALB", "", ""]
    assert manifest.loc[order, "boat"].tolist() == ["", "2", "1", "", ""]


def test_images_without_a_label_are_test_images_of_their_stage(files: tuple[Path, Path, np.ndarray], tmp_path: Path):
    rows = import_features(files[0], files[1], tmp_path / "out")
    assert rows["subset"].to_dict() == {
        "a.jpg": "train",
        "b.jpg": "train",
        "c.jpg": "train",
        "test_stg2/x.jpg": "test_stg2",
        "y.jpg": "test_stg1",
    }
    assert rows.attrs["without"] == 1


def test_importing_again_replaces_and_a_foreign_folder_is_left_alone(
    files: tuple[Path, Path, np.ndarray], tmp_path: Path
):
    for _ in range(2):
        import_features(files[0], files[1], tmp_path / "out")
    assert is_imported(tmp_path / "out")
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="photos: is there already, and no folder of imported features"):
        import_features(files[0], files[1], tmp_path / "photos")
    assert not list((tmp_path / "photos").iterdir())


def test_importing_narrower_features_leaves_nothing_of_the_wider_ones(
    files: tuple[Path, Path, np.ndarray], tmp_path: Path
):
    import_features(files[0], files[1], tmp_path / "out")
    np.savez(files[0], features=files[2][:, :3], image_id=np.load(files[0])["image_id"])
    import_features(files[0], files[1], tmp_path / "out")
    assert read_imported(tmp_path / "out")[1].shape == (3,)
    assert len(list((tmp_path / "out").glob("*.npy"))) == 1


def test_a_lost_shard_is_told_by_the_name_of_an_image(files: tuple[Path, Path, np.ndarray], tmp_path: Path):
    import_features(files[0], files[1], tmp_path / "out")
    next((tmp_path / "out").glob("*.keys")).unlink()
    with pytest.raises(InputError, match=r"out: 'y\.jpg' has no features; 5 such images; import them anew"):
        read_imported(tmp_path / "out")
