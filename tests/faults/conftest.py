"""What the tests of faults share: a folder with everything wrong in it at once, and a run on it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fisheries.schema import FOLDS, MANIFEST, read_predictions, read_table
from tests.conftest import on_small_pictures, run_dir
from tests.processes import TRAIN, Forked, call

HOSTILE = "<script>alert(1)</script> $\\frac$"
TURN_LEFT = 6  # EXIF's word for a camera that was held upright


def refusal(answer: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a program ended with, and no traceback."""
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    line = answer.stderr.strip().splitlines()[-1]
    assert line.startswith("fisheries: ")
    return line.removeprefix("fisheries: ")


def wait_for_line(process: Forked, text: str, *, seconds: float = 120) -> None:
    """Wait until a program has printed `text`."""
    end = time.monotonic() + seconds
    while text not in process.out.read_text():
        late = time.monotonic() > end or "Traceback" in process.err.read_text()
        assert not late, process.out.read_text() + process.err.read_text()
        time.sleep(0.02)


@dataclass(frozen=True)
class Spoiled:
    """A run on a folder with everything wrong in it, and which photograph has which fault."""

    names: dict[str, str]  # fault -> image_id
    root: Path
    printed: str
    run: Path

    def manifest(self, fault: str) -> pd.Series:
        return read_table(self.run / "manifest.csv", MANIFEST).loc[self.names[fault]]

    def trained_on(self, fault: str) -> bool:
        return self.names[fault] in read_table(self.run / "folds.csv", FOLDS).index

    def predicted(self, fault: str) -> pd.Series:
        return read_predictions(self.run / "test.csv").loc[self.names[fault]]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def huge(path: Path) -> None:
    Image.new("1", (10_000, 5_001)).save(path, "PNG")


def again_as(change: Callable[[Image.Image], Image.Image], kind: str, **options: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with Image.open(path) as image:
            changed = change(image.convert("RGB"))
        changed.save(path, kind, **options)

    return write


def of_16_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def upright() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = TURN_LEFT
    return exif


SPOILS: dict[str, Callable[[Path], None]] = {
    "corrupt": cut,
    "huge": huge,
    "cmyk": again_as(lambda image: image.convert("CMYK"), "JPEG"),
    "grey": again_as(lambda image: image.convert("L"), "JPEG"),
    "16bit": again_as(of_16_bits, "PNG"),
    "png": again_as(lambda image: image, "PNG"),
    "exif": again_as(lambda image: image, "JPEG", exif=upright()),
}


def spoil(root: Path) -> dict[str, str]:
    """Give a photograph of training each fault, and two of test; return their names by fault."""
    train, test = sorted((root / "train" / "ALB").iterdir()), sorted((root / "test_stg1").iterdir())
    names = {}
    for path, (fault, change) in zip(train, SPOILS.items(), strict=False):
        change(path)
        names[fault] = path.name
    for path, fault in zip(test, ("corrupt", "huge"), strict=False):
        SPOILS[fault](path)
        names[f"{fault} test"] = path.name
    names["original"], names["copy"] = train[-1].name, "zz copy.jpg"
    shutil.copy(train[-1], train[-1].with_name(names["copy"]))
    names["one side"], names["other side"] = train[-2].name, "zz other.jpg"
    shutil.copy(train[-2], root / "train" / "YFT" / names["other side"])
    names["unicode"] = "魚 ñ & <img src=x onerror=alert(1)>.jpg"
    train[-3].rename(train[-3].with_name(names["unicode"]))
    boats = pd.read_csv(root / "boats.csv", dtype=str, keep_default_na=False).replace(train[-3].name, names["unicode"])
    boats["boat"] = boats["boat"].replace({"boat_01": "NA", "boat_02": HOSTILE})
    boats.to_csv(root / "boats.csv", index=False)
    return names


@pytest.fixture(scope="session")
def spoiled(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Spoiled:
    folder = tmp_path_factory.mktemp("spoiled")
    root = folder / "Fänge & Fotos 漁"
    shutil.copytree(world, root)
    names = spoil(root)
    printed = call(TRAIN, *on_small_pictures(world, f'data.root="{root}"'), cwd=folder).stdout
    return Spoiled(names, root, printed, run_dir(folder))
