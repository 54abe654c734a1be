"""What an epoch is bound by, how long it takes and what to change: arithmetic on measured times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

DISK, DECODE, CACHE, AUGMENT = "the disk", "decoding", "reading the cache", "augmentation"
BATCH, FETCH, STEP = "putting batches together", "fetching stored features", "the step"
FILL = 0.95  # of the best speed is enough: more workers than that take give memory away
GAIN = 1.15  # what is less faster than this is not worth a word, and may be noise
FROZEN_GAIN = 3.0  # what a run must gain at least before it is told to learn less
START_SHARE = 0.1  # of a run's time
MOST = 3  # proposals
LONG_S = 600.0  # for less nobody gives accuracy away
PRICES = {"image_hw": "the network sees less of a fish", "backbone_frozen": "the backbone learns nothing"}
GB = 1e9


@dataclass(frozen=True)
class Pass:
    """A way through photographs: what each costs, in seconds, where nothing else runs.

    Attributes:
        images: how many.
        pieces: what is done to each before the step, by its name: seconds of a core.
        read_s: seconds between photographs that the disk delivers; 0 where it is not asked.
        feed_s: seconds between photographs that all workers together deliver.
        step_s: seconds that the device takes.
        workers: how many prepare them; 0: the process that trains.
    """

    images: int
    pieces: Mapping[str, float]
    read_s: float
    feed_s: float
    step_s: float
    workers: int


@dataclass(frozen=True)
class Machine:
    """What a process that trains has for itself: cores, and threads that its step takes of them; 0 on a GPU."""

    cores: int
    threads: int


@dataclass(frozen=True)
class Plan:
    """A run's time: its first epoch with what comes before it, each later one, and how many epochs there are."""

    first: Sequence[Pass]
    later: Sequence[Pass]
    epochs: int


@dataclass(frozen=True)
class Limits:
    """What there is and what is needed, in bytes; 0 needed where it is not.

    Attributes:
        shared: free shared memory; None where the system has no such limit.
        shared_needed: by batches on their way from the workers.
        cache: what all photographs take in the cache.
        cache_limit: what data.cache_gb allows.
        cache_free: of the disk or memory that the cache is in, without what is left to others.
        memory: of the device.
        memory_needed: at the most, by a step of `batch_size` images.
    """

    shared: int | None
    shared_needed: int
    cache: int
    cache_limit: int
    cache_free: int
    memory: int
    memory_needed: int

    @property
    def kept_share(self) -> float:
        """The share of the photographs that the cache has room for."""
        return max(0.0, min(self.cache, self.cache_limit, self.cache_free) / self.cache) if self.cache else 0.0


def image_s(one: Pass, machine: Machine) -> float:
    """Return the seconds between photographs that are trained on, with all at work at once."""
    if not one.workers:
        return one.feed_s + one.step_s
    return max(one.feed_s, one.step_s, _core_s(one, machine) / machine.cores)


def epoch_s(epoch: Sequence[Pass], machine: Machine) -> float:
    """Return the seconds that an epoch takes."""
    return sum(one.images * image_s(one, machine) for one in epoch)


def run_s(plan: Plan, machine: Machine) -> float:
    """Return the seconds that all epochs take."""
    return epoch_s(plan.first, machine) + (plan.epochs - 1) * epoch_s(plan.later, machine)


def bound_by(epoch: Sequence[Pass], machine: Machine) -> str:
    """Return what takes most of an epoch: of its longest pass, that which the others wait for."""
    one = max(epoch, key=lambda one: one.images * image_s(one, machine))
    side_by_side = min(one.workers, machine.cores) or 1
    work = {name: seconds / side_by_side for name, seconds in one.pieces.items()}
    if one.read_s > sum(work.values()):
        work = {DISK: one.read_s}
    if one.workers and one.feed_s < image_s(one, machine):  # the feed keeps up, unless its cores are the step's, too
        shared = machine.threads and one.step_s < image_s(one, machine)
        work = {name: seconds * side_by_side for name, seconds in work.items()} if shared else {}
        return max({**work, STEP: one.step_s * (machine.threads or 1)}.items(), key=lambda item: item[1])[0]
    if not one.workers:
        work[STEP] = one.step_s
    return max(work.items(), key=lambda item: item[1])[0]


