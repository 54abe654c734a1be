"""What benchmarks of training share: our configuration, network and trainer as train.py makes them, and batches that are there already."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import hydra
import pandas as pd
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from stored import CLASSES, Stored
from torch.nn import functional

from fisheries import compose, launch
from fisheries.batch import Batch
from fisheries.config import logger_names
from fisheries.config_check import check_config
from fisheries.data.metadata import SizeStatistics
from fisheries.errors import conf_dir
from fisheries.material import Material
from fisheries.models.fishnet import FishNet
from fisheries.nets import create_net, image_hw_of
from fisheries.precision import settle_precision
from fisheries.training.fitting import fit
from fisheries.training.loggers import create_loggers
from fisheries.training.module import FishModule

QUIET = Console(quiet=True)
SMOOTHING = 0.05  # loss.label_smoothing
_SIZES = SizeStatistics(mean_hw=(720.0, 1280.0), std_hw=(1.0, 1.0), known_hw=((720, 1280),))


class StoredData(pl.LightningDataModule):
    """Feed such batches to a trainer."""

    def __init__(self, batches: Stored) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Stored:
        """Return them."""
        return self.batches


def composed(*overrides: str) -> DictConfig:
    """Return what train.py would run with these overrides."""
    OmegaConf.register_new_resolver("fisheries.run_dir", launch._run_dir, replace=True)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = hydra.compose("config", overrides=list(overrides))
    check_config(config)
    return config


def settle(config: DictConfig) -> None:
    """Settle trainer.precision=auto as train.py does, in a folder where nothing is known yet."""
    rows = {"height": [720], "width": [1280], "subset": ["train"], "status": ["ok"], "label": ["0"]}
    manifest, boxes = pd.DataFrame(rows, index=["img"]), pd.DataFrame()
    material = Material(Path(), manifest, boxes, [str(number) for number in range(CLASSES)])
    with TemporaryDirectory() as tables_dir:
        config.tables_dir = tables_dir
        settle_precision(config, material, console=QUIET)


def new_net(config: DictConfig) -> FishNet:
    """Return the network of a configuration, the same at each call."""
    torch.manual_seed(0)
    return create_net(config.model, classes=CLASSES, sizes=_SIZES, image_hw=image_hw_of(config), console=QUIET)


def random_batch(size: int, image_hw: tuple[int, int]) -> Batch:
    """Return a batch of noise."""
    rng = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (size, 3, *image_hw), dtype=torch.uint8, generator=rng),
        "image_hw": torch.zeros(size, 2),
        "target": functional.one_hot(torch.arange(size) % CLASSES, CLASSES).float(),
        "weight": torch.ones(size),
        "box_cxcywh": torch.zeros(size, 4),
        "has_box": torch.zeros(size),
        "image_id": [f"img_{number:05}.jpg" for number in range(size)],
    }


def new_module(config: DictConfig, net: FishNet) -> FishModule:
    """Return what train.py puts around a network; without class weights that takes no data."""
    return compose.create_module(config, net, None, provenance={})  # type: ignore[arg-type]


def fit_ours(config: DictConfig, net: FishNet, data: pl.LightningDataModule, *callbacks: pl.Callback) -> None:
    """Train as train.py does, with its callbacks, loggers and checkpoints, and further callbacks that watch."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        loggers = create_loggers(logger_names(config), folder=folder, wandb_run=None, console=QUIET)
        trainer = compose.create_trainer(config, folder, loggers=loggers, console=QUIET)
        trainer.callbacks.extend(callbacks)
        fit(trainer, new_module(config, net), data)
