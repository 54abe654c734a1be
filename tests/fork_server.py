"""Starts Python programs that need not import torch and its like: it has imported them, and forks.

A line on standard input, `{"argv": [...], "cwd": ..., "env": {...}, "out": file, "err": file}`, starts one; its process
id and, at its end, its exit code are printed. A program is a process as any other, and imports our own modules by itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path

import numpy as np

# nothing of hydra: what is told about a mistake depends on whether it was imported
IMPORTED = ("torch._dynamo", "pytorch_lightning", "torchvision", "timm", "albumentations", "matplotlib.pyplot")
IMPORTED += ("scipy.stats", "sklearn.linear_model", "jinja2")


def serve() -> None:
    """Start what standard input asks for, one after another, until it ends."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = become(**json.loads(line))
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # Python's own end visits every object, and so copies the memory that forks share
        print("began", pid, flush=True)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def become(argv: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> int:
    """Run a program's file as this process, and return its exit code."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for descriptor, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes what runs in its background deaf to it
    np.random.seed()  # noqa: NPY002 - forks share its state, processes do not
    sys.argv, sys.path[0] = argv, str(Path(argv[0]).parent)
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return 1 if isinstance(end.code, str) else end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    serve()
    os._exit(0)
