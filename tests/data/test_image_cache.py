from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fisheries.data import image_cache
from fisheries.data.image_cache import PIXELS, SUMS, ImageCache, disk_cache, memory_cache
from fisheries.schema import InputError

HW = (12, 20)
NBYTES = 3 * 12 * 20
LIMIT = 1 << 20
NAMES = [f"photograph-{number}" for number in range(8)]


def picture(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).integers(0, 256, (*HW, 3), dtype=np.uint8)


def never() -> np.ndarray:
    raise AssertionError("made again")


def on_disk(base: Path, names: list[str] = NAMES, *, limit_bytes: int = LIMIT) -> ImageCache:
    return disk_cache(base, names, image_hw=HW, about={"code": "1"}, limit_bytes=limit_bytes)


def fill(cache: ImageCache, names: list[str] = NAMES) -> None:
    for name in names:
        cache.get(name, lambda name=name: picture(name))


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_picture_is_made_once_and_comes_back_the_same(tmp_path: Path, kind: str):
    cache = on_disk(tmp_path) if kind == "disk" else memory_cache(NAMES, image_hw=HW, limit_bytes=LIMIT)
    assert cache.missing(NAMES) == NAMES
    fill(cache)
    assert cache.missing(NAMES) == []
    assert all((cache.get(name, never) == picture(name)).all() for name in NAMES)


def test_another_run_finds_what_was_filled_and_adds_its_own(tmp_path: Path):
    fill(on_disk(tmp_path, NAMES[:3]))
    again = on_disk(tmp_path, NAMES[2:])
    assert (again.get(NAMES[2], never) == picture(NAMES[2])).all()
    fill(again)
    assert (on_disk(tmp_path, NAMES[:1]).get(NAMES[7], never) == picture(NAMES[7])).all()


def test_pictures_made_otherwise_or_of_another_size_are_not_taken(tmp_path: Path):
    fill(on_disk(tmp_path))
    assert disk_cache(tmp_path, NAMES, image_hw=HW, about={"code": "2"}, limit_bytes=LIMIT).missing(NAMES) == NAMES
    assert (
        disk_cache(tmp_path, NAMES, image_hw=(20, 12), about={"code": "1"}, limit_bytes=LIMIT).missing(NAMES) == NAMES
    )


def test_a_picture_that_was_damaged_or_half_written_is_made_again(tmp_path: Path):
    cache = on_disk(tmp_path)
    fill(cache)
    with (cache.folder / PIXELS).open("r+b") as file:
        file.seek(2 * NBYTES + 7)
        file.write(b"\x00\x01\x02")
        file.truncate(len(NAMES) * NBYTES - 1)
    for name in (NAMES[2], NAMES[7]):
        assert (cache.get(name, lambda name=name: picture(name)) == picture(name)).all()
    fresh = on_disk(tmp_path)
    assert all((fresh.get(name, never) == picture(name)).all() for name in NAMES)


def test_a_limit_leaves_the_rest_to_be_made_each_time(tmp_path: Path):
    for cache in (
        on_disk(tmp_path, limit_bytes=3 * NBYTES + 5),
        memory_cache(NAMES, image_hw=HW, limit_bytes=3 * NBYTES + 5),
    ):
        fill(cache)
        assert list(cache.places) == NAMES[:3]
        assert (cache.get(NAMES[5], lambda: picture(NAMES[5])) == picture(NAMES[5])).all()
        with pytest.raises(AssertionError, match="made again"):
            cache.get(NAMES[5], never)


def test_the_disk_keeps_a_gigabyte_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    free = image_cache.FREE_BYTES + 2 * NBYTES
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert list(on_disk(tmp_path).places) == NAMES[:2]


def test_on_a_full_disk_what_is_there_is_read_and_the_rest_made_each_time(tmp_path: Path):
    fill(on_disk(tmp_path), NAMES[:2])
    script = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.data.test_image_cache import NAMES, NBYTES, fill, never, on_disk, picture
resource.setrlimit(resource.RLIMIT_FSIZE, (2 * NBYTES, 2 * NBYTES))
cache = on_disk(Path({str(tmp_path)!r}))
fill(cache)
assert (cache.get(NAMES[1], never) == picture(NAMES[1])).all()
assert cache.missing(NAMES) == NAMES[2:]
assert (cache.get(NAMES[5], lambda: picture(NAMES[5])) == picture(NAMES[5])).all()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_processes_that_fill_one_cache_at_once_leave_it_whole_though_one_is_killed(tmp_path: Path):
    names = [f"{number}" for number in range(400)]
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.data.test_image_cache import fill, on_disk
names = [f"{{number}}" for number in range(400)]
print("began", flush=True)
while True:
    fill(on_disk(Path({str(tmp_path)!r}), names[: int(sys.argv[1])]), names[: int(sys.argv[1])])
"""
    others = [
        subprocess.Popen([sys.executable, "-c", script, count], stdout=subprocess.PIPE) for count in ("100", "250")
    ]
    for other in others:
        other.stdout.readline()
    cache = on_disk(tmp_path, names)
    fill(cache, names)
    for other in others:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    fresh = on_disk(tmp_path, names)
    assert all((fresh.get(name, lambda name=name: picture(name)) == picture(name)).all() for name in names)
    assert len(set(fresh.places.values())) == len(names)
    assert (cache.folder / SUMS).stat().st_size == 4 * len(names)


def test_what_cannot_be_written_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = on_disk(tmp_path, NAMES[:2])
    fill(cache, NAMES[:1])
    monkeypatch.setattr(image_cache.os, "access", lambda *_: False)  # root may write anywhere
    fresh = on_disk(tmp_path, NAMES[:2])
    assert (fresh.get(NAMES[0], never) == picture(NAMES[0])).all()
    fresh.get(NAMES[1], lambda: picture(NAMES[1]))
    assert fresh.missing(NAMES) == [NAMES[1]]


def test_workers_that_start_anew_open_the_files_on_disk_and_memory_is_refused(tmp_path: Path):
    cache = on_disk(tmp_path)
    fill(cache)
    assert (pickle.loads(pickle.dumps(cache)).get(NAMES[3], never) == picture(NAMES[3])).all()
    with pytest.raises(InputError, match=r"data\.cache=memory: .*expected data\.cache=disk or data\.workers=0"):
        pickle.dumps(memory_cache(NAMES, image_hw=HW, limit_bytes=LIMIT))
