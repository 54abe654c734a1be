"""Pages of the documentation that are made from the code: every choice, every command, the notebooks, the changes.

`python docs/generate.py` writes the table of faults into reliability.md anew, and that of libraries into dependencies.md; the
others are made when the pages are.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

ROOT = Path(__file__).resolve().parent.parent
NOT_SHOWN = ("hydra/help", "local")  # the text of --help, and what a user adds
MADE = "<!-- made by `python docs/generate.py` from tests/faults -->"
LISTED = "<!-- made by `python docs/generate.py` from pyproject.toml, requirements.txt and what is installed -->"
_WRITTEN = {word.lower(): word for word in ("GPU", "CMYK", "PNG", "JPG", "EXIF", "NaN", "NA", "SIGTERM", "SIGKILL")}
_CODE_OR_TAG = re.compile(r"(```.*?```|`[^`]*`)|<", flags=re.DOTALL)
_REQUIREMENT = re.compile(r"([\w.-]+)\s*([^;]*)")
_NOT_INSTALLED = {
    "jupyterlab": "BSD-3-Clause",
    "kaggle": "Apache-2.0",
    "six": "MIT",
}  # by what is installed for the tests
_PICTURES = {"image/png": "png", "image/jpeg": "jpg"}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those of docs/; ProperDocs calls this by its name."""
    from properdocs.structure.files import File

    for name, content in pages(ROOT).items():
        files.append(File.generated(config, name, content=content))
    return files


def pages(root: Path) -> dict[str, str | bytes]:
    """Return generated pages and pictures by their place below docs/."""
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    made: dict[str, str | bytes] = {
        "configuration.md": configuration_page(root / "conf"),
        "commands.md": commands_page(),
        "changelog.md": (root / "CHANGELOG.md").read_text(encoding="utf-8"),
        "notebooks.md": notebooks_page(notebooks),
    }
    for path in notebooks:
        made |= notebook_pages(path)
    return made


