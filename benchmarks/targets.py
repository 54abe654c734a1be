"""What the benchmarks must show, and whether they do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """A bound for what some rows of a script have, without its sign; the worst of them counts."""

    says: str
    script: str
    rows: str  # what is searched for in a row's "part: name", a regular expression
    bound: float
    key: str = "ratio"
    inverse: bool = False  # 1 / value: rows whose ratio is theirs to ours
    least: bool = True  # the bound is the least that is good enough, else the most


TARGETS = (
    Target("a cold epoch at least 1.8 x timm", "input", r"^cold.*: timm", 1.8, inverse=True),
    Target(
        "a cold epoch at least 4 x fastai with the same augmentations", "input", r"^cold.*: fastai$", 4, inverse=True
    ),
    Target("a cold epoch at least 0.6 x decoding alone", "input", r"^cold.*: limit: decoding", 0.6, inverse=True),
    Target("a warm epoch at least 3.5 x timm", "input", r"^warm.*: timm", 3.5, inverse=True),
    Target(
        "a warm epoch at least 8 x fastai with the same augmentations", "input", r"^warm.*: fastai$", 8, inverse=True
    ),
    Target("a warm epoch not behind FFCV", "input", r"^warm.*: FFCV", 1, inverse=True),
    Target("resnet18's training step at least 2.2 x float32 NCHW", "loop", r"^a training step: resnet18.*: ours", 2.2),
    Target(
        "mobilenetv3_small's training step at least 1.4 x float32 NCHW",
        "loop",
        r"^a training step: mobilenetv3_small.*: ours",
        1.4,
    ),
    Target("our loop at most 1.03 x a bare one, resnet18", "loop", r"in a loop: resnet18.*: ours$", 1.03, least=False),
    Target(
        "our loop at most 1.08 x a bare one, mobilenetv2_035 at 96",
        "loop",
        r"in a loop: mobilenetv2_035.*: ours$",
        1.08,
        least=False,
    ),
    Target("a head's epoch at most 1.3 x a bare loop", "heads", r"^an epoch of a \w+ head.*: ours$", 1.3, least=False),
    Target("time to score at least 2 x faster than fastai", "time_to_score", r"^seconds to a log loss.*: fastai", 2),
    Target("time to score at least 2 x faster than timm", "time_to_score", r"^seconds to a log loss.*: timm", 2),
    Target(
        "prediction at least 3 x plain inference_mode, resnet50",
        "prediction",
        r"^prediction: resnet50.*: --precision auto$",
        3,
    ),
    Target(
        "prediction at least 2.5 x plain inference_mode, mobilenetv3_large",
        "prediction",
        r"^prediction: mobilenetv3_large.*: --precision auto$",
        2.5,
    ),
    Target(
        "its log loss the same to the third digit",
        "prediction",
        r"^log loss: .*: --precision auto: change$",
        0.0005,
        key="value",
        least=False,
    ),
    Target("memory of prediction within 5 %", "prediction", r"^memory: ", 1.05, least=False),
    Target(
        "manifest, bursts and boats no faster than n log n: the exponent at most 1.09 x its own, for noise",
        "growth",
        r"^growth: (manifest|bursts|boats)",
        1.09,
        least=False,
    ),
    Target(
        "from JPEGs with a warm cache at least 0.9 x from memory, on a GPU", "gpu", r": JPEGs, with a warm cache$", 0.9
    ),
)


def judge(target: Target, rows: Sequence[Row]) -> tuple[list[float], bool | None]:
    """Return what was measured, the worst first, and whether the target is met; None if nothing was measured."""
    found = [
        abs(row[target.key])
        for row in rows
        if re.search(target.rows, f"{row.get('part', '')}: {row.get('name', '')}") and row.get(target.key) is not None
    ]
    values = sorted((1 / value if target.inverse else value for value in found), reverse=not target.least)
    if not values:
        return [], None
    return values, values[0] >= target.bound if target.least else values[0] <= target.bound
