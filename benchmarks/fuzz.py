"""Broken files of every kind that the program reads: each is read, or refused with the documented error in one line.

python benchmarks/fuzz.py [--inputs 100000] [--seed 0] [--only READER] [--out FOLDER] [--json FILE] [--quick]

Whole files are mutated: bits, bytes, numbers, words, parts that are cut, doubled or of another file. An input follows from
the seed and its number, so that `--seed S --first N --inputs 1` makes it again; those that found something are written to
FOLDER. Processes of their own read them, with a limit on time and on memory, so that crashes and hangs count, too.
"""

from __future__ import annotations

import argparse
import io
import json
import mmap
import os
import re
import resource
import signal
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from safetensors.torch import save as save_safetensors

from fisheries import config
from fisheries.data.annotations import read_annotations
from fisheries.data.archives import unpack_zip
from fisheries.data.boats import read_boats
from fisheries.data.cropping import read_rule
from fisheries.data.cues import read_features
from fisheries.data.feature_store import open_store, write_shard
from fisheries.data.fold_file import read_folds
from fisheries.data.images import inspect_image, read_image, read_shrunk
from fisheries.data.labels import attach_labels
from fisheries.data.tables import attach_bursts, read_manifest
from fisheries.errors import user_error
from fisheries.inference.ledger import read_ledger
from fisheries.inference.scoring import read_solution
from fisheries.inference.submission import read_sample, read_submission
from fisheries.inference.submission_check import check_submission
from fisheries.models.weights import BackboneError, load_weights
from fisheries.nets import load_checkpoint, read_sizes
from fisheries.schema import BOXES, FOLDS, MANIFEST, InputError, read_folds_hash, read_predictions, read_table

LONGEST_S = 10  # for one input
MOST_BYTES = 1 << 30  # more than the process had when it began
CHUNK = 500
SPECIAL = (0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0x0A, 0x0D, 0x22, 0x2C, 0x2F, 0x5C)
WORDS = (
    b"nan",
    b"inf",
    b"-1",
    b"1e999",
    b"9" * 40,
    b"NA",
    b"null",
    b"\x00",
    b"\xff\xfe",
    b'"',
    b"[" * 2000,
    b"../../x",
    b"",
)
WORDS += (
    b"\r",
    b"${oc.env:HOME}",
    b"_target_: os.mkdir",
    "é漁".encode(),
    b"2147483648",
    b"-0.0",
    b"{}",
    b"[]",
    b"true",
)


SIZES = b'{"mean_hw": [1, 2], "std_hw": [1, 2], "known_hw": [[1, 2]]}'


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file, and whole files of it."""

    suffix: str
    read: Callable[[Path], object]
    whole: list[bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one reader, by name")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="for inputs that found something")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="2000 inputs")
    given = parser.parse_args()
    readers = all_readers()
    if given.only is not None:
        readers = {given.only: readers[given.only]}
    count, began_s = 2000 if given.quick else given.inputs, time.perf_counter()
    finds, ended = fuzz(readers, range(given.first, given.first + count), seed=given.seed, out=given.out)
    seconds = time.perf_counter() - began_s
    print(f"{count} inputs in {seconds:.0f} s, {count / seconds:.0f} a second; {len(finds)} different finds")
    rows = [{"name": f"fuzz, {name}", "value": ended[name], "unit": "inputs"} for name in sorted(ended)]
    rows += [{"name": "fuzz, finds", "value": len(finds), "unit": ""}]
    rows += [{"name": "fuzz, rate", "value": count / seconds, "unit": "inputs/s"}]
    for row in rows:
        print(f"{row['name']:56} {row['value']:10.0f} {row['unit']}")
    for what, number in finds.items():
        print(
            f"  {what}\n    again: --seed {given.seed} --first {number} --inputs 1{f' --only {given.only}' if given.only else ''}"
        )
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2))
    sys.exit(bool(finds))


def fuzz(readers: dict[str, Reader], numbers: range, *, seed: int, out: Path) -> tuple[dict[str, int], Counter[str]]:
    """Return the number of the first input of each find, and how inputs ended."""
    finds: dict[str, int] = {}
    ended: Counter[str] = Counter()
    told = mmap.mmap(-1, 1 << 20)  # what a child says is still there when it crashes
    with TemporaryDirectory() as folder:
        first = numbers.start
        while first < numbers.stop:
            chunk = range(first, min(first + CHUNK, numbers.stop))
            told.seek(0)
            told.write(b"\0" * len(told))
            pid = os.fork()
            if pid == 0:
                read_chunk(readers, chunk, Path(folder), told, seed=seed)
            crash = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            lines = told[:].split(b"\0", 1)[0].decode().splitlines()
            for line in lines:
                number, name, how, what = line.split("\t")
                ended[f"{name}: {how}"] += 1
                if how == "found":
                    note(finds, f"{name}: {what}", int(number), readers, seed=seed, out=out)
            first += len(lines)
            if crash:
                name, _ = made(readers, first, seed=seed)
                note(finds, f"{name}: the process ended with {crash}", first, readers, seed=seed, out=out)
                ended[f"{name}: found"] += 1
                first += 1
    return finds, ended


def note(finds: dict[str, int], what: str, number: int, readers: dict[str, Reader], *, seed: int, out: Path) -> None:
    """Keep the first input that found this."""
    if what not in finds:
        finds[what] = number
        name, data = made(readers, number, seed=seed)
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{seed}-{number}-{re.sub(r'[^a-z]+', '_', name.lower())}{readers[name].suffix}").write_bytes(data)
        print(f"  input {number}: {what}", flush=True)


def read_chunk(readers: dict[str, Reader], numbers: range, folder: Path, told: mmap.mmap, *, seed: int) -> None:
    """Read inputs one after another, and write down how each ended; ends the process."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - readers may warn
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGESIZE") + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGALRM, too_long)
    told.seek(0)
    for number in numbers:
        name, data = made(readers, number, seed=seed)
        path = folder / f"input{readers[name].suffix}"
        path.write_bytes(data)
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
        how, what = outcome(partial(readers[name].read, path))
        signal.setitimer(signal.ITIMER_REAL, 0)
        told.write(f"{number}\t{name}\t{how}\t{what}\n".encode())
    os._exit(0)