def conf_groups(conf: Path) -> list[str]:
    """Return the groups of the configuration, those first that `config.yaml` names first."""
    folders = {path.parent.relative_to(conf).as_posix() for path in conf.rglob("*.yaml")} - {".", *NOT_SHOWN}
    named = re.findall(r"^  - (\w+):", (conf / "config.yaml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    order = {name: position for position, name in enumerate(named)}
    return sorted(folders, key=lambda name: (order.get(name, len(order)), name))


def configuration_page(conf: Path) -> str:
    """Return every group and choice with its comments and values, as the files say them."""
    parts = [
        "# Configuration",
        "`group=choice` takes another file of a group, `key=value` another value, in the words of [Hydra](https://hydra.cc): "
        "`python train.py model=resnet50 optimizer.lr=1e-4`. `python train.py --cfg job` prints what a command line comes to. "
        "This page is made from the files of `conf/`.",
        "## The main file",
        _choice((conf / "config.yaml").read_text(encoding="utf-8")),
    ]
    for group in conf_groups(conf):
        parts.append(f"## {group}")
        for path in sorted((conf / group).glob("*.yaml")):
            of_wandb = group == "sweep"  # a file that `wandb sweep` takes, and no choice
            heading = f"conf/sweep/{path.name}" if of_wandb else f"{group}={path.stem}"
            parts += [f"### {heading}", _choice(path.read_text(encoding="utf-8"))]
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """Return what `--help` says of every command."""
    from fisheries.cli import app

    group = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=group, ctx=typer.Context(group, info_name="fisheries"), name="fisheries", title="Commands"
    )
    text = re.sub(r"\* `--help`: .*\n", "", text)
    return _escaped(
        re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", text)
    )  # whose lines are cut off; the headings follow


def notebooks_page(paths: list[Path]) -> str:
    """Return links to the notebooks, by their titles."""
    links = [f"* [{_title(path)}](notebooks/{path.stem}.md) (`notebooks/{path.name}`)" for path in paths]
    return "\n".join(["# Notebooks", "", "Executed from top to bottom, on the embedded boats.", "", *links, ""])


def notebook_pages(path: Path) -> dict[str, str | bytes]:
    """Return a notebook as a page, and its pictures."""
    parts, pictures = [], {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = re.sub(r"\]\((\w+)\.ipynb", r"](\1.md", "".join(cell["source"]))
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            kind = next((kind for kind in _PICTURES if kind in output.get("data", {})), None)
            if kind is None:
                parts.append(_shown(output))
            else:
                name = f"{path.stem}-{len(pictures) + 1}.{_PICTURES[kind]}"
                pictures[f"notebooks/{name}"] = base64.b64decode("".join(output["data"][kind]))
                parts.append(f"![]({name})")
    return {f"notebooks/{path.stem}.md": "\n\n".join(parts) + "\n", **pictures}


def _shown(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
    text = "".join(output.get("text", data.get("text/plain", [])))
    return f"```text\n{text.rstrip()}\n```"


def with_fault_tables(page: str, tests: Path) -> str:
    """Return a page whose part after `MADE` says for every fault what happens, as names and docstrings of tests do."""
    written, marker, _ = page.partition(MADE)
    return f"{written}{marker}\n{fault_tables(tests)}"


def fault_tables(tests: Path) -> str:
    """Return a table for each file of tests of faults."""
    parts = []
    for path in sorted(tests.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
        rows = [f"| {_fault(node.name)} | {_told(node)} |" for node in found]
        parts += ["", f"## {ast.get_docstring(tree)}", "", "| fault | what happens |", "| --- | --- |", *rows]
    return "\n".join([*parts, ""])


def with_dependencies(page: str, root: Path) -> str:
    """Return a page whose part after `LISTED` says which libraries are used directly, in which version, and their licenses."""
    written, marker, _ = page.partition(LISTED)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (root / "requirements.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    extras = dict(project["optional-dependencies"])
    extras["dev"] = extras.pop("dev")  # last: most of it is in others, too
    rows = {}
    for extra, needed in {"always": project["dependencies"], **extras}.items():
        for requirement in needed:
            name, bounds = _REQUIREMENT.match(requirement).groups()  # type: ignore[union-attr]
            rows.setdefault(name, f"| {name} | {pins.get(name, bounds)} | {extra} | {license_of(name)} |")
    return "\n".join(
        [
            f"{written}{marker}",
            "",
            "| library | version | for | license |",
            "| --- | --- | --- | --- |",
            *rows.values(),
            "",
        ]
    )


def license_of(name: str) -> str:
    """Return the license that an installed library says it has."""
    if name in _NOT_INSTALLED:
        return _NOT_INSTALLED[name]
    about = metadata(name)
    told = about["License-Expression"]
    classifiers = [
        text.rpartition(" :: ")[2] for text in about.get_all("Classifier", []) if text.startswith("License ::")
    ]
    return str(told or ", ".join(classifiers) or str(about["License"] or "").splitlines()[0]).replace("|", "/")


def _fault(name: str) -> str:
    text = name.removeprefix("test_").replace("_", " ").replace("16 bit", "16-bit").replace("ctrl c", "Ctrl-C")
    words = [_WRITTEN.get(word, word) for word in text.split()]
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


def _told(test: ast.FunctionDef) -> str:
    """Return a test's docstring as a cell of a table; one without is no row that a reader could use."""
    return " ".join(str(ast.get_docstring(test)).split()).replace("|", "\\|").replace("<", "&lt;")


def _title(path: Path) -> str:
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    return first.splitlines()[0].lstrip("# ")


def _choice(text: str) -> str:
    """Return a file's header comment as text and commands, and the rest as YAML."""
    lines = text.splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    header = [line.removeprefix("#").removeprefix(" ") for line in lines[:end] if "@package" not in line]
    body = "\n".join(lines[end:]).strip("\n")
    return "\n\n".join([*_paragraphs(header), *([f"```yaml\n{body}\n```"] if body else [])])


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Yield paragraphs; of lines that begin with two spaces, blocks of code."""
    for (some, code), block in groupby(lines, key=lambda line: (bool(line.strip()), line.startswith("  "))):
        text = "\n".join(line.removeprefix("  ") for line in block)
        if some:
            yield f"```text\n{text}\n```" if code else _escaped(text)


def _escaped(text: str) -> str:
    """Return Markdown whose `<` outside of code is no tag."""
    return _CODE_OR_TAG.sub(lambda match: match[1] or "&lt;", text)


if __name__ == "__main__":
    FAULTS, LIBRARIES = ROOT / "docs" / "reliability.md", ROOT / "docs" / "dependencies.md"
    FAULTS.write_text(
        with_fault_tables(FAULTS.read_text(encoding="utf-8"), ROOT / "tests" / "faults"), encoding="utf-8"
    )
    LIBRARIES.write_text(with_dependencies(LIBRARIES.read_text(encoding="utf-8"), ROOT), encoding="utf-8")
