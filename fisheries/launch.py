"""The entry of `train.py`: Hydra composes the configuration, and `run` does the job.

Everything heavy is imported inside the job, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fisheries.console import make_console
from fisheries.errors import SHOW_TRACEBACKS, conf_dir, one_line, user_error
from fisheries.slurm import is_restarted, requeued_on_signal, run_id

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

# our launchers have the plugins' names, and their values; here, since jobs in other processes read them, too
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")
OWN_TARGETS = ("hydra._internal.core_plugins.", "hydra_plugins.")
_multiruns: list[Path] = []  # folders of those that this process began, and has not summed up


def train() -> None:
    """Run `train.py`."""
    one_line(launch)


def launch() -> None:
    """Compose the configuration from the command line, and run one job or several."""
    import hydra
    from omegaconf import OmegaConf

    # fixed here, since processes that train together must agree on it
    began = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(2)}"
    os.environ.setdefault("FISHERIES_RUN_ID", run_id() or began)
    OmegaConf.register_new_resolver("fisheries.run_dir", _run_dir, replace=True)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to `one_line`, which knows the remedies
    _refuse_foreign_targets()
    main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_job)
    try:
        main()
    except Exception as error:
        if not _multiruns:
            raise
        _end_multirun(_multiruns.pop(), error)
    else:
        if _multiruns:
            _end_multirun(_multiruns.pop(), None)


def _refuse_foreign_targets() -> None:
    """Let Hydra build its own parts and ours only; by itself it builds nearly any `_target_` that a YAML file names.

    That happens before any code of ours sees the configuration, so its own function is wrapped.
    """
    from hydra._internal.instantiate import _instantiate2

    resolve = _instantiate2._resolve_target

    def resolve_own(target: Any, full_key: str) -> Any:
        name = target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}"
        if not name.startswith(OWN_TARGETS):
            sys.exit(
                f"fisheries: {full_key or 'hydra.callbacks'}._target_={name}: only parts of Hydra and of ours are built"
            )
        return resolve(target, full_key)

    _instantiate2._resolve_target = resolve_own


def note_multirun(folder: Path) -> None:
    """Note the folder of a multirun, which is summed up when its jobs are done."""
    _multiruns.append(folder)


def compose_config(overrides: list[str], run_dir: Path | None = None) -> DictConfig:
    """Return what a command line comes to, or, with the folder of a run, its configuration with what may change in it."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", overrides=overrides)
    if run_dir is not None:
        config.resume = str(run_dir)
    return config if config.resume is None else _resumed(config, overrides)


def transform_choices() -> dict[str, dict[str, float]]:
    """Return every choice of the group `transform` with all of its values; those that change the least first."""
    from hydra import compose, initialize_config_dir

    from fisheries.config import transform_values

    names = sorted(path.stem for path in (conf_dir() / "transform").glob("*.yaml"))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        choices = {name: transform_values(compose("config", overrides=[f"transform={name}"])) for name in names}
    return dict(sorted(choices.items(), key=lambda choice: sum(value != 0 for value in choice[1].values())))


def _job(config: DictConfig) -> float | None:
    """Run what Hydra composed; return the log loss on unseen boats if it got so far."""
    from hydra.core.hydra_config import HydraConfig

    state = HydraConfig.get()
    run_dir = Path(state.runtime.output_dir)
    overrides = list(state.overrides.task)
    if str(state.mode).endswith("MULTIRUN"):
        return _job_of_many(config, state, run_dir, overrides=overrides)
    if state.runtime.choices.get("hparams_search") is not None:
        sys.exit("fisheries: hparams_search is a search of many runs: give -m, too")
    return _single_job(config, run_dir, overrides=overrides)


