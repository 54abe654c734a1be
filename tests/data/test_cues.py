from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fisheries.data.cues import KINDS, collect_cues, labeled_images, metadata_cues, read_features
from fisheries.data.photo_cues import BOX_CUES, FILE_CUES, PICTURE_CUES, find_photographs, photograph_cues
from fisheries.data.splits import usable_images
from fisheries.data.tables import read_manifest
from fisheries.schema import InputError

GRAY, RED, GREEN = (90, 90, 90), (250, 20, 20), (20, 250, 20)


def images_of(ids: list[str], **columns) -> pd.DataFrame:
    table = pd.DataFrame(index=pd.Index(ids, name="image_id", dtype="str"))
    defaults = {"subset": "train", "status": "ok", "label": "ALB", "path": "", "boat": "", "burst": "", "size_bytes": 0}
    return table.assign(**({**defaults, "width": 160, "height": 90} | columns))


def boxes_of(rows: list[tuple[str, float, float, float, float]], status: str = "ok") -> pd.DataFrame:
    columns = ["image_id", "left", "top", "box_width", "box_height"]
    return pd.DataFrame(rows, columns=columns).assign(source="", status=status).set_index("image_id")


Area = tuple[int, int, int, int]  # left, top, right, bottom


def draw(path: Path, *areas: Area, corner: Area | None = None, **options) -> str:
    picture = Image.new("RGB", (160, 90), GRAY)
    for area in areas:
        picture.paste(RED, area)
    if corner:
        picture.paste(GREEN, corner)
    picture.save(path, **({"quality": 95, "subsampling": 0} | options))
    return str(path)


def read_one(path: str, boxes: pd.DataFrame | None = None, **columns) -> dict[str, pd.DataFrame]:
    images = images_of(["a.jpg"], **columns)
    return photograph_cues(images, pd.Series([path], images.index), boxes, workers=1)


def pixels_of(table: pd.DataFrame, image_hw: tuple[int, int] = (18, 32)) -> np.ndarray:
    return table.iloc[0].to_numpy().reshape(*image_hw, 3)


def test_metadata_has_only_the_images_of_which_it_is_known():
    ids = ["img_00012.jpg", "0_img_07917.jpg", "deck.jpg", "test/7/x9y.jpg", f"img_{'9' * 400}.jpg"]
    images = images_of(ids, width=[4, 4, 0, 8, 4], height=[2, 2, 2, 2, 2], boat=["b", "", "", "c", "b"])
    cues = metadata_cues(images.assign(size_bytes=[24, 0, 5, 32, 8]))
    assert cues["image size"]["size"].to_dict() == {ids[0]: "4x2", ids[1]: "4x2", ids[3]: "8x2", ids[4]: "4x2"}
    assert cues["boat"]["boat"].to_dict() == {ids[0]: "b", ids[3]: "c", ids[4]: "b"}
    assert cues["file number"]["number"].to_dict() == {ids[0]: 12, ids[1]: 7917, ids[3]: 9}
    assert cues["file size"].loc[ids[0]].tolist() == [24, 3]
    assert list(cues["file size"].index) == [ids[0], ids[3], ids[4]]


def test_photographs_of_the_embedded_boats_have_every_cue(tables: tuple[pd.DataFrame, pd.DataFrame]):
    manifest, boxes = tables
    cues = collect_cues(manifest, boxes=boxes, workers=2)
    assert list(cues) == [name for name in KINDS if name != "linear probe"]
    images = usable_images(manifest)
    boxed = images.index[images.index.isin(boxes.index[boxes["status"].isin(["ok", "clipped"])])]
    for name, table in cues.items():
        assert list(table.index) == list(boxed if name in BOX_CUES else images.index), name
        assert table.notna().all(axis=None), name
    assert 0 < len(boxed) < len(images)
    assert cues["file size"].loc[images.index[0], "bytes"] == Path(images["path"].iloc[0]).stat().st_size


def test_without_photographs_there_are_metadata_cues_alone(tmp_path: Path):
    file = tmp_path / "images.csv"
    file.write_text("image_id,label,width,height\nimg_1.jpg,ALB,1280.0,720.0\nimg_2.jpg,YFT,1280.0,974.0\n")
    cues = collect_cues(read_manifest(file))
    assert {name: len(table) for name, table in cues.items()} == {
        "image size": 2,
        "boat": 0,
        "file number": 2,
        "file size": 0,
    }


