"""Progressive resizing: the first epochs are trained on smaller pictures, which is quicker and comes nearly as far."""

from __future__ import annotations

from collections.abc import Sequence

_STRIDE = 32  # of nearly all networks: other sides would leave pixels over


def part_sizes(schedule: Sequence[float], image_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """Return height and width of the pictures of each part of the training.

    Args:
        schedule: shares of `image_hw`, the last of them 1.
        image_hw: height and width in the last part; the others' are multiples of 32, or the same where that is smaller.
    """
    return [tuple(_scaled(side, share) for side in image_hw) for share in schedule]  # type: ignore[misc]  # two sides


def smaller_epochs(schedule: Sequence[float], image_hw: tuple[int, int], *, epochs: int) -> dict[int, tuple[int, int]]:
    """Return the size of the pictures of each epoch before the last part, by its number.

    Args:
        schedule: see `part_sizes`; it divides the training into as many parts of equal length.
        image_hw: likewise.
        epochs: how many there are, at least as many as parts.
    """
    sizes, parts = part_sizes(schedule, image_hw), len(schedule)
    return {epoch: sizes[epoch * parts // epochs] for epoch in range(-(-epochs * (parts - 1) // parts))}


def _scaled(side: int, share: float) -> int:
    return side if share == 1 else min(side, max(round(share * side / _STRIDE), 1) * _STRIDE)
