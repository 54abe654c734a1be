import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score

from fisheries.data import synthetic
from fisheries.data.synthetic import draw_competition, plan_competition
from fisheries.data.synthetic_deck import draw_boat
from fisheries.data.synthetic_plan import CLASS_COUNTS
from fisheries.data.synthetic_scene import _paste, _shadow, draw_frame
from fisheries.data.synthetic_species import SPECIES
from fisheries.schema import InputError

SMALL = {"train": 80, "stage1": 12, "stage2": 12, "boats": 6, "new_boats": 3}
FISH = [name for name in CLASS_COUNTS if name != "NoF"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "world"
    draw_competition(root, **SMALL, workers=1)
    return root


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def annotations(root: Path) -> dict[str, list[dict]]:
    return {path.name: json.loads(path.read_text()) for path in (root / "annotations").iterdir()}


def test_photographs_lie_where_kaggle_puts_them(world: Path) -> None:
    plan = plan_competition(**SMALL)
    assert sorted(path for path in content(world) if path.endswith(".jpg")) == sorted(plan["path"])
    assert sorted(folder.name for folder in (world / "train").iterdir()) == sorted(CLASS_COUNTS)
    assert (
        plan["path"]
        .str.fullmatch(
            r"train/(ALB|BET|DOL|LAG|NoF|OTHER|SHARK|YFT)/img_\d{5}\.jpg|test_stg1/img_\d{5}\.jpg|test_stg2/image_\d{5}\.jpg"
        )
        .all()
    )
    assert plan["stage"].value_counts().to_dict() == {"train": 80, "stg1": 12, "stg2": 12}


def test_photographs_have_the_size_that_is_planned(world: Path) -> None:
    plan = plan_competition(**SMALL)
    sizes = [cv2.imread(str(world / path)).shape for path in plan["path"]]
    assert sizes == [(height, width, 3) for height, width in zip(plan["height"], plan["width"], strict=True)]


def test_tables_name_the_images_as_the_submission_does(world: Path) -> None:
    plan = plan_competition(**SMALL)
    solution = read(world / "solution.csv").set_index("image")
    tests = plan[plan["stage"] != "train"]
    pd.testing.assert_frame_equal(solution.sort_index(), tests[["label", "stage"]].sort_index(), check_names=False)
    assert solution.index[solution["stage"] == "stg2"].str.startswith("test_stg2/image_").all()
    boats = read(world / "boats.csv").set_index("image_id")["boat"]
    assert sorted(boats.index) == sorted(plan.index)
    assert boats.groupby(plan["boat"].reindex(boats.index)).nunique().eq(1).all()


def test_sample_submission_states_the_training_frequencies(world: Path) -> None:
    sample = pd.read_csv(world / "sample_submission_stg1.csv")
    assert list(sample) == ["image", *CLASS_COUNTS]
    assert sorted(sample["image"]) == sorted(path.name for path in (world / "test_stg1").iterdir())
    frequencies = [len(list((world / "train" / name).iterdir())) / 80 for name in CLASS_COUNTS]
    np.testing.assert_allclose(sample[list(CLASS_COUNTS)], np.tile(frequencies, (12, 1)))


def test_same_seed_gives_same_bytes_with_any_number_of_workers(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "CHUNK", 7)  # so that a boat's images are drawn by several tasks
    draw_competition(tmp_path / "again", **SMALL, workers=2)
    assert content(tmp_path / "again") == content(world)


def test_other_seed_gives_another_world() -> None:
    first, second = plan_competition(seed=0), plan_competition(seed=1)
    assert list(first.index) != list(second.index)
    decks = [draw_boat(width=320, height=180, rng=np.random.default_rng([seed, 1, 0])).background for seed in (0, 1)]
    assert np.abs(decks[0].astype(int) - decks[1]).mean() > 10


def test_stage_2_comes_from_new_boats() -> None:
    boats = plan_competition().groupby("stage")["boat"].unique()
    assert set(boats["stg1"]) <= set(boats["train"])
    assert len(boats["train"]) == 20
    assert len(boats["stg2"]) == 10
    assert not set(boats["stg2"]) & set(boats["train"])


@pytest.mark.parametrize("column", ["boat", "width", "is_night"])
def test_class_is_independent_of_all_else_without_leak(column: str) -> None:
    plan = plan_competition(train=20000, leak=0).query("stage == 'train'").drop_duplicates("burst")
    assert mutual_info_score(plan["label"], plan[column]) < 0.015


def test_leak_ties_class_to_boat() -> None:
    information = []
    for leak in (0, 0.5, 0.8, 1):
        plan = plan_competition(train=8000, leak=leak).query("stage == 'train'")
        information.append(mutual_info_score(plan["label"], plan["boat"]))
    assert information == sorted(information)
    assert information[-1] > 0.7


def test_full_leak_keeps_classes_to_few_boats() -> None:
    plan = plan_competition(leak=1).query("stage == 'train'")
    boats = plan.groupby("label")["boat"].nunique()
    assert boats["LAG"] == 3
    assert boats[["SHARK", "DOL", "OTHER", "BET"]].max() <= 6
    assert plan.groupby("boat")["label"].nunique().le(3).mean() > 0.8
    assert plan.groupby(["width", "height"])["label"].nunique().min() == 1


@pytest.mark.parametrize("leak", [0, 0.8, 1])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_every_class_is_frequent_and_on_three_boats(leak: float, seed: int) -> None:
    plan = plan_competition(leak=leak, seed=seed).query("stage == 'train'")
    classes = plan.groupby("label")["boat"].agg(["nunique", "size"])
    assert len(classes) == 8
    assert classes["nunique"].min() >= 3
    assert classes["size"].min() >= 25
    assert plan["boat"].nunique() == 20


def test_every_class_is_on_three_training_boats_in_the_smallest_world() -> None:
    for seed in range(20):
        plan = plan_competition(train=40, stage1=8, stage2=8, boats=5, new_boats=2, seed=seed)
        assert plan.query("stage == 'train'").groupby("label")["boat"].nunique().min() >= 3


def test_class_mixes_differ_between_the_stages_as_the_real_ones_do() -> None:
    plan = plan_competition(train=4000, stage2=4000)
    share = plan.groupby("stage")["label"].value_counts(normalize=True)
    for name, train, stage2 in (("BET", 0.053, 0.108), ("LAG", 0.031, 0.047), ("SHARK", 0.047, 0.012)):
        assert share["train", name] == pytest.approx(train, abs=0.003)
        assert share["stg2", name] == pytest.approx(stage2, abs=0.003)


def test_sizes_are_the_real_ones_divided_by_four() -> None:
    plan = plan_competition()
    assert plan.groupby("boat")["width"].nunique().max() == 1
    sizes = plan[plan["stage"] == "train"].drop_duplicates("boat")[["width", "height"]].value_counts()
    assert set(sizes.index) == {
        *((320, 180), (320, 187), (320, 243), (319, 179), (298, 167)),
        *((320, 231), (379, 213), (433, 243), (333, 187), (311, 175)),
    }
    assert sizes.index[0] == (320, 180)


def test_half_of_the_images_are_in_bursts_that_keep_to_a_boat_and_a_class() -> None:
    plan = plan_competition(train=4000).query("stage == 'train'")
    size = plan.groupby("burst")["path"].transform("size")
    assert 0.4 < (size > 1).mean() < 0.6
    assert size.max() == 5
    assert plan.groupby("burst")[["boat", "label", "is_night"]].nunique().max().max() == 1


def test_numbers_tell_neither_class_nor_burst() -> None:
    plan = plan_competition(train=4000).query("stage != 'stg2'")
    number = plan["path"].str.extract(r"(\d{5})", expand=False).astype(int)
    assert number.is_unique
    ordered = plan.iloc[number.argsort()]
    assert (ordered["burst"].diff() == 0).mean() < 0.01
    halves = ordered["label"].iloc[:2200].value_counts() / ordered["label"].value_counts()
    assert halves.between(0.35, 0.65).all()


def test_a_burst_is_nearly_one_picture_and_its_boats_background_stays(world: Path) -> None:
    plan = plan_competition(**SMALL)
    images = {path: cv2.imread(str(world / path)).astype(float) for path in plan["path"]}
    by_day = plan[~plan["is_night"] & (plan["stage"] == "train")]
    bursts = [list(rows["path"]) for _, rows in by_day.groupby("burst") if len(rows) > 1]
    within = np.mean([np.abs(images[paths[0]] - images[paths[1]]).mean() for paths in bursts])
    moments = [list(rows["path"]) for _, rows in by_day.drop_duplicates("burst").groupby("boat") if len(rows) > 1]
    between = np.mean([np.abs(images[paths[0]] - images[paths[1]]).mean() for paths in moments])
    strangers = np.mean(
        [
            np.abs(images[first[0]][:160, :290] - images[second[0]][:160, :290]).mean()
            for first in moments
            for second in moments
            if first is not second
        ]
    )
    assert 1 < within < 0.75 * between
    assert between < 0.75 * strangers


def test_boxes_are_on_known_images_with_the_real_files_faults(world: Path) -> None:
    plan = plan_competition(**SMALL).query("stage == 'train'")
    files = annotations(world)
    assert sorted(files) == sorted(f"{name.lower()}_labels.json" for name in FISH)
    unknown, empty, leaving, in_folder = 0, 0, 0, 0
    for label in FISH:
        entries = files[f"{label.lower()}_labels.json"]
        names = [entry["filename"].rpartition("/")[2] for entry in entries]
        assert set(plan.index[plan["label"] == label]) <= set(names)
        in_folder += sum(entry["filename"].startswith(f"../data/train/{label}/") for entry in entries)
        for name, entry in zip(names, entries, strict=True):
            assert set(entry) == {"class", "filename", "annotations"}
            unknown += name not in plan.index
            empty += not entry["annotations"]
            width = plan["width"].get(name, 400)
            leaving += any(box["x"] + box["width"] > width for box in entry["annotations"])
    assert (unknown, in_folder) == (1, int(plan["label"].isin(["OTHER", "SHARK", "YFT"]).sum()))
    assert 1 <= empty <= 4
    assert 1 <= leaving <= 4


@pytest.mark.parametrize("label", FISH)
def test_a_box_holds_the_fish_and_nothing_else(label: str) -> None:
    """The pictures with and without fish of one moment differ inside the boxes (and by shadows around them)."""
    boat = draw_boat(width=320, height=180, rng=np.random.default_rng(3))
    for moment in range(4):
        seeds = {"is_night": False, "companion": "ALB", "scene": (1, moment), "frame": (2, moment)}
        image, boxes = draw_frame(boat, label=label, **seeds)
        empty, none = draw_frame(boat, label="NoF", **seeds)
        assert boxes
        assert none == []
        changed = np.abs(cv2.blur(image, (3, 3)).astype(int) - cv2.blur(empty, (3, 3))).max(axis=2) > 30
        inside = np.zeros_like(changed)
        for left, top, width, height in boxes:
            assert 0 <= left < left + width <= 320
            assert 0 <= top < top + height <= 180
            inside[int(top) : int(top + height) + 1, int(left) : int(left + width) + 1] = True
        assert changed[inside].mean() > 0.1
        assert changed[~inside].mean() < 0.05


def test_every_class_with_fish_has_a_species() -> None:
    assert list(SPECIES) == FISH


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("leak", 1.5, r"leak=1\.5 is not in \[0, 1\]"),
        ("leak", float("nan"), r"leak=nan is not in \[0, 1\]"),
        ("train", 39, "train=39 is too small: at least 40"),
        ("stage1", 7, "stage1=7 is too small: at least 8"),
        ("stage2", 0, "stage2=0 is too small: at least 8"),
        ("boats", 2, "boats=2 is too small: at least 3"),
        ("boats", 30, "boats=30 is too many for train=80: at least 4 images a boat; give fewer boats or more train"),
        ("new_boats", 0, "new_boats=0 is too small: at least 1"),
        ("seed", -1, "seed=-1 is negative"),
        ("workers", 0, "workers=0 is too small: at least 1"),
    ],
)
def test_a_bad_setting_is_refused(name: str, value: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        draw_competition(tmp_path / "world", **(SMALL | {name: value}))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        draw_competition(tmp_path, **SMALL)
    assert content(tmp_path) == {"mine.txt": b"mine"}


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def interrupt(*args: object, **kwargs: object) -> list[object]:
        done.append(args)
        if len(done) == 5:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(synthetic, "_draw_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_competition(tmp_path / "world", **SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_the_module_opens_without_torch() -> None:
    code = "import sys, fisheries.data.synthetic; print(sorted({'torch', 'albumentations', 'timm', 'rich'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("at", [(500, 50), (-500, 50), (100, 600), (100, -400), (195, 95)])
def test_a_fish_beside_the_frame_is_not_seen_and_one_at_its_edge_in_part(at: tuple[int, int]):
    canvas = np.zeros((100, 200, 3), np.uint8)
    alpha, colors = np.full((40, 40), 255, np.uint8), np.full((40, 40, 3), 200, np.uint8)
    _shadow(canvas, alpha, np.array(at, float))
    seen = _paste(canvas, colors, alpha, np.array(at, float))
    assert seen.sum() == (25 * 25 if at == (195, 95) else 0)
    assert (canvas[seen] == 200).all()
    assert not canvas[~seen].any()
