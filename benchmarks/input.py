"""How fast photographs come: ours beside fastai, timm, torchvision, DALI and FFCV, and the limits of decoding and of copying.

    python benchmarks/input.py [--photos MANIFEST.csv] [--most 256] [--peers build/peers] [--repetitions 3] [--json FILE] [--quick]

Cold is the first epoch, warm are those after it. The same photographs, sizes, batches of 32 and, as near as each library
allows, the augmentations of conf/transform/light.yaml; every feed ends in normalized float32 batches in the training process.
Each feed is a process of its own with one thread, beside its 0 or 2 workers (threads in DALI and FFCV, at least one). Files
are in the system's memory, so that the disk is not measured; half of them are read at 360 x 640. In every repetition all feeds take turns.

fastai's own saturation and hue take half a minute an epoch at 360 x 640, and are measured at 224 x 224 only.

The ratios are to ours: 0.5 is half as fast. Decoding alone is of whole photographs; ours decodes at half the size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from measured import Row, arguments, report
from photographs import photographs

from fisheries.console import make_console
from fisheries.progress import track

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
OURS, FASTAI, FFCV = "ours", "fastai", "FFCV, raw pixels"
# how each is started: where its Python is, and what that runs
FEEDS = {
    OURS: ("", ["feed_ours.py"]),
    FASTAI: ("peers", ["peers/feed_fastai.py"]),
    "fastai, no saturation, no hue": ("peers", ["peers/feed_fastai.py", "light"]),
    "timm": ("peers", ["peers/feed_timm.py"]),
    "torchvision v2": ("peers", ["peers/feed_torchvision.py"]),
    "DALI (CPU)": ("peers", ["peers/feed_dali.py"]),
    FFCV: ("peers", ["peers/feed_ffcv.py"]),
    "limit: decoding, OpenCV": ("", ["feed_limits.py", "cv2"]),
    "limit: decoding, PIL": ("", ["feed_limits.py", "pil"]),
    "limit: copying": ("", ["feed_limits.py", "memcpy"]),
}
SIZES = ((224, 224), (360, 640))
WORKERS = (0, 2)
TOO_SLOW = {FASTAI: SIZES[1]}  # half a minute an epoch, nearly all of it saturation and hue
LEAST_S = 0.5  # of warm epochs
Setting = tuple[tuple[int, int], int]  # height and width, workers
Rates = dict[str, float]  # images/s of each feed


def main() -> None:
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--photos", type=Path, help="manifest of real photographs; without it they are drawn, once")
    parser.add_argument(
        "--most", type=int, default=256, help="photographs, a multiple of 128; half of them at 360 x 640"
    )
    parser.add_argument(
        "--peers", type=Path, default=BUILD / "peers", help="environment of the peers; make bench makes it"
    )
    given = parser.parse_args()
    if not (given.peers / "bin" / "python").exists():
        parser.error(f"{given.peers}: no such environment; `make bench` sets it up")
    most, repetitions = (128, 1) if given.quick else (given.most, given.repetitions)
    settings = [(size, workers) for size in SIZES for workers in WORKERS]
    images, manifest = photographs(given.photos, most=most, folder=BUILD / "bench")
    question = {
        "paths": images["path"].tolist(),
        "manifest": str(manifest.resolve()),
        "batch_size": 32,
        "least_s": LEAST_S,
    }
    rates, why_not = measure(
        question, settings[:2] if given.quick else settings, peers=given.peers, repetitions=repetitions
    )
    if OURS in why_not:
        sys.exit(f"ours failed: {why_not[OURS]}")
    if FFCV in why_not and (given.peers / "ffcv.txt").is_file():  # why it could not be installed
        why_not[FFCV] = (given.peers / "ffcv.txt").read_text().strip()
    rows = rows_of(rates)
    report(rows, None)
    print(f"{most} photographs, {images['size_bytes'].median() / 1e3:.0f} kB in the median, {manifest}")
    for name, reason in why_not.items():
        print(f"{name} was not measured: {reason}")
    rows += [{"part": "not measured", "name": name, "value": None, "note": reason} for name, reason in why_not.items()]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(
    question: Mapping[str, Any], settings: Sequence[Setting], *, peers: Path, repetitions: int
) -> tuple[dict[tuple[Setting, str], list[Rates]], dict[str, str]]:
    """Ask all feeds in turn, again and again.

    Returns:
        For each setting, cold and warm, a dict of rates for every repetition; and the feeds that failed, with the reason.
    """
    console = make_console()
    feeds = {name: Feed(peers if where else None, script) for name, (where, script) in FEEDS.items()}
    turns = [
        (repetition, setting, name)
        for repetition in range(repetitions)
        for setting in settings
        for name in feeds
        if TOO_SLOW.get(name) != setting[0]
    ]
    rates: dict[tuple[Setting, str], list[Rates]] = {
        (setting, epoch): [{} for _ in range(repetitions)] for setting in settings for epoch in ("cold", "warm")
    }
    why_not: dict[str, str] = {}
    few = {**question, "paths": question["paths"][: question["batch_size"]], "image_hw": [64, 64], "workers": 0}
    warming = {name: [few] for name in feeds} | {FFCV: [_at(setting, question) for setting in settings]}
    with ThreadPoolExecutor(2) as pool:  # what is loaded or compiled at first use counts for nobody
        for name in sorted(feeds, key=lambda name: name != FFCV):  # which takes longest
            pool.submit(
                lambda name=name: [_ask(feeds[name], each, name=name, why_not=why_not) for each in warming[name]]
            )
    for repetition, setting, name in track(turns, "Feeds", console=console, disable=not console.is_terminal):
        if name in why_not:
            continue
        answer = _ask(feeds[name], _at(setting, question), name=name, why_not=why_not)
        if answer:
            for epoch in ("cold", "warm"):
                rates[setting, epoch][repetition][name] = answer["images"] / answer[f"{epoch}_s"]
    for feed in feeds.values():
        feed.close()
    return rates, why_not


def rows_of(rates: Mapping[tuple[Setting, str], Sequence[Rates]]) -> list[Row]:
    """Return a row of each feed in each setting: the median rate, and the median of its ratios to ours."""
    rows = []
    for ((height, width), workers), epoch in sorted(rates, key=lambda key: (key[1], key[0])):
        told = rates[((height, width), workers), epoch]
        for name in (name for name in FEEDS if told and all(name in rate for rate in told)):
            rows.append(
                {
                    "part": f"{epoch}, {height} x {width}, {workers} workers",
                    "name": name,
                    "value": median(rate[name] for rate in told),
                    "unit": "images/s",
                    "ratio": median(rate[name] / rate[OURS] for rate in told),
                    "against": OURS,
                }
            )
    return rows


def _at(setting: Setting, question: Mapping[str, Any]) -> dict[str, Any]:
    image_hw, workers = setting
    count = len(question["paths"]) // (2 if image_hw == SIZES[1] else 1)
    return {**question, "paths": question["paths"][:count], "image_hw": list(image_hw), "workers": workers}


def _ask(feed: Feed, question: Mapping[str, Any], *, name: str, why_not: dict[str, str]) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        try:
            return feed.ask({**question, "folder": folder})
        except FeedError as error:
            why_not[name] = str(error)
            return None


class FeedError(Exception):
    """A feed can't be measured here; says why."""


class Feed:
    """A process that answers questions, see benchmarks/peers/protocol.py."""

    def __init__(self, environment: Path | None, script: Sequence[str]) -> None:
        python = str(environment / "bin" / "python") if environment else sys.executable
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # open as long as the process is
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(HERE / script[0]), *script[1:]],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE / "peers")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer.

        Raises:
            FeedError: the process has ended, or says that it can't.
        """
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise FeedError((self.errors.read().strip().splitlines() or ["ended without a word"])[-1])
        answer = json.loads(line)
        if "error" in answer:
            raise FeedError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        self.errors.close()


if __name__ == "__main__":
    main()
