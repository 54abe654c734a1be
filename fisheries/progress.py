"""Bars on a terminal: how much is done, how fast it goes, and the time left."""

from __future__ import annotations

from collections.abc import Iterable
from operator import length_hint
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_T = TypeVar("_T")
IMAGES = "images"


class Speed(ProgressColumn):
    """Steps a second; of a task with `unit` and perhaps `per_step`, so many of that unit."""

    def render(self, task: Task) -> Text:
        """Return the speed, or nothing while it is not known."""
        steps = task.finished_speed or task.speed
        if not steps:
            return Text("")
        speed = steps * task.fields.get("per_step", 1)
        return Text(f"{speed:.{0 if speed >= 10 else 1}f} {task.fields.get('unit', '')}".rstrip() + "/s")


def progress_bar(
    console: Console | None = None, *, disable: bool = False, transient: bool = False, auto_refresh: bool = True
) -> Progress:
    """Return a bar for tasks that are told how far they are; by default on standard error, and to stay."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console or Console(stderr=True),
        disable=disable,
        transient=transient,
        auto_refresh=auto_refresh,
    )


def track(
    items: Iterable[_T],
    description: str,
    *,
    total: int | None = None,
    console: Console | None = None,
    disable: bool = False,
    unit: str = "",
    per_step: float = 1,
) -> Iterable[_T]:
    """Yield items under a bar.

    Args:
        items: whatever is gone through.
        description: what is done with them.
        total: how many there are, where `items` can't tell.
        console: where to show it, by default standard error.
        disable: show nothing, as where nobody looks.
        unit: what is counted in the speed, such as images.
        per_step: how many of these an item is, such as a batch's images.
    """
    with progress_bar(console, disable=disable) as bar:
        total = total or length_hint(items) or None
        task = bar.add_task(description, total=total, unit=unit, per_step=per_step)
        yield from bar.track(items, total=total, task_id=task)
