"""What was measured, in tables and sentences."""

from __future__ import annotations

import math

import pandas as pd

from fisheries.config import plain
from fisheries.doctor.diagnosis import (
    FETCH,
    Pass,
    advice,
    bound_by,
    epoch_s,
    idle_share,
    image_s,
    proposals,
    run_s,
    spoken,
    warnings,
)
from fisheries.doctor.examine import Findings


def header(found: Findings) -> str:
    """Say in a line what was measured."""
    config, sample, machine = found.config, found.sample, found.machine
    where = f"{machine.cores} cores" if found.device.type == "cpu" else f"{found.device.type}, {machine.cores} cores"
    height, width = plain(config.data.image_hw)
    about = "" if sample.is_scanned else "about "
    return (
        f"{config.model.backbone}, {height} x {width}, batches of {config.data.batch_size}, {config.trainer.precision}, "
        f"{config.data.workers} workers, {where}; {about}{sample.train} images in an epoch, {sample.held_out} held out; "
        f"measured on {len(sample.train_ids)}"
        + (f", steps in batches of {found.step_images}" if found.step_images < config.data.batch_size else "")
    )


def stage_rates(found: Findings) -> pd.DataFrame:
    """Return a row a stage: stage, one_core and all, which are images a second; NaN where there is no such thing."""
    feed, rows = found.feed, []
    side_by_side = min(found.config.data.workers, found.machine.cores) or 1
    if feed is not None:
        rows.append(("reading files from the disk", math.nan, feed.read_s))
        for stage, seconds in (
            ("decoding and shrinking", feed.decode_s),
            ("reading the cache", feed.kept_s),
            ("augmentation", feed.augment_s),
            ("putting a batch together", feed.batch_s),
        ):
            rows.append((stage, seconds, seconds / side_by_side))
        rows.append(("the loader, first epoch", math.nan, feed.cold_s))
        rows.append(("the loader, later epochs", math.nan, feed.warm_s))
    if FETCH in found.plan.later[0].pieces:
        if feed is not None:
            rows.append(("the frozen backbone, once", math.nan, found.plan.first[0].step_s))
        rows.append(("fetching stored features", math.nan, found.plan.later[0].feed_s))
    if found.device.type != "cpu":
        rows.append(("moving to the device", math.nan, found.move_s))
    rows += [("training step", math.nan, found.steps.train_s), ("validation step", math.nan, found.steps.val_s)]
    table = pd.DataFrame(rows, columns=["stage", "one_core", "all"]).set_index("stage")
    return 1 / table.clip(lower=1e-9)


def epoch_rows(found: Findings) -> pd.DataFrame:
    """Return a row for the first and for later epochs: images_per_s of training, seconds, idle, bound_by."""
    rows = {}
    for name, epoch in (("first", found.plan.first), ("later", found.plan.later)):
        train: Pass = epoch[-2]
        rows[name] = {
            "images_per_s": 1 / image_s(train, found.machine),
            "time": spoken(epoch_s(epoch, found.machine)),
            "idle": idle_share(epoch, found.machine),
            "bound_by": bound_by(epoch, found.machine),
        }
    return pd.DataFrame(rows).T


def told(found: Findings) -> list[str]:
    """Say what binds the run, what would help, and what it would run into, a sentence each."""
    plan, machine, config = found.plan, found.machine, found.config
    keeps_none = config.data.cache == "none" and FETCH not in plan.later[0].pieces
    feed = found.feed if keeps_none else None
    better = proposals(
        plan, machine, steps=found.faster, kept_s=None if feed is None else feed.kept_s, frozen=found.frozen
    )
    lines = advice(plan, machine, better)
    lines[0] += f" {plan.epochs} epochs: {spoken(run_s(plan, machine))}."
    start_s = 0.0 if found.feed is None else found.feed.start_s
    return lines + warnings(plan, machine, found.limits, workers=config.data.workers, start_s=start_s)
