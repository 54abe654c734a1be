"""Runs side by side: what each scored on unseen and on seen boats, and in what their configurations differ."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from fisheries.analysis.fold_lines import with_fold_lines
from fisheries.schema import InputError

_PARTS = {"unseen": "unseen boats", "seen": "seen boats", "holdout": "holdout boats"}
# Say where a run lies rather than what it does.
NOT_COMPARED = ("overrides", "resume", "submissions_dir", "tables_dir", "find_lr", "find_batch_size")


def compare_runs(run_dirs: Sequence[Path]) -> pd.DataFrame:
    """Return a table of finished runs, in the order of `run_dirs`.

    Returns:
        By the run's name: `run_dir`, `experiment` ("" for none), `settings` (in what the runs differ, as overrides: those
        that were given if they were given for the same keys, else the configuration's values), `fold`, `recipe` (equal
        where runs differ in their fold only), `folds_hash`, `folds` (how many were trained), and for each part of its
        scores (unseen, seen, holdout) `<part>_images`, `<part>_log_loss`, `<part>_low`, `<part>_high`, `<part>_prior` and
        `<part>_accuracy`, then `stage1_log_loss`, `stage2_log_loss`, `stage2_prior` where the truth is known, and
        `seconds`. Where runs differ in their fold only, a row for all of them comes first, see `with_fold_lines`.

    Raises:
        InputError: the same run twice, or a folder without a finished run.
    """
    records = [_read(run_dir) for run_dir in run_dirs]
    names = [record["name"] for record in records]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice}: given more than once; give each run once")
    rows = [
        _row(record, run_dir, settings)
        for record, run_dir, settings in zip(records, run_dirs, _settings(records), strict=True)
    ]
    return with_fold_lines(pd.DataFrame(rows, index=pd.Index(names, name="run")))


def differences(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what is not the same in all of some flat configurations, for each of them."""
    keys = sorted({key for config in configs for key in config})
    differing = [
        key
        for key in keys
        if key not in NOT_COMPARED and any(config.get(key) != configs[0].get(key) for config in configs)
    ]
    return [{key: config[key] for key in differing if key in config} for config in configs]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to keys such as `model.lr`; lists stay values."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values


def _settings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in what runs differ: as they were asked for, if that is for the same keys, as the jobs of a multirun are."""
    commands = [record["command"][1:] for record in records]
    keys = [{word.partition("=")[0] for word in words} for words in commands]
    asked = in_what_they_differ(commands)
    if any(asked) and all(names == keys[0] for names in keys):
        return asked
    values = differences([_without_followers(flat(record["config"])) for record in records])
    return [_words(differing) for differing in values]


def in_what_they_differ(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Return the overrides of each run that not all have, as a title says them."""
    return [
        _words(words) for words in differences([dict(word.partition("=")[::2] for word in run) for run in overrides])
    ]


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    """Return a value as a title says it: what a search draws has 17 digits."""
    text = str(value)
    try:
        return f"{float(text):.3g}" if len(text) > 8 else text
    except ValueError:
        return text


