"""How long is an epoch of a head on stored features, and how much longer with the backbone in it?

    python benchmarks/frozen.py --out DIR

trains a head on 3,000 of 3,334 made-up features of 2,048 numbers, and one on the embedded boats with and without the store of
what the frozen backbone makes of them. A minute on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
# a tenth is held out
IMAGES, WIDTH, CLASSES = 3334, 2048, ["ALB", "BET", "DOL", "LAG", "NoF", "OTHER", "SHARK", "YFT"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("frozen-benchmark"), help="folder for data and runs")
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True)
    made_up(out)
    head = [f"data.root={out / 'features'}", "data=ncfm", "model=imported", "split=random", "split.folds=10"]
    print(
        f"{IMAGES * 0.9:.0f} features of {WIDTH}, batches of 64: {epoch_s(out, 'head', *head, 'data.batch_size=64'):.2f} s an epoch"
    )
    frozen = ["model.pretrained=true", "model.backbone_frozen=true", f"tables_dir={out / 'tables'}"]
    stored = epoch_s(out, "stored", *frozen, "transform=none")
    anew = epoch_s(out, "anew", *frozen, "transform=none", "transform.hflip=1.0")
    print(
        f"embedded boats: {stored:.2f} s with stored features, {anew:.2f} s with the backbone, {anew / stored:.0f} times as long"
    )


def made_up(out: Path) -> None:
    """Write features that tell the label a little, and a table of their images."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(CLASSES), IMAGES)
    features = rng.normal(size=(IMAGES, WIDTH)).astype(np.float16)
    features[np.arange(IMAGES), label] += 3
    names = [f"img_{number:05}.jpg" for number in range(IMAGES)]
    np.savez(out / "made_up.npz", features=features, image_id=np.array(names))
    boats = rng.integers(0, 20, IMAGES).astype(str)
    table = pd.DataFrame({"image_id": names, "label": np.array(CLASSES)[label], "boat": boats})
    table.to_csv(out / "images.csv", index=False)
    command = [str(Path(sys.executable).with_name("fisheries")), "features", "import", str(out / "made_up.npz")]
    subprocess.run([*command, "--manifest", str(out / "images.csv"), "--out", str(out / "features")], check=True)


def epoch_s(out: Path, name: str, *overrides: str) -> float:
    """Train six epochs, and return the median seconds of the last five, with their validation."""
    command = [sys.executable, str(ROOT / "train.py"), f"hydra.run.dir={out / name}", "trainer.max_epochs=6"]
    subprocess.run([*command, *overrides], check=True, cwd=out, stdout=subprocess.DEVNULL)
    return float(pd.read_csv(out / name / "fold-0" / "epochs.csv")["seconds"].iloc[1:].median())


if __name__ == "__main__":
    main()