def idle_share(epoch: Sequence[Pass], machine: Machine) -> float:
    """Return the share of an epoch in which the GPU waits; on a CPU, of its cores' time."""
    total_s = epoch_s(epoch, machine)
    if not machine.threads:
        return max(0.0, 1 - sum(one.images * one.step_s for one in epoch) / total_s)
    return max(0.0, 1 - sum(one.images * _core_s(one, machine) for one in epoch) / (machine.cores * total_s))


def with_workers(epoch: Sequence[Pass], workers: int, machine: Machine) -> list[Pass]:
    """Return the epoch with another number of workers that are as good side by side as those that were measured."""
    return [one if FETCH in one.pieces else _with_workers(one, workers, machine) for one in epoch]


def with_step(epoch: Sequence[Pass], faster: float) -> list[Pass]:
    """Return the epoch with steps that take this share of their time."""
    return [replace(one, step_s=one.step_s * faster) for one in epoch]


def with_cache(epoch: Sequence[Pass], kept_s: float) -> list[Pass]:
    """Return the epoch with photographs from a cache, each read in `kept_s`."""
    kept = []
    for one in epoch:
        pieces = {CACHE: kept_s, **{name: seconds for name, seconds in one.pieces.items() if name != DECODE}}
        feed_s = one.feed_s * sum(pieces.values()) / sum(one.pieces.values())
        kept.append(replace(one, pieces=pieces, feed_s=feed_s, read_s=0.0))
    return kept


def enough_workers(plan: Plan, machine: Machine) -> int:
    """Return the smallest number of workers with which the run is about as fast as it can be by their number."""
    took = {count: run_s(_with_workers_plan(plan, count, machine), machine) for count in range(machine.cores + 1)}
    best = min(took.values())
    return next(count for count, seconds in took.items() if seconds * FILL <= best)


def proposals(
    plan: Plan, machine: Machine, *, steps: Mapping[str, float], kept_s: float | None, frozen: Plan | None
) -> list[tuple[str, Plan]]:
    """Return what would make a run faster by a measurement, best first: overrides, and the run with them.

    Args:
        plan: the run.
        machine: where it runs.
        steps: override -> the share of its time that a step takes with it.
        kept_s: seconds to read a photograph from the cache, if the run has none and could have one.
        frozen: the run with a frozen backbone's features, if it trains the backbone.
    """
    workers = enough_workers(plan, machine)
    tried = {f"data.workers={workers}": _with_workers_plan(plan, workers, machine)}
    for override, faster in steps.items():
        tried[override] = replace(plan, first=with_step(plan.first, faster), later=with_step(plan.later, faster))
    if kept_s is not None:
        tried["data.cache=disk"] = replace(plan, later=with_cache(plan.later, kept_s))
    now_s = run_s(plan, machine)
    better = [(name, other) for name, other in tried.items() if run_s(other, machine) * GAIN < now_s]
    if frozen is not None and run_s(frozen, machine) * FROZEN_GAIN < now_s:
        better.append(("model.backbone_frozen=true transform=none", frozen))
    if now_s < LONG_S:
        better = [(name, other) for name, other in better if not any(price in name for price in PRICES)]
    return sorted(better, key=lambda pair: run_s(pair[1], machine))[:MOST]


