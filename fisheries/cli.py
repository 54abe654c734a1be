"""`fisheries <command>`, and the entry of `train.py`; thin, one function a command.

Everything heavy is imported inside the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import difflib
import os
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

app = typer.Typer(
    help="Tell the species of fish in photographs from fishing boats, with a score that holds on boats never seen.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_ERROR = "error.txt"  # a failed run's traceback, in its folder
# a process started beside the first one inherits what `_train` sets
_SHOW_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1" and "LOCAL_RANK" not in os.environ
DataDir = Annotated[Path, typer.Argument(help="folder with train/<class>/ and test*/ in it")]


def main() -> None:
    """Run a command of `fisheries`."""
    one_line(app)


def train() -> None:
    """Run `train.py`."""
    one_line(_train)


def one_line(function: Callable[[], Any]) -> None:
    """Call `function`; what the user can mend becomes one line on standard error, and exit code 1.

    `HYDRA_FULL_ERROR=1` shows tracebacks instead.
    """
    try:
        function()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        line = None if _SHOW_TRACEBACKS else user_error(error)
        if line is None:
            raise
        sys.exit(f"fisheries: {line}")


@app.command(
    "train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def train_command(context: typer.Context) -> None:
    """Train, score on held-out boats and write a submission, as `python train.py` does.

    Example: `fisheries train data=ncfm data.root=DIR model=resnet50 trainer.gpus=1`
    """
    # processes that train together are started anew from this file
    sys.argv = [str(Path(__file__).with_name("__main__.py")), *context.args]
    _train()


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="where to; must not exist yet")],
    train: Annotated[int, typer.Option(help="training images")] = 800,
    stage1: Annotated[int, typer.Option(help="test images of the training boats")] = 100,
    stage2: Annotated[int, typer.Option(help="test images of boats never seen")] = 200,
    boats: Annotated[int, typer.Option(help="boats of the training images")] = 20,
    new_boats: Annotated[int, typer.Option(help="boats of stage 2")] = 10,
    leak: Annotated[
        float, typer.Option(help="0: every boat catches all classes; 1: classes keep to their boats")
    ] = 0.8,
    seed: Annotated[int, typer.Option(help="another seed is another world")] = 0,
) -> None:
    """Draw the embedded boats: a small competition with everything that makes the real one hard.

    Example: `fisheries synth data/boats --leak 1`
    """
    from fisheries.data.synthetic import draw_competition

    console = _console()
    draw_competition(
        folder,
        train=train,
        stage1=stage1,
        stage2=stage2,
        boats=boats,
        new_boats=new_boats,
        leak=leak,
        seed=seed,
        progress=console.is_terminal,
    )
    console.print(f"{folder}: {train} training images of {boats} boats, {stage1} + {stage2} test images")


@app.command()
def manifest(
    data_dir: DataDir,
    out: Annotated[Path | None, typer.Option(help="folder for them; by default one below tables/")] = None,
    annotations: Annotated[list[Path] | None, typer.Option(help="box files; by default those in DATA_DIR")] = None,
    boats: Annotated[Path | None, typer.Option(help="CSV image_id,boat; by default DATA_DIR/boats.csv")] = None,
    no_fish: Annotated[str, typer.Option(help="class whose boxes are not fish")] = "NoF",
) -> None:
    """Check every photograph and box once, and write `manifest.csv` and `boxes.csv`.

    Example: `fisheries manifest data/ncfm`
    """
    from fisheries.analysis.summary import summary
    from fisheries.data.manifest import load_or_scan, tables_dir_of

    console = _console()
    out = out or tables_dir_of(data_dir, Path("tables"))
    images, boxes = load_or_scan(
        data_dir, annotations=annotations, boats=boats, no_fish=no_fish, tables_dir=out, progress=console.is_terminal
    )
    console.print(summary(images, boxes))
    console.print(f"Wrote {out / 'manifest.csv'} and {out / 'boxes.csv'}")


@app.command()
def predict(
    run_dir: Annotated[Path, typer.Argument(help="folder of a run")],
    paths: Annotated[list[Path], typer.Argument(help="folders or files")],
    out: Annotated[Path, typer.Option(help="CSV to write: image_id and a probability for each class")] = Path(
        "predictions.csv"
    ),
    gpus: Annotated[str, typer.Option(help="0 for the CPU, 1, or auto")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    workers: Annotated[int, typer.Option(min=0, help="processes that read photographs")] = 2,
) -> None:
    """Predict photographs with the networks of a run.

    Example: `fisheries predict runs/2026-01-31_12-00-00-ab12 photos/ --out photos.csv`
    """
    from fisheries.predict import predict_paths

    console = _console()
    table = predict_paths(run_dir, paths, out, gpus=gpus, batch_size=batch_size, workers=workers, console=console)
    console.print(f"Wrote {out} ({len(table)} rows)")


@app.command()
def submit(
    table: Annotated[Path, typer.Argument(help="prediction table, such as test.csv of a run")],
    sample: Annotated[Path | None, typer.Option(help="the competition's sample: its names, in its order")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write; by default submissions/<run>-<table>.csv")] = None,
) -> None:
    """Write a submission from a prediction table, and check it.

    Example: `fisheries submit runs/RUN/test.csv --sample sample_submission_stg1.csv`
    """
    from fisheries.inference.submission import check_submission, write_submission
    from fisheries.schema import InputError, read_predictions

    console = _console()
    out = out or Path("submissions") / f"{table.resolve().parent.name}-{table.stem}.csv"
    written = write_submission(read_predictions(table), out, sample=sample)
    console.print(f"Wrote {written.path} ({written.rows} rows)")
    if written.left_out:
        console.print(
            f"  {written.left_out} predictions of the other stage are left out: the sample does not have them"
        )
    problems = check_submission(out, sample=sample)
    for problem in problems:
        console.print(f"  {problem.severity}: {problem.text}", highlight=False, markup=False)
    if any(problem.severity == "error" for problem in problems):
        raise InputError(f"{out}: not fit to be submitted, for the reasons above")
    console.print("  names, columns, values and sums are as the competition wants them")


@app.command()
def score(
    submission: Annotated[Path, typer.Argument(help="image,<classes>")],
    solution: Annotated[Path, typer.Argument(help="image,label[,stage], or Kaggle's one-hot form")],
) -> None:
    """Score a submission as Kaggle does.

    Example: `fisheries score submissions/RUN.csv data/boats/solution.csv`
    """
    from rich.table import Table

    from fisheries.inference.scoring import read_solution, score_submission
    from fisheries.inference.submission import read_submission

    scores = score_submission(read_submission(submission), read_solution(solution))
    view = Table("stage", *(name.replace("_", " ") for name in scores.columns))
    for row in scores.itertuples():
        view.add_row(str(row[0]), f"{row[1]:.0f}", *(f"{value:.5f}" for value in row[2:]))
    _console().print(view)


def user_error(error: BaseException) -> str | None:
    """Return the line for a person that an error deserves, or None if it is ours to mend, with its traceback."""
    from fisheries.schema import InputError

    if isinstance(error, InputError) or type(error).__name__ == "BackboneError":
        # what a worker process raises comes with the worker's traceback before it
        return str(error).strip().splitlines()[-1].removeprefix("fisheries.schema.InputError: ")
    if "hydra" not in sys.modules:
        return None
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, MissingConfigException):
        return _unknown_choice(str(error.missing_cfg_file or ""), list(error.options or []), str(error))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _unknown_key(error)
    return None


def _train() -> None:
    import hydra
    from omegaconf import OmegaConf

    # fixed here, since processes that train together must agree on it
    os.environ.setdefault("FISHERIES_RUN_ID", f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(2)}")
    OmegaConf.register_new_resolver("fisheries.run_dir", _run_dir, replace=True)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to `one_line`, which knows the remedies
    hydra.main(version_base="1.3", config_path=str(_conf_dir()), config_name="config")(_job)()


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
    console = _console()
    try:
        if config.resume is not None:
            if multirun:
                raise InputError("resume takes one run: give it without -m")
            config = _resumed(config, list(state.overrides.task))
            save_config(config, run_dir)
        elif multirun and process_count(config) > 1:
            raise InputError("a multirun trains on one GPU at a time: give trainer.gpus=1, or run its jobs one by one")
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
        elif line is not None and not _SHOW_TRACEBACKS:
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


def _conf_dir() -> Path:
    """Return conf/ beside the package in a checkout, inside the package where it is installed."""
    package = Path(__file__).resolve().parent
    return next(folder for folder in (package.parent / "conf", package / "conf") if (folder / "config.yaml").is_file())


def _unknown_choice(missing: str, options: list[str], message: str) -> str:
    group, _, name = missing.rpartition("/")
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.3)
    hint = f" (did you mean {group}={near[0]}?)" if near else ""
    return f"no {group}={name}{hint}; there are {', '.join(sorted(options))}" if options else " ".join(message.split())


def _unknown_key(error: BaseException) -> str:
    """Say which key is wrong, and the nearest right one."""
    text = " ".join(str(error).split())
    words = text.split()
    quoted = next((word.strip("'.") for word in words if word.startswith("'")), "")
    key = words[words.index("full_key:") + 1] if "full_key:" in words else quoted
    if "Could not override" not in text:
        cause = error.__cause__
        return " ".join([text, *str(cause or "").split()])
    near = difflib.get_close_matches(key, _keys(), n=1, cutoff=0.4)
    return (
        f"there is no {key!r} in the configuration"
        + (f" (did you mean {near[0]!r}?)" if near else "")
        + "; --cfg job shows all of it"
    )


def _keys() -> list[str]:
    """Return every group, and every key with its full name, of the default configuration."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(_conf_dir()), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=["logger=wandb"]), resolve=False)

    def walk(node: Any, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        return [name for key in node for name in (f"{prefix}{key}", *walk(node[key], f"{prefix}{key}."))]

    return walk(config, "") + [folder.name for folder in _conf_dir().iterdir() if folder.is_dir()]


def _console() -> Console:
    from rich.console import Console

    # of the processes that train together only the first one speaks
    return Console(soft_wrap=True, highlight=False, quiet=os.environ.get("LOCAL_RANK", "0") != "0")
