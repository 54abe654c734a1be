"""The documentation is built strictly, has everything in it, and its commands are commands."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from omegaconf import DictConfig, OmegaConf
from properdocs.commands.build import build
from properdocs.config import load_config
from properdocs.exceptions import Abort

from fisheries.cli import app
from tests.conftest import ROOT

CONF = ROOT / "conf"
CLI = typer.main.get_command(app)
FENCED = re.compile(r"^( *)```\w*\n(.*?)^\1```", flags=re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
OURS = ("fisheries ", "python train.py")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def texts(generate: ModuleType) -> dict[str, str]:
    """Every page by its name, and the README."""
    written = {path.name: path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
    made = {name: text for name, text in generate.pages(ROOT).items() if isinstance(text, str)}
    return {**written, **made}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "properdocs.yml"), site_dir=str(folder)))
    return folder


def test_every_page_is_built_without_a_broken_link_and_needs_no_network(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 12
    for page in pages:
        loaded = re.findall(r'(?:src|<link[^>]*href)="(?:https?:)?//[^"]*', page.read_text())
        assert not loaded, f"{page.name} loads {loaded}"


def test_a_broken_link_stops_the_build(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[there](nowhere.md)\n")
    settings = (ROOT / "properdocs.yml").read_text().split("nav:\n  - ")[0].replace("hooks: [docs/generate.py]\n", "")
    (tmp_path / "properdocs.yml").write_text(settings)
    with pytest.raises(Abort):
        build(load_config(str(tmp_path / "properdocs.yml"), site_dir=str(tmp_path / "site")))


def test_every_group_and_choice_is_on_the_page_of_the_configuration(texts: dict[str, str]):
    choices = [path.relative_to(CONF) for path in CONF.rglob("*.yaml") if len(path.relative_to(CONF).parts) > 1]
    choices = [path for path in choices if path.parts[0] != "local" and path.parts[:2] != ("hydra", "help")]
    assert len(choices) > 40
    headings = set(re.findall(r"^### (\S+)$", texts["configuration.md"], flags=re.MULTILINE))
    sweeps = {f"conf/{path.as_posix()}" for path in choices if path.parts[0] == "sweep"}
    assert headings == sweeps | {
        f"{path.parent.as_posix()}={path.stem}" for path in choices if path.parts[0] != "sweep"
    }
    assert "label_smoothing: 0.05" in texts["configuration.md"]


def test_every_command_is_on_the_page_of_commands(texts: dict[str, str]):
    names = list(command_names(CLI, "fisheries"))
    assert len(names) > 20
    for name in names:
        assert f" `{name}`\n" in texts["commands.md"]


def test_every_test_of_a_fault_is_a_row_that_says_what_happens(generate: ModuleType):
    tests, page = ROOT / "tests" / "faults", (ROOT / "docs" / "reliability.md").read_text()
    assert generate.with_fault_tables(page, tests) == page, "run: python docs/generate.py"
    written = [path.read_text() for path in tests.glob("test_*.py")]
    rows = page.split(generate.MADE)[1].count("\n| ") - page.split(generate.MADE)[1].count("\n| fault")
    assert rows == sum(len(re.findall(r"^def test_", text, flags=re.MULTILINE)) for text in written) + len(written)
    assert "| None |" not in page


def test_every_direct_dependency_is_listed_with_a_license_that_asks_nothing_of_a_user(generate: ModuleType):
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert generate.with_dependencies(page, ROOT) == page, "run: python docs/generate.py"
    licenses = {
        row.split(" | ")[0].strip("| "): row.split(" | ")[3].strip(" |")
        for row in page.split("| --- |\n")[1].splitlines()
    }
    assert len(licenses) > 40
    assert {"torch", "kaggle", "selenium"} <= set(licenses)
    free = r"Apache|MIT|BSD|Python Software Foundation|MPL-2.0"
    assert [name for name, text in licenses.items() if not re.search(free, text) or "GPL" in text] == []


def command_names(group: Any, name: str) -> Iterator[str]:
    for word, command in group.commands.items():
        yield from command_names(command, f"{name} {word}") if hasattr(command, "commands") else [f"{name} {word}"]


def commands_in(text: str) -> set[str]:
    """Return commands in blocks of code, without what is said beside them, and those within a text."""
    blocks = [re.sub(r"\s*\\\n\s*", " ", block) for _, block in FENCED.findall(text)]
    parts = [part.strip() for block in blocks for line in block.splitlines() for part in line.split(";")]
    parts = [re.split(r"\s{2,}|\s#\s|\s[|>]\s", part)[0] for part in parts]
    spans = [" ".join(span.split()) for span in SPAN.findall(FENCED.sub("", text))]
    spans = [f"{span} --help" if re.fullmatch(r"fisheries( [a-z]+)+", span) else span for span in spans]  # only named
    found = {part.removeprefix("$ ").replace("…", "").strip() for part in [*parts, *spans]}
    return {part for part in found if part.startswith(OURS) and "<" not in part and "[OPTIONS]" not in part}


def test_commands_are_found_where_they_are_written():
    text = "Run `fisheries a\nb`.\n\n1. so:\n\n   ```\n   python train.py x=1   what it does\n   fisheries c; fisheries d > e\n"
    text += (
        "   ```\n\nand `fisheries <command>`, as `fisheries f` does\n\n```bash\npython train.py y=1 \\\n  z=2\n```\n"
    )
    assert commands_in(text) == {
        "fisheries a b --help",
        "fisheries f --help",
        "python train.py x=1",
        "fisheries c",
        "fisheries d",
        "python train.py y=1 z=2",
    }


@pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher/\w+' is validated against")  # as in fisheries/launch.py
def test_every_command_that_is_written_down_is_one(texts: dict[str, str]):
    found = {(name, command) for name, text in texts.items() for command in commands_in(text)}
    assert {name for name, _ in found} > {"README.md", "index.md", "training.md", "configuration.md", "commands.md"}
    assert len(found) > 100
    with initialize_config_dir(str(CONF), version_base="1.3"):
        problems = [f"{name}: {command}: {reason}" for name, command in sorted(found) for reason in wrong_with(command)]
    assert not problems, "\n".join(problems)


def test_what_the_pages_import_is_there(texts: dict[str, str]):
    blocks = [block for name, text in texts.items() if "/" not in name for block in PYTHON.findall(text)]
    nodes = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    ours = [
        (node.module, alias.name) for node in nodes for alias in node.names if str(node.module).startswith("fisheries")
    ]
    assert len(ours) > 8
    for module, name in ours:
        tree = ast.parse((ROOT / f"{str(module).replace('.', '/')}.py").read_text())
        assert name in defined(tree), f"from {module} import {name}"


def defined(tree: ast.Module) -> set[str]:
    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return named | {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("fisheries calibrat OOF", "No such command"),
        ("fisheries calibrate OOF --expct published", "No such option"),
        ("fisheries calibrate", "MissingParameter"),
        ("fisheries split MANIFEST --seed many", "BadParameter"),
        ("fisheries --install-complete", "No such option"),
        ("fisheries --install-completion", ""),
        ("python train.py modell=resnet50", "no modell"),
        ("python train.py model=resnet5", "no model=resnet5"),
        ("python train.py -m model=resnet18,resnet5", "no model=resnet5"),
        ("python train.py experiment=l7_fcn optimizer.l_r=1", "no optimizer.l_r"),
        ("python train.py logger.project=mine", "no logger.project"),
        ("fisheries train fold=", ""),
        ("python train.py logger=wandb logger.project=mine", ""),
        ("python train.py -m 'experiment=glob(l7_*)'", ""),
    ],
)
def test_a_command_that_is_none_is_noticed(command: str, reason: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        problems = list(wrong_with(command))
    assert bool(problems) == bool(reason)
    assert all(reason in problem for problem in problems)


def wrong_with(command: str) -> Iterator[str]:
    """Yield why a command line can't be run; none of its files is looked at."""
    words = shlex.split(command)
    words = words[2:] if words[0] == "python" else words[1:]
    if command.startswith("python") or words[:1] == ["train"]:
        yield from wrong_with_overrides(words if command.startswith("python") else words[1:])
        return
    if words[0].startswith("-"):  # not called: it would install itself
        known = {name for option in CLI.get_params(CLI.context_class(CLI)) for name in option.opts}
        yield from (f"No such option {word}" for word in words if word not in known)
        return
    group: Any = CLI
    try:
        while hasattr(group, "commands"):
            context = group.make_context(group.name, list(words))
            _, group, words = group.resolve_command(context, [*context._protected_args, *context.args])
        group.make_context(group.name, list(words))
    except typer.Exit:  # of --help
        return
    except Exception as error:
        yield " ".join([type(error).__name__, str(getattr(error, "message", error))])


