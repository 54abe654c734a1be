import json
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fisheries import schema
from fisheries.data.annotations import STATUSES, read_annotations
from fisheries.schema import USABLE, InputError

HEIGHT, WIDTH = 100, 200


def image(path: str, label: str = "ALB", *, status: str = "ok", subset: str = "train") -> dict[str, object]:
    size = {"height": HEIGHT, "width": WIDTH} if status == "ok" else {"height": 0, "width": 0}
    rest = {"sha256": "", "notes": "", "boat": "", "burst": "", "is_night": False, "size_bytes": 1, "mtime_ns": 1}
    return {"path": f"/data/{path}", "subset": subset, "label": label, "status": status, **size, **rest}


def manifest(**images: dict[str, object]) -> pd.DataFrame:
    table = pd.DataFrame(list(images.values()), index=pd.Index(list(images), name="image_id", dtype="str"))
    return table[list(schema.MANIFEST)].astype(dict(schema.MANIFEST))


ONE = manifest(a=image("train/ALB/a"))


def rect(x: object = 10, y: object = 20, width: object = 30, height: object = 40) -> dict[str, object]:
    return {"class": "rect", "x": x, "y": y, "width": width, "height": height}


def entry(name: str, *rectangles: dict[str, object]) -> dict[str, object]:
    return {"class": "image", "filename": name, "annotations": list(rectangles)}


