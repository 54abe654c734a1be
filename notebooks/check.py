"""Check that notebooks can be read on the web as they are: python notebooks/check.py [NOTEBOOK.ipynb ...].

They must hold the outputs of one run from top to bottom, no errors or warnings, nothing of one machine or moment, and
be small.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

MOST_BYTES = 400_000
# folders of one machine, and a moment; a path on the web has a host before it
_OF_ONE_MACHINE = re.compile(
    r"(?<![\w.:/-])/(?:home|root|Users|tmp|private|var|mnt|opt|usr|work\w*|data|srv)/[\w.-]+|\b[A-Z]:\\\w+"
)
_MOMENT = re.compile(r"\b20\d\d-\d\d-\d\d[T _]\d\d[:-]\d\d")


def problems(path: Path) -> list[str]:
    """Return what keeps a notebook from being committed, a sentence each; [] if nothing does."""
    notebook = nbformat.read(path, as_version=4)
    size = path.stat().st_size
    found = [] if size <= MOST_BYTES else [f"{size:,} bytes; at most {MOST_BYTES:,}: fewer or smaller figures"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in code]
    if not code or counts != list(range(1, len(code) + 1)):
        found.append(f"cells ran as {counts}; expected 1 to {len(code)}: run `make notebooks`")
    for cell in code:
        found += [f"cell {cell.execution_count}: {problem}" for problem in _output_problems(cell)]
    for number, cell in enumerate(notebook.cells):
        found += [f"part {number} holds {text!r}, which is of one machine or moment" for text in _strange(cell)]
    return found


def _output_problems(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"it failed with {output.ename}"
        if output.output_type == "stream" and output.name == "stderr":
            yield f"it warned: {output.text.strip()[:80]!r}"
    if "execution" in cell.metadata:
        yield "it keeps when it ran"


def _strange(cell: NotebookNode) -> list[str]:
    """Return paths and times in a cell's text, and in the text that it shows."""
    texts = [cell.source]
    for output in cell.get("outputs", []):
        texts.append(output.get("text", ""))
        texts += [str(data) for kind, data in output.get("data", {}).items() if kind.startswith("text/")]
    return [found.group() for text in texts for rule in (_OF_ONE_MACHINE, _MOMENT) for found in rule.finditer(text)]


def main(paths: list[Path]) -> int:
    """Print the problems of notebooks, by default of all in this folder, and return how many there are."""
    paths = paths or sorted(Path(__file__).parent.glob("*.ipynb"))
    lines = [f"{path}: {problem}" for path in paths for problem in problems(path)]
    print(*lines, sep="\n" if lines else "", end="\n" if lines else "")
    return len(lines)


if __name__ == "__main__":
    sys.exit(min(main([Path(name) for name in sys.argv[1:]]), 1))