def wrong_with_overrides(words: list[str]) -> Iterator[str]:
    given = get_args_parser().parse_args(words)
    if given.shell_completion:
        return
    stated, keys = [], []
    for override in OverridesParser.create().parse_overrides(given.overrides):
        name = override.key_or_group
        if not (CONF / name).is_dir():
            keys += [] if override.is_add() else [name]
            continue
        known = sorted(path.stem for path in (CONF / name).glob("*.yaml"))
        chosen = choices(override, known)
        yield from (f"no {name}={choice}" for choice in chosen if choice not in known)
        # the first of several is enough: tests/test_conf.py composes each
        first = f"{name}={chosen[0]}" if override.is_sweep_override() else override.input_line
        stated += [first] if set(chosen) <= set(known) else []
    unusual = [key for key in keys if not has(composed(), key)]
    if unusual:
        config = composed(*stated)
        yield from (f"no {key}" for key in unusual if not has(config, key))


def choices(group: Override, known: list[str]) -> list[str]:
    if group.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return group.value().filter(known)
    if group.is_sweep_override():
        return list(group.sweep_string_iterator())
    value = group.value()
    return list(map(str, value)) if isinstance(value, list) else [] if value is None else [str(value)]


@functools.cache
def composed(*overrides: str) -> DictConfig:
    return compose("config", overrides=list(overrides), return_hydra_config=True)


def has(config: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and name in list(node)  # of which `in` leaves out those without a value
