"""The jobs of a multirun: which finished, which did not and why, and those that did side by side."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import yaml
from rich.console import Console

from fisheries.analysis.compare import (
    compare_runs,
    compare_view,
    in_what_they_differ,
    markdown,
    plot_runs,
    sort_runs,
    title_of,
)
from fisheries.analysis.page import figure_png, figure_uri, render_page
from fisheries.schema import InputError, write_atomic

ERROR = "error.txt"  # in the folder of a job that failed: the reason, the command, the traceback
PRUNED = "pruned.txt"  # in the folder of a job that a search ended early: the reason
FINISHED, FAILED, CUT, UNFINISHED, UNSCORED = "finished", "failed", "pruned", "unfinished", "unscored"
NOT_FINISHED = (FAILED, CUT, UNFINISHED)


def job_folders(folders: Sequence[Path]) -> list[Path]:
    """Return the folders among `folders`; in place of a multirun's, those of its jobs."""
    return [
        run
        for folder in folders
        if not folder.is_file()
        for run in ([] if _state(folder) else jobs_in(folder)) or [folder]
    ]


def jobs_in(folder: Path) -> list[Path]:
    """Return the folders of the jobs of a multirun, by number."""
    found = [path for path in folder.glob("[0-9]*") if _state(path)]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def job_table(folders: Sequence[Path]) -> pd.DataFrame:
    """Return how each run ended.

    Args:
        folders: of runs, see `job_folders`.

    Returns:
        By the folder's name: run_dir, state (finished, failed, pruned, unfinished, or unscored: one that was not to have
        scores), settings, the overrides that not all have, and reason, a line; "" for what finished.

    Raises:
        InputError: there are none, or one is no folder of a run.
    """
    if not folders:
        raise InputError("no runs to compare; give run folders, such as runs/2026-01-31_12-00-00-ab12")
    strange = next((folder for folder in folders if not _state(folder)), None)
    if strange is not None:
        raise InputError(
            f"{strange}: no run.json in it; expected the folder of a run or multirun, such as runs/2026-01-31_12-00-00-ab12"
        )
    columns = {
        "run_dir": [str(folder) for folder in folders],
        "state": [_state(folder) for folder in folders],
        "settings": in_what_they_differ([_overrides(folder) for folder in folders]),
        "reason": [_reason(folder) for folder in folders],
    }
    return pd.DataFrame(columns, index=pd.Index([folder.name for folder in folders], name="job"))


def unseen_log_loss(run_dir: Path) -> float | None:
    """Return what a finished run scored on unseen boats, or None."""
    record = run_dir / "run.json"
    scores = json.loads(record.read_text(encoding="utf-8"))["scores"] if record.is_file() else {}
    return scores["unseen"]["log_loss"] if "unseen" in scores else None


def compare_jobs(
    folders: Sequence[Path], out: Path, *, told: Sequence[str] = NOT_FINISHED, console: Console
) -> pd.DataFrame:
    """Print and write what finished runs score, and list the others with the reason.

    Args:
        folders: of runs, see `job_folders`.
        out: the CSV to write; Markdown, a plot and a page go beside it.
        told: the states of those others that are listed.
        console: where to print.

    Returns:
        The table of `job_table`.

    Raises:
        InputError: as `job_table` and `compare_runs`.
    """
    jobs = job_table(folders)
    finished = jobs.loc[jobs["state"] == FINISHED, "run_dir"]
    if len(finished):
        table = compare_runs([Path(run_dir) for run_dir in finished])
        console.print(compare_view(table))
        for note in notes_on(table):
            console.print(f"[yellow]{note}[/]")
        written = _write(table, jobs, out, others=jobs[jobs["state"].isin(told)])
        console.print(f"Wrote {', '.join(str(path) for path in written)}")
    for name, job in jobs[jobs["state"].isin(told)].iterrows():
        color = "yellow" if job["state"] == CUT else "red"
        console.print(f"[{color}]{name} {job['state']}[/] ", end="")
        console.print(": ".join(filter(None, (job["settings"], job["reason"]))), markup=False)
    return jobs


def notes_on(table: pd.DataFrame) -> list[str]:
    """Say what makes the runs of `compare_runs` hard to compare."""
    if table["folds_hash"].nunique() > 1:
        return ["The runs hold out different images (their folds differ): compare with care"]
    lines = table[~table["member"]]
    if lines["fold"].nunique() > 1:
        return ["Not all hold out the same boats: compare lines of the same fold"]
    return []


def _link(run_dir: str, folder: Path) -> str:
    """Return how a page in `folder` leads to a run's report; "" if there is none."""
    report = Path(run_dir, "report.html")
    if not run_dir or not report.is_file():
        return ""
    if report.is_relative_to(folder):  # so that the folder can be moved
        return quote(report.relative_to(folder).as_posix())
    return report.resolve().as_uri()


def _write(table: pd.DataFrame, jobs: pd.DataFrame, out: Path, *, others: pd.DataFrame) -> list[Path]:
    figure = plot_runs(table)
    rows = [{"title": title_of(str(name), row), **row} for name, row in sort_runs(table).iterrows()]
    for row in rows:
        row["report"] = _link(row["run_dir"], out.parent)
    page = render_page(
        "compare.html",
        title=f"{(jobs['state'] == FINISHED).sum()} runs side by side",
        rows=rows,
        has_test="stage2_log_loss" in table,
        has_holdout="holdout_log_loss" in table,
        notes=notes_on(table),
        others=others.reset_index().to_dict("records"),
        plot=figure_uri(figure),
    )
    files: Mapping[str, bytes] = {
        ".csv": table.to_csv().encode(),
        ".md": markdown(table).encode(),
        ".png": figure_png(figure),
        ".html": page.encode(),
    }
    for suffix, data in files.items():
        write_atomic(out.with_suffix(suffix), data)
    return [out.with_suffix(suffix) for suffix in files]


def _state(folder: Path) -> str:
    """Return how the run in a folder ended, or "" if there is none."""
    if (folder / "run.json").is_file():
        return FINISHED
    for name, state in ((PRUNED, CUT), (ERROR, FAILED)):
        if (folder / name).is_file():
            return state
    if not (folder / "config.yaml").is_file():
        return ""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    is_search = config.get("find_lr") or config.get("find_batch_size")
    return UNSCORED if is_search or config["trainer"]["fast_dev_run"] else UNFINISHED


def _overrides(folder: Path) -> list[str]:
    if (folder / "config.yaml").is_file():
        return list(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")).get("overrides", []))
    lines = (folder / ERROR).read_text(encoding="utf-8").splitlines() if (folder / ERROR).is_file() else []
    return shlex.split(lines[1])[2:] if len(lines) > 1 else []


def _reason(folder: Path) -> str:
    state = _state(folder)
    if state == UNFINISHED:
        return f"interrupted, or still running; go on with: python train.py resume={folder}"
    if state not in (FAILED, CUT):
        return ""
    return (folder / (ERROR if state == FAILED else PRUNED)).read_text(encoding="utf-8").partition("\n")[0]
