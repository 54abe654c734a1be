"""Training that ends as its process should: on Ctrl-C and SIGTERM with their exit codes, and where memory is short."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from fisheries.schema import InputError

# of PyTorch, and of oneDNN, which computes its convolutions; "a primitive descriptor" is one that it doesn't know
_NO_MEMORY = re.compile("can't allocate memory|could not create a primitive$|could not create a memory object")


class OutOfMemoryError(InputError):
    """A batch is too large; says which to try."""


def fit(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, *, resume_path: Path | None = None
) -> None:
    """Train, going on from a checkpoint if there is one.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; Lightning by itself would exit with code 1.
        SystemExit: with code 143 on SIGTERM, where Lightning's would be 0.
    """
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume_path, weights_only=True)
    except SIGTERMException:
        sys.exit(128 + signal.SIGTERM)
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise


@contextmanager
def memory_told(batch_size: int, *, accumulated: int) -> Iterator[None]:
    """Turn running out of memory into a line with the batch to try.

    Args:
        batch_size: images in a batch.
        accumulated: batches to a step of the optimizer.

    Raises:
        OutOfMemoryError: a device has no more memory, or this computer.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        half, remedy = batch_size // 2, "smaller pictures (data.image_hw)"
        if half:
            remedy = (
                f"data.batch_size={half} trainer.accumulate_grad_batches={2 * accumulated}, {remedy}, or trainer.on_oom=halve, "
                "which does the first by itself, on a resumed run, too"
            )
        raise OutOfMemoryError(f"out of memory with data.batch_size={batch_size}: try {remedy}") from error


def _is_out_of_memory(error: Exception) -> bool:
    """Whether it is; there is no type of its own for the memory of the computer."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(_NO_MEMORY.search(str(error)))
