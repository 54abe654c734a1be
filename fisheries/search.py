"""A search of hyper-parameters with Optuna: its study on disk, what it tries next, and what became of each trial.

A trial is a job of a multirun, in the folder of its number, and what it left there decides how it ended. So a search
that was killed knows what had finished, tries again what had not, and goes on as if nothing had been.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from fisheries.analysis.jobs import ERROR, PRUNED, unseen_log_loss
from fisheries.schema import InputError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

STUDY = "study.journal"  # in the multirun's folder; a journal may lie on the shared file system of a cluster
KILLED, REPEATS = "killed", "repeats"  # noted at a trial that did not come to its end, and at the one in its place
Report = Callable[[int, float], str | None]


def open_study(folder: Path, *, startup_trials: int | None = None, warmup_epochs: int = 0) -> Study:
    """Open the study of a multirun's folder, or begin it.

    Args:
        folder: of the multirun.
        startup_trials: how many trials run to their end before others are pruned; None: none is pruned.
        warmup_epochs: of a trial, before it may be pruned.

    Raises:
        InputError: Optuna is not installed.
    """
    optuna = load_optuna()
    backend = optuna.storages.journal.JournalFileBackend(str(folder / STUDY))
    pruner = (
        optuna.pruners.NopPruner()
        if startup_trials is None
        else optuna.pruners.MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=warmup_epochs)
    )
    storage = optuna.storages.JournalStorage(backend)
    names = optuna.study.get_all_study_names(storage)  # the folder may have been renamed
    name = names[0] if names else folder.resolve().name
    return optuna.create_study(
        storage=storage, study_name=name, direction="minimize", pruner=pruner, load_if_exists=True
    )


def load_optuna() -> ModuleType:
    """Import Optuna, and keep it quiet: what it logs is said by us.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("hparams_search needs Optuna: pip install -e '.[sweeps]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def check_same_search(study: Study, asked: Mapping[str, Any]) -> None:
    """Note what a new study is a search of; one that was begun goes on with the same only, or its scores would be mixed.

    Args:
        study: of the search.
        asked: flat, of plain values: the space, and the configuration that all trials have.

    Raises:
        InputError: it was begun with other values; names one of them.
    """
    begun = study.user_attrs.get("asked")
    if begun is None:
        study.set_user_attr("asked", dict(asked))
        return
    now = json.loads(json.dumps(asked))
    for key in sorted({*begun, *now}):
        if begun.get(key) != now.get(key):
            raise InputError(
                f"the study {study.study_name} was begun with {key}={begun.get(key)}, now it is {now.get(key)}; give the same, "
                "or another hydra.sweeper.study_name"
            )


def run_search(
    study: Study,
    space: Mapping[str, BaseDistribution],
    folder: Path,
    run_jobs: Callable[[dict[int, dict[str, Any]]], None],
    *,
    n_trials: int,
    n_jobs: int = 1,
    seed: int = 0,
    random_trials: int = 5,
) -> None:
    """Run trials until the study has `n_trials`, those that were killed first.

    Args:
        study: see `open_study`.
        space: what to try, by name.
        folder: of the multirun.
        run_jobs: is given values by number of trial; returns when each has left `run.json`, `pruned.txt` or neither in the
            folder of that number.
        n_trials: in all, with those of earlier calls.
        n_jobs: how many are given to `run_jobs` at a time.
        seed: of what is tried.
        random_trials: see `next_trial`.
    """
    while (left := trials_left(study, n_trials)) > 0:
        count, parallel = min(left, n_jobs), n_jobs > 1
        trials = [
            next_trial(study, space, seed=seed, random_trials=random_trials, parallel=parallel) for _ in range(count)
        ]
        run_jobs({trial.number: trial.params for trial in trials})
        for trial in trials:
            end_trial(study, trial.number, folder / str(trial.number))


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep a second search out of a folder while this one runs; the lock ends with the process, however that ends.

    Raises:
        InputError: another search is at work there.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder}: another search is at work in it; wait, or give another study_name") from error
    try:
        yield
    finally:
        lock.release()


def next_trial(
    study: Study, space: Mapping[str, BaseDistribution], *, seed: int, random_trials: int, parallel: bool
) -> Trial:
    """Return a trial to run: one that was killed, again, or a new one.

    A new one follows from the seed, its place and the trials before it, so that a search that was killed goes on with
    those that it would have tried.

    Args:
        study: of the search.
        space: what to try, by name.
        seed: of what is drawn.
        random_trials: how many are drawn at random before earlier ones tell where to look (a tree-structured Parzen
            estimator, Bergstra et al. 2011).
        parallel: whether others run at the same time; it then keeps away from them.
    """
    place = sum(set(trial.params) == set(space) and REPEATS not in trial.user_attrs for trial in _trials(study))
    state = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
    sampler = load_optuna().samplers.TPESampler
    study.sampler = sampler(seed=state, n_startup_trials=random_trials, constant_liar=parallel)
    return study.ask(dict(space))


def end_trial(study: Study, number: int, run_dir: Path) -> None:
    """Tell the study how a trial ended, by what is in its folder; the objective is the log loss on unseen boats."""
    from optuna.trial import TrialState

    log_loss = unseen_log_loss(run_dir)
    if log_loss is not None:
        study.tell(number, log_loss)
    elif (run_dir / PRUNED).is_file():
        study.tell(number, state=TrialState.PRUNED)
    else:
        study.tell(number, state=TrialState.FAIL)


def repeat_killed(study: Study, folder: Path, *, space: Mapping[str, BaseDistribution]) -> int:
    """End the trials that were running when the search was killed, and queue those that had not finished.

    Returns:
        How many will be tried again.
    """
    from optuna.trial import Trial, TrialState

    killed = 0
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        run_dir = folder / str(trial.number)
        if not any((run_dir / name).is_file() for name in ("run.json", PRUNED, ERROR)):
            Trial(study, trial._trial_id).set_user_attr(KILLED, True)
            if set(trial.params) == set(space):  # else it had not begun
                study.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number})
                killed += 1
        end_trial(study, trial.number, run_dir)
    return killed


def trials_left(study: Study, n_trials: int) -> int:
    """Return how many trials are still to be run; one that was killed does not count, since it is run again."""
    return n_trials - sum(trial.state.is_finished() and not trial.user_attrs.get(KILLED) for trial in _trials(study))


def trial_report(folder: Path, number: int, *, startup_trials: int | None, warmup_epochs: int) -> Report:
    """Return what a job calls after an epoch with its number and log loss; it answers why the job should end, or None.

    Args:
        folder: of the multirun.
        number: of the trial.
        startup_trials: see `open_study`.
        warmup_epochs: likewise.
    """
    from optuna.trial import Trial

    study = open_study(folder, startup_trials=startup_trials, warmup_epochs=warmup_epochs)
    trial = Trial(study, _trials(study)[number]._trial_id)

    def report(epoch: int, log_loss: float) -> str | None:
        trial.report(log_loss, step=epoch)
        if not trial.should_prune():
            return None
        return f"after epoch {epoch + 1}: its best held-out log loss is above the median of the trials before it"

    return report


def _trials(study: Study) -> Sequence[FrozenTrial]:
    return study.get_trials(deepcopy=False)
