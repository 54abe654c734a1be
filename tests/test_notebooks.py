from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from fisheries.lessons import BOATS_VARIABLE, VARIABLE
from notebooks import check
from notebooks.execute import execute

FOLDER = Path(check.__file__).parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FEW_BOATS = "--train 120 --stage1 16 --stage2 40 --boats 10 --new-boats 4"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for what the notebooks make, shared by the processes that tests run in side by side."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "notebooks"


def test_all_notebooks_are_here():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number}_" for number in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) >= 7


@pytest.mark.timeout(900)  # the first one to ask for a run trains it, and the others wait
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, runs: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(runs))
    monkeypatch.setenv(BOATS_VARIABLE, FEW_BOATS)
    executed = execute(path)
    nbformat.write(executed, tmp_path / path.name)
    assert check.problems(tmp_path / path.name) == []
    assert [len(cell.get("outputs", [])) > 0 for cell in executed.cells] == [
        len(cell.get("outputs", [])) > 0 for cell in nbformat.read(path, as_version=4).cells
    ], "what it shows is not what is committed"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_can_be_read_on_the_web(path: Path):
    assert check.problems(path) == []


def make_notebook(path: Path, *outputs: nbformat.NotebookNode, source: str = "1", count: int | None = 1) -> Path:
    cell = new_code_cell(source, execution_count=count, outputs=list(outputs))
    nbformat.write(new_notebook(cells=[cell]), path)
    return path


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "it failed with ValueError"),
        (new_output("stream", name="stderr", text="UserWarning: old"), "it warned: 'UserWarning: old'"),
        (new_output("stream", text="wrote /home/anna/runs/a.csv"), "'/home/anna'"),
        (new_output("display_data", {"text/html": "<img src='C:\\Users'>"}), "'C:\\\\Users'"),
        (new_output("stream", text="began 2026-11-21 14:21"), "'2026-11-21 14:21'"),
        (new_output("display_data", {"image/png": "A" * check.MOST_BYTES}), "fewer or smaller figures"),
    ],
    ids=["error", "warning", "path", "windows", "moment", "size"],
)
def test_what_must_not_be_committed_is_found(tmp_path: Path, output, said: str):
    (problem,) = check.problems(make_notebook(tmp_path / "a.ipynb", output))
    assert said in problem


def test_addresses_fractions_and_pictures_are_no_paths(tmp_path: Path):
    text = new_output("stream", text="https://web.org/home/page, 3/4, runs/tmp/a.csv, and/or")
    picture = new_output("display_data", {"image/png": "/home/anna"})
    assert check.problems(make_notebook(tmp_path / "a.ipynb", text, picture)) == []


@pytest.mark.parametrize("count", [None, 2])
def test_cells_must_have_run_in_order(tmp_path: Path, count: int | None):
    (problem,) = check.problems(make_notebook(tmp_path / "a.ipynb", count=count))
    assert problem == f"cells ran as [{count}]; expected 1 to 1: run `make notebooks`"


def test_the_check_prints_each_problem_with_its_file(tmp_path: Path, capsys):
    bad, good = make_notebook(tmp_path / "bad.ipynb", count=5), make_notebook(tmp_path / "good.ipynb")
    assert check.main([bad, good]) == 1
    assert capsys.readouterr().out == f"{bad}: {check.problems(bad)[0]}\n"
    assert check.main([good]) == 0
    assert capsys.readouterr().out == ""
