"""Self-contained HTML pages: templates filled with escaped text, and pictures as part of the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **values: object) -> str:
    """Fill a template of `templates/`; every value is escaped, so that no file name or label becomes HTML.

    Raises:
        jinja2.UndefinedError: a value that the template needs is not given.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def figure_uri(figure: Figure, *, dpi: int = 110) -> Markup:
    """Return a figure as the `src` of an `<img>`."""
    return _uri(figure_png(figure, dpi=dpi), "png")


def figure_png(figure: Figure, *, dpi: int = 110) -> bytes:
    """Return a figure as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi)
    return picture.getvalue()


def photo_uri(pixels: NDArray[np.uint8], *, quality: int = 80) -> Markup:
    """Return pixels (H, W, 3) as the `src` of an `<img>`, in JPEG."""
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, format="JPEG", quality=quality)
    return _uri(picture.getvalue(), "jpeg")


def _uri(data: bytes, kind: str) -> Markup:
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")  # of letters and digits
