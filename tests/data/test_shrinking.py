from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fisheries.data.images import read_image
from fisheries.data.shrinking import read_shrunk, shrink

SIDES = st.integers(1, 90)


@given(st.integers(0, 2**31), st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
@settings(deadline=None)
def test_a_picture_of_any_size_becomes_what_pils_antialiased_bilinear_makes_of_it(
    seed: int, from_hw: tuple[int, int], to_hw: tuple[int, int]
):
    image = np.random.default_rng(seed).integers(0, 256, (*from_hw, 3), dtype=np.uint8)
    pils = np.asarray(Image.fromarray(image).resize(to_hw[::-1], Image.Resampling.BILINEAR))
    ours = shrink(image, to_hw)
    assert (ours.dtype, ours.flags.c_contiguous) == (np.uint8, True)
    assert np.abs(ours.astype(int) - pils).max() <= 2


def smooth(height: int, width: int) -> Image.Image:
    """Something that looks alike at any size."""
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("image_hw", [(24, 150), (90, 30), (60, 80), (160, 200), (320, 480)])
def test_a_photograph_decoded_small_looks_as_the_whole_one_shrunk(
    tmp_path: Path, orientation: int, image_hw: tuple[int, int]
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    smooth(320, 960).save(path, exif=exif, quality=95)
    small, whole = read_shrunk(path, image_hw), shrink(read_image(path), image_hw)
    assert small.shape == whole.shape == (*image_hw, 3)
    difference = np.abs(small.astype(int) - whole)
    assert difference.mean() < 1
    assert difference.max() <= 16
