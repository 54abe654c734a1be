import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from fisheries.data import images
from fisheries.data.images import MAX_PIXELS, NOTES, STATUSES, inspect_image, read_image
from fisheries.schema import InputError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def four_corners(height: int = 40, width: int = 60) -> Image.Image:
    """Red and green above, blue and white below."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return Image.fromarray(pixels)


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The four corners, clockwise from top left, each channel rounded to 0 or 255."""
    points = [pixels[3, 3], pixels[3, -4], pixels[-4, -4], pixels[-4, 3]]
    return [tuple((point > 127).astype(int) * 255) for point in points]


def noise(height: int = 64, width: int = 96, *, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(header: tuple[int, int, int, int], scanlines: bytes) -> bytes:
    """A PNG of (width, height, bit depth, color type)."""
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return start + chunk(b"IDAT", zlib.compress(scanlines)) + chunk(b"IEND", b"")


def written(folder: Path, data: bytes, name: str = "photo.jpg") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def assert_refused(path: Path, status: str, message: str = "") -> None:
    facts = inspect_image(path)
    assert (facts.status, facts.height, facts.width) == (status, 0, 0)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: {STATUSES[status]}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value).replace(str(path), "")


def test_ordinary_jpeg_is_decoded_exactly_as_pil_does(tmp_path: Path) -> None:
    path = written(tmp_path, jpeg(noise()))
    pixels = read_image(path)
    assert (pixels.shape, pixels.dtype, pixels.flags.writeable) == ((64, 96, 3), np.uint8, True)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(path)))
    assert inspect_image(path) == images.ImageFacts(height=64, width=96, status="ok", notes="")


