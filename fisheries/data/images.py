"""The one place that decodes a photograph, and the facts that its file tells.

A box is in pixels of the image as `read_image` returns it, after EXIF rotation. OpenCV decodes truncated files without
a word and PIL's `convert` clips 16-bit pixels, so neither does that here.
"""

from __future__ import annotations

import errno
import hashlib
import io
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from fisheries.schema import OK, InputError

MAX_PIXELS = 50_000_000
MAX_BYTES = 400_000_000  # 50 megapixels of 16-bit RGBA, uncompressed

STATUSES: Mapping[str, str] = {
    OK: "can be used",
    "empty": "the file has no bytes",
    "truncated": "the file ends early or is damaged",
    "not_an_image": "no JPEG, PNG, TIFF, WebP, BMP or GIF of 8 or 16 bits",
    "too_large": f"more than {MAX_PIXELS // 1_000_000} megapixels or {MAX_BYTES // 1_000_000} megabytes",
    "unreadable": "the file can't be read (permission, input/output error, or no regular file)",
}
NOTES: Mapping[str, str] = {
    "is_jpeg": "a JPEG by content, not by extension",
    "is_png": "a PNG by content, not by extension",
    "is_tiff": "a TIFF by content, not by extension",
    "is_webp": "a WebP by content, not by extension",
    "is_bmp": "a BMP by content, not by extension",
    "is_gif": "a GIF by content, not by extension",
    "16bit": "16 bits a channel, scaled to 8",
    "alpha": "transparent pixels, laid on black",
    "cmyk": "CMYK, turned into RGB",
    "exif_rotated": "turned as its EXIF says",
    "grey": "grey, repeated as RGB",
    "palette": "indexed colors, turned into RGB",
}

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")  # all of PIL's would let a file start Ghostscript
_JPEGS = ("JPEG", "MPO")  # the second has more of them behind the first
_END = b"\xff\xd9"
_EXTENSIONS = {".jpg": "jpeg", ".jpeg": "jpeg", ".mpo": "jpeg", ".tif": "tiff"}
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"II*\x00", b"MM\x00*", b"GIF8")
_GREY = ("1", "L", "LA")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)

# PIL warns from 89 megapixels on; ours is an error from 50 on.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class ImageFacts:
    """What a file tells of its photograph; words of `STATUSES` and `NOTES`."""

    height: int  # pixels, after EXIF rotation; 0 unless the status is "ok"
    width: int
    status: str
    notes: str = ""  # words in alphabetical order, separated by blanks