def test_the_file_size_comes_from_the_photographs_only_where_the_manifest_has_none(tmp_path: Path):
    paths = [draw(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    images = images_of(["a.jpg", "b.jpg"], path=paths, label=["ALB", "YFT"])
    on_disk = Path(paths[0]).stat().st_size
    assert collect_cues(images)["file size"].loc["a.jpg"].tolist() == pytest.approx([on_disk, on_disk / 14400])
    assert collect_cues(images.assign(size_bytes=7))["file size"].loc["a.jpg", "bytes"] == 7


def test_the_fish_is_alone_in_its_crop_and_gone_from_the_painted_frame(tmp_path: Path):
    small, large = (10, 10, 30, 20), (60, 40, 120, 70)
    path = draw(tmp_path / "a.jpg", large, corner=small)
    boxes = boxes_of([("a.jpg", 10, 10, 20, 10), ("a.jpg", 60, 40, 60, 30)])
    cues = read_one(path, boxes)
    assert np.abs(pixels_of(cues["fish alone"])[1:-1, 1:-1] - RED).max() < 12
    assert np.abs(pixels_of(cues["frame without fish"]) - GRAY).max() < 25
    both_left = read_one(path, boxes.assign(status="outside"))
    assert set(both_left) == {*FILE_CUES, *PICTURE_CUES}


def test_boxes_are_scaled_from_the_manifest_s_frame(tmp_path: Path):
    path = draw(tmp_path / "a.jpg", (80, 0, 160, 90))
    right_half = boxes_of([("a.jpg", 640, 0, 640, 720)])
    alone = read_one(path, right_half, width=1280, height=720)["fish alone"]
    assert np.abs(pixels_of(alone)[:, 1:] - RED).max() < 12
    assert "fish alone" not in read_one(path, right_half, width=0, height=0)


@pytest.mark.parametrize(
    "box",
    [(159.9, 89.9, 0.1, 0.1), (0, 0, 0, 0), (0, 0, 160, 90), (-20, -5, 400, 300), (-30, -9, 4, 4), (200, 95, 9, 9)],
)
def test_a_box_of_any_size_leaves_a_crop(tmp_path: Path, box: tuple[float, float, float, float]):
    cues = read_one(draw(tmp_path / "a.jpg"), boxes_of([("a.jpg", *box)]))
    assert np.abs(pixels_of(cues["fish alone"]) - GRAY).max() < 3


def test_the_border_does_not_see_the_middle_and_the_rest_does(tmp_path: Path):
    plain = read_one(draw(tmp_path / "a.jpg"))
    middle = read_one(draw(tmp_path / "b.jpg", (20, 14, 140, 76)))
    np.testing.assert_allclose(plain["border"], middle["border"], atol=3)
    assert np.abs(plain["8 x 8 thumbnail"] - middle["8 x 8 thumbnail"]).max(axis=None) > 100
    edge = read_one(draw(tmp_path / "c.jpg", (0, 0, 160, 8)))
    assert np.abs(plain["border"] - edge["border"]).max(axis=None) > 100
    shares = middle["color histogram"].iloc[0].to_numpy() ** 2
    assert shares.sum() == pytest.approx(1)
    assert sorted(shares)[-2:] == pytest.approx([1 - 120 * 62 / 14400, 120 * 62 / 14400], abs=0.03)


def test_coding_and_exif_tell_how_a_file_was_written(tmp_path: Path):
    exif = Image.Exif()
    exif[271], exif[305] = "Maker", "Editor 2"
    paths = {
        "fine": draw(tmp_path / "fine.jpg"),
        "again": draw(tmp_path / "again.jpg", (0, 0, 50, 50)),
        "coarse": draw(tmp_path / "coarse.jpg", quality=40),
        "sampled": draw(tmp_path / "sampled.jpg", subsampling=2),
        "edited": draw(tmp_path / "edited.jpg", exif=exif),
        "png": str(tmp_path / "x.png"),
    }
    Image.new("RGB", (160, 90)).save(paths["png"])
    images = images_of(list(paths))
    cues = photograph_cues(images, pd.Series(paths))
    coding = cues["JPEG coding"].agg("/".join, axis=1)
    assert coding["fine"] == coding["again"] == coding["edited"]
    assert coding[["fine", "coarse", "sampled", "png"]].nunique() == 4
    assert cues["EXIF"].loc["edited"].tolist() == ["present", "Maker", "", "Editor 2"]
    assert set(cues["EXIF"].drop(index="edited")[0]) == {"absent"}
    assert cues["file size"].loc["fine"].tolist() == pytest.approx(
        [Path(paths["fine"]).stat().st_size, Path(paths["fine"]).stat().st_size / 14400], rel=1e-6
    )


def test_a_damaged_photograph_stops_by_name(tmp_path: Path):
    path = Path(draw(tmp_path / "a.jpg", quality=95))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"a\.jpg: .*replace the file or leave it out"):
        read_one(str(path))


def test_photographs_are_found_by_path_or_below_a_folder(tmp_path: Path):
    deep = tmp_path / "x" / "ALB"
    deep.mkdir(parents=True)
    (tmp_path / "x" / "YFT").mkdir()
    path = draw(deep / "a.jpg")
    draw(tmp_path / "x" / "YFT" / "a.jpg")
    draw(deep / "b.jpg")
    images = images_of(["ALB/a.jpg", "b.jpg", "gone.jpg"], path=[path, "", str(tmp_path / "gone.jpg")])
    assert find_photographs(images).to_dict() == {"ALB/a.jpg": path}
    assert find_photographs(images, tmp_path).to_dict() == {"ALB/a.jpg": path, "b.jpg": str(deep / "b.jpg")}
    assert find_photographs(images.assign(path="")).empty


def test_photographs_that_cannot_be_told_are_one_line(tmp_path: Path):
    (tmp_path / "x").mkdir()
    draw(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected the one in which"):
        find_photographs(images_of(["a.jpg"]), tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"x: none of the 1 photographs lies in it, such as 'a.jpg'; expected"):
        find_photographs(images_of(["a.jpg"]), tmp_path / "x")
    with pytest.raises(InputError, match=r"old/a.jpg: no such file, nor any of the 1 photographs .*; give the folder"):
        find_photographs(images_of(["a.jpg"], path="old/a.jpg"))
    with pytest.raises(InputError, match=r"a.jpg: could be 'ALB/a.jpg' or 'YFT/a.jpg'; expected files under"):
        find_photographs(images_of(["ALB/a.jpg", "YFT/a.jpg"]), tmp_path)
    draw(tmp_path / "x" / "a.jpg")
    with pytest.raises(InputError, match=r"'a.jpg' could be .*a.jpg or .*a.jpg; expected a folder with one of them"):
        find_photographs(images_of(["a.jpg"]), tmp_path)


def test_features_of_some_images_are_used_in_the_images_order(tmp_path: Path):
    path = tmp_path / "features.npz"
    values = np.arange(6, dtype=np.float16).reshape(3, 2)
    np.savez(path, features=values, image_id=np.array(["c.jpg", "other.jpg", "a.jpg"]))
    table = read_features(path, pd.Index(["a.jpg", "b.jpg", "c.jpg"]))
    assert list(table.index) == ["a.jpg", "c.jpg"]
    assert table.to_numpy().tolist() == [[4, 5], [0, 1]]
    assert set(table.dtypes) == {np.dtype("float32")}


IDS = np.array(["a.jpg", "b.jpg"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image_id": IDS}, "features is not a file in the archive; expected an .npz"),
        ({"features": np.ones((2, 3))}, "image_id is not a file in the archive; expected an .npz"),
        ({"features": np.ones(2), "image_id": IDS}, r"features have the shape \(2,\), image_id \(2,\); expected"),
        ({"features": np.ones((3, 2)), "image_id": IDS}, r"features have the shape \(3, 2\), image_id \(2,\)"),
        ({"features": np.ones((2, 0)), "image_id": IDS}, r"features have the shape \(2, 0\)"),
        ({"features": np.ones((2, 3)), "image_id": np.arange(2)}, "image_id of int64; expected .*, numbers and text"),
        ({"features": IDS[:, None], "image_id": IDS}, "features are of type <U5"),
        ({"features": np.ones((2, 3)), "image_id": IDS.astype(object)}, "can't be read .*expected .*, no objects"),
        (
            {"features": np.ones((2, 3)), "image_id": IDS[[0, 0]]},
            "'a.jpg' occurs more than once; 1 such rows; keep one",
        ),
        ({"features": [[1, 2], [1, np.nan]], "image_id": IDS}, "'b.jpg' has a feature that is not finite; 1 such rows"),
        ({"features": [[1, 1e300], [1, 2]], "image_id": IDS}, "'a.jpg' has a feature that is not finite"),
        (
            {"features": np.ones((1, 3)), "image_id": ["z.jpg"]},
            "none of its 1 ids, such as 'z.jpg', is among the images",
        ),
        (
            {"features": np.ones((0, 3)), "image_id": IDS[:0]},
            "none of its 0 ids is among the images; expected .*'a.jpg'",
        ),
    ],
)
def test_features_that_cannot_be_used_are_one_line(tmp_path: Path, arrays: dict, message: str):
    path = tmp_path / "features.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=rf"features\.npz: .*{message}") as caught:
        read_features(path, pd.Index(["a.jpg", "b.jpg"]))
    assert "\n" not in str(caught.value)


def test_a_file_of_features_that_is_no_npz_is_one_line(tmp_path: Path):
    path = tmp_path / "features.npz"
    with pytest.raises(InputError, match=r"features\.npz: no such file; expected an .npz with features"):
        read_features(path, pd.Index(["a.jpg"]))
    for content in (b"", b"nonsense", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"features\.npz: can't be read .*expected an .npz"):
            read_features(path, pd.Index(["a.jpg"]))
    with path.open("wb") as file:
        np.save(file, np.ones((2, 2)))
    with pytest.raises(InputError, match=r"features\.npz: can't be read .*expected an .npz"):
        read_features(path, pd.Index(["a.jpg"]))


def test_labels_that_allow_no_measure_are_one_line():
    images = images_of(["a.jpg", "b.jpg", "c.jpg"], label=["ALB", "", "ALB"])
    with pytest.raises(InputError, match="all 2 labeled images are of the class 'ALB'; expected two classes or more"):
        labeled_images(images)
    with pytest.raises(InputError, match="none of the 3 usable training images has a label; expected a column label"):
        labeled_images(images.assign(label=""))
    kept = labeled_images(images.assign(label=["ALB", "", "YFT"], burst=["", "", "b.jpg"]))
    assert kept["burst"].to_dict() == {"a.jpg": "a.jpg", "c.jpg": "b.jpg"}
