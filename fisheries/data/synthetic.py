"""Draw a small synthetic competition in Kaggle's layout: boats that never move, classes that keep to them, new boats.

`plan_competition` decides everything that can be said in a table; `draw_competition` draws it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from fisheries.data.synthetic_deck import Boat, draw_boat
from fisheries.data.synthetic_fish import Rng
from fisheries.data.synthetic_plan import CLASS_COUNTS, NO_FISH, plan_competition, shares_of
from fisheries.data.synthetic_scene import Box, draw_frame
from fisheries.schema import KEY, InputError

__all__ = ["draw_competition", "plan_competition"]

JPEG_QUALITY = 88
CHUNK = 32  # images drawn by one task
# As in the real box files: these classes' file names have a folder in front.
FOLDER_CLASSES = ("OTHER", "SHARK", "YFT")
FAULT_SHARE = 0.02  # of the images with fish have an empty list, as many a box that leaves the frame

Chunk = tuple[Path, int, pd.DataFrame]  # root, seed, some rows of a plan, of one boat


def draw_competition(
    root: Path,
    *,
    train: int = 800,
    stage1: int = 100,
    stage2: int = 200,
    boats: int = 20,
    new_boats: int = 10,
    leak: float = 0.8,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Draw a synthetic competition under `root`, as Kaggle lays it out, with its solution and its boats.

    Photographs: `train/<CLASS>/`, `test_stg1/`, `test_stg2/`. Beside them: `annotations/<class>_labels.json` (frame
    pixels; no file for NoF), `sample_submission_stg1.csv`, `solution.csv` (image, label, stage) and `boats.csv`
    (image_id, boat). The same seed gives the same bytes, whatever `workers` is.

    Args:
        root: the folder to make; it may exist if it is empty.
        train: see `plan_competition`, as for all up to `seed`.
        stage1: see there.
        stage2: see there.
        boats: see there.
        new_boats: see there.
        leak: see there.
        seed: see there.
        workers: processes that draw, 1 for this one; None for up to one a core. A script that draws by several must
            be a file and start under `if __name__ == "__main__"`, since they import it.
        progress: whether to show a bar.

    Raises:
        InputError: as `plan_competition`; `workers` is below 1; or `root` exists and is not an empty folder.
    """
    plan = plan_competition(
        train=train, stage1=stage1, stage2=stage2, boats=boats, new_boats=new_boats, leak=leak, seed=seed
    )
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers} is too small: at least 1; give 1 to draw in this process")
    root = _free(Path(root))
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
    try:
        boxes = _draw_images(temporary, plan, seed=seed, workers=workers, progress=progress)
        _write_tables(temporary, plan)
        _write_annotations(temporary, plan, boxes, rng=np.random.default_rng([seed, 4]))
        temporary.chmod(0o755)
        temporary.replace(root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _free(root: Path) -> Path:
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root}: exists and is not an empty folder; give a new path or remove it")
    return root