def read_image(
    path: Path | str, *, sha256: str | None = None, least_hw: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Decode a photograph.

    Args:
        path: a JPEG, PNG, TIFF, WebP, BMP or GIF (its first picture) of 8 or 16 bits.
        sha256: of the file's bytes, if it must be these and no others.
        least_hw: height and width that are enough, so that a JPEG can be decoded at 1/2, 1/4 or 1/8 of its size.

    Returns:
        (H, W, 3) RGB, turned as EXIF says, 16 bits scaled to 8, transparency laid on black.

    Raises:
        InputError: the file can't be read, is damaged, is no such image, has more than `MAX_PIXELS`, or is another.
    """
    return np.array(_open(path, sha256=sha256, least_hw=least_hw))


def read_small(path: Path | str, *, image_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a photograph straight into a small picture, in a fifth of the time that `read_image` takes.

    Args:
        path: as `read_image`.
        image_hw: height and width of the picture; the photograph is stretched to it, each pixel a mean.

    Returns:
        (H, W, 3) RGB, as `read_image`.

    Raises:
        InputError: as `read_image`.
    """
    height, width = image_hw
    image = _open(path, least_hw=(max(height, width),) * 2)
    return np.array(image.resize((width, height), Image.Resampling.BOX))


def inspect_image(path: Path | str) -> ImageFacts:
    """Decode a photograph once, fully, and say what it is; never "ok" for a file that `read_image` refuses."""
    try:
        data = read_bytes(path)
    except (OSError, Image.DecompressionBombError) as error:
        return ImageFacts(height=0, width=0, status=status_of(error))
    return inspect_bytes(data, name=PurePath(path).name)


def inspect_bytes(data: bytes, *, name: str) -> ImageFacts:
    """As `inspect_image`, for the bytes of a file called `name`."""
    try:
        image, notes = _decode(data, name=name)
    except Exception as error:  # as in read_image
        return ImageFacts(height=0, width=0, status=status_of(error, data))
    return ImageFacts(height=image.height, width=image.width, status=OK, notes=" ".join(sorted(notes)))


def read_bytes(path: Path | str) -> bytes:
    """Read a file that may be a photograph.

    Raises:
        OSError: it can't be read, or is no regular file (opening a pipe would wait for ever).
        PIL.Image.DecompressionBombError: it has more than `MAX_BYTES`.
    """
    path = Path(path)
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if facts.st_size > MAX_BYTES:
        raise Image.DecompressionBombError(f"{facts.st_size} bytes")
    return path.read_bytes()


def status_of(error: Exception, data: bytes = b"") -> str:
    """Return the word of `STATUSES` for an error met while reading a file, or decoding its `data`."""
    if isinstance(error, MemoryError):
        raise error  # says nothing about the file
    if isinstance(error, OSError) and error.errno is not None:  # PIL's own have no number
        return "unreadable"
    if isinstance(error, Image.DecompressionBombError):
        return "too_large"
    if not data:
        return "empty"
    foreign = isinstance(error, UnidentifiedImageError) and not data.startswith(_MAGIC)
    return "not_an_image" if foreign or isinstance(error, NotImplementedError) else "truncated"


def _open(path: Path | str, *, least_hw: tuple[int, int] | None = None, sha256: str | None = None) -> Image.Image:
    data = b""
    try:
        data = read_bytes(path)
        image, _ = _decode(data, name="", least_hw=least_hw)
    except Exception as error:  # PIL's readers raise whatever a broken file makes them stumble over
        reason = STATUSES[status_of(error, data)]
        raise InputError(f"{path}: {reason} ({_one_line(error)}); replace the file or leave it out") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"{path}: is another photograph than the manifest's; scan the photographs again, in a new run")
    return image


def _decode(data: bytes, *, name: str, least_hw: tuple[int, int] | None = None) -> tuple[Image.Image, set[str]]:
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a library may have switched it on for everybody
    file = io.BytesIO(data)
    image = Image.open(file, formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
    if image.format in _JPEGS and not data.endswith(_END) and _END not in data[file.tell() :]:
        raise EOFError("no end marker")  # zeros in place of a file's second half decode well, as some gray
    notes = _notes(image, name=name)
    if least_hw is not None:
        least_wh = least_hw if _turn(image) in _SIDEWAYS else least_hw[::-1]
        image.draft(None, least_wh)  # a JPEG's blocks can be decoded at 1/2, 1/4 or 1/8 of their size
    image.load()
    turn, rgb = _turn(image), _to_rgb(image)
    if turn is None:
        return rgb, notes
    return rgb.transpose(turn), notes | {"exif_rotated"}


def _notes(image: Image.Image, *, name: str) -> set[str]:
    kind = "jpeg" if image.format in _JPEGS else str(image.format).lower()
    suffix = PurePath(name).suffix.lower()
    found = {
        f"is_{kind}": suffix != "" and _EXTENSIONS.get(suffix, suffix[1:]) != kind,
        "16bit": ";16" in str(getattr(image, "tile", "")),  # the name of the pixels' layout in the file
        "alpha": image.has_transparency_data,
        "cmyk": image.mode == "CMYK",
        "grey": image.mode in _GREY or image.mode.startswith("I;16"),
        "palette": image.mode in ("P", "PA"),
    }
    return {note for note, is_so in found.items() if is_so}


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        # A TIFF's is gone by now: PIL has turned it while loading.
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF is no reason to refuse a sound picture
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        high_bytes = np.asarray(image) >> 8  # as PIL itself does for 16-bit RGB
        return Image.fromarray(high_bytes.astype(np.uint8)).convert("RGB")
    if image.mode not in _MODES:
        raise NotImplementedError(f"pixels of mode {image.mode}")
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _one_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "unknown format"  # PIL names an object in memory
    return " ".join((getattr(error, "strerror", None) or str(error)).split()) or type(error).__name__