def written(folder: Path, *entries: object, name: str = "alb_labels.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(list(entries)))
    return path


def statuses(folder: Path, *rectangles: dict[str, object], table: pd.DataFrame = ONE) -> list[str]:
    return read_annotations([written(folder, entry("a", *rectangles))], table, "NoF")["status"].tolist()


def test_a_rectangle_becomes_one_row_in_frame_pixels(tmp_path: Path) -> None:
    boxes = read_annotations([written(tmp_path, entry("a", rect(1.5, 2, 3, 4.25)))], ONE, "NoF")
    assert list(boxes.columns) == list(schema.BOXES)
    assert boxes.reset_index().to_dict("records") == [
        {
            "image_id": "a",
            "left": 1.5,
            "top": 2.0,
            "box_width": 3.0,
            "box_height": 4.25,
            "source": "alb_labels.json",
            "status": "ok",
        }
    ]


def test_table_comes_back_the_same_from_disk_even_without_rows(tmp_path: Path) -> None:
    file = written(tmp_path, entry("a", rect(), rect(0.1 + 0.2), rect(x=None)), entry("NA", rect()))
    for files in ([file], []):
        boxes = read_annotations(files, ONE, "NoF")
        path = schema.write_table(boxes, tmp_path / "boxes.csv")
        pd.testing.assert_frame_equal(schema.read_table(path, schema.BOXES, unique=False), boxes)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ((-5, -6, 20, 30), (0, 0, 15, 24)),
        ((190, 90, 20, 30), (190, 90, 10, 10)),
        ((-10, -10, 1000, 1000), (0, 0, WIDTH, HEIGHT)),
        ((0, 0, 1e308, 1e308), (0, 0, WIDTH, HEIGHT)),
    ],
)
def test_box_that_leaves_the_frame_is_cut_and_used(
    tmp_path: Path, drawn: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    boxes = read_annotations([written(tmp_path, entry("a", rect(*drawn)))], ONE, "NoF")
    assert boxes["status"].tolist() == ["clipped"]
    assert tuple(boxes[["left", "top", "box_width", "box_height"]].iloc[0]) == expected


def test_box_that_fills_the_frame_is_ok(tmp_path: Path) -> None:
    assert statuses(tmp_path, rect(0, 0, WIDTH, HEIGHT)) == ["ok"]


@pytest.mark.parametrize("corner", [(WIDTH, 0), (0, HEIGHT), (-30, 0), (0, -40), (1e308, 0), (-1e308, 0)])
def test_box_with_nothing_in_the_frame_is_outside(tmp_path: Path, corner: tuple[float, float]) -> None:
    assert statuses(tmp_path, rect(*corner)) == ["outside"]


def test_box_without_area_is_empty_and_one_with_a_negative_side_negative(tmp_path: Path) -> None:
    boxes = [rect(width=0), rect(height=0.0), rect(width=-1), rect(height=-0.5), rect(width=0, height=-1)]
    assert statuses(tmp_path, *boxes) == ["empty", "empty", "negative", "negative", "negative"]


@pytest.mark.parametrize(
    "value", [None, "12", "", True, [1], {}, math.nan, math.inf, -math.inf, 10**400], ids=lambda value: repr(value)[:9]
)
@pytest.mark.parametrize("side", ["x", "y", "width", "height"])
def test_box_with_a_side_that_is_no_finite_number_is_nan(tmp_path: Path, value: object, side: str) -> None:
    assert statuses(tmp_path, rect() | {side: value}) == ["nan"]


def test_box_that_lacks_a_key_is_nan(tmp_path: Path) -> None:
    assert statuses(tmp_path, {"class": "rect", "x": 1, "y": 2, "width": 3}, {}) == ["nan", "nan"]


def test_box_of_an_image_that_is_not_in_train_is_kept_with_its_name(tmp_path: Path) -> None:
    table = manifest(a=image("train/ALB/a"), b=image("test_stg1/b", "", subset="test_stg1"))
    file = written(tmp_path, entry("b", rect()), entry("../gone.jpg", rect()))
    assert read_annotations([file], table, "NoF")["status"].to_dict() == {"b": "no_image", "gone.jpg": "no_image"}


def test_box_of_an_image_without_fish_is_not_a_fish(tmp_path: Path) -> None:
    table = manifest(a=image("train/NoF/a", "NoF"), b=image("train/ALB/b"))
    file = written(tmp_path, entry("a", rect()), entry("b", rect()))
    assert read_annotations([file], table, "NoF")["status"].to_dict() == {"a": "not_fish", "b": "ok"}
    assert read_annotations([file], table, "ALB")["status"].to_dict() == {"a": "ok", "b": "not_fish"}
    assert read_annotations([file], table, "")["status"].to_dict() == {"a": "ok", "b": "ok"}


@pytest.mark.parametrize("status", ["truncated", "conflict", "duplicate"])
def test_box_of_an_unusable_image_is_unusable(tmp_path: Path, status: str) -> None:
    assert statuses(tmp_path, rect(), table=manifest(a=image("train/ALB/a", status=status))) == ["bad_image"]


@pytest.mark.parametrize("name", ["a", "train/ALB/a", "../data/train/ALB/a", "C:\\fish\\ALB\\a", "./x\\y/a"])
def test_folders_before_a_name_are_ignored(tmp_path: Path, name: str) -> None:
    assert read_annotations([written(tmp_path, entry(name, rect()))], ONE, "NoF").index.tolist() == ["a"]


def test_folder_decides_only_between_images_of_the_same_name(tmp_path: Path) -> None:
    table = manifest(**{"ALB/a": image("train/ALB/a"), "YFT/a": image("train/YFT/a", "YFT")})
    names = ["a", "../train/ALB/a", "x\\YFT\\a", "DOL/a"]
    file = written(tmp_path, *(entry(name, rect(number)) for number, name in enumerate(names)))
    boxes = read_annotations([file], table, "NoF")
    found = {int(row["left"]): (image_id, row["status"]) for image_id, row in boxes.iterrows()}
    assert found == {0: ("a", "ambiguous"), 1: ("ALB/a", "ok"), 2: ("YFT/a", "ok"), 3: ("a", "ambiguous")}


def test_the_same_rectangle_again_is_a_duplicate_within_and_across_files(tmp_path: Path) -> None:
    first = written(tmp_path, entry("a", rect(1), rect(1), rect(-1)), entry("x/a", rect(1)), name="1.json")
    second = written(tmp_path, entry("a", rect(1), rect(-1), rect(2)), name="2.json")
    boxes = read_annotations([second, first], ONE, "NoF")
    assert boxes["source"].tolist() == ["1.json"] * 4 + ["2.json"] * 3
    assert boxes["status"].tolist() == ["ok", "duplicate", "clipped"] + ["duplicate"] * 3 + ["ok"]


def test_the_same_rectangle_on_two_images_is_no_duplicate(tmp_path: Path) -> None:
    table = manifest(a=image("train/ALB/a"), b=image("train/ALB/b"))
    boxes = read_annotations([written(tmp_path, entry("b", rect()), entry("a", rect()))], table, "NoF")
    assert boxes["status"].to_dict() == {"a": "ok", "b": "ok"}


def test_order_of_the_files_makes_no_difference(tmp_path: Path) -> None:
    table = manifest(**{name: image(f"train/ALB/{name}") for name in "abc"})
    files = [
        written(tmp_path, *(entry(name, rect(number), rect(9)) for name in "cab"), name=f"{number}.json")
        for number in range(3)
    ]
    boxes = read_annotations(files, table, "NoF")
    pd.testing.assert_frame_equal(read_annotations(files[::-1], table, "NoF"), boxes)
    assert boxes.index.is_monotonic_increasing


def test_images_without_rectangles_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    boxes = read_annotations([written(tmp_path, entry("a"), entry("b"), entry("a", rect()))], ONE, "NoF")
    assert len(boxes) == 1
    assert "1 rectangles in 3 images, 2 images without" in caplog.text


def test_points_are_not_taken_for_rectangles(tmp_path: Path) -> None:
    assert statuses(tmp_path, {"class": "point", "x": 1, "y": 2}, rect()) == ["ok"]


def test_strange_names_match_their_image(tmp_path: Path) -> None:
    names = ["NA", "None", "two words\n.jpg", "épée 魚.jpg", "[red].jpg", 'a"b,c.jpg']
    table = manifest(**{name: image(f"train/ALB/{name}") for name in names})
    boxes = read_annotations([written(tmp_path, *(entry(name, rect()) for name in names))], table, "NoF")
    assert boxes["status"].to_dict() == dict.fromkeys(names, "ok")


def test_half_a_character_in_a_name_can_be_written_to_a_table(tmp_path: Path) -> None:
    boxes = read_annotations([written(tmp_path, entry("\ud800.jpg", rect()))], ONE, "NoF")
    schema.write_table(boxes, tmp_path / "boxes.csv")
    assert boxes["status"].to_dict() == {"\\ud800.jpg": "no_image"}


def test_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = written(tmp_path, entry("a", rect()))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_annotations([file], ONE, "NoF")["status"].tolist() == ["ok"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "not JSON"),
        ("image_id,left\n", "not JSON"),
        ("[{]", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[" + "9" * 5000 + "]", "not JSON"),
        ("\xff\xfe\xff", "not JSON"),
        ('{"images": [], "annotations": []}', "holds a dict"),
        ("3", "holds a int"),
        ("[3]", "entry 1 is a int"),
        ('[{"filename": "a", "annotations": []}, {}]', "entry 2 has filename None"),
        ('[{"filename": 7, "annotations": []}]', "entry 1 has filename 7"),
        ('[{"filename": "a/", "annotations": []}]', "entry 1 has filename 'a/'"),
        ('[{"filename": "a"}]', "entry 1 ('a') has no list of annotations"),
        ('[{"filename": "a", "annotations": {"x": 1}}]', "entry 1 ('a') has no list of annotations"),
        ('[{"filename": "a", "annotations": [[1, 2, 3, 4]]}]', "entry 1 ('a') has no list of annotations"),
    ],
    ids=range(15),
)
def test_file_of_another_shape_is_refused_in_one_line(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read_annotations([path], ONE, "NoF")
    message = str(caught.value)
    assert message.startswith(f"{path}: {found}")
    assert 'expected a list of {"class": "image"' in message
    assert "\n" not in message


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: can't be read \(No such file"):
        read_annotations([tmp_path / "none.json"], ONE, "NoF")


SIDES = st.one_of(
    st.floats(), st.integers(-300, 300), st.floats(-300, 300), st.sampled_from([0, WIDTH, HEIGHT, None, "1"])
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), max_size=8))
def test_usable_boxes_have_an_area_within_their_frame(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[object, ...]]
) -> None:
    file = written(tmp_path_factory.getbasetemp(), entry("a", *(rect(*sides) for sides in drawn)))
    boxes = read_annotations([file], ONE, "NoF")
    assert len(boxes) == len(drawn)
    assert set(boxes["status"]) <= set(STATUSES)
    usable = boxes[boxes["status"].isin(USABLE)]
    assert not usable.duplicated().any() or (usable["status"] == "clipped").any()
    assert (usable[["box_width", "box_height"]] > 0).all(axis=None)
    assert (usable[["left", "top"]] >= 0).all(axis=None)
    assert (usable["left"] + usable["box_width"] <= WIDTH + 1e-9).all()
    assert (usable["top"] + usable["box_height"] <= HEIGHT + 1e-9).all()