def _single_job(config: DictConfig, run_dir: Path, *, overrides: list[str]) -> float | None:
    from fisheries.analysis.jobs import ERROR, unseen_log_loss
    from fisheries.config import save_config
    from fisheries.run import run

    console = make_console()
    began = (run_dir / "config.yaml").is_file() and os.environ.get("LOCAL_RANK", "0") == "0"
    if began and is_restarted():
        config.resume = str(run_dir)
        overrides = []
    if began and config.resume is None:  # said here, so that no trace of this is left in that folder
        sys.exit(f"fisheries: {run_dir}: is a run already: go on with resume={run_dir}, or give another hydra.run.dir")
    try:
        if config.resume is not None:
            config = _resumed(config, overrides)
            save_config(config, run_dir)
        else:
            config.overrides = overrides
        with requeued_on_signal():
            run(config, run_dir, name=_name(run_dir), console=console)
        (run_dir / ERROR).unlink(missing_ok=True)
    except (KeyboardInterrupt, SystemExit):
        _say_how_to_go_on(run_dir, console)
        raise
    except Exception as error:
        line = user_error(error)
        if run_dir.is_dir() and any(run_dir.iterdir()):
            _write_error(run_dir, error, overrides)
        _remove_if_empty(run_dir)
        if line is not None and not SHOW_TRACEBACKS:
            sys.exit(f"fisheries: {line}")  # Hydra would put a line of its own before it
        raise
    return unseen_log_loss(run_dir)


def _job_of_many(config: DictConfig, state: Any, run_dir: Path, *, overrides: list[str]) -> float | None:
    """Run a job of a multirun; where jobs run side by side, what they say goes into their folders."""
    from fisheries.analysis.jobs import PRUNED, unseen_log_loss
    from fisheries.config import read_config
    from fisheries.schema import InputError, write_atomic
    from fisheries.training.callbacks import Pruned

    console, job = make_console(), f"Job {run_dir.name}"
    if (run_dir / "config.yaml").is_file():  # said here, so that no trace of this is left in that folder
        if not is_restarted():
            raise InputError(f"{run_dir}: is a run already: give another hydra.sweep.dir")
        config = read_config(run_dir)
    console.print(f"[bold]{job}:[/] ", end="")
    console.print(shlex.join(overrides), markup=False)
    beside = not state.launcher._target_.endswith("BasicLauncher")
    try:
        with _said_into(run_dir / "log.txt") if beside else nullcontext():
            _run_one(config, state, run_dir, overrides=overrides)
    except Pruned as pruned:
        write_atomic(run_dir / PRUNED, f"{pruned}\n".encode())
        console.print(f"{job} pruned {pruned}")
        return None
    except (KeyboardInterrupt, SystemExit):
        _say_how_to_go_on(run_dir, console)
        raise
    except Exception as error:
        console.print(f"{job} failed: {_write_error(run_dir, error, overrides)}", markup=False)
        raise
    log_loss = unseen_log_loss(run_dir)
    if log_loss is not None:
        console.print(f"{job} done: log loss {log_loss:.3f} on unseen boats")
    return log_loss


def _run_one(config: DictConfig, state: Any, run_dir: Path, *, overrides: list[str]) -> None:
    from fisheries.compose import process_count
    from fisheries.run import run
    from fisheries.schema import InputError

    if config.resume is not None:
        raise InputError("resume takes one run: give it without -m")
    if process_count(config) > 1:
        raise InputError("a multirun trains on one GPU at a time: give trainer.gpus=1, or run its jobs one by one")
    config.overrides = [override for override in overrides if not override.startswith("hparams_search=")]
    run(config, run_dir, name=_name(run_dir), console=make_console(), report=_report(state, run_dir))


def _report(state: Any, run_dir: Path) -> Callable[[int, float], str | None] | None:
    """Return what tells a search of each epoch, where there is a search that prunes."""
    if not state.sweeper._target_.endswith(".OptunaSweeper") or state.sweeper.pruner is None:
        return None
    from fisheries.search import trial_report

    return trial_report(run_dir.parent, int(run_dir.name), **state.sweeper.pruner)


