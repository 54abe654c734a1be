from __future__ import annotations

import subprocess
import sys

import pytest

from fisheries import memory

# counts the pages that the system hands out for a block of 64 MB that is taken and freed again and again
BLOCKS = """
import ctypes, resource, sys
from fisheries.memory import give_blocks_back, keep_large_blocks
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
if sys.argv[1] == "keep":
    assert keep_large_blocks()
if sys.argv[1] == "give back":
    assert keep_large_blocks()
    assert give_blocks_back()

def block():
    pointer = libc.malloc(64 << 20)
    ctypes.memset(pointer, 1, 64 << 20)
    libc.free(pointer)

block()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    block()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_blocks_come_without_fresh_pages():
    def pages(mode: str) -> int:
        command = [sys.executable, "-c", BLOCKS, mode]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert pages("keep") <= pages("default") / 10
    assert pages("give back") > pages("default") / 2


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_large_blocks()
    assert not memory.give_blocks_back()
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert not memory.keep_large_blocks()
    assert not memory.give_blocks_back()