def too_long(*_: object) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the second time ends the process
    signal.setitimer(signal.ITIMER_REAL, 1)
    raise TimeoutError(f"more than {LONGEST_S} s")


def outcome(read: Callable[[], object]) -> tuple[str, str]:
    """Return "read", "refused" or "found", and what was found."""
    try:
        read()
    except (InputError, BackboneError) as error:
        line = str(user_error(error))
        return ("found", f"{len(line)} characters, {line!r:.60}") if is_long(line) else ("refused", "")
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(frame.filename).name}:{frame.name}" for frame in frames if "fisheries" in frame.filename]
        place = ours[-1] if ours else "its process"
        words = re.sub(r"[^\x20-\x7e]|\d+", "#", str(error))[:40]
        return "found", f"{type(error).__name__} in {place}: {words}"
    return "read", ""


def is_long(line: str) -> bool:
    """Whether an error is no line for a person."""
    return "\n" in line or "\r" in line or "\0" in line or len(line) > 5000  # a word of ours has 2000


def made(readers: dict[str, Reader], number: int, *, seed: int) -> tuple[str, bytes]:
    """Return the name of the reader and the input of a number."""
    rng = np.random.default_rng([seed, number])
    name = list(readers)[number % len(readers)]
    whole = readers[name].whole
    data = whole[int(rng.integers(len(whole)))]
    for _ in range(int(rng.integers(1, 6))):
        data = mutated(data, rng, other=whole[int(rng.integers(len(whole)))])
    return name, data


def mutated(data: bytes, rng: np.random.Generator, *, other: bytes) -> bytes:
    """Change a file in one way, drawn by chance."""
    start, stop = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
    stop = min(stop, start + int(rng.choice([1, 4, 16, 64, 1 << 20])))
    way = int(rng.integers(9))
    if way == 0:
        bits = bytes([byte ^ (1 << int(rng.integers(8))) for byte in data[start : start + 1]])
        return data[:start] + bits + data[start + 1 :]
    if way == 1:
        return data[:start] + bytes([int(rng.choice(SPECIAL))]) + data[start + 1 :]
    if way == 2:
        return data[:start] + data[stop:]
    if way == 3:
        return data[:stop] + data[start:]
    if way == 4:
        return data[:start]
    if way == 5:
        return data[:start] + other[start:]
    if way == 6:
        return data[:start] + rng.bytes(int(rng.integers(1, 16))) + data[start:]
    word = WORDS[int(rng.integers(len(WORDS)))]
    fields = list(re.finditer(rb"[\w.+-]+", data))
    if way == 7 and fields:
        field = fields[int(rng.integers(len(fields)))]
        return data[: field.start()] + word + data[field.end() :]
    return data[:start] + word + data[start:]


