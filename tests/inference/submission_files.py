"""What tests of submissions share: two stages of a few images, and files of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

CLASSES = ["ALB", "NA", "YFT"]
STAGE1 = ["img_00005.jpg", "img_00007.jpg", "img_00009.jpg"]
STAGE2 = ["test_stg2/image_00001.jpg", "test_stg2/image_00002.jpg"]


def predicted(names: Sequence[str], classes: Sequence[str] = CLASSES, *, seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), len(names))
    return pd.DataFrame(values, index=pd.Index(names, name="image_id"), columns=list(classes))


def sample_of(folder: Path, names: Sequence[str], classes: Sequence[str] = CLASSES) -> Path:
    path = folder / "sample.csv"
    rows = [",".join([name, *["0.333"] * len(classes)]) for name in names]
    path.write_text("\n".join([",".join(["image", *classes]), *rows]) + "\n")
    return path


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path
