"""How fast a network predicts beside plain PyTorch, whether the log loss stays what it was, and whether memory stays flat.

    python benchmarks/prediction.py [--images 480] [--repetitions 3] [--json FILE] [--quick]

Networks have weights from noise, normalizations that have seen pictures of the embedded boats, and a linear head fitted to 96 of
these; the log loss is that of the others, and what `fisheries predict` chooses is chosen for the competition's 13,153 images.
"plain" is `inference_mode` and nothing else; the others also keep large blocks of memory, as `fisheries predict` does.
Memory is the most that a fresh `fisheries predict` takes, of a small network, for photographs that are hard links of a few.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from measured import Row, arguments, give_blocks_back_as_others, in_turn, report, rows_of
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from fisheries.batch import Batch
from fisheries.data.shrinking import read_shrunk
from fisheries.data.synthetic import draw_competition
from fisheries.inference.fast import CHECKED, choose_way, fast_net
from fisheries.inference.tta import Reader, predict_views
from fisheries.memory import keep_large_blocks
from fisheries.models.backbones import create_backbone
from fisheries.models.fishnet import FishNet

NETWORKS = {"resnet50": 16, "mobilenetv3_large_100": 32}  # pictures of a batch that is timed
BATCH = 32  # of others
TEST_IMAGES = 13_153  # of the competition's two stages
WAYS = ("plain", "folded", "bfloat16")
FITTED = 96  # pictures
CPU = torch.device("cpu")
HERE = Path(__file__).resolve().parent
# the peak that the system tells of a child may be its parent's, from before it began
_TOLD = """
import pathlib, sys
from fisheries.cli import main
try:
    main()
finally:
    print(pathlib.Path("/proc/self/status").read_text())