def all_readers() -> dict[str, Reader]:
    """Return every reader by name, with small whole files of its kind."""
    manifest, tables = tables_of_four()
    csv = {name: table.to_csv(index_label="image_id").encode() for name, table in tables.items()}
    submission = tables["predictions"].rename_axis("image").to_csv().encode()
    usable = manifest.index
    return {
        "photograph": Reader(".jpg", read_photograph, photographs()),
        "boxes of the community": Reader(
            ".json", lambda path: read_annotations([path], manifest, "NoF"), [annotations()]
        ),
        "manifest": Reader(".csv", lambda path: read_table(path, MANIFEST), [csv["manifest"]]),
        "any table of images": Reader(".csv", read_manifest, [csv["manifest"], csv["labels"]]),
        "boxes": Reader(".csv", lambda path: read_table(path, BOXES, unique=False), [csv["boxes"]]),
        "folds": Reader(".csv", lambda path: read_table(path, FOLDS), [csv["folds"]]),
        "folds of a user": Reader(".csv", lambda path: read_folds(path, usable, usable[:0]), [csv["folds"]]),
        "predictions": Reader(
            ".csv", lambda path: (read_predictions(path), read_folds_hash(path)), [csv["predictions"]]
        ),
        "labels": Reader(".csv", lambda path: attach_labels(manifest, path), [csv["labels"]]),
        "boats": Reader(".csv", read_boats, [csv["boats"]]),
        "bursts": Reader(".csv", lambda path: attach_bursts(manifest, path), [csv["bursts"]]),
        "submission": Reader(".csv", read_submission, [submission]),
        "sample": Reader(".csv", read_sample, [submission]),
        "submission to check": Reader(".csv", check_submission, [submission]),
        "solution": Reader(
            ".csv", read_solution, [b"image,label,stage\nimg_1.jpg,ALB,stg1\ntest_stg2/image_2.jpg,BET,stg2\n"]
        ),
        "features": Reader(".npz", lambda path: read_features(path, usable), [features(usable)]),
        "feature store": Reader(".npy", partial(read_store, keys=b"a\nb\nc"), [stored()]),
        "checkpoint": Reader(".ckpt", lambda path: load_checkpoint(network(), path), [checkpoint()]),
        "weights": Reader(".pth", lambda path: load_weights(network(), path), [checkpoint()]),
        "safetensors": Reader(
            ".safetensors", lambda path: load_weights(network(), path), [save_safetensors(network().state_dict())]
        ),
        "configuration": Reader(".yaml", partial(read_as, config.CONFIG, config.read_config), [configuration()]),
        "sizes": Reader(
            ".json",
            partial(read_as, "sizes.json", read_sizes),
            [SIZES],
        ),
        "how crops are cut": Reader(
            ".json", partial(read_as, "crops.json", read_rule), [b'{"context": 1.2, "square": false}']
        ),
        "notes of a submission": Reader(".json", partial(read_as, "a.json", read_ledger), [notes()]),
        "zip": Reader(".zip", unpack, [archive()]),
    }


def read_photograph(path: Path) -> None:
    """Read a photograph in every way; what is called readable must be."""
    facts = inspect_image(path)
    try:
        pixels = read_image(path)
        read_shrunk(path, (32, 48))
    except InputError:
        assert facts.status != "ok", "inspect_image calls it readable"
        raise
    assert (facts.height, facts.width) == pixels.shape[:2], "inspect_image sees another size"


def read_as(name: str, read: Callable[[Path], object], path: Path) -> None:
    """Read a folder that holds the input under its proper name."""
    with TemporaryDirectory(dir=path.parent) as folder:
        (Path(folder) / name).write_bytes(path.read_bytes())
        read(Path(folder))


def read_store(path: Path, *, keys: bytes) -> None:
    """Read a store of features whose only shard is the input."""
    with TemporaryDirectory(dir=path.parent) as folder:
        (Path(folder) / "x.npy").write_bytes(path.read_bytes())
        (Path(folder) / "x.keys").write_bytes(keys)
        store = open_store(Path(folder))
        store.take(store.locate(["c", "a"]))


def unpack(path: Path) -> None:
    """Unpack an archive; nothing may come to lie outside."""
    with TemporaryDirectory(dir=path.parent) as folder:
        unpack_zip(path, Path(folder) / "in" / "side", most_bytes=1 << 24)
        assert {child.name for child in Path(folder).iterdir()} <= {"in"}, "a file lies outside"