def test_channels_come_in_the_order_red_green_blue(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    four_corners().save(path)
    assert corners(read_image(str(path))) == [RED, GREEN, WHITE, BLUE]


@pytest.mark.parametrize("missing", [1, 2, 10, 500, 3000])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_that_lacks_its_last_bytes_is_refused(tmp_path: Path, missing: int, progressive: bool) -> None:
    data = jpeg(noise(), progressive=progressive)
    assert_refused(written(tmp_path, data[:-missing]), "truncated")


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "BMP", "GIF", "WEBP"])
def test_other_formats_cut_in_the_middle_are_refused(tmp_path: Path, format_: str) -> None:
    file = io.BytesIO()
    noise().save(file, format_)
    data = file.getvalue()
    path = written(tmp_path, data, f"a.{format_.lower()}")
    assert inspect_image(path).status == "ok"
    path.write_bytes(data[: len(data) // 2])
    assert inspect_image(path).status in ("truncated", "not_an_image")
    with pytest.raises(InputError):
        read_image(path)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "GIF"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("length", [5, 12, 30])
def test_file_cut_in_its_header_counts_as_truncated(tmp_path: Path, format_: str, length: int) -> None:
    file = io.BytesIO()
    noise().save(file, format_)
    assert_refused(written(tmp_path, file.getvalue()[:length]), "truncated")


@pytest.mark.parametrize("zeros", [2, 100, 3000])
def test_jpeg_whose_end_is_zeros_is_refused(tmp_path: Path, zeros: int) -> None:
    data = jpeg(noise(), comment=jpeg(noise(8, 8)))  # as a thumbnail, it has an end marker of its own
    assert data.count(b"\xff\xd9") > 1
    assert inspect_image(written(tmp_path, data)).status == "ok"
    assert_refused(written(tmp_path, data[:-zeros] + bytes(zeros)), "truncated")


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, jpeg(four_corners()) + b"\0" * 100 + b"\xff\xda trailer")
    assert corners(read_image(path)) == [RED, GREEN, WHITE, BLUE]


def test_png_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    noise().save(file, "PNG")
    data = bytearray(file.getvalue())
    data[len(data) // 2] ^= 1
    assert_refused(written(tmp_path, bytes(data), "a.png"), "truncated")


def test_truncated_files_are_refused_even_if_a_library_told_pil_to_load_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise().save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert_refused(written(tmp_path, data[: len(data) // 2], "a.png"), "truncated")


def test_file_without_bytes_is_empty(tmp_path: Path) -> None:
    assert_refused(written(tmp_path, b""), "empty")


def test_text_called_jpg_is_not_an_image(tmp_path: Path) -> None:
    assert_refused(written(tmp_path, b"<html>404 not found</html>" * 50), "not_an_image", "unknown format")


def test_postscript_is_not_handed_to_ghostscript(tmp_path: Path) -> None:
    file = io.BytesIO()
    noise().save(file, "EPS")
    assert_refused(written(tmp_path, file.getvalue(), "a.eps"), "not_an_image")


def test_floating_point_tiff_is_refused_rather_than_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(path)
    assert_refused(path, "not_an_image", "mode F")


def test_missing_file_folder_and_pipe_are_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert_refused(tmp_path / "none.jpg", "unreadable", "No such file")
    assert_refused(tmp_path, "unreadable", "not a regular file")
    assert_refused(tmp_path / "pipe.jpg", "unreadable", "not a regular file")


@pytest.mark.parametrize("side", [7100, 20_000])  # below and above PIL's own limit
def test_more_than_50_megapixels_are_refused_before_they_are_decoded(
    tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_run(*_: object) -> None:
        raise AssertionError("decoded")

    path = written(tmp_path, png_of((side, side, 8, 0), b"\0" * 100), "bomb.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", must_not_run)
    assert side * side > MAX_PIXELS
    assert_refused(path, "too_large", "pixels")


def test_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, jpeg(noise()))
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    assert_refused(path, "too_large", "bytes")


# What each orientation does to (top left, top right, bottom right, bottom left) = (R, G, W, B), from the EXIF standard.
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, WHITE, BLUE]),
        (2, [GREEN, RED, BLUE, WHITE]),
        (3, [WHITE, BLUE, RED, GREEN]),
        (4, [BLUE, WHITE, GREEN, RED]),
        (5, [RED, BLUE, WHITE, GREEN]),
        (6, [BLUE, RED, GREEN, WHITE]),
        (7, [WHITE, GREEN, RED, BLUE]),
        (8, [GREEN, WHITE, BLUE, RED]),
        (0, [RED, GREEN, WHITE, BLUE]),
        (99, [RED, GREEN, WHITE, BLUE]),
    ],
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied_once(
    tmp_path: Path, orientation: int, expected: list[tuple[int, ...]], format_: str
) -> None:
    path = tmp_path / f"a.{format_.lower()}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    four_corners(height=40, width=60).save(path, format_, exif=exif)
    pixels, facts = read_image(path), inspect_image(path)
    assert corners(pixels) == expected
    assert pixels.shape == ((60, 40, 3) if 5 <= orientation <= 8 else (40, 60, 3))
    assert (facts.height, facts.width) == pixels.shape[:2]
    if format_ != "TIFF":
        assert facts.notes == ("exif_rotated" if 2 <= orientation <= 8 else "")


@pytest.mark.parametrize(
    ("least_hw", "decoded_hw"), [((33, 48), (64, 96)), ((32, 48), (32, 48)), ((30, 40), (32, 48)), ((7, 12), (8, 12))]
)
def test_a_photograph_is_decoded_small_where_that_is_large_enough(
    tmp_path: Path, least_hw: tuple[int, int], decoded_hw: tuple[int, int]
) -> None:
    path = written(tmp_path, jpeg(noise(64, 96)))
    assert read_image(path, least_hw=least_hw).shape == (*decoded_hw, 3)


def test_a_photograph_that_is_decoded_small_must_be_whole_too(tmp_path: Path) -> None:
    data = jpeg(noise(200, 300))
    for broken in (data[: len(data) // 2], data[:-2]):
        with pytest.raises(InputError, match=STATUSES["truncated"]):
            read_image(written(tmp_path, broken), least_hw=(16, 24))


@pytest.mark.parametrize("exif", [b"garbage!", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_cost_the_picture(tmp_path: Path, exif: bytes) -> None:
    for format_ in ("JPEG", "PNG"):
        four_corners().save(tmp_path / "a", format_, exif=b"Exif\0\0" + exif)
        assert corners(read_image(tmp_path / "a")) == [RED, GREEN, WHITE, BLUE]


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        pixels = read_image(tmp_path / name)
        assert pixels[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]
        assert inspect_image(tmp_path / name).notes == "16bit grey"


def test_16_bit_color_is_scaled(tmp_path: Path) -> None:
    line = b"\0" + struct.pack(">6H", 0, 257, 32768, 65535, 255, 514)
    path = written(tmp_path, png_of((2, 1, 16, 2), line), "a.png")
    assert read_image(path).tolist() == [[[0, 1, 128], [255, 0, 2]]]
    assert inspect_image(path).notes == "16bit"


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    path = written(tmp_path, jpeg(four_corners().convert("CMYK"), quality=95))
    assert corners(read_image(path)) == [RED, GREEN, WHITE, BLUE]
    assert inspect_image(path).notes == "cmyk"


def test_grey_jpeg_is_repeated_in_three_channels(tmp_path: Path) -> None:
    path = written(tmp_path, jpeg(Image.new("L", (20, 10), 77)))
    assert read_image(path).shape == (10, 20, 3)
    assert np.unique(read_image(path)).tolist() == [77]
    assert inspect_image(path).notes == "grey"


def test_black_and_white_bits_become_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[255] * 3, [0] * 3]]


def test_palette_becomes_its_colors(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    four_corners().quantize(4).save(path)
    assert corners(read_image(path)) == [RED, GREEN, WHITE, BLUE]
    assert inspect_image(path).notes == "palette"


def test_transparent_pixels_lie_on_black_and_opaque_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [200, 100, 50, 128]]], np.uint8)).save(path)
    assert read_image(path).tolist() == [[[255, 0, 0], [0, 0, 0], [100, 50, 25]]]
    assert inspect_image(path).notes == "alpha"


def test_grey_with_alpha_and_palette_with_alpha_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[[90, 255], [90, 0]]], np.uint8)).save(path)
    assert read_image(path).tolist() == [[[90] * 3, [0] * 3]]
    assert inspect_image(path).notes == "alpha grey"
    four_corners().quantize(4).save(path, transparency=0)
    assert corners(read_image(path)).count((0, 0, 0)) == 1
    assert inspect_image(path).notes == "alpha palette"


