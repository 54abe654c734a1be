"""Broken files of every kind that the program reads: each is read, or refused with the documented error in one line.

python benchmarks/fuzz.py [--inputs 100000] [--seed 0] [--only READER] [--out FOLDER] [--json FILE] [--quick]

Whole files are mutated: bits, bytes, numbers, words, parts that are cut, doubled or of another file. An input follows from
the seed and its number, so that `--seed S --first N --inputs 1` makes it again; those that found something are written to
FOLDER. Processes of their own read them, with a limit on time and on memory, so that crashes and hangs count, too.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fuzz_readers import Reader, all_readers

from fisheries.errors import user_error
from fisheries.models.weights import BackboneError
from fisheries.schema import InputError

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


if __name__ == "__main__":
    main()
