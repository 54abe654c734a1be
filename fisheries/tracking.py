"""A run's parts in wandb: opened as the configuration says, and filled with what a trained fold and all folds have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from rich.console import Console

from fisheries.compose import fold_numbers
from fisheries.config import AUTO, plain
from fisheries.data.datamodule import FisheriesDataModule
from fisheries.data.splits import val_ids
from fisheries.material import Material
from fisheries.models.fishnet import FishNet
from fisheries.nets import fold_dir
from fisheries.results import RECORD, SEEN, UNSEEN, score_folds
from fisheries.schema import BOXES, read_table
from fisheries.training.wandb_runs import steady, wandb_run

if TYPE_CHECKING:
    import wandb

AUTO_IMAGES = 32  # of the embedded boats, which nobody has rights in


def open_run(
    config: Any, run_dir: Path, *, name: str, number: int | None, provenance: Mapping[str, str], console: Console
) -> AbstractContextManager[wandb.Run | None]:
    """Open a run of wandb for a fold, or for all of them together; None if wandb is not wanted.

    An agent of wandb, in a sweep, looks at the fold if there is one only, else at all of them together.

    Args:
        config: of the run.
        run_dir: its folder.
        name: of the run.
        number: of the fold; None for all of them.
        provenance: hashes of folds and manifest, and the git commit.
        console: where to say what is amiss.
    """
    part = "score" if number is None else fold_dir(run_dir, number).name
    about = {"name": name, "part": part, "fold": number, **provenance}
    return wandb_run(
        {} if config.trainer.fast_dev_run else plain(config.logger),
        run_dir,
        experiment=name,
        part=part,
        job_type="score" if number is None else "train",
        config={**plain(config), "run": about},
        is_sweeps=(len(fold_numbers(config)) == 1) == (number is not None),
        console=console,
    )


def send_fold(
    run: wandb.Run,
    config: Any,
    material: Material,
    folds: pd.DataFrame,
    number: int,
    run_dir: Path,
    *,
    net: FishNet,
    data: FisheriesDataModule,
    device: torch.device,
    name: str,
    provenance: Mapping[str, str],
    console: Console,
) -> None:
    """Send what a trained fold says of held-out images; a failure is said and ends nothing."""
    with steady(console, f"gets no more of fold {number}"):
        from fisheries.dashboard import send

        scores, predictions = score_folds(config, material, folds, [number], run_dir)
        if material.features is None:
            held_out = predictions[UNSEEN if UNSEEN in predictions else SEEN].loc[val_ids(folds, number)]
            _send_pictures(
                run, config, material, held_out, fold_dir(run_dir, number), net, data, device, console=console
            )
        send.send_fold(
            run,
            fold_dir(run_dir, number),
            scores,
            predictions,
            material.manifest,
            name=name,
            artifacts=config.logger.artifacts,
            about={**provenance, "fold": number},
            console=console,
        )


def send_experiment(
    run: wandb.Run,
    config: Any,
    material: Material,
    scored: tuple[pd.DataFrame, Mapping[str, pd.DataFrame]],
    numbers: Sequence[int],
    run_dir: Path,
    *,
    name: str,
    provenance: Mapping[str, str],
    console: Console,
) -> None:
    """Send what `results.finish` returned and wrote; a failure is said and ends nothing."""
    with steady(console, "gets no more of the scores"):
        from fisheries.dashboard import send

        record = json.loads((run_dir / RECORD).read_text(encoding="utf-8"))
        known = {"test": record.get("test", {}), "forecast": {"": record.get("forecast", {})}}
        numbers_by_key = {
            "/".join(part for part in (kind, group, score) if part): value
            for kind, groups in known.items()
            for group, values in groups.items()
            for score, value in values.items()
        }
        send.send_experiment(
            run,
            run_dir,
            *scored,
            material.manifest,
            name=name,
            submission=Path(config.submissions_dir) / f"{name}.csv",
            artifacts=config.logger.artifacts,
            numbers=numbers_by_key,
            about={**provenance, "folds_trained": list(numbers)},
            console=console,
        )


def picture_count(config: Any, *, console: Console) -> int:
    """Return how many photographs of a fold go to wandb; none unless they are drawn or a number is given, which is said."""
    if config.logger.images != AUTO:
        return int(config.logger.images)
    if config.data.synth is not None:
        return AUTO_IMAGES
    console.print("  wandb gets no photographs; if you may pass them on: logger.images=32")
    return 0


def _send_pictures(
    run: wandb.Run,
    config: Any,
    material: Material,
    held_out: pd.DataFrame,
    folder: Path,
    net: FishNet,
    data: FisheriesDataModule,
    device: torch.device,
    *,
    console: Console,
) -> None:
    most = picture_count(config, console=console)
    if not most:
        return
    from fisheries.dashboard.pictures import looker_or_none, send_pictures

    boxes_csv = folder / "oof_boxes.csv"
    send_pictures(
        run,
        held_out,
        material.manifest,
        boxes_true=material.boxes,
        boxes_predicted=read_table(boxes_csv, BOXES) if boxes_csv.is_file() else material.boxes[:0],
        looker=looker_or_none(
            net,
            device=device,
            input_hw=data.eval_transform.image_hw,
            sizes=data.sizes,
            classes=material.classes,
            console=console,
        ),
        most=most,
        seed=config.seed,
        console=console,
    )