def advice(plan: Plan, machine: Machine, found: Sequence[tuple[str, Plan]]) -> list[str]:
    """Say what a run is bound by, and what would help, a sentence each.

    Args:
        plan: the run.
        machine: where it runs.
        found: see `proposals`.
    """
    first, later = bound_by(plan.first, machine), bound_by(plan.later, machine)
    both = f"Every epoch is bound by {later}." if first == later else None
    lines = [both or f"The first epoch is bound by {first}, later ones by {later}."]
    now_s = run_s(plan, machine)
    for override, other in found:
        price = next((f", but {words}" for name, words in PRICES.items() if name in override), "")
        lines.append(f"{override}: {spoken(run_s(other, machine))} rather than {spoken(now_s)}{price}")
    return lines if found else [*lines, "Nothing that was tried would make it clearly faster."]


def warnings(plan: Plan, machine: Machine, limits: Limits, *, workers: int, start_s: float) -> list[str]:
    """Say what a run would run into, a sentence each.

    Args:
        plan: the run.
        machine: where it runs.
        limits: of memory and disk.
        workers: how many there are.
        start_s: seconds until the workers of one loader are at work; a run has two.
    """
    lines = []
    if workers > machine.cores:
        lines.append(f"data.workers={workers} on {machine.cores} cores: they wait for each other")
    if 0 < machine.threads < machine.cores and bound_by(plan.later, machine) == STEP:
        lines.append(f"the step takes {machine.threads} of {machine.cores} cores: see OMP_NUM_THREADS")
    if limits.shared is not None and limits.shared_needed > limits.shared:
        fits = max(0, int(workers * limits.shared / limits.shared_needed))
        lines.append(
            f"/dev/shm has {size(limits.shared)} free, and batches on their way can take {size(limits.shared_needed)}: "
            f"data.workers={fits}, a smaller data.batch_size, or more shared memory (of a container: --shm-size)"
        )
    if workers and 2 * start_s > START_SHARE * run_s(plan, machine):
        lines.append(f"starting workers takes {spoken(2 * start_s)} of a short run: data.workers=0 may be faster")
    if limits.cache > min(limits.cache_limit, limits.cache_free):
        lines.append(_cache_line(limits))
    if limits.memory_needed > limits.memory:
        lines.append(
            f"a step needs about {size(limits.memory_needed)} of memory, and there are {size(limits.memory)}: "
            "a smaller data.batch_size, with trainer.accumulate_grad_batches for the same step"
        )
    return lines


def spoken(seconds: float) -> str:
    """Return a time as a person says it: 8.3 s, 4 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Return bytes as a person says them: 512 MB, 4.4 GB."""
    return f"{count / 1e6:.0f} MB" if count < GB else f"{count / GB:.1f} GB"


def _core_s(one: Pass, machine: Machine) -> float:
    return sum(one.pieces.values()) + one.step_s * machine.threads


def _with_workers(one: Pass, workers: int, machine: Machine) -> Pass:
    work_s = sum(one.pieces.values())
    in_step = one.feed_s * (min(one.workers, machine.cores) or 1) / max(work_s, one.read_s)  # 1: none waits for another
    feed_s = max(work_s * max(in_step, 1.0) / (min(workers, machine.cores) or 1), one.read_s)
    return replace(one, workers=workers, feed_s=one.feed_s if workers == one.workers else feed_s)


def _with_workers_plan(plan: Plan, workers: int, machine: Machine) -> Plan:
    first, later = (with_workers(epoch, workers, machine) for epoch in (plan.first, plan.later))
    return replace(plan, first=first, later=later)


def _cache_line(limits: Limits) -> str:
    if limits.cache > limits.cache_free:
        return (
            f"the cache would take {size(limits.cache)}, and {size(limits.cache_free)} are free: the photographs beyond "
            "that are decoded in every epoch; give another tables_dir, or a smaller data.image_hw"
        )
    return (
        f"the cache would take {size(limits.cache)}, and data.cache_gb allows {size(limits.cache_limit)}: "
        f"data.cache_gb={limits.cache / GB * 1.01:.1f} keeps all photographs"
    )
