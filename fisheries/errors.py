"""What the user can mend, as one line."""

from __future__ import annotations

import difflib
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# a process started beside the first one inherits what `launch` sets
SHOW_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1" and "LOCAL_RANK" not in os.environ
# nothing is wrong with the program, and the next try may do: no room, a limit, read-only, a bad disk, a share that is gone
_PLACE_FAILS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ENOTDIR,
)

# what is heard from the others where a process of several ends: by Gloo, and by NCCL
_RANK_IS_LOST = ("connection closed by peer", "connection reset by peer", "ncclremoteerror")


def one_line(function: Callable[[], Any]) -> None:
    """Call `function`; what the user can mend becomes one line on standard error, and exit code 1.

    `HYDRA_FULL_ERROR=1` shows tracebacks instead.
    """
    try:
        function()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        line = None if SHOW_TRACEBACKS else user_error(error)
        if line is None:
            raise
        sys.exit(f"fisheries: {line}")


def user_error(error: BaseException) -> str | None:
    """Return the line for a person that an error deserves, or None if it is ours to mend, with its traceback.

    What files are called and say is part of it, so that letters that a terminal would obey are written as escapes.
    """
    line = _line(error)
    return line and "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


def _line(error: BaseException) -> str | None:
    from fisheries.schema import InputError

    if isinstance(error, InputError) or type(error).__name__ == "BackboneError":
        text = str(error).strip()  # what a worker process raises comes with the worker's traceback before it
        return text.splitlines()[-1].removeprefix("fisheries.schema.InputError: ") if "Traceback" in text else text
    if isinstance(error, OSError) and error.errno in _PLACE_FAILS:
        return f"{error.filename or 'a file'}: {error.strerror}; make room or mend the place, then go on with resume=RUN_DIR"
    if isinstance(error, RuntimeError) and "DataLoader" in str(error):
        from fisheries.data.watch import worker_problem

        return worker_problem(str(error))
    if isinstance(error, EOFError | ConnectionError) and "fisheries.data.watch" in sys.modules:
        from fisheries.data.watch import stop_problem

        return stop_problem()
    if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _RANK_IS_LOST):
        return f"a process of this run is lost ({' '.join(str(error).split())[:120]}); go on with resume=RUN_DIR"
    if "omegaconf" not in sys.modules:
        return None
    from omegaconf.errors import OmegaConfBaseException

    if "hydra" not in sys.modules:  # the only configuration that commands read is a run's
        own = isinstance(error, OmegaConfBaseException)
        return (
            f"{str(error).splitlines()[0]}: the run is of another version of fisheries; train it anew" if own else None
        )
    from hydra.errors import HydraException, MissingConfigException

    if isinstance(error, MissingConfigException):
        return _unknown_choice(str(error.missing_cfg_file or ""), list(error.options or []), str(error))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _unknown_key(error)
    return None


def conf_dir() -> Path:
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
    if type(error).__name__ == "OverrideParseException":
        return _unreadable_override(str(getattr(error, "override", text)))
    if "Could not override" not in text:
        cause = error.__cause__
        return " ".join([text, *str(cause or "").split()])
    near = difflib.get_close_matches(key, _keys(), n=1, cutoff=0.4)
    return (
        f"there is no {key!r} in the configuration"
        + (f" (did you mean {near[0]!r}?)" if near else "")
        + "; --cfg job shows all of it"
    )


def _unreadable_override(override: str) -> str:
    """Say how to give a value with letters that mean something to Hydra, or nothing, such as `&` and `ü`."""
    name, _, value = override.partition("=")
    is_text = value and not value.startswith(("[", "{", "=", "'", '"'))
    hint = f"""; give it in quotes, as in '{name}="{value}"'""" if is_text else ""
    return f"{override}: can't be read as KEY=VALUE{hint}"


def _keys() -> list[str]:
    """Return every group, and every key with its full name, of the default configuration."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=["logger=wandb"]), resolve=False)

    def walk(node: Any, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        return [name for key in node for name in (f"{prefix}{key}", *walk(node[key], f"{prefix}{key}."))]

    return walk(config, "") + [folder.name for folder in conf_dir().iterdir() if folder.is_dir()]
