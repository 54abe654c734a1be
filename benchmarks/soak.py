"""Runs killed with SIGKILL at random moments, in every phase, end to the bit as the same runs left alone.

python benchmarks/soak.py [--kills 24] [--seed 0] [--workers 2] [--out FOLDER] [--json FILE] [--quick]

A kill waits for a phase drawn by chance (a cache that fills, a checkpoint that is being written …) and a moment more.
After it every file of the run must be readable; in the end weights, predictions and submission must be those of the
other run, and nothing may lie about: no half-written file, no process. Temporary files go to another file system.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fisheries.data.synthetic import draw_competition  # noqa: E402
from tests.processes import TRAIN, Forked, begin, call  # noqa: E402 - programs that need not import torch anew

SMALL = ["data=folder", "data.image_hw=[32,48]", "data.batch_size=16", "split.folds=2", "fold=all", "hydra.run.dir=run"]
SMALL += ["model.options={widths:[4,8],depths:[1,1]}", "trainer.max_epochs=4", "optimizer.lr=1e-3", "model.dropout=0.3"]
LIVES = {
    "photographs": [*SMALL, "finetune=phased", "ema=0.5", "mix.mixup=0.4"],
    "stored features": [*SMALL, "model.backbone_frozen=true", "transform=light", "model.views=2"],
}
NOT_IN = {"photographs": "extracting features", "stored features": "filling the cache"}
WRONG = ("corrupt files", "different files", "half-written files", "processes left")
LONGEST_S = 300


def found(pattern: str) -> Callable[[Path], bool]:
    return lambda folder: next(folder.glob(pattern), None) is not None


PHASES: dict[str, Callable[[Path], bool]] = {
    "tables": found("tables/*"),
    "filling the cache": found("tables/images-*/pixels.bin"),
    "extracting features": found("tables/features-*/about.json"),
    "training": found("run/fold-*/sizes.json"),
    "writing a checkpoint": found("run/fold-*/.*.ckpt.*"),
    "after an epoch": found("run/fold-*/last.ckpt"),
    "predicting": found("run/fold-*/*test.csv*"),
    "between folds": found("run/fold-0/oof.csv"),
    "in the second fold": found("run/fold-1/last.ckpt"),
    "out-of-fold tables": found("run/oof.csv"),
    "submission": found("submissions/*"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--temporary", type=Path, default=Path("/dev/shm"), help="another file system than FOLDER's")
    parser.add_argument("--out", type=Path, help="an empty folder; by default a temporary one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="two kills")
    given = parser.parse_args()
    began_s = time.perf_counter()
    with TemporaryDirectory(dir=given.temporary) as temporary, TemporaryDirectory(dir=given.out) as out:
        env = {"TMPDIR": temporary, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        counts, killed = soak(
            Path(out), env, kills=2 if given.quick else given.kills, seed=given.seed, workers=given.workers
        )
        counts["temporary folder on another file system"] = int(
            Path(out).stat().st_dev != Path(temporary).stat().st_dev
        )
        counts["left in the temporary folder"] = len(list(Path(temporary).iterdir()))
    counts["seconds"] = round(time.perf_counter() - began_s)
    rows = [{"name": f"soak, {name}", "value": value, "unit": ""} for name, value in counts.items()]
    rows += [{"name": f"soak, killed: {phase}", "value": count, "unit": "kills"} for phase, count in killed.items()]
    for row in rows:
        print(f"{row['name']:56} {row['value']:6}")
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2))
    bad = [name for name in WRONG if counts[name]]
    if bad:
        sys.exit(f"soak: {', '.join(bad)}")


def soak(out: Path, env: dict[str, str], *, kills: int, seed: int, workers: int) -> tuple[Counter[str], Counter[str]]:
    """Return what was counted, and how often each phase was killed."""
    rng = np.random.default_rng(seed)
    world = out / "world"
    draw_competition(world, train=96, stage1=12, stage2=18, boats=8, new_boats=3, leak=0.5, seed=3, workers=1)
    counts: Counter[str] = Counter(dict.fromkeys(WRONG, 0))
    killed: Counter[str] = Counter()
    wholes = {}
    for number in range(kills):  # each is killed at least once
        if counts["kills"] >= kills:
            break
        name = list(LIVES)[number % len(LIVES)]
        options = [*LIVES[name], f"data.root={world}", f"data.workers={workers}"]
        if name not in wholes:
            wholes[name] = out / f"whole {name}"
            wholes[name].mkdir()
            call(TRAIN, *options, cwd=wholes[name], env=env)
        life = out / f"life {number}"
        life.mkdir()
        counts["runs"] += 1
        phases = [phase for phase in PHASES if phase != NOT_IN[name]]
        drawn = sorted(rng.permutation(len(phases)), key=lambda place: killed[phases[place]])  # the rarest so far
        chosen = sorted(drawn[: min(6, kills - counts["kills"])])
        for phase in kill_until_done(life, options, env, [phases[place] for place in chosen], rng):
            killed[phase] += 1
            counts["kills"] += 1
            counts["corrupt files"] += len(list(corrupt(life)))
        counts["different files"] += len(list(differences(wholes[name], life)))
        counts["half-written files"] += len(half_written(life))
        time.sleep(6)  # workers look every five seconds whether their process is still there
        counts["processes left"] += len(list(processes_in(life)))
    return counts, killed


def kill_until_done(
    life: Path, options: list[str], env: dict[str, str], phases: list[str], rng: np.random.Generator
) -> Iterator[str]:
    """Kill a run in each of these phases that it still comes to, yielding them, and let it go to its end."""
    for phase in phases:
        process = begin(TRAIN, *command(life, options), cwd=life, env=env)
        if not wait_for(phase, life, process, moment_s=float(rng.uniform(0, 0.5))):
            process.wait()
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        yield phase
    for path in half_written(life / "tables"):
        os.utime(path, (0, 0))  # tables are shared: what is there an hour is swept, by the next run that starts
    call(TRAIN, *command(life, options), cwd=life, env=env)


def half_written(folder: Path) -> list[Path]:
    """Return files that were being written when their process was killed."""
    return [path for path in folder.rglob(".?*.????????") if path.is_file()]


def command(life: Path, options: list[str]) -> list[str]:
    """Return how a user goes on: with the run, or from the beginning where it had not begun."""
    return ["resume=run"] if (life / "run" / "config.yaml").is_file() else options


def wait_for(phase: str, life: Path, process: Forked, *, moment_s: float) -> bool:
    """Return whether a process came to a phase; it has had a moment more then."""
    end_s = time.monotonic() + LONGEST_S
    while not PHASES[phase](life):
        if time.monotonic() > end_s or not is_running(process.pid):
            return False
        time.sleep(0.001)
    if phase != "writing a checkpoint":  # which takes less than a moment
        time.sleep(moment_s)
    return is_running(process.pid)


def is_running(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for is there, as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def corrupt(life: Path) -> Iterator[Path]:
    """Yield files of a run that can't be read."""
    for path in (life / "run").rglob("*"):
        try:
            read(path)
        except Exception as error:
            print(f"  {path}: {error}")
            yield path


