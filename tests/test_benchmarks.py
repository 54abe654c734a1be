from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOOD = '''"""How fast is it?

    python benchmarks/good.py

With rows.
"""
import json, pathlib, sys
rows = [{"part": "cold, 2 workers", "name": "timm", "value": 123.456, "unit": "images/s", "ratio": 0.5}]
pathlib.Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(rows))
'''


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import run

    return run


def results(rows: list[dict[str, object]], error: str = "") -> dict[str, object]:
    made = {"date": "2026-11-22", "about": "How fast photographs come."}
    return {"rows": rows, "seconds": 2.0, "error": error, "command": "python benchmarks/input.py", "said": "", **made}


def feed(epoch: str, name: str, ratio: float | None) -> dict[str, object]:
    return {"part": f"{epoch}, 224 x 224, 2 workers", "name": name, "value": 100.0, "ratio": ratio}


def test_the_page_has_machine_versions_tables_and_what_became_of_each_target(run: ModuleType, tmp_path: Path):
    files = {"input": [feed("cold", "timm", 0.5), feed("cold", "fastai", 0.5), feed("cold", "timm", 0.25)], "heads": []}
    for name, rows in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(results(rows)))
    told = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in files}
    lines = run.page(told, {"cores": "2"}, [{"library": "fastai", "ours": None, "peers": "2.8"}]).splitlines()
    assert "| cores | 2 |" in lines
    assert "| fastai |  | 2.8 |" in lines
    assert "| a cold epoch at least 1.8 x timm | 2, 4 | met |" in lines
    assert "| a cold epoch at least 4 x fastai with the same augmentations | 2 | **not met** |" in lines
    assert "| a warm epoch not behind FFCV | not measured |  |" in lines
    assert "| timm | 100 | 0.25 |" in lines
    assert "`python benchmarks/input.py`, 2 s, 2026-11-22" in lines


@pytest.mark.parametrize("least", [True, False])
def test_the_worst_row_decides_on_a_target(run: ModuleType, least: bool):
    target = run.Target("", "input", r"^cold.*: timm", 1.0, least=least)
    rows = [
        feed("cold", "timm", 0.9),
        feed("cold", "timm", 1.1),
        feed("warm", "timm", 5.0),
        feed("cold", "fastai", 0.1),
    ]
    values, met = run.judge(target, rows)
    assert values == ([0.9, 1.1] if least else [1.1, 0.9])
    assert not met
    assert run.judge(target, [feed("cold", "timm", 1.0)]) == ([1.0], True)
    assert run.judge(target, [feed("cold", "timm", None)]) == ([], None)


def test_a_script_that_fails_is_told_and_the_others_are_run(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "bad.py").write_text("import sys\nsys.exit('no photographs')\n")
    (tmp_path / "good.py").write_text(GOOD)
    for name, value in {"HERE": tmp_path, "BUILD": tmp_path / "build", "SCRIPTS": ("bad", "good")}.items():
        monkeypatch.setattr(run, name, value)
    monkeypatch.setattr(sys, "argv", ["run.py", "--out", str(tmp_path / "RESULTS.md"), "--peers", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        run.main()
    assert ended.value.code == 1
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    assert "**failed with exit status 1: no photographs**" in lines
    assert "| timm | 123.5 | images/s | 0.5 |" in lines
    assert "With rows." in lines
    assert not any("benchmarks/good.py" in line for line in lines)  # the example is for those who read the script


def test_an_unknown_script_is_a_line_with_what_there_is(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["run.py", "--only", "imput"])
    with pytest.raises(SystemExit):
        run.main()
    assert "--only imput: no such script; expected some of input, loop" in capsys.readouterr().err


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda file: file.name)
def test_what_a_benchmark_imports_of_ours_is_there(file: Path):
    imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    for node in imports:
        if node.module is not None and node.module.split(".")[0] == "fisheries":
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), (
                    alias.name
                )
