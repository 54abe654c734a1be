from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fisheries.analysis.contact_sheet import contact_sheet
from fisheries.schema import InputError

HOSTILE = """<script>alert("1")</script>'&.jpg"""


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table and a manifest of three boats with 12, 2 and 1 photographs."""
    ids = [f"img_{number:02}.jpg" for number in range(15)]
    table = pd.DataFrame(
        {
            "boat": ["cam_001"] * 12 + ["cam_002"] * 2 + ["cam_003"],
            "confidence": [*np.linspace(0.3, 0.85, 12), 0.9, 0.8, 0.1],
            "found": ["cam_001"] * 12 + ["cam_002"] * 2 + ["cam_003"],
            "known": [True] * 12 + [False] * 3,
        },
        index=pd.Index(ids, name="image_id"),
    )
    manifest = pd.DataFrame(
        {
            "path": [str(tmp_path / image_id) for image_id in ids],
            "subset": ["train"] * 10 + ["test_stg1"] * 5,
            "label": ["ALB"] * 7 + ["YFT"] * 3 + [""] * 5,
            "height": [72] * 12 + [100] * 2 + [72],
            "width": [128] * 15,
            "is_night": False,
        },
        index=table.index,
    )
    for number, (path, height) in enumerate(zip(manifest["path"], manifest["height"], strict=True)):
        Image.new("RGB", (128, height), (16 * number, 80, 80)).save(path)
    return table, manifest


def text(page: str) -> str:
    """What a person reads, in one line."""
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


def rows(page: str) -> list[str]:
    return re.findall(r"<section>.*?</section>", page, flags=re.DOTALL)


def names(row: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)<br>", row)


def test_each_boat_says_what_it_holds(photographs):
    first, second, third = rows(contact_sheet(*photographs))
    words = "cam_001 known 10 train, 2 test 128x72 12 ALB 7, YFT 3 mean confidence 0.57 img_00.jpg"
    assert text(first).startswith(words)
    assert text(second).startswith("cam_003 new 0 train, 1 test 128x72 1 mean confidence 0.10 img_14.jpg")
    assert text(third).startswith("cam_002 new 0 train, 2 test 128x100 2 mean confidence 0.85 img_13.jpg")


def test_the_page_says_how_much_is_new_doubtful_and_corrected(photographs):
    table, manifest = photographs
    table.loc[["img_10.jpg", "img_12.jpg"], "found"] = "cam_009"
    page = text(contact_sheet(table, manifest))
    assert "15 photographs in 3 boats. Of 5 test photographs 3 show a boat that has no training image" in page
    assert "3 fit their boat with a confidence below 0.4" in page
    assert "2 were corrected by hand" in page
    assert "test_stg1, 0.90, found cam_009" in page
    assert "Of " not in text(contact_sheet(table, manifest.assign(subset="train")))


def test_the_photographs_are_the_least_confident_and_others_up_to_the_most(photographs):
    table, manifest = photographs
    shuffled = table.iloc[np.random.default_rng(0).permutation(15)]
    assert names(rows(contact_sheet(shuffled, manifest, per_boat=4))[0]) == [
        "img_00.jpg", "img_01.jpg", "img_06.jpg", "img_11.jpg",
    ]  # fmt: skip
    assert len(names(rows(contact_sheet(table, manifest))[0])) == 8
    assert len(names(rows(contact_sheet(table, manifest, per_boat=50))[0])) == 12


def test_photographs_by_night_are_counted_and_shown(photographs):
    table, manifest = photographs
    assert "night" not in text(rows(contact_sheet(table, manifest))[0])
    manifest.loc[["img_03.jpg", "img_07.jpg", "img_08.jpg"], "is_night"] = True
    row = rows(contact_sheet(table, manifest, per_boat=8))[0]
    assert "9 by day, 3 by night" in text(row)
    assert len(names(row)) == 8
    assert {"img_03.jpg", "img_08.jpg"} <= set(names(row))
    assert "img_03.jpg ALB, night, 0.45" in text(row)


def test_doubtful_and_corrected_photographs_are_framed(photographs):
    table, manifest = photographs
    table.loc["img_00.jpg", "found"] = "cam_002"
    frames = re.findall(
        r'<figure( class="\w+")? style="width: 135px">', rows(contact_sheet(table, manifest, per_boat=50))[0]
    )
    assert frames == [' class="by_hand"', ' class="doubtful"'] + [""] * 10


def test_hostile_names_stay_text(photographs):
    table, manifest = photographs
    hostile = {"img_00.jpg": HOSTILE}
    table = table.rename(index=hostile).replace({"boat": {"cam_001": HOSTILE}, "found": {"cam_001": f"{HOSTILE}2"}})
    manifest = manifest.rename(index=hostile).replace({"label": {"ALB": HOSTILE}, "subset": {"test_stg1": HOSTILE}})
    page = contact_sheet(table, manifest, title=HOSTILE)
    assert text(page).count(HOSTILE) >= 14
    assert "<script" not in page


def test_the_page_needs_no_other_file(photographs):
    page = contact_sheet(*photographs)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 11
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "url(" not in page


def test_photographs_keep_their_shape(photographs):
    uris = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', contact_sheet(*photographs))
    shapes = [Image.open(io.BytesIO(base64.b64decode(uri))).size for uri in uris]
    assert shapes == [(135, 76)] * 9 + [(97, 76)] * 2


def test_a_photograph_that_is_gone_is_named(photographs):
    table, manifest = photographs
    Path(manifest["path"].iloc[0]).unlink()
    with pytest.raises(InputError, match=r"img_00.jpg: the file can't be read"):
        contact_sheet(table, manifest)
