"""What was measured on what: the machine, and the versions of libraries in our environment and in the peers'.

python benchmarks/machine.py [--peers build/peers]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / "build" / "peers"
LIBRARIES = (
    *(
        "torch",
        "torchvision",
        "pytorch-lightning",
        "timm",
        "albumentations",
        "opencv-python-headless",
        "opencv-python",
        "pillow",
    ),
    *("numpy", "scikit-learn", "fastai", "nvidia-dali-cuda130", "ffcv", "numba"),
)
_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=PEERS, help="environment of the peers")
    peers = parser.parse_args().peers
    for name, value in machine().items():
        print(f"{name:28}{value}")
    ours, theirs = versions(Path(sys.executable)), versions(peers / "bin" / "python")
    for name in LIBRARIES:
        print(f"{name:28}{ours.get(name, ''):16}{theirs.get(name, '')}")


def machine() -> dict[str, str]:
    """Return what the machine is, by name."""
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": platform.platform(),
        "Python": platform.python_version(),
    }
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found["GPU"] = ", ".join(subprocess.run(command, capture_output=True, text=True).stdout.split("\n")).strip(", ")
    return found


def versions(python: Path) -> dict[str, str]:
    """Return the versions of those of `LIBRARIES` that an environment has; none if there is no such environment."""
    if not python.exists():
        return {}
    answer = subprocess.run([python, "-c", _VERSIONS, *LIBRARIES], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    instructions = {word for line in lines if line.startswith("flags") for word in line.split()}
    fast = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in instructions]
    return ", ".join([*(names[:1] or [platform.processor() or platform.machine()]), *fast])


if __name__ == "__main__":
    main()
