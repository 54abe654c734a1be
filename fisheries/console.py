"""Where everything that a person reads is printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> Console:
    """Return a console; of the processes that train together only the first one speaks."""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False, quiet=os.environ.get("LOCAL_RANK", "0") != "0")