def _draw_images(
    root: Path, plan: pd.DataFrame, *, seed: int, workers: int | None, progress: bool
) -> dict[str, list[Box]]:
    """Draw all photographs below `root` and return their boxes by `image_id`."""
    for folder in {Path(path).parent for path in plan["path"]}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    numbered = plan.assign(number=np.arange(len(plan)))
    chunks = [
        (root, seed, group.iloc[start : start + CHUNK])
        for _, group in numbered.groupby("boat")
        for start in range(0, len(group), CHUNK)
    ]
    if workers is None:  # a process takes a second to start, the time of some 40 images
        workers = max(1, min(os.cpu_count() or 1, len(plan) // 150))
    boxes: dict[str, list[Box]] = {}
    with ExitStack() as stack:
        advance = _bar(len(plan), stack) if progress else None
        for drawn in _map(chunks, workers=workers, stack=stack):
            boxes.update(drawn)
            if advance:
                advance(len(drawn))
    return boxes


def _map(chunks: list[Chunk], *, workers: int, stack: ExitStack) -> Iterator[dict[str, list[Box]]]:
    if workers == 1:
        return map(_draw_chunk, chunks)
    # a forked process could inherit the locks of threads that torch or cv2 started
    context = multiprocessing.get_context("spawn")
    return stack.enter_context(ProcessPoolExecutor(workers, mp_context=context)).map(_draw_chunk, chunks)


def _bar(total: int, stack: ExitStack) -> Callable[[int], None]:
    from fisheries.progress import IMAGES, progress_bar

    bar = stack.enter_context(progress_bar())
    task = bar.add_task("Drawing", total=total, unit=IMAGES)
    return lambda count: bar.advance(task, count)


def _draw_chunk(chunk: Chunk) -> dict[str, list[Box]]:
    """Draw some photographs of one boat."""
    root, seed, rows = chunk
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        first = rows.iloc[0]
        boat = draw_boat(
            width=int(first["width"]),
            height=int(first["height"]),
            rng=np.random.default_rng([seed, 1, int(first["boat"])]),
        )
        return {str(row.Index): _draw_image(root, boat, row, seed=seed) for row in rows.itertuples()}
    finally:
        cv2.setNumThreads(threads)


def _draw_image(root: Path, boat: Boat, row: Any, *, seed: int) -> list[Box]:
    image, boxes = draw_frame(
        boat,
        label=row.label,
        is_night=row.is_night,
        companion=_companion(seed=seed, burst=row.burst),
        scene=(seed, 2, row.burst),
        frame=(seed, 3, row.number),
    )
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    (root / row.path).write_bytes(data.tobytes())
    return boxes


def _companion(*, seed: int, burst: int) -> str:
    """Choose the kind of a smaller fish by the training frequencies, whatever the boat and the main fish."""
    shares = shares_of({name: count for name, count in CLASS_COUNTS.items() if name != NO_FISH})
    return str(np.random.default_rng([seed, 5, burst]).choice(list(shares), p=list(shares.values())))


def _write_tables(root: Path, plan: pd.DataFrame) -> None:
    train, stage1 = plan[plan["stage"] == "train"], plan[plan["stage"] == "stg1"]
    frequencies = train["label"].value_counts(normalize=True)
    sample = pd.DataFrame({name: frequencies[name] for name in CLASS_COUNTS}, index=stage1.index)
    _write(sample, root / "sample_submission_stg1.csv", key="image")
    _write(plan.loc[plan["stage"] != "train", ["label", "stage"]], root / "solution.csv", key="image")
    boats = "boat_" + plan["boat"].astype(str).str.zfill(2)
    _write(boats.to_frame("boat").sort_index(), root / "boats.csv", key=KEY)


def _write(table: pd.DataFrame, path: Path, *, key: str) -> None:
    path.write_bytes(table.to_csv(index_label=key, lineterminator="\n").encode())


def _write_annotations(root: Path, plan: pd.DataFrame, boxes: dict[str, list[Box]], *, rng: Rng) -> None:
    """Write the community's box files, with the faults that the real ones have."""
    train = plan[plan["stage"] == "train"]
    with_fish = [name for name, label in train["label"].items() if label != NO_FISH]
    shown = _faulty(plan, {str(name): boxes[name] for name in with_fish}, rng=rng)
    (root / "annotations").mkdir()
    for label in CLASS_COUNTS:
        if label == NO_FISH:
            continue
        folder = f"../data/train/{label}/" if label in FOLDER_CLASSES else ""
        images = [_annotation(folder + name, shown[name]) for name in train.index[train["label"] == label]]
        if label == "ALB":
            images.append(_annotation(f"img_{99999:05d}.jpg", [(1.0, 1.0, 20.0, 10.0)]))
        (root / "annotations" / f"{label.lower()}_labels.json").write_text(json.dumps(images, indent=1))


def _faulty(plan: pd.DataFrame, boxes: dict[str, list[Box]], *, rng: Rng) -> dict[str, list[Box]]:
    """Empty the list of some images, and push a box of some others over the frame's right edge."""
    few = max(1, round(FAULT_SHARE * len(boxes)))
    names = [name for name in boxes if boxes[name]]
    chosen = [names[i] for i in rng.permutation(len(names))[: 2 * few]]
    pushed = {}
    for name in chosen[few:]:
        (left, top, _, height), *others = boxes[name]
        pushed[name] = [(left, top, float(plan.loc[name, "width"]) - left + 4.5, height), *others]
    return boxes | {name: [] for name in chosen[:few]} | pushed


def _annotation(filename: str, boxes: list[Box]) -> dict[str, Any]:
    rectangles = [
        {"class": "rect", "height": height, "width": width, "x": left, "y": top} for left, top, width, height in boxes
    ]
    return {"annotations": rectangles, "class": "image", "filename": filename}