"""


class Pictures(NamedTuple):
    """Photographs of the embedded boats, ready for a network: (N, 3, H, W) uint8, and their classes."""

    image: torch.Tensor
    label: NDArray[np.str_]

    def batches(self) -> list[Batch]:
        """Return them in batches, in order."""
        starts = range(0, len(self.image), BATCH)
        return [_batch(self.image[start : start + BATCH]) for start in starts]


def main() -> None:
    """Measure, print a table, and write the rows."""
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--images", type=int, default=480, help="all but 96 of them judge the log loss")
    parser.add_argument("--memory", default="1000,10000", help="images predicted by fresh processes")
    given = parser.parse_args()
    side, images, counts = (64, 128, "100,300") if given.quick else (224, given.images, given.memory)
    repetitions = 1 if given.quick else given.repetitions
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        root = Path(folder) / "boats"
        draw_competition(root, train=max(images, 96), stage1=16, stage2=32, boats=8, new_boats=4, seed=0, workers=1)
        pictures = read_pictures(root, images, side)
        for name in NETWORKS:
            rows += network_rows(name, pictures, repetitions=repetitions)
        rows += memory_rows(root, [int(count) for count in counts.split(",")])
    report(rows, given.json)


def read_pictures(root: Path, images: int, side: int) -> Pictures:
    """Read training photographs, in random order."""
    paths = sorted((root / "train").rglob("*.jpg"))
    paths = [paths[place] for place in np.random.default_rng(0).permutation(len(paths))[:images]]
    stack = np.stack([read_shrunk(path, (side, side)) for path in paths])
    return Pictures(torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous(), np.array([p.parent.name for p in paths]))


def network_rows(name: str, pictures: Pictures, *, repetitions: int) -> list[Row]:
    """Return speeds with and without views, and log losses, of a network predicted in all ways and in the chosen one."""
    net = fitted_net(name, pictures)
    nets = {way: fast_net(net, way) for way in WAYS}
    title = f"{name} at {pictures.image.shape[-1]}, batches of {NETWORKS[name]}"
    rows = []
    batch = _batch(pictures.image[: NETWORKS[name]])
    for tta in ("none", "flips"):
        ways = {way: partial(images_per_s, net, batch, tta, keep=way != "plain") for way, net in nets.items()}
        measured = in_turn(ways, repetitions=repetitions, about=f"{name}, {tta}")
        rows += rows_of(measured, part=f"prediction: {title}, tta={tta}", unit="images/s", against="plain")
    looked = pictures.batches()[: -(-CHECKED // BATCH)]
    keep_large_blocks()
    choice = choose_way([Reader(net)], looked, precision="auto", images=TEST_IMAGES, device=CPU)
    rows += [{**row, "name": "--precision auto"} for row in rows if row["name"] == choice.way]
    print(f"{name}: {choice.way} ({choice.reason})")
    return rows + loss_rows(nets, pictures, f"log loss: {title}", chosen=choice.way)


def loss_rows(nets: Mapping[str, nn.Module], pictures: Pictures, part: str, *, chosen: str) -> list[Row]:
    """Return the log loss of those that the head was not fitted to; the ratio is that to float32 as it is."""
    places = np.unique(pictures.label, return_inverse=True)[1][FITTED:]
    batches = Pictures(pictures.image[FITTED:], pictures.label[FITTED:]).batches()
    losses = {}
    for way, net in nets.items():
        with torch.inference_mode():
            said = torch.cat([predict_views([Reader(net)], batch, "none", CPU)[0][0] for batch in batches]).numpy()
        losses[way] = -float(np.log(said[np.arange(len(places)), places].clip(1e-15)).mean())
    losses["--precision auto"] = losses[chosen]
    whole = {way: [loss] for way, loss in losses.items()}
    rows = rows_of(whole, part=part, unit="log loss", against="plain")
    return rows + [
        {
            "part": part,
            "name": f"{way}: change",
            "value": loss - losses["plain"],
            "unit": "",
            "ratio": None,
            "against": "",
        }
        for way, loss in losses.items()
        if way != "plain"
    ]


def fitted_net(name: str, pictures: Pictures) -> FishNet:
    """Return a network from noise whose head tells the classes of the first pictures."""
    torch.manual_seed(0)
    classes = np.unique(pictures.label)
    net = FishNet(create_backbone(name), classes=len(classes))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all that is seen
    seen = Pictures(pictures.image[:FITTED], pictures.label[:FITTED])
    with torch.no_grad():
        for batch in seen.batches()[:4]:
            net.train()(batch["image"], batch["image_hw"])
    with torch.inference_mode():
        features = torch.cat([net.eval()(b["image"], b["image_hw"])["features"] for b in seen.batches()]).numpy()
    scaler = StandardScaler().fit(features)
    head = LogisticRegression(C=1e-3, max_iter=500).fit(scaler.transform(features), seen.label)
    known = np.searchsorted(classes, head.classes_)
    with torch.no_grad():
        net.classifier.weight.zero_()
        net.classifier.bias.fill_(-5.0)  # of a class that these lack
        weight = head.coef_ / scaler.scale_
        net.classifier.weight[known] = torch.from_numpy(weight).float()
        net.classifier.bias[known] = torch.from_numpy(head.intercept_ - weight @ scaler.mean_).float()
    return net


@torch.inference_mode()
def images_per_s(net: nn.Module, batch: Batch, tta: str, *, keep: bool) -> float:
    """Return how many photographs a second a batch makes, all views of each, with large blocks kept or given back."""
    keep_large_blocks() if keep else give_blocks_back_as_others()
    predict_views([Reader(net)], batch, "none", CPU)  # memory is laid out
    began_s = time.perf_counter()
    predict_views([Reader(net)], batch, tta, CPU)
    return len(batch["image"]) / (time.perf_counter() - began_s)


def memory_rows(root: Path, counts: list[int]) -> list[Row]:
    """Return the most memory that processes took; the ratio is that to the fewest images."""
    overrides = [f"data.root={root}", "data=folder", "data.image_hw=[64,96]", "data.workers=0", "trainer.max_epochs=1"]
    overrides += ["fold=all", "split.folds=2", "logger=none", "model=small_residual", "hydra.run.dir=run"]
    folder = root.parent
    subprocess.run([sys.executable, HERE.parent / "train.py", *overrides], cwd=folder, check=True, capture_output=True)
    peaks = {f"{count:,} images": [peak_mb(folder, root / "test_stg1", count)] for count in counts}
    return rows_of(peaks, part="memory: fisheries predict, two folds", unit="MB", against=f"{counts[0]:,} images")


def peak_mb(folder: Path, photographs: Path, count: int) -> float:
    """Return the most that a fresh process took to predict so many images, in MB."""
    there, photos = sorted(photographs.iterdir()), folder / f"photos-{count}"
    photos.mkdir()
    for number in range(count):
        os.link(there[number % len(there)], photos / f"{number:05}.jpg")
    command = [sys.executable, "-c", _TOLD, "predict", "run", str(photos), "--workers", "0", "--gpus", "0"]
    told = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(photos)
    return int(told.split("VmHWM:")[1].split()[0]) / 1024


def _batch(image: torch.Tensor) -> Batch:
    ids = [str(number) for number in range(len(image))]
    return {"image": image, "image_hw": torch.zeros(len(image), 2), "image_id": ids}  # type: ignore[typeddict-item]


if __name__ == "__main__":
    main()
