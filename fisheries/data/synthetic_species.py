"""What the drawn fish look like: outlines, fins, colors and patterns of the species behind the seven fish labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Color = tuple[int, int, int]  # RGB
Point = tuple[float, float]


@dataclass(frozen=True)
class Fin:
    """A fin's outline in fish coordinates (x 0 at the snout, 1 at the tail's tip; y up), and how it is filled."""

    outline: tuple[Point, ...]
    color: Color
    over: bool = False  # on the flank, not behind the body


@dataclass(frozen=True)
class Species:
    """The shape, fins and colors of one kind of fish."""

    upper: tuple[Point, ...]  # back, from snout to tail
    lower: tuple[Point, ...]  # belly, the same
    back: Color
    flank: Color
    belly: Color
    fins: tuple[Fin, ...]
    eye: tuple[float, float, float]  # x, y, radius
    spots: tuple[int, float, Color] | None = None  # how many, their radius, their color
    bars: int = 0  # dark vertical bars
    finlets: Color | None = None
    gills: int = 1
    length: float = 1.0  # beside the length asked for, so that round fish aren't giants
    bend: float = 1.0  # how far it bends beside a tuna


def fin(start: Point, tip: Point, end: Point, color: Color, *, over: bool = False, sweep: float = 0.25) -> Fin:
    """Draw a swept-back fin: `start` and `end` of its base, and its tip; `sweep` hollows the edge behind."""
    bulge = ((start[0] + tip[0]) / 2 - 0.12 * (tip[0] - start[0]), (start[1] + tip[1]) / 2 + 0.12 * (tip[1] - start[1]))
    hollow = (end[0] + sweep * (tip[0] - end[0]), end[1] + 0.1 * (tip[1] - end[1]))
    return Fin(outline=curve(start, bulge, tip) + curve(tip, hollow, end), color=color, over=over)


def curve(start: Point, control: Point, end: Point) -> tuple[Point, ...]:
    """Return nine points on a quadratic Bezier curve."""
    t = np.linspace(0, 1, 9)[:, None]
    points = (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(control) + t**2 * np.array(end)
    return tuple((float(x), float(y)) for x, y in points)


def _tail(color: Color, *, root: float = 0.88, spread: float = 0.17, low: float | None = None) -> tuple[Fin, ...]:
    low = spread if low is None else low
    upper = fin((root - 0.02, 0.012), (1.0, spread), (root + 0.035, 0.0), color, sweep=0.5)
    lower = fin((root - 0.02, -0.012), (1.0, -low), (root + 0.035, 0.0), color, sweep=0.5)
    return (upper, lower)


_DARK: Color = (42, 48, 62)
_YELLOW: Color = (240, 205, 40)
_RED: Color = (205, 50, 40)
_BLUE: Color = (40, 80, 165)

_ALB = Species(
    upper=((0, 0), (0.1, 0.07), (0.25, 0.115), (0.4, 0.125), (0.6, 0.095), (0.78, 0.035), (0.9, 0.014)),
    lower=((0, 0), (0.1, -0.06), (0.25, -0.11), (0.4, -0.125), (0.6, -0.095), (0.78, -0.035), (0.9, -0.014)),
    back=(38, 52, 88),
    flank=(140, 152, 170),
    belly=(226, 230, 232),
    fins=(
        *_tail((60, 66, 80)),
        fin((0.31, 0.11), (0.37, 0.175), (0.45, 0.115), _DARK),
        fin((0.54, 0.1), (0.61, 0.15), (0.62, 0.085), _DARK),
        fin((0.54, -0.1), (0.61, -0.15), (0.62, -0.085), (120, 120, 125)),
        fin((0.255, 0.012), (0.70, -0.075), (0.27, -0.05), (22, 26, 38), over=True, sweep=0.45),
    ),
    eye=(0.07, 0.018, 0.017),
)
_BET = Species(
    upper=((0, 0), (0.08, 0.085), (0.22, 0.16), (0.38, 0.185), (0.58, 0.14), (0.77, 0.045), (0.9, 0.016)),
    lower=((0, -0.01), (0.08, -0.085), (0.22, -0.16), (0.38, -0.19), (0.58, -0.14), (0.77, -0.045), (0.9, -0.016)),
    back=(40, 34, 40),
    flank=(104, 92, 92),
    belly=(168, 154, 146),
    fins=(
        *_tail((52, 46, 50), spread=0.18),
        fin((0.3, 0.17), (0.36, 0.25), (0.46, 0.165), (60, 52, 46)),
        fin((0.55, 0.145), (0.66, 0.235), (0.63, 0.11), (116, 96, 46)),
        fin((0.55, -0.145), (0.66, -0.235), (0.63, -0.11), (116, 96, 46)),
        fin((0.27, 0.02), (0.46, -0.035), (0.28, -0.045), (34, 30, 34), over=True, sweep=0.4),
    ),
    eye=(0.095, 0.035, 0.036),
    finlets=(120, 100, 40),
)
_YFT = Species(
    upper=((0, 0), (0.1, 0.06), (0.25, 0.1), (0.4, 0.112), (0.6, 0.08), (0.78, 0.03), (0.9, 0.012)),
    lower=((0, 0), (0.1, -0.055), (0.25, -0.1), (0.4, -0.112), (0.6, -0.08), (0.78, -0.03), (0.9, -0.012)),
    back=(34, 48, 84),
    flank=(196, 176, 96),
    belly=(214, 216, 210),
    fins=(
        *_tail((205, 178, 50), spread=0.18),
        fin((0.3, 0.1), (0.36, 0.17), (0.43, 0.105), (210, 180, 50)),
        fin((0.5, 0.095), (0.80, 0.285), (0.6, 0.075), _YELLOW, sweep=0.3),
        fin((0.5, -0.095), (0.80, -0.285), (0.6, -0.075), _YELLOW, sweep=0.3),
        fin((0.26, 0.005), (0.47, -0.04), (0.27, -0.045), (190, 165, 60), over=True, sweep=0.4),
    ),
    eye=(0.07, 0.015, 0.016),
    finlets=_YELLOW,
)
_DOL = Species(
    upper=(
        (0, -0.03),
        (0.015, 0.1),
        (0.06, 0.16),
        (0.14, 0.175),
        (0.3, 0.145),
        (0.6, 0.075),
        (0.82, 0.025),
        (0.88, 0.018),
    ),
    lower=((0, -0.04), (0.06, -0.085), (0.14, -0.105), (0.3, -0.1), (0.6, -0.06), (0.82, -0.022), (0.88, -0.016)),
    back=(30, 128, 92),
    flank=(160, 190, 52),
    belly=(236, 222, 92),
    fins=(
        *_tail((196, 190, 60), root=0.85, spread=0.16),
        Fin(
            outline=(
                *((0.06, 0.13), (0.1, 0.235), (0.2, 0.255), (0.4, 0.215), (0.6, 0.155)),
                *((0.8, 0.085), (0.8, 0.02), (0.4, 0.1)),
            ),
            color=(28, 92, 150),
        ),
        fin((0.5, -0.07), (0.6, -0.13), (0.78, -0.025), (120, 160, 90)),
        fin((0.22, -0.02), (0.36, -0.09), (0.22, -0.06), (90, 140, 150), over=True),
        fin((0.2, -0.09), (0.34, -0.16), (0.25, -0.09), (60, 110, 140)),
    ),
    eye=(0.07, 0.0, 0.015),
    spots=(46, 0.009, (24, 62, 130)),
)
_LAG = Species(
    upper=((0, 0), (0.06, 0.14), (0.18, 0.27), (0.36, 0.325), (0.56, 0.26), (0.74, 0.1), (0.84, 0.03)),
    lower=((0, -0.02), (0.06, -0.15), (0.18, -0.28), (0.36, -0.335), (0.56, -0.26), (0.74, -0.1), (0.84, -0.03)),
    back=(84, 84, 128),
    flank=(190, 110, 104),
    belly=(226, 128, 104),
    fins=(
        *_tail(_RED, root=0.83, spread=0.15),
        fin((0.28, 0.3), (0.62, 0.47), (0.5, 0.26), _RED, sweep=0.5),
        fin((0.5, 0.27), (0.72, 0.21), (0.74, 0.09), _RED),
        fin((0.52, -0.27), (0.72, -0.21), (0.74, -0.09), _RED),
        fin((0.34, -0.31), (0.58, -0.47), (0.46, -0.29), _RED, sweep=0.5),
        fin((0.28, 0.04), (0.58, 0.1), (0.31, -0.02), _RED, over=True, sweep=0.4),
    ),
    eye=(0.09, 0.055, 0.034),
    spots=(60, 0.013, (242, 236, 232)),
    length=0.82,
    bend=0.3,
)
_SHARK = Species(
    upper=((0, 0.01), (0.08, 0.04), (0.22, 0.075), (0.4, 0.085), (0.6, 0.055), (0.78, 0.028), (0.92, 0.03)),
    lower=((0, 0), (0.08, -0.03), (0.22, -0.065), (0.4, -0.075), (0.6, -0.05), (0.78, -0.026), (0.9, -0.012)),
    back=(92, 100, 112),
    flank=(132, 140, 150),
    belly=(214, 218, 220),
    fins=(
        fin((0.82, 0.02), (1.0, 0.2), (0.9, 0.0), (88, 96, 108), sweep=0.55),
        fin((0.84, -0.02), (0.925, -0.1), (0.9, 0.0), (88, 96, 108), sweep=0.55),
        fin((0.36, 0.075), (0.5, 0.235), (0.5, 0.07), (84, 92, 104), sweep=0.1),
        fin((0.7, 0.035), (0.765, 0.075), (0.76, 0.028), (88, 96, 108)),
        fin((0.66, -0.035), (0.73, -0.085), (0.72, -0.03), (120, 126, 132)),
        fin((0.25, -0.035), (0.44, -0.25), (0.36, -0.045), (92, 100, 112), over=True, sweep=0.15),
    ),
    eye=(0.07, 0.014, 0.009),
    gills=5,
    length=1.1,
    bend=1.3,
)
_MARLIN = Species(
    upper=((0, 0), (0.2, 0.012), (0.27, 0.05), (0.36, 0.085), (0.5, 0.08), (0.7, 0.045), (0.86, 0.014), (0.9, 0.012)),
    lower=(
        (0, -0.004),
        (0.2, -0.012),
        (0.27, -0.045),
        (0.36, -0.075),
        (0.5, -0.075),
        (0.7, -0.04),
        (0.86, -0.014),
        (0.9, -0.012),
    ),
    back=(30, 38, 84),
    flank=(92, 96, 120),
    belly=(190, 188, 186),
    fins=(
        *_tail((34, 40, 76), spread=0.19),
        Fin(
            outline=(
                *((0.3, 0.06), (0.34, 0.235), (0.4, 0.21), (0.5, 0.235), (0.6, 0.215), (0.7, 0.15)),
                *((0.74, 0.05), (0.5, 0.06)),
            ),
            color=_BLUE,
        ),
        fin((0.66, -0.04), (0.72, -0.11), (0.74, -0.03), (40, 50, 96)),
        fin((0.36, -0.03), (0.52, -0.12), (0.38, -0.05), (40, 46, 80), over=True),
    ),
    eye=(0.245, 0.01, 0.013),
    length=1.15,
)
_WAHOO = Species(
    upper=((0, 0), (0.12, 0.03), (0.25, 0.058), (0.45, 0.07), (0.65, 0.055), (0.82, 0.022), (0.92, 0.01)),
    lower=((0, -0.005), (0.12, -0.032), (0.25, -0.055), (0.45, -0.068), (0.65, -0.055), (0.82, -0.02), (0.92, -0.01)),
    back=(44, 92, 120),
    flank=(142, 170, 182),
    belly=(206, 216, 220),
    fins=(
        *_tail((50, 70, 90), root=0.9, spread=0.1),
        Fin(outline=((0.24, 0.05), (0.27, 0.1), (0.5, 0.095), (0.52, 0.06)), color=(48, 76, 110)),
        fin((0.6, 0.055), (0.67, 0.1), (0.68, 0.045), (48, 76, 110)),
        fin((0.6, -0.055), (0.67, -0.1), (0.68, -0.045), (90, 110, 130)),
    ),
    eye=(0.1, 0.008, 0.01),
    bars=16,
    length=1.15,
    bend=1.3,
)
_SNAKE = Species(
    upper=((0, 0), (0.06, 0.025), (0.15, 0.042), (0.4, 0.045), (0.7, 0.03), (0.9, 0.01), (0.94, 0.006)),
    lower=((0, -0.006), (0.06, -0.025), (0.15, -0.04), (0.4, -0.043), (0.7, -0.028), (0.9, -0.009), (0.94, -0.006)),
    back=(96, 76, 52),
    flank=(146, 122, 86),
    belly=(186, 164, 124),
    fins=(
        *_tail((70, 56, 44), root=0.92, spread=0.05),
        Fin(outline=((0.14, 0.03), (0.18, 0.075), (0.55, 0.075), (0.85, 0.035), (0.88, 0.01)), color=(58, 48, 40)),
    ),
    eye=(0.05, 0.006, 0.013),
    length=1.15,
    bend=2.6,
)
SPECIES: dict[str, tuple[Species, ...]] = {
    "ALB": (_ALB,),
    "BET": (_BET,),
    "DOL": (_DOL,),
    "LAG": (_LAG,),
    "OTHER": (_MARLIN, _WAHOO, _SNAKE),
    "SHARK": (_SHARK,),
    "YFT": (_YFT,),
}