def network() -> torch.nn.Module:
    """Return a network of two tensors."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 2))


def checkpoint() -> bytes:
    """Return a checkpoint of that network."""
    file = io.BytesIO()
    torch.save(
        {"epoch": 1, "state_dict": {f"net.{name}": value for name, value in network().state_dict().items()}}, file
    )
    return file.getvalue()


def photographs() -> list[bytes]:
    """Return small pictures of every kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image, files = Image.fromarray(pixels), []
    grey = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274] = 6
    kinds = [
        (image, "JPEG", {"exif": exif}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "PNG", {}),
        (grey, "PNG", {}),
    ]
    kinds += [(image, "TIFF", {"compression": "tiff_lzw"}), (image, "WEBP", {}), (image, "BMP", {}), (image, "GIF", {})]
    kinds += [(image, "JPEG", {"progressive": True}), (image.convert("P"), "PNG", {}), (image, "TIFF", {})]
    for picture, kind, options in kinds:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        files.append(file.getvalue())
    return files


def tables_of_four() -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return a manifest of four images, and tables about them by kind."""
    index = pd.Index(["img_1.jpg", "img_2.jpg", "img_3.jpg", "test_stg2/image_2.jpg"], name="image_id")
    values = {"str": "x", "int64": 7, "float64": 1.5, "bool": True}
    manifest = pd.DataFrame({name: values[kind] for name, kind in MANIFEST.items()}, index=index)
    manifest = manifest.assign(subset=["train"] * 3 + ["test_stg2"], label=["ALB", "BET", "NoF", ""], status="ok")
    manifest = manifest.assign(path=[f"/photos/{name}" for name in index], height=720, width=1280)
    boxes = pd.DataFrame({name: values[kind] for name, kind in BOXES.items()}, index=index[[0, 0, 1]])
    folds = pd.DataFrame({"fold": [0, 1, 0], "seen_fold": -1, "split": "boat", "seed": 0}, index=index[:3])
    predictions = pd.DataFrame({"ALB": 0.25, "BET": 0.5, "NoF": 0.25}, index=index)
    return manifest, {
        "manifest": manifest,
        "boxes": boxes,
        "folds": folds,
        "predictions": predictions,
        "labels": manifest.loc[index[:2], ["label"]].assign(note="sure"),
        "boats": manifest[["boat"]],
        "bursts": manifest[["burst"]].assign(burst=index),
    }


def annotations() -> bytes:
    """Return rectangles as the community drew them."""
    box = {"class": "rect", "x": 10.5, "y": 20, "width": 30, "height": 40}
    entries = [{"class": "image", "filename": f"img_{n}.jpg", "annotations": [box] * n} for n in range(3)]
    return json.dumps(entries).encode()


def features(image_ids: pd.Index) -> bytes:
    """Return features made elsewhere."""
    file = io.BytesIO()
    np.savez_compressed(
        file, features=np.ones((len(image_ids), 3), np.float32), image_id=np.array(image_ids, dtype=str)
    )
    return file.getvalue()


def stored() -> bytes:
    """Return a shard of a store."""
    with TemporaryDirectory() as folder:
        name = write_shard(Path(folder), ["a", "b", "c"], np.ones((3, 4), np.float32))
        return (Path(folder) / f"{name}.npy").read_bytes()


def notes() -> bytes:
    """Return what is noted beside a submission."""
    facts = {"created_utc": "2026-01-31T12:00:00", "rows": 3, "sha256": "00", "classes": ["ALB", "BET"], "steps": []}
    runs = [{"name": "a", "folds_hash": "0123", "git_commit": "abc"}]
    expected = {"unseen": {"log_loss": 1.5, "low": 1.2, "high": 1.9}}
    return json.dumps({**facts, "runs": runs, "expected": expected, "real": {"public": 1.5}}).encode()


def configuration() -> bytes:
    """Return some of a run's configuration."""
    values = {
        "data": {"root": "/photos", "classes": ["ALB", "BET"]},
        "model": {"backbone": "x", "options": {"widths": [4, 8]}},
    }
    return yaml.safe_dump({**values, "trainer": {"max_epochs": 3}, "logger": {"csv": True}, "seed": 0}).encode()


def archive() -> bytes:
    """Return a zip archive of two files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("train/ALB/img_1.jpg", b"x" * 300)
        packed.writestr("boats.csv", b"image_id,boat\nimg_1.jpg,a\n")
    return file.getvalue()


if __name__ == "__main__":
    main()
