"""From what pieces take to what epochs take."""

from __future__ import annotations

from typing import Any

from fisheries.doctor.diagnosis import AUGMENT, BATCH, CACHE, DECODE, FETCH, Pass, Plan
from fisheries.doctor.feed import FeedTimes
from fisheries.doctor.sample import Sample
from fisheries.doctor.step import StepTimes


def plan_of_photographs(
    config: Any, sample: Sample, feed: FeedTimes, steps: StepTimes, *, kept_share: float, epochs: int
) -> Plan:
    """Return the time of a run that sees photographs.

    Args:
        config: of the run.
        sample: of its photographs.
        feed: how they come.
        steps: how long steps take.
        kept_share: of the photographs in the cache.
        epochs: how many.
    """

    def passes(kept: float, feed_s: float, read_s: float) -> tuple[Pass, ...]:
        came = {DECODE: (1 - kept) * feed.decode_s, CACHE: kept * feed.kept_s}
        came = {name: seconds for name, seconds in came.items() if seconds}
        train = {**came, AUGMENT: feed.augment_s, BATCH: feed.batch_s}
        val = {**came, AUGMENT: feed.plain_s, BATCH: feed.batch_s}
        val_feed_s = feed_s * sum(val.values()) / sum(train.values())
        workers = config.data.workers
        return (
            Pass(sample.train, train, read_s, feed_s, steps.train_s, workers),
            Pass(sample.held_out, val, read_s, max(val_feed_s, read_s), steps.val_s, workers),
        )

    first = passes(0.0, max(feed.cold_s, feed.read_s), feed.read_s)
    later_s = kept_share * feed.warm_s + (1 - kept_share) * (feed.cold_s if kept_share else feed.warm_s)
    return Plan(first, passes(kept_share, later_s, 0.0), epochs)


def plan_of_features(
    config: Any,
    sample: Sample,
    steps: StepTimes,
    *,
    fetch_s: float,
    once: tuple[FeedTimes, float, int] | None,
    epochs: int,
) -> Plan:
    """Return the time of a run that sees stored features.

    Args:
        config: of the run.
        sample: of its photographs, or of features.
        steps: how long steps take.
        fetch_s: to fetch an image's features.
        once: how photographs come, what the backbone takes for one, and for how many; None where features were given.
        epochs: how many.
    """
    later = tuple(
        Pass(images, {FETCH: fetch_s}, 0.0, fetch_s, step_s, 0)
        for images, step_s in ((sample.train, steps.train_s), (sample.held_out, steps.val_s))
    )
    return Plan(later if once is None else (encoding(config, *once), *later), later, epochs)


def encoding(config: Any, feed: FeedTimes, encode_s: float, images: int) -> Pass:
    """Return the pass that computes the features of a frozen backbone."""
    pieces = {DECODE: feed.decode_s, AUGMENT: feed.plain_s, BATCH: feed.batch_s}
    return Pass(images, pieces, feed.read_s, max(feed.cold_s, feed.read_s), encode_s, config.data.workers)
