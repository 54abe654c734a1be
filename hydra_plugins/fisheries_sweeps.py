"""What Hydra finds by itself: the search with Optuna as a sweeper, and a callback that says where a multirun writes.

Hydra imports this at every start, so everything heavy is imported inside.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig
    from optuna import Study
    from optuna.distributions import BaseDistribution


class MultirunStart(Callback):
    """Tell `fisheries.launch` of a multirun, which it sums up in the end."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note its folder; ends here if the launcher is not installed."""
        from fisheries.launch import note_multirun

        package = ".".join(config.hydra.launcher._target_.split(".")[:2])
        if package.startswith("hydra_plugins.") and find_spec(package) is None:
            name = package.removeprefix("hydra_plugins.").replace("_", "-")
            sys.exit(
                f"fisheries: hydra.launcher needs {name}: pip install it; joblib and submitit come with pip install -e '.[sweeps]'"
            )
        note_multirun(Path(config.hydra.sweep.dir))


class OptunaSweeper(Sweeper):
    """Search with Optuna, for the lowest log loss on unseen boats.

    Args:
        study_name: the multirun's folder is called so; given again, the search goes on.
        n_trials: how many in all, with those of earlier calls.
        n_jobs: how many are handed to the launcher at a time.
        seed: of what is tried.
        random_trials: drawn at random, before earlier trials tell where to look.
        pruner: startup_trials and warmup_epochs of the median rule; None: every trial runs to its end.
        params: what to try, by key, in Hydra's sweep syntax; the command line wins.
    """

    def __init__(
        self,
        study_name: str,
        n_trials: int,
        n_jobs: int,
        seed: int,
        random_trials: int,
        pruner: Mapping[str, int] | None,
        params: Mapping[str, Any],
    ) -> None:
        self.study_name = study_name
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.seed = seed
        self.random_trials = random_trials
        self.pruner = pruner
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what Hydra made."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until there are `n_trials`.

        Raises:
            InputError: Optuna is not installed, nothing is to be tried, or the study was begun with other values.
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from joblib import effective_n_jobs

        from fisheries import search

        search.load_optuna()
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        launcher = self.launcher
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        space, fixed = divide({override.get_key_element(): override for override in given})
        self._check(space, fixed, split=self.config.split.name)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)

        def run_jobs(values: dict[int, dict[str, Any]]) -> None:
            jobs = [
                [*fixed, *(f"{key}={value}" for key, value in tried.items()), f"hydra.sweep.subdir={number}"]
                for number, tried in values.items()
            ]
            launcher.launch(jobs, initial_job_idx=min(values))

        with search.only_one(folder):
            study = search.open_study(folder)
            search.check_same_search(study, asked(self.config, space, fixed))
            self._say(study, search.repeat_killed(study, folder, space=space))
            search.run_search(
                study,
                space,
                folder,
                run_jobs,
                n_trials=self.n_trials,
                n_jobs=effective_n_jobs(self.n_jobs),
                seed=self.seed,
                random_trials=self.random_trials,
            )

    def _check(self, space: Mapping[str, BaseDistribution], fixed: Sequence[str], *, split: str) -> None:
        """Refuse what would fail in each trial, or in the middle of the night."""
        from fisheries.schema import InputError

        if not space:
            raise InputError(
                "nothing to search: give an interval, a range or a choice, such as optimizer.lr=tag(log,interval(1e-4,1e-2))"
            )
        if split in ("random", "burst"):
            raise InputError(f"split={split} holds out no unseen boats, which a search goes by; give split=boat")
        first = {key: f"{key}={choices_of(distribution)[0]}" for key, distribution in space.items()}
        for key, distribution in space.items():
            others = [override for name, override in first.items() if name != key]
            self.validate_batch_is_legal([[*fixed, *others, f"{key}={value}"] for value in choices_of(distribution)])

    def _say(self, study: Study, again: int) -> None:
        from fisheries.console import make_console
        from fisheries.search import trials_left

        repeated = f", among them {again} that had been killed" if again else ""
        left = max(trials_left(study, self.n_trials), 0)
        make_console().print(f"Study {self.study_name}: {left} of {self.n_trials} trials to go{repeated}")


def divide(given: Mapping[str, Override]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """Divide overrides by key into what is tried and what all trials have."""
    swept = {key: override for key, override in given.items() if override.is_sweep_override()}
    fixed = [str(override.input_line) for key, override in given.items() if key not in swept]
    return {key: to_distribution(override) for key, override in swept.items()}, fixed


def to_distribution(override: Override) -> BaseDistribution:
    """Turn Hydra's `interval`, `range`, `choice` or `glob` into what Optuna draws from; `tag(log,…)` draws on a log scale."""
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        ends: tuple[Any, Any] = (value.start, value.end)
        log = "log" in value.tags
        return IntDistribution(*ends, log=log) if whole else FloatDistribution(*ends, log=log)
    if isinstance(value, RangeSweep):
        numbers: list[Any] = list(value.range())
        whole, step = all(isinstance(number, int) for number in numbers), cast(Any, value.step)
        kind = IntDistribution if whole else FloatDistribution
        return kind(numbers[0], numbers[-1], step=step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))  # each as an override would say it


def choices_of(distribution: BaseDistribution) -> Sequence[Any]:
    """Return what can be drawn, or one value of many."""
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return [cast(Any, distribution).low]


def asked(config: DictConfig, space: Mapping[str, BaseDistribution], fixed: Sequence[str]) -> dict[str, Any]:
    """Return all that the trials of a study must have in common, flat; not how and where they run."""
    from omegaconf import OmegaConf

    from fisheries.analysis.compare import NOT_COMPARED, flat

    everything = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
    values = flat({key: value for key, value in everything.items() if key != "hydra"})
    values |= dict(override.partition("=")[::2] for override in fixed)
    values |= {key: str(distribution) for key, distribution in space.items()}
    places = ("logger", "data.workers", "trainer.gpus", "trainer.accelerator", "trainer.devices", "trainer.enable_")
    return {key: value for key, value in values.items() if key not in NOT_COMPARED and not key.startswith(places)}