def recipe_of(record: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return a hash of all that a run's scores follow from, but for its fold."""
    values = {key: value for key, value in flat(config).items() if key not in (*NOT_COMPARED, "fold")}
    made_of = [values, *(record.get(key) for key in ("folds", "manifest", "git_commit", "versions"))]
    return sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _without_followers(config: dict[str, Any]) -> dict[str, Any]:
    follows = {"optimizer.lr": "model.lr", "trainer.max_epochs": "model.epochs"}
    return {key: value for key, value in config.items() if key not in follows or value != config.get(follows[key])}


def sort_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by log loss; the runs under a line of folds stay under it, since each holds out other boats."""
    column = "unseen_log_loss" if "unseen_log_loss" in table else "seen_log_loss"
    lines = table[table["joined"]].set_index("recipe")[column]
    lead = table[column].mask(table["member"], table["recipe"].map(lines))
    order = table.groupby("recipe", sort=False).ngroup()
    return table.assign(lead=lead, order=order).sort_values(["lead", "order"], kind="stable")


def compare_view(table: pd.DataFrame) -> Table:
    """Show the table of `compare_runs`, best on unseen boats first."""
    has_test = "stage2_log_loss" in table
    names = ("unseen", "90 %", "of prior", "seen", *(["stage 2"] if has_test else []), "min")
    columns = [Column(name, justify="right", no_wrap=True) for name in names]
    first = Column("run", overflow="fold", min_width=18)
    view = Table(
        first,
        *columns,
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title="Log loss on boats",
        title_justify="left",
    )
    for name, row in sort_runs(table).iterrows():
        style = "bold" if row["joined"] else ""
        interval = "-" if pd.isna(row.get("unseen_low")) else f"{row['unseen_low']:.2f} to {row['unseen_high']:.2f}"
        values = [_number(row.get("unseen_log_loss")), interval, _share(row), _number(row.get("seen_log_loss"))]
        values += [_number(row["stage2_log_loss"])] if has_test else []
        view.add_row(
            "  " * row["member"] + _brief(title_of(str(name), row)), *values, f"{row['seconds'] / 60:.1f}", style=style
        )
    return view


def plot_runs(table: pd.DataFrame) -> Figure:
    """Draw the log losses of the table of `compare_runs`, a line a run, best on unseen boats on top."""
    rows = sort_runs(table)[::-1]
    titles = [fill(title_of(str(name), row), 48) for name, row in rows.iterrows()]
    lines = sum(max(2, title.count("\n") + 1) for title in titles)
    figure = Figure(figsize=(9, 1.4 + 0.21 * lines), layout="constrained")
    axes = figure.subplots()
    height = range(len(rows))
    for column, marker, label in (("seen", "o", "seen boats"), ("unseen", "D", "unseen boats")):
        if f"{column}_log_loss" in rows:
            axes.plot(rows[f"{column}_log_loss"], height, marker, label=label, color="C0" if column == "seen" else "C3")
    if "unseen_low" in rows:
        axes.hlines(height, rows["unseen_low"], rows["unseen_high"], color="C3", alpha=0.4, label="90 % interval")
        axes.plot(rows["unseen_prior"], height, "|", color="0.3", markersize=12, label="constant prior, unseen boats")
    if "stage2_log_loss" in rows:
        axes.plot(rows["stage2_log_loss"], height, "x", color="k", label="stage 2")
    axes.set_yticks(list(height), titles, fontsize="small")
    axes.set(xlabel="log loss", xlim=(0, None), ylim=(-0.7, len(rows) - 0.3))
    axes.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


def markdown(table: pd.DataFrame) -> str:
    """Return the table of `compare_runs` as Markdown, in its own order."""
    head = "| run | unseen boats | 90 % interval | prior | seen boats | stage 2 | minutes |\n|---|---|---|---|---|---|---|\n"
    lines = []
    for name, row in table.iterrows():
        interval = "-" if pd.isna(row.get("unseen_low")) else f"{row['unseen_low']:.2f} to {row['unseen_high']:.2f}"
        cells = [title_of(str(name), row), _number(row.get("unseen_log_loss")), interval]
        cells += [_number(row.get(column)) for column in ("unseen_prior", "seen_log_loss", "stage2_log_loss")]
        lines.append("| " + " | ".join([*cells, f"{row['seconds'] / 60:.1f}"]) + " |\n")
    return head + "".join(lines)


def title_of(name: str, row: pd.Series) -> str:
    """Name a run by its experiment if it has one, else by its settings, else by its folder; under a line of folds by its fold.

    A job of a multirun has its number before that.
    """
    job = Path(row["run_dir"]).name
    number = f"{job}: " if job.isdigit() else ""
    return number + (f"fold={row['fold']}" if row["member"] else row["experiment"] or row["settings"] or name)


def _read(run_dir: Path) -> dict[str, Any]:
    for name in ("run.json", "config.yaml", "scores.csv"):
        if not (run_dir / name).is_file():
            raise InputError(
                f"{run_dir}: no {name} in it; expected the folder of a finished run, such as runs/2026-01-31_12-00-00-ab12"
            )
    try:
        record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
        return {**record, "scores": dict(record["scores"]), "config": dict(config)}
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            f"{run_dir}: its run.json or config.yaml can't be read ({error}); score the run anew"
        ) from error


def _row(record: Mapping[str, Any], run_dir: Path, settings: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run_dir": str(run_dir),
        "experiment": _experiment(record["command"]),
        "settings": settings,
        "fold": str(record["config"].get("fold", "")),
        "recipe": recipe_of(record, record["config"]),
        "folds_hash": record["folds"],
        "folds": len(list(run_dir.glob("fold-*/oof.csv"))),
    }
    for part in _PARTS:
        scores = record["scores"].get(part, {})
        for key in ("images", "log_loss", "low", "high", "prior_log_loss", "accuracy"):
            if key in scores:
                row[f"{part}_{key.removesuffix('_log_loss') if key != 'log_loss' else key}"] = scores[key]
    test = record.get("test") or {}
    for stage in ("1", "2"):
        if f"stg{stage}" in test:
            row[f"stage{stage}_log_loss"] = test[f"stg{stage}"]["log_loss"]
    if "stg2" in test:
        row["stage2_prior"] = test["stg2"]["prior_log_loss"]
    return {**row, "seconds": record["seconds"]}


def _experiment(command: Sequence[str]) -> str:
    """Return the experiment that a command names, with what it changes in it; "" if it names none."""
    words = [word.removeprefix("experiment=") for word in command[1:] if not word.startswith("hydra.")]
    named = any(word.startswith("experiment=") for word in command[1:])
    return shlex.join(words) if named else ""


def _brief(title: str) -> str:
    """Leave out the groups of keys, as in `optimizer.lr=0.001`, unless keys would be the same then."""
    words = [re.sub(r"^([+~]*)[\w.]+\.(\w+=)", r"\1\2", word) for word in title.split(" ")]
    keys = [word.partition("=")[0] for word in words if "=" in word]
    return " ".join(words) if len(keys) == len(set(keys)) else title


def _number(value: Any) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.3f}"


def _share(row: pd.Series) -> str:
    loss, prior = row.get("unseen_log_loss"), row.get("unseen_prior")
    return "-" if loss is None or pd.isna(loss) else f"{loss / prior:.2f}"
