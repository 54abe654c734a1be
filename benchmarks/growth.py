"""How time and memory grow with the number of photographs, from the manifest to tables of predictions.

    python benchmarks/growth.py [--sizes 1000,4000,16000] [--same-boats] [--repetitions 1] [--json FILE] [--quick]

Photographs are those of embedded boats, again and again with other things in the way: of the same 40 boats whatever their
number, and in the rows "more boats" of a boat for 25 photographs. Each step runs in a process of its own on what the steps
before it left, and its growth is judged by the seconds of all cores, which others on the machine disturb least.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
from measured import Row, arguments
from numpy.typing import NDArray
from rich.table import Table

from fisheries.console import make_console
from fisheries.data.boats import find_boats
from fisheries.data.bursts import find_bursts
from fisheries.data.manifest import scan
from fisheries.data.splits import check_folds, make_folds
from fisheries.data.synthetic import draw_competition
from fisheries.data.tables import read_manifest
from fisheries.data.thumbnails import load_thumbnails
from fisheries.progress import track
from fisheries.schema import read_predictions, table_hash, write_predictions, write_table

WORLD = {"train": 160, "stage1": 8, "stage2": 8, "boats": 40, "new_boats": 1}
PICTURE_HW = (90, 160)
MOMENT = 3  # frames
CLASSES = ["ALB", "BET", "DOL", "LAG", "NoF", "OTHER", "SHARK", "YFT"]
SAME, MORE = "", ", more boats"
PER_BOAT = 25  # photographs, where there are more and more boats
ALIKE = ("manifest", "manifest, again", "thumbnails", "predictions")  # in which boats are nothing but words
UNITS = {"seconds": "s", "cpu_seconds": "s", "peak_mb": "MB"}
NOISE = 0.1  # by which an exponent may be above that of n log n
Pixels = NDArray[np.uint8]


def main() -> None:
    parser = arguments(__doc__, repetitions=1)
    parser.add_argument("--sizes", default="1000,4000,16000", help="numbers of photographs, two or more")
    parser.add_argument("--same-boats", action="store_true", help='without the rows "more boats"')
    given = parser.parse_args()
    sizes = [500, 2000] if given.quick else [int(size) for size in given.sizes.split(",")]
    with TemporaryDirectory() as name:
        worlds = draw_worlds(Path(name), sizes, [SAME] if given.same_boats else [SAME, MORE])
        turns = [
            (step, fleet, size)
            for _ in range(1 if given.quick else given.repetitions)
            for fleet, size in worlds
            for step in STEPS
            if fleet == SAME or step not in ALIKE
        ]
        console = make_console()
        shown = track(turns, "Measuring", console=console, disable=not console.is_terminal)
        measured = [
            {"name": step + fleet, "images": size, **measure(step, worlds[fleet, size])} for step, fleet, size in shown
        ]
    table = pd.DataFrame(measured).groupby(["name", "images"], sort=False).median()
    console.print(view(table))
    if given.json is not None:
        given.json.write_text(json.dumps(rows_of(table), indent=1) + "\n")


def draw_worlds(folder: Path, sizes: Sequence[int], fleets: Sequence[str]) -> dict[tuple[str, int], Path]:
    """Draw a folder of photographs for each fleet and size."""
    base = draw_boats(folder / "base")
    return {
        (fleet, size): draw_world(
            folder / f"{size}{fleet}", base, size, boats=len(base) if fleet == SAME else size // PER_BOAT
        )
        for size in sizes
        for fleet in fleets
    }


def draw_boats(root: Path) -> list[list[Pixels]]:
    """Draw embedded boats once, and return the photographs of each."""
    draw_competition(root, **WORLD, leak=0.8, seed=0, workers=1)
    boats = pd.read_csv(root / "boats.csv", dtype=str).set_index("image_id")["boat"]
    paths = sorted((root / "train").rglob("*.jpg"))
    pictures = {path.name: cv2.resize(cv2.imread(str(path)), PICTURE_HW[::-1]) for path in paths}
    return [[pictures[name] for name in names] for names in boats[list(pictures)].groupby(boats).groups.values()]


def draw_world(root: Path, base: list[list[Pixels]], size: int, *, boats: int) -> Path:
    """Write photographs of as many boats into the folders that a scan expects."""
    for name in CLASSES:
        (root / "photographs" / "train" / name).mkdir(parents=True)
    for number in range(size):
        moment = number // MOMENT
        folder = root / "photographs" / "train" / CLASSES[moment * 7919 % 104729 % len(CLASSES)]
        picture = draw_frame(base, moment % boats, moment, number % MOMENT)
        cv2.imwrite(str(folder / f"img_{number:06}.jpg"), picture)
    table = scan(root / "photographs", previous=None, workers=4, progress=False)
    write_table(table, root / "manifest.csv")
    load_thumbnails(table, root / "thumbnails.npz", workers=4)
    return root


def draw_frame(base: list[list[Pixels]], boat: int, moment: int, frame: int) -> Pixels:
    """Draw one frame of a moment on a boat; beyond those drawn, boats are others' pictures wrapped around."""
    own = base[boat % len(base)]
    picture = np.roll(own[moment % len(own)], 7 * (boat // len(base)), axis=1)
    rng = np.random.default_rng([boat, moment])
    for _ in range(4):  # people and things
        height, width = (int(side) for side in rng.integers(10, 40, 2))
        top, left = (int(rng.integers(0, most - side)) for most, side in zip(PICTURE_HW, (height, width), strict=True))
        blot = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        picture[top : top + height, left : left + width] = cv2.resize(blot, (width, height))
    return np.roll(picture, frame, axis=0)


def measure(step: str, root: Path) -> dict[str, float]:
    """Return what a step takes in a process of its own: seconds, those of all cores together, and MB with the libraries."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__"])  # imports once
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, step, root).result()


def _measure(step: str, root: Path) -> dict[str, float]:
    work = STEPS[step](root)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    work()
    return {
        "seconds": time.perf_counter() - began_s,
        "cpu_seconds": time.process_time() - began_cpu_s,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Return the most memory that this process has had; `getrusage` would count that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def scan_photographs(root: Path) -> Callable[[], object]:
    def work() -> None:
        table = scan(root / "photographs", previous=None, workers=4, progress=False)
        write_table(table, root / "manifest.csv")

    return work


def read_again(root: Path) -> Callable[[], object]:
    previous = read_manifest(root / "manifest.csv")
    return partial(scan, root / "photographs", previous=previous, workers=4, progress=False)


def shrink(root: Path) -> Callable[[], object]:
    manifest = read_manifest(root / "manifest.csv")
    (root / "thumbnails.npz").unlink(missing_ok=True)
    return partial(load_thumbnails, manifest, root / "thumbnails.npz", workers=4)


def join_bursts(root: Path) -> Callable[[], object]:
    manifest = read_manifest(root / "manifest.csv")
    pictures = load_thumbnails(manifest, root / "thumbnails.npz")
    return lambda: find_bursts(manifest, pictures).to_csv(root / "bursts.csv")


def discover_boats(root: Path) -> Callable[[], object]:
    manifest = read_manifest(root / "manifest.csv")
    pictures = load_thumbnails(manifest, root / "thumbnails.npz")
    return lambda: find_boats(manifest, pictures).to_csv(root / "boats.csv")


def draw_folds(root: Path) -> Callable[[], object]:
    manifest = read_manifest(root / "manifest.csv")
    found = {name: pd.read_csv(root / f"{name}s.csv", index_col="image_id")[name] for name in ("boat", "burst")}
    manifest = manifest.assign(**found)

    def work() -> None:
        folds = make_folds(manifest, split="boat", folds=5, seed=0)
        check_folds(folds, manifest)
        write_table(folds, root / "folds.csv")

    return work


def pass_predictions(root: Path) -> Callable[[], object]:
    ids = read_manifest(root / "manifest.csv").index
    table = pd.DataFrame(np.random.default_rng(0).dirichlet(np.ones(len(CLASSES)), len(ids)), ids, CLASSES)

    def work() -> None:
        write_predictions(table, root / "oof.csv", folds_hash=table_hash(table))
        read_predictions(root / "oof.csv")

    return work


STEPS = {
    "manifest": scan_photographs,
    "manifest, again": read_again,
    "thumbnails": shrink,
    "bursts": join_bursts,
    "boats": discover_boats,
    "folds": draw_folds,
    "predictions": pass_predictions,
}


def exponent(table: pd.DataFrame) -> tuple[float, float]:
    """Fit time = a * images ** exponent to the sizes (the index), and return it, and what n log n would have."""
    images = np.log(table.index.to_numpy(dtype=np.float64))
    found, allowed = (
        np.polyfit(images, values, 1)[0] for values in (np.log(table["cpu_seconds"]), images + np.log(images))
    )
    return float(found), float(allowed)


def verdict(found: float, allowed: float) -> str:
    return "no faster than n log n" if found <= allowed + NOISE else "FASTER than n log n"


def rows_of(table: pd.DataFrame) -> list[Row]:
    """Return rows for JSON: what each step takes at each size, and how that grows."""
    rows = []
    for (name, images), values in table.iterrows():
        for column, unit in UNITS.items():
            title = f"{name}, {images:,} images"
            rows.append(
                {"part": column, "name": title, "value": values[column], "unit": unit, "ratio": None, "against": ""}
            )
    for name, part in table.groupby("name", sort=False):
        found, allowed = exponent(part.droplevel("name"))
        row = {"part": "growth", "name": name, "value": found, "unit": "exponent"}
        rows.append(row | {"ratio": found / allowed, "against": "n log n", "verdict": verdict(found, allowed)})
    return rows


def view(table: pd.DataFrame) -> Table:
    """Show a row a step."""
    sizes = table.index.unique("images")
    shown = Table("", *(f"{size:,} photographs" for size in sizes), "exponent", "n log n has", "")
    for name, part in table.groupby("name", sort=False):
        part = part.droplevel("name")
        found, allowed = exponent(part)
        cells = [f"{part['cpu_seconds'][size]:.2f} s {part['peak_mb'][size]:.0f} MB" for size in sizes]
        shown.add_row(name, *cells, f"{found:.2f}", f"{allowed:.2f}", verdict(found, allowed))
    return shown


if __name__ == "__main__":
    main()
