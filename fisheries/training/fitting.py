"""Training that ends as its process should: on Ctrl-C and SIGTERM with their exit codes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException


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