@contextmanager
def _said_into(path: Path) -> Iterator[None]:
    with path.open("a", encoding="utf-8", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        yield


def _write_error(run_dir: Path, error: Exception, overrides: list[str]) -> str:
    """Write why a run failed, what it was, and the traceback; return why."""
    from fisheries.analysis.jobs import ERROR
    from fisheries.schema import write_atomic

    reason = user_error(error) or " ".join(repr(error).split())
    command = shlex.join(["python", "train.py", *overrides])
    write_atomic(run_dir / ERROR, f"{reason}\n{command}\n\n{traceback.format_exc()}".encode())
    return reason


def _name(run_dir: Path) -> str:
    return f"{run_dir.parent.name}-{run_dir.name}" if run_dir.name.isdigit() else run_dir.name


def _end_multirun(folder: Path, error: Exception | None) -> None:
    """Compare what finished, list what did not, and exit with 1 if a job failed; a search goes on without those."""
    from fisheries.analysis.jobs import FAILED, FINISHED, NOT_FINISHED, compare_jobs, jobs_in
    from fisheries.search import STUDY

    console, folders, is_search = make_console(), jobs_in(folder), (folder / STUDY).is_file()
    if error is not None and (is_search or not folders):  # not a job's
        raise error
    if not folders:
        return
    told = (FAILED,) if is_search else NOT_FINISHED  # a search tells of the others itself
    jobs = compare_jobs(folders, folder / "compare.csv", told=told, console=console)
    failed = jobs[jobs["state"] == FAILED]
    if is_search:
        _write_search(folder, console=console)
        failed = failed[:0] if (jobs["state"] == FINISHED).any() else failed
    if len(failed) and not SHOW_TRACEBACKS:
        first = failed.iloc[0]
        sys.exit(f"fisheries: {len(failed)} of {len(jobs)} jobs failed; job {first.name}: {first['reason']}")
    if error is not None:
        raise error


def _write_search(folder: Path, *, console: Console) -> None:
    """Write the page of a search, and say which trial was best."""
    from fisheries.analysis.search_view import command_of, count_line, trial_table, write_search_page
    from fisheries.search import open_study

    study = open_study(folder)
    page = write_search_page(study, folder)
    console.print(f"Trials: {count_line(trial_table(study))}")
    if any(trial.value is not None for trial in study.get_trials(deepcopy=False)):
        best = study.best_trial
        console.print(
            f"Best of {study.study_name}: trial {best.number}, log loss {best.value:.3f} on unseen boats; again:"
        )
        console.print(f"  {command_of(folder / str(best.number))}", markup=False)
    console.print(f"Wrote {page}")


def _say_how_to_go_on(run_dir: Path, console: Console) -> None:
    if (run_dir / "config.yaml").is_file():
        console.print(f"Interrupted. Go on with: python train.py resume={run_dir}")
    else:
        _remove_if_empty(run_dir)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _resumed(config: DictConfig, overrides: list[str]) -> DictConfig:
    """Return the run's own configuration, with what may change on the way taken from the command line."""
    from omegaconf import OmegaConf

    from fisheries.config import read_config
    from fisheries.schema import InputError

    stored = read_config(Path(config.resume))
    for override in overrides:
        key = override.split("=")[0].lstrip("+~")
        if key == "resume":
            continue
        if not key.startswith(("trainer.", "logger", "data.workers", "data.cache")):
            raise InputError(
                f"{override}: a resumed run keeps its configuration, only trainer.*, logger, data.workers and data.cache may change"
            )
        OmegaConf.update(stored, key, OmegaConf.select(config, key), merge=False, force_add=True)
    return stored


def _run_dir(resume: str | None) -> str:
    if resume is not None and Path(resume, "config.yaml").is_file():
        return str(Path(resume))
    return f"runs/{os.environ['FISHERIES_RUN_ID']}"
