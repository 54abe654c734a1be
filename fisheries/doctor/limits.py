"""What a machine has, and what a run needs of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from fisheries.batch import Batch
from fisheries.config import plain
from fisheries.data.image_cache import FREE_BYTES
from fisheries.doctor.diagnosis import Limits, Machine
from fisheries.doctor.sample import Sample
from fisheries.doctor.step import StepTimes

PREFETCH = 2  # batches that each worker has ready: the loader's default
SHARED, GROUP = Path("/dev/shm"), Path("/sys/fs/cgroup/memory.max")


def machine_of(device: torch.device, *, processes: int) -> Machine:
    """Return what each of so many processes that train has of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = max(1, cores // processes)
    return Machine(own, min(own, torch.get_num_threads()) if device.type == "cpu" else 0)


def limits_of(
    config: Any, sample: Sample, batch: Batch, steps: StepTimes, device: torch.device, *, before: int
) -> Limits:
    """Compare what there is with what is needed.

    Args:
        config: of the run.
        sample: of its photographs.
        batch: that steps were measured with.
        steps: with the most memory that they took.
        device: that they were measured on.
        before: the most memory that this process had taken before.
    """
    memory, images = memory_bytes(), len(batch["image_id"])
    image_bytes = sum(value.nbytes for value in batch.values() if isinstance(value, torch.Tensor)) / images
    height, width = plain(config.data.image_hw)
    is_cached = config.data.cache != "none" and "image" in batch
    on_disk = config.data.cache == "disk"
    needed = steps.peak_bytes + (steps.peak_bytes - before) * (config.data.batch_size / images - 1)
    if device.type == "cuda":
        memory, needed = torch.cuda.get_device_properties(device).total_memory, steps.peak_bytes
    return Limits(
        shared=shutil.disk_usage(SHARED).free if SHARED.is_dir() else None,
        shared_needed=int(config.data.workers * PREFETCH * config.data.batch_size * image_bytes) * ("image" in batch),
        cache=3 * height * width * sample.images if is_cached else 0,
        cache_limit=int(config.data.cache_gb * 1e9),
        cache_free=free_bytes(Path(config.tables_dir)) - FREE_BYTES if on_disk else memory_bytes() - before,
        memory=memory,
        memory_needed=int(needed),
    )


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of a folder that may not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def memory_bytes() -> int:
    """Return the memory of the machine, or of the group of processes that this one is in, where that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = GROUP.read_text().strip() if GROUP.is_file() else "max"
    return min(memory, int(limit)) if limit.isdigit() else memory
