"""The entry of `train.py`: Hydra composes the configuration, and `run` does the job.

Everything heavy is imported inside the job, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from fisheries.console import make_console
from fisheries.errors import SHOW_TRACEBACKS, conf_dir, one_line, user_error

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ERROR = "error.txt"  # a failed run's traceback, in its folder


def train() -> None:
    """Run `train.py`."""
    one_line(launch)


def launch() -> None:
    """Compose the configuration from the command line, and run one job or several."""
    import hydra
    from omegaconf import OmegaConf

    # fixed here, since processes that train together must agree on it
    os.environ.setdefault("FISHERIES_RUN_ID", f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(2)}")
    OmegaConf.register_new_resolver("fisheries.run_dir", _run_dir, replace=True)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to `one_line`, which knows the remedies
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_job)()


def transform_choices() -> dict[str, dict[str, float]]:
    """Return every choice of the group `transform` with all of its values; those that change the least first."""
    from hydra import compose, initialize_config_dir

    names = sorted(path.stem for path in (conf_dir() / "transform").glob("*.yaml"))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        choices = {name: dict(compose("config", overrides=[f"transform={name}"]).transform) for name in names}
    return dict(sorted(choices.items(), key=lambda choice: sum(value != 0 for value in choice[1].values())))


def _job(config: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from fisheries.compose import process_count
    from fisheries.config import save_config
    from fisheries.run import run
    from fisheries.schema import InputError

    state = HydraConfig.get()
    run_dir = Path(state.runtime.output_dir)
    name = f"{run_dir.parent.name}-{run_dir.name}" if run_dir.name.isdigit() else run_dir.name
    multirun = str(state.mode).endswith("MULTIRUN")
    console = make_console()
    began = (run_dir / "config.yaml").is_file() and os.environ.get("LOCAL_RANK", "0") == "0"
    if began and config.resume is None:  # said here, so that no trace of this is left in that folder
        sys.exit(f"fisheries: {run_dir}: is a run already: go on with resume={run_dir}, or give another hydra.run.dir")
    try:
        if config.resume is not None:
            if multirun:
                raise InputError("resume takes one run: give it without -m")
            config = _resumed(config, list(state.overrides.task))
            save_config(config, run_dir)
        elif multirun and process_count(config) > 1:
            raise InputError("a multirun trains on one GPU at a time: give trainer.gpus=1, or run its jobs one by one")
        else:
            config.overrides = list(state.overrides.task)
        run(config, run_dir, name=name, console=console)
        (run_dir / _ERROR).unlink(missing_ok=True)
    except (KeyboardInterrupt, SystemExit):
        if (run_dir / "config.yaml").is_file():
            console.print(f"Interrupted. Go on with: python train.py resume={run_dir}")
        else:
            _remove_if_empty(run_dir)
        raise
    except Exception as error:
        if any(run_dir.iterdir()):
            (run_dir / _ERROR).write_text(traceback.format_exc())
        _remove_if_empty(run_dir)
        line = user_error(error)
        if multirun:
            console.print(f"Job {state.job.num} failed: {line or repr(error)}", markup=False)
        elif line is not None and not SHOW_TRACEBACKS:
            sys.exit(f"fisheries: {line}")  # Hydra would put a line of its own before it
        raise


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
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
        if not key.startswith(("trainer.", "logger", "data.workers")):
            raise InputError(
                f"{override}: a resumed run keeps its configuration, only trainer.*, logger and data.workers may change"
            )
        OmegaConf.update(stored, key, OmegaConf.select(config, key), force_add=True)
    return stored


def _run_dir(resume: str | None) -> str:
    if resume is not None and Path(resume, "config.yaml").is_file():
        return str(Path(resume))
    return f"runs/{os.environ['FISHERIES_RUN_ID']}"
