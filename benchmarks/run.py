"""Run the benchmarks one after the other, and write benchmarks/RESULTS.md.

    python benchmarks/run.py [--only input,heads] [--photos MANIFEST.csv] [--peers build/peers] [--out FILE] [--quick]

or `make bench`, which sets up the peers' environment first. A script that fails is named in the results, and the exit status is
then 1. The rows of each are kept in build/bench, and those of scripts that --only leaves out are taken from there.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
from targets import TARGETS, Target, judge

from fisheries.console import make_console
from fisheries.progress import track

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
SCRIPTS = ("input", "loop", "heads", "time_to_score", "prediction", "growth", "gpu")
WITH_PEERS, WITH_PHOTOS = ("input",), ("input",)
Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SCRIPTS), help="names of scripts")
    parser.add_argument("--photos", type=Path, help="manifest of real photographs, for the input")
    parser.add_argument("--peers", type=Path, default=machine.PEERS, help="environment of the peers")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--quick", action="store_true", help="as little as possible, to try it out")
    given = parser.parse_args()
    only = given.only.split(",")
    if unknown := [name for name in only if name not in SCRIPTS]:
        parser.error(f"--only {unknown[0]}: no such script; expected some of {', '.join(SCRIPTS)}")
    console = make_console()
    results = BUILD / "bench"
    results.mkdir(parents=True, exist_ok=True)
    for name in track(only, "Benchmarks", console=console, disable=not console.is_terminal):
        result = run([sys.executable, str(HERE / f"{name}.py"), *options(name, given)], results / f"{name}.out.json")
        (results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        console.print(f"{name}: {result['error'] or 'done'}, {result['seconds']:.0f} s")
    told = {name: json.loads(path.read_text()) for name in SCRIPTS if (path := results / f"{name}.json").is_file()}
    given.out.write_text(page(told, machine.machine(), versions(given.peers)))
    console.print(f"Wrote {given.out}")
    sys.exit(any(told[name]["error"] for name in only))


def options(name: str, given: argparse.Namespace) -> list[str]:
    """Return what a script is given besides the file for its rows."""
    chosen = ["--quick"] if given.quick else []
    if name in WITH_PEERS:
        chosen += ["--peers", str(given.peers)]
    if name in WITH_PHOTOS and given.photos:
        chosen += ["--photos", str(given.photos)]
    return chosen


def run(command: Sequence[str], path: Path) -> dict[str, Any]:
    """Run a script that writes its rows to `path`.

    Returns:
        `rows`, `seconds`, `error` ("" if it went well), `command` without the file, `said`, its last line, and `date` and `about`
        of the script then.
    """
    path.unlink(missing_ok=True)
    began_s = time.perf_counter()
    done = subprocess.run([*command, "--json", str(path)], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    return {
        "rows": json.loads(path.read_text()) if path.is_file() else [],
        "seconds": time.perf_counter() - began_s,
        "error": f"failed with exit status {done.returncode}: {lines[-1].strip()}" if done.returncode else "",
        "command": " ".join(["python", *(_short(word) for word in command[1:])]),
        "said": lines[-1].strip(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "about": _about(Path(command[1])),
    }


def versions(peers: Path) -> list[Row]:
    """Return the versions of libraries, in our environment and the peers'."""
    ours, theirs = machine.versions(Path(sys.executable)), machine.versions(peers / "bin" / "python")
    return [
        {"library": name, "ours": ours.get(name), "peers": theirs.get(name)}
        for name in machine.LIBRARIES
        if name in ours or name in theirs
    ]


def page(told: Mapping[str, Mapping[str, Any]], facts: Mapping[str, str], libraries: Sequence[Row]) -> str:
    """Return the page of results.

    Args:
        told: what `run` returned, by script.
        facts: of the machine, by name.
        libraries: rows of `versions`.
    """
    sections = [
        "# Speed\n\nMade by `make bench`, and not edited by hand: medians of interleaved repetitions; a ratio is the median of "
        "ratios within one repetition. Each section says when it was measured.",
        _table([{"": name, "this machine": value} for name, value in facts.items()]),
        _table(libraries),
        "## Targets\n\n" + _table([_target_row(target, told) for target in TARGETS]),
        *(_section(name, result) for name, result in told.items()),
    ]
    return "\n\n".join(sections) + "\n"


def _target_row(target: Target, told: Mapping[str, Mapping[str, Any]]) -> Row:
    values, met = judge(target, told.get(target.script, {}).get("rows", []))
    return {
        "it must show": target.says,
        "measured": ", ".join(f"{value:.3g}" for value in values) or "not measured",
        "": {True: "met", False: "**not met**", None: ""}[met],
    }


def _section(name: str, result: Mapping[str, Any]) -> str:
    parts: dict[str, list[Row]] = {}
    for row in result["rows"]:
        parts.setdefault(row.get("part", ""), []).append({key: value for key, value in row.items() if key != "part"})
    tables = [f"{part}\n\n{_table(rows)}" if part else _table(rows) for part, rows in parts.items()]
    state = f"**{result['error']}**" if result["error"] else "" if tables else result["said"]
    command = f"`{result['command']}`, {result['seconds']:.0f} s, {result['date']}"
    lines = [f"## {name}", command, result["about"], state, *tables]
    return "\n\n".join(line for line in lines if line)


def _about(path: Path) -> str:
    """Return what a script says of itself, without the example of a command."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else None
    paragraphs = (text or "").split("\n\n")
    return "\n\n".join(text for text in paragraphs if not text.lstrip().startswith("python "))


def _table(rows: Sequence[Row]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, ["---"] * len(keys), *([_cell(row.get(key)) for key in keys] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _short(word: str) -> str:
    return word.removeprefix(f"{HERE.parent}/")


if __name__ == "__main__":
    main()
