"""What a training loop costs over a bare one, ours beside those of others; and how fast our training step is beside PyTorch's plain one.

    python benchmarks/loop.py [--repetitions 3] [--json FILE] [--quick]

Batches of 32 are in memory already. The loop, at 96 x 96, where a step is short and what is around it shows: the same network
and step, with ours around it (train.py's module, trainer, callbacks and logger; float32) and with nothing around it; Lightning's
defaults beside it, and fastai's and timm's where the peers' environment is there (build/peers). The step, at 224 x 224:
`trainer.precision=auto`, with large blocks of memory kept as train.py does, beside float32 in NCHW with PyTorch's defaults.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytorch_lightning as pl
import timm
import torch
from machine import PEERS
from measured import Row, arguments, give_blocks_back_as_others, in_turn, report, rows_of
from omegaconf import DictConfig
from ours import SMOOTHING, StoredData, composed, fit_ours, new_module, new_net, random_batch, settle
from stored import CLASSES, LR, WEIGHT_DECAY, Stored, images_and_labels, train_plainly
from torch import Tensor, nn
from torch.nn import functional

from fisheries.batch import Batch
from fisheries.memory import keep_large_blocks
from fisheries.models.fishnet import FishNet
from fisheries.training.devices import hide_missing_gpus
from fisheries.training.module import FishModule

HERE = Path(__file__).resolve().parent
PEERS_PYTHON = PEERS / "bin" / "python"
LIBRARIES = ("fastai", "timm")
BATCH = 32
SKIP = 1  # steps that are not counted
SAME, BARE = "a bare loop that clips gradients and schedules as ours", "a bare loop"
PLAIN = "PyTorch's defaults: float32, NCHW"
Ask = Callable[[str, "Case"], float]


class Case(NamedTuple):
    """A network, the side of its pictures, and how many steps of it are timed."""

    network: str
    side: int
    steps: int

    @property
    def title(self) -> str:
        """How it is named in a report."""
        return f"{self.network} at {self.side}, batches of {BATCH}"


LOOPS = [Case("resnet18", 96, 4), Case("mobilenetv2_035", 96, 10)]
STEPS = [Case("resnet18", 224, 2), Case("mobilenetv3_small_100", 224, 4)]


def main() -> None:
    given = arguments(__doc__, repetitions=3).parse_args()
    repetitions = 1 if given.quick else given.repetitions
    hide_missing_gpus()  # as a run does, and as a loop without Lightning needs not
    loops = [case._replace(steps=2) for case in LOOPS[1:]] if given.quick else LOOPS
    steps = [case._replace(steps=2) for case in STEPS[1:]] if given.quick else STEPS
    with peers() as asked:
        rows = [row for case in loops for row in loop_rows(case, asked, repetitions=repetitions)]
    rows += [row for case in steps for row in step_rows(case, repetitions=repetitions)]
    report(rows, given.json)


def loop_rows(case: Case, asked: dict[str, Ask], *, repetitions: int) -> list[Row]:
    """Measure a step in each loop."""
    config = config_of(case, "trainer.precision=32-true")
    nets = {name: new_net(config) for name in ("ours", SAME, BARE, "Lightning's defaults")}
    batch = random_batch(BATCH, (case.side, case.side))
    loops = {BARE: train_bare, SAME: train_the_same, "ours": train_ours, "Lightning's defaults": train_by_default}
    ways = {name: partial(timed, loop, config, nets[name], batch, case.steps) for name, loop in loops.items()}
    against = {BARE: BARE, SAME: SAME, "ours": SAME, "Lightning's defaults": BARE}
    for name, ask in asked.items():
        alone = f"a bare loop in {name}'s process"
        ways |= {alone: partial(ask, "bare", case), f"{name}'s defaults": partial(ask, "loop", case)}
        against |= {alone: alone, f"{name}'s defaults": alone}
    measured = in_turn(ways, repetitions=repetitions, about=case.title)
    return rows_of(measured, part=f"a step in a loop: {case.title}, float32", unit="s", against=against)


def step_rows(case: Case, *, repetitions: int) -> list[Row]:
    """Measure images a second of a step, ours and the plain one."""
    keep_large_blocks()
    config = config_of(case, "trainer.precision=auto")
    ours, plain = new_net(config), timm.create_model(case.network, num_classes=CLASSES)
    batch, pair = random_batch(BATCH, (case.side, case.side)), images_and_labels(BATCH, (case.side, case.side))

    def plain_rate() -> float:
        give_blocks_back_as_others()
        batches = Stored(pair, case.steps + SKIP)
        train_plainly(plain, batches)
        return BATCH / batches.step_s(skip=SKIP)

    def our_rate() -> float:
        keep_large_blocks()
        return BATCH / timed(train_ours, config, ours, batch, case.steps)

    chosen = f"{config.trainer.precision}{', channels_last' if config.trainer.channels_last else ''}"
    ways = {
        PLAIN: plain_rate,
        f"ours: trainer.precision=auto, which took {chosen}": our_rate,
    }
    measured = in_turn(ways, repetitions=repetitions, about=case.title)
    return rows_of(measured, part=f"a training step: {case.title}", unit="images/s", against=PLAIN)


def config_of(case: Case, *overrides: str) -> DictConfig:
    """Return what train.py would run."""
    sizes = [f"data.image_hw=[{case.side},{case.side}]", f"data.batch_size={BATCH}"]
    model = ["model=timm", f"model.backbone={case.network}", "model.pretrained=false", "model.dropout=0"]
    config = composed(*sizes, *model, "trainer.max_epochs=1", "trainer.limit_val_batches=0", *overrides)
    settle(config)
    return config


def timed(
    train: Callable[[DictConfig, FishNet, Stored], None], config: DictConfig, net: FishNet, batch: Batch, steps: int
) -> float:
    """Return the seconds of a step."""
    batches = Stored(batch, steps + SKIP)
    train(config, net, batches)
    return batches.step_s(skip=SKIP)


def train_ours(config: DictConfig, net: FishNet, batches: Stored) -> None:
    """Train as train.py does."""
    fit_ours(config, net, StoredData(batches))


def train_bare(config: DictConfig, net: FishNet, batches: Stored) -> None:
    """Train with nothing around the step."""
    net.train()
    optimizer = new_module(config, net).create_optimizer(net)
    for batch in batches:
        optimizer.zero_grad()
        loss_of(net, batch).backward()
        optimizer.step()


def train_the_same(config: DictConfig, net: FishNet, batches: Stored) -> None:
    """Train with nothing around the step but what makes it the same training as ours."""
    net.train()
    module: FishModule = new_module(config, net)
    optimizer = module.create_optimizer(net)
    schedule = module.create_schedule(optimizer, len(batches))
    for batch in batches:
        optimizer.zero_grad()
        loss_of(net, batch).backward()
        nn.utils.clip_grad_norm_(net.parameters(), config.trainer.gradient_clip_val)
        optimizer.step()
        schedule.step()


def train_by_default(config: DictConfig, net: FishNet, batches: Stored) -> None:
    """Train with Lightning as its first page does."""
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        pl.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=folder).fit(ByDefault(net), batches)


class ByDefault(pl.LightningModule):
    """Lightning's first example: a loss, and its log."""

    def __init__(self, net: FishNet) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss."""
        loss = loss_of(self.net, batch)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)


def loss_of(net: FishNet, batch: Batch) -> Tensor:
    """Return the loss that ours has, too."""
    logits = net(batch["image"], batch["image_hw"])["logits"]
    return functional.cross_entropy(logits, batch["target"], label_smoothing=SMOOTHING)


@contextmanager
def peers() -> Iterator[dict[str, Ask]]:
    """Start the other libraries' processes, and give what asks them; none where their environment is not there."""
    if not PEERS_PYTHON.is_file():
        print(f"{PEERS_PYTHON}: not there, so without {' and '.join(LIBRARIES)}; `make bench` sets it up")
        yield {}
        return
    processes = {
        name: subprocess.Popen(
            [str(PEERS_PYTHON), str(HERE / "peers" / f"loop_{name}.py")],
            env={**os.environ, "PYTHONPATH": str(HERE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name in LIBRARIES
    }
    try:
        yield {name: partial(asked, process) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.communicate()  # ends its questions


def asked(process: subprocess.Popen[str], way: str, case: Case) -> float:
    """Return the seconds of a step in another process."""
    assert process.stdin is not None
    assert process.stdout is not None
    question = {"way": way, **case._asdict(), "steps": case.steps + SKIP, "skip": SKIP, "batch": BATCH}
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    return float(json.loads(process.stdout.readline())["step_s"])


if __name__ == "__main__":
    main()
