"""Run notebooks from top to bottom and keep what they show: python notebooks/execute.py [NOTEBOOK.ipynb ...]."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode

CELL_S, START_S = 600, 300


def execute(path: Path) -> NotebookNode:
    """Return a notebook with the outputs of all its cells, run by this Python in the notebook's folder.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    specs = KernelSpecManager(kernel_dirs=[])  # so that it is this Python, whatever kernels the user has
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs),
        timeout=CELL_S,
        startup_timeout=START_S,
        extra_arguments=["--log-level=ERROR"],  # or each kernel warns that it talks to this machine without a cipher
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    return client.execute()


def main(paths: list[Path]) -> None:
    """Execute notebooks in place; by default all of this folder."""
    for path in paths or sorted(Path(__file__).parent.glob("*.ipynb")):
        print(path.name, flush=True)
        notebook = execute(path)
        notebook.metadata["language_info"].pop("version", None)  # another Python is no change of the lesson
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