def read(path: Path) -> None:
    """Read a file by its kind, whole."""
    if path.name.startswith("."):
        return  # it was being written; the next start sweeps it
    if path.suffix == ".ckpt":
        torch.load(path, weights_only=True)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".csv":
        rows = list(csv.reader(path.read_text().splitlines()))
        assert rows, "no header"
        assert {len(row) for row in rows} == {len(rows[0])}, "rows of different lengths"


def differences(whole: Path, life: Path) -> Iterator[str]:
    """Yield what two runs differ in: weights, tables, the submission."""
    for path in sorted(whole.rglob("*.csv")):
        place = path.relative_to(whole)
        if place.parts[0] == "tables" or path.name == "epochs.csv" or "logs" in place.parts:  # with seconds in them
            continue
        if not (life / place).is_file() or (life / place).read_bytes() != path.read_bytes():
            print(f"  {life.name}: {place} differs")
            yield str(place)
    for path in sorted(whole.glob("run/fold-*/*.ckpt")):
        one, other = (
            torch.load(folder / path.relative_to(whole), weights_only=True)["state_dict"] for folder in (whole, life)
        )
        if one.keys() != other.keys() or any(not torch.equal(one[name], other[name]) for name in one):
            print(f"  {life.name}: {path.relative_to(whole)} differs")
            yield str(path)


def processes_in(folder: Path) -> Iterator[int]:
    """Yield processes whose folder is this one."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == folder:
                yield int(link.parent.name)
        except OSError:  # it has just ended
            continue


if __name__ == "__main__":
    main()
