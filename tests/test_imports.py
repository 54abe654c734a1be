from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "fisheries"
BORDER = {"schema", "batch", "boxes", "progress"}
# who may import whom of ours; a room always sees itself
MAY = {
    "schema": set(),
    "batch": set(),
    "boxes": set(),
    "progress": set(),
    "memory": set(),
    "precision": {"schema", "config", "material", "nets", "compose", "data", "models", "training"},
    "data": BORDER,
    "training": BORDER,
    "inference": BORDER,
    "models": set(),
    "analysis": {"schema", "boxes", "progress", "data", "inference"},
    "config": {"schema"},
    "config_check": {"schema", "config", "data"},
    "material": {"schema", "config", "data", "inference"},
    "features": BORDER | {"data", "models"},
    "nets": {"schema", "config", "data", "models", "training"},
    "compose": {"schema", "config", "material", "features", "nets", "data", "models", "training", "inference"},
    "results": BORDER | {"commit", "material", "nets", "pseudo", "data", "training", "inference", "analysis"},
    "crops": BORDER | {"data"},
    "pseudo": {"schema", "data", "inference"},
    "ladder": {"schema", "config", "predict", "pseudo", "data", "inference"},
    "doctor": BORDER
    | {"config", "config_check", "memory", "precision", "material", "nets", "compose", "data", "models", "training"},
    "predict": BORDER | {"config", "memory", "nets", "data", "inference", "training"},
    "batch_size": {"schema", "batch", "nets", "doctor", "data", "models", "training"},
    "explain": BORDER | {"nets", "data", "training", "analysis"},
    "run": BORDER
    | {
        "memory",
        "precision",
        "analysis",
        "batch_size",
        "commit",
        "config",
        "config_check",
        "material",
        "nets",
        "compose",
        "results",
        "tracking",
        "data",
        "models",
        "training",
        "inference",
    },
    "dashboard": BORDER | {"data", "training", "inference", "analysis"},
    "tracking": {
        "schema",
        "config",
        "compose",
        "nets",
        "material",
        "results",
        "data",
        "models",
        "training",
        "dashboard",
    },
    "lessons": {"schema"},
    "viewer": {"schema", "nets", "explain", "analysis", "data", "inference"},
    "errors": {"schema", "data"},
    "commit": set(),
    "kaggle_client": {"schema"},
    "search": {"schema", "analysis"},
    "slurm": set(),
    "launch": {"schema", "console", "errors", "slurm", "config", "compose", "run", "analysis", "search", "training"},
    "console": set(),
    "cli": {"errors", "launch", "commands"},
    "commands": {
        "schema",
        "commit",
        "console",
        "kaggle_client",
        "analysis",
        "ladder",
        "launch",
        "predict",
        "crops",
        "dashboard",
        "doctor",
        "explain",
        "data",
        "inference",
        "pseudo",
        "viewer",
    },
    "__main__": {"launch"},
}
FILES = sorted(file for file in PACKAGE.rglob("*.py") if file.name != "__init__.py")


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_is_found():
    assert {room_of(file) for file in FILES} == set(MAY)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_room_imports_only_the_rooms_it_may(file: Path):
    ours = {name.split(".")[1] for name in imported(file) if name.startswith("fisheries.")}
    assert ours <= MAY[room_of(file)] | {room_of(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_configuration_and_loggers_stay_at_the_edge(file: Path):
    outer = {name.split(".")[0] for name in imported(file)}
    if room_of(file) not in ("config", "config_check", "material", "nets", "compose", "precision", "launch", "errors"):
        assert not outer & {"hydra", "omegaconf"}
    if room_of(file) != "dashboard" and file.name not in ("loggers.py", "wandb_runs.py", "tracking.py"):
        assert not outer & {"wandb", "wandb_workspaces"}


def test_tables_pages_and_commands_open_without_torch():
    rooms = ("analysis", "data", "inference")
    needs_torch = {
        "dataset",
        "encoded",
        "datamodule",
        "transforms",
        "shrinking",
        "predict",
        "tta",
        "fast",
        "partial",
        "mixed_sampler",
        "watch",
        "heat",
        "layers",
        "looks",
        "look_pictures",
        "blocks_view",
    }
    files = [
        file
        for file in FILES
        if room_of(file) in (*rooms, "cli", "commands", "schema") and file.stem not in needs_torch
    ]
    modules = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    assert len(modules) > 30
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