def test_format_that_is_not_the_extension_is_noted(tmp_path: Path) -> None:
    formats = {"JPEG": "is_jpeg", "PNG": "is_png", "TIFF": "is_tiff", "WEBP": "is_webp", "BMP": "is_bmp"}
    for format_, note in formats.items():
        noise().save(tmp_path / "photo.xyz", format_)
        assert inspect_image(tmp_path / "photo.xyz").notes == note
        assert note in NOTES
    noise().save(tmp_path / "photo.JPG", "JPEG")
    assert inspect_image(tmp_path / "photo.JPG").notes == ""


def test_first_picture_of_several_is_taken(tmp_path: Path) -> None:
    four_corners().save(tmp_path / "a.gif", save_all=True, append_images=[noise(40, 60)])
    assert corners(read_image(tmp_path / "a.gif")) == [RED, GREEN, WHITE, BLUE]
    four_corners().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[noise(40, 60)])
    assert corners(read_image(tmp_path / "a.jpg")) == [RED, GREEN, WHITE, BLUE]
    assert inspect_image(tmp_path / "a.jpg").notes == ""


def test_lack_of_memory_is_not_blamed_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    path = written(tmp_path, jpeg(noise()))
    monkeypatch.setattr(ImageFile.ImageFile, "load", no_memory)
    with pytest.raises(MemoryError):
        read_image(path)
    with pytest.raises(MemoryError):
        inspect_image(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0"]))
def test_any_bytes_get_a_known_status(tail: bytes, magic: bytes) -> None:
    facts = images.inspect_bytes(magic + tail, name="a.jpg")
    assert facts.status in STATUSES
    assert (facts.status == "ok") == (facts.height > 0)


@settings(deadline=None, max_examples=50)
@given(position=st.integers(0, 6000), value=st.integers(0, 255))
def test_reading_and_inspecting_agree_on_damaged_files(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    data = bytearray(jpeg(noise(32, 32)))
    data[position % len(data)] = value
    path = written(tmp_path_factory.getbasetemp(), bytes(data), "damaged.jpg")
    if inspect_image(path).status == "ok":
        assert read_image(path).shape[:2] == (inspect_image(path).height, inspect_image(path).width)
    else:
        with pytest.raises(InputError):
            read_image(path)
