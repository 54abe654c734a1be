"""What trainer.precision=auto comes to for a run."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console

from fisheries.compose import process_count, view_names
from fisheries.config import AUTO, plain
from fisheries.material import Material
from fisheries.nets import device_of, empty_net, image_hw_of
from fisheries.training.precision import (
    BFLOAT16,
    PRECISIONS,
    WORTH_MEASURING,
    Way,
    fastest_way,
    machine_of,
    measure_ways,
    read_way,
    way_name,
    write_way,
)


def settle_precision(config: DictConfig, material: Material, *, console: Console) -> bool:
    """Write into the configuration what trainer.precision=auto comes to, measured once for this machine and network.

    What is small, and heads on stored features, stay in float32 as they are. Processes that train together take bfloat16 where
    their GPUs have it, without measuring, so that all take the same.

    Returns:
        Whether there was something to settle.

    Raises:
        InputError: as `create_net`.
    """
    trainer = config.trainer
    if trainer.precision != AUTO and trainer.channels_last is not None:
        return False
    way = Way(trainer.precision) if trainer.precision != AUTO else _fastest_way(config, material, console=console)
    trainer.precision = way.precision
    trainer.channels_last = way.channels_last if trainer.channels_last is None else trainer.channels_last
    return True


def _fastest_way(config: DictConfig, material: Material, *, console: Console) -> Way:
    if material.features is not None or view_names(config) or config.trainer.fast_dev_run or config.find_lr:
        return Way()
    if process_count(config) > 1:
        return Way(BFLOAT16, True) if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else Way()
    device, image_hw = device_of(config), image_hw_of(config)
    about = {"model": plain(config.model), "image_hw": list(image_hw), "machine": machine_of(device)}
    known = Path(config.tables_dir) / PRECISIONS
    way = read_way(known, about)
    if way is None:
        net = empty_net(config, material.manifest, classes=len(material.classes), console=console)
        if sum(parameter.numel() for parameter in net.parameters()) < WORTH_MEASURING:
            return Way()
        console.print(f"  measuring which precision {config.model.backbone} trains fastest in on this machine (once)")
        seconds = measure_ways(net, image_hw=image_hw, device=device)
        way = fastest_way(seconds)
        write_way(known, about, way)
        times = ", ".join(f"{way_name(each)} {taken:.2f} s" for each, taken in seconds.items())
        console.print(f"  a training step takes: {times}")
    console.print(f"  trainer.precision=auto: {way_name(way)}")
    return way
