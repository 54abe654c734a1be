"""Make the weights that come with the small network: learned on other embedded boats, as ImageNet's are on other things.

    python benchmarks/pretrain.py --out DIR

trains on 1,600 photographs of 80 boats, each of which catches every species, and writes
fisheries/models/small_residual.safetensors in float16. None of these boats is in the embedded competition. About 10
minutes on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import safetensors.torch
import torch

ROOT = Path(__file__).resolve().parent.parent
WORLD = {"train": 1600, "stage1": 20, "stage2": 200, "boats": 80, "new_boats": 10, "leak": 0, "seed": 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/pretrain"), help="folder of the run; goes on if it is there"
    )
    out = parser.parse_args().out.resolve()
    if not (out / "run.json").is_file():
        world = [f"data.synth.{name}={value}" for name, value in WORLD.items()]
        recipe = ["split.folds=8", "split.seen_share=0", "model.epochs=24", "data.batch_size=32"]
        again = [f"resume={out}"] if (out / "config.yaml").is_file() else [*world, *recipe, f"hydra.run.dir={out}"]
        subprocess.run([sys.executable, str(ROOT / "train.py"), *again], check=True)
    state = torch.load(out / "fold-0" / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    prefix = "net.backbone.network."
    network = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    narrow = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.items()}
    path = ROOT / "fisheries" / "models" / "small_residual.safetensors"
    safetensors.torch.save_file(narrow, path)
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
