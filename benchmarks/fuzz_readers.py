"""What benchmarks/fuzz.py breaks: each kind of file that the program reads from others, small and whole, and what reads it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from safetensors.torch import save as save_safetensors

from fisheries import config
from fisheries.data.annotations import read_annotations
from fisheries.data.archives import unpack_zip
from fisheries.data.boats import read_boats
from fisheries.data.cropping import read_rule
from fisheries.data.cues import read_features
from fisheries.data.feature_store import open_store, write_shard
from fisheries.data.fold_file import read_folds
from fisheries.data.images import inspect_image, read_image
from fisheries.data.labels import attach_labels
from fisheries.data.shrinking import read_shrunk
from fisheries.data.tables import attach_bursts, read_manifest
from fisheries.inference.ledger import read_ledger
from fisheries.inference.scoring import read_solution
from fisheries.inference.submission import read_sample, read_submission
from fisheries.inference.submission_check import check_submission
from fisheries.models.weights import load_weights
from fisheries.nets import load_checkpoint, read_sizes
from fisheries.schema import BOXES, FOLDS, MANIFEST, InputError, read_folds_hash, read_predictions, read_table

SIZES = b'{"mean_hw": [1, 2], "std_hw": [1, 2], "known_hw": [[1, 2]]}'


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file, and whole files of it."""

    suffix: str
    read: Callable[[Path], object]
    whole: list[bytes]


def all_readers() -> dict[str, Reader]:
    """Return every reader by name, with small whole files of its kind."""
    manifest, tables = tables_of_four()
    csv = {name: table.to_csv(index_label="image_id").encode() for name, table in tables.items()}
    submission = tables["predictions"].rename_axis("image").to_csv().encode()
    usable = manifest.index
    return {
        "photograph": Reader(".jpg", read_photograph, photographs()),
        "boxes of the community": Reader(
            ".json", lambda path: read_annotations([path], manifest, "NoF"), [annotations()]
        ),
        "manifest": Reader(".csv", lambda path: read_table(path, MANIFEST), [csv["manifest"]]),
        "any table of images": Reader(".csv", read_manifest, [csv["manifest"], csv["labels"]]),
        "boxes": Reader(".csv", lambda path: read_table(path, BOXES, unique=False), [csv["boxes"]]),
        "folds": Reader(".csv", lambda path: read_table(path, FOLDS), [csv["folds"]]),
        "folds of a user": Reader(".csv", lambda path: read_folds(path, usable, usable[:0]), [csv["folds"]]),
        "predictions": Reader(
            ".csv", lambda path: (read_predictions(path), read_folds_hash(path)), [csv["predictions"]]
        ),
        "labels": Reader(".csv", lambda path: attach_labels(manifest, path), [csv["labels"]]),
        "boats": Reader(".csv", read_boats, [csv["boats"]]),
        "bursts": Reader(".csv", lambda path: attach_bursts(manifest, path), [csv["bursts"]]),
        "submission": Reader(".csv", read_submission, [submission]),
        "sample": Reader(".csv", read_sample, [submission]),
        "submission to check": Reader(".csv", check_submission, [submission]),
        "solution": Reader(
            ".csv", read_solution, [b"image,label,stage\nimg_1.jpg,ALB,stg1\ntest_stg2/image_2.jpg,BET,stg2\n"]
        ),
        "features": Reader(".npz", lambda path: read_features(path, usable), [features(usable)]),
        "feature store": Reader(".npy", partial(read_store, keys=b"a\nb\nc"), [stored()]),
        "checkpoint": Reader(".ckpt", lambda path: load_checkpoint(network(), path), [checkpoint()]),
        "weights": Reader(".pth", lambda path: load_weights(network(), path), [checkpoint()]),
        "safetensors": Reader(
            ".safetensors", lambda path: load_weights(network(), path), [save_safetensors(network().state_dict())]
        ),
        "configuration": Reader(".yaml", partial(read_as, config.CONFIG, config.read_config), [configuration()]),
        "sizes": Reader(
            ".json",
            partial(read_as, "sizes.json", read_sizes),
            [SIZES],
        ),
        "how crops are cut": Reader(
            ".json", partial(read_as, "crops.json", read_rule), [b'{"context": 1.2, "square": false}']
        ),
        "notes of a submission": Reader(".json", partial(read_as, "a.json", read_ledger), [notes()]),
        "zip": Reader(".zip", unpack, [archive()]),
    }


def read_photograph(path: Path) -> None:
    """Read a photograph in every way; what is called readable must be."""
    facts = inspect_image(path)
    try:
        pixels = read_image(path)
        read_shrunk(path, (32, 48))
    except InputError:
        assert facts.status != "ok", "inspect_image calls it readable"
        raise
    assert (facts.height, facts.width) == pixels.shape[:2], "inspect_image sees another size"


def read_as(name: str, read: Callable[[Path], object], path: Path) -> None:
    """Read a folder that holds the input under its proper name."""
    with TemporaryDirectory(dir=path.parent) as folder:
        (Path(folder) / name).write_bytes(path.read_bytes())
        read(Path(folder))


def read_store(path: Path, *, keys: bytes) -> None:
    """Read a store of features whose only shard is the input."""
    with TemporaryDirectory(dir=path.parent) as folder:
        (Path(folder) / "x.npy").write_bytes(path.read_bytes())
        (Path(folder) / "x.keys").write_bytes(keys)
        store = open_store(Path(folder))
        store.take(store.locate(["c", "a"]))


def unpack(path: Path) -> None:
    """Unpack an archive; nothing may come to lie outside."""
    with TemporaryDirectory(dir=path.parent) as folder:
        unpack_zip(path, Path(folder) / "in" / "side", most_bytes=1 << 24)
        assert {child.name for child in Path(folder).iterdir()} <= {"in"}, "a file lies outside"


def network() -> torch.nn.Module:
    """Return a network of two tensors."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 2))


def checkpoint() -> bytes:
    """Return a checkpoint of that network."""
    file = io.BytesIO()
    torch.save(
        {"epoch": 1, "state_dict": {f"net.{name}": value for name, value in network().state_dict().items()}}, file
    )
    return file.getvalue()


def photographs() -> list[bytes]:
    """Return small pictures of every kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image, files = Image.fromarray(pixels), []
    grey = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274] = 6
    kinds = [
        (image, "JPEG", {"exif": exif}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "PNG", {}),
        (grey, "PNG", {}),
    ]
    kinds += [(image, "TIFF", {"compression": "tiff_lzw"}), (image, "WEBP", {}), (image, "BMP", {}), (image, "GIF", {})]
    kinds += [(image, "JPEG", {"progressive": True}), (image.convert("P"), "PNG", {}), (image, "TIFF", {})]
    for picture, kind, options in kinds:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        files.append(file.getvalue())
    return files


def tables_of_four() -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return a manifest of four images, and tables about them by kind."""
    index = pd.Index(["img_1.jpg", "img_2.jpg", "img_3.jpg", "test_stg2/image_2.jpg"], name="image_id")
    values = {"str": "x", "int64": 7, "float64": 1.5, "bool": True}
    manifest = pd.DataFrame({name: values[kind] for name, kind in MANIFEST.items()}, index=index)
    manifest = manifest.assign(subset=["train"] * 3 + ["test_stg2"], label=["ALB", "BET", "NoF", ""], status="ok")
    manifest = manifest.assign(path=[f"/photos/{name}" for name in index], height=720, width=1280)
    boxes = pd.DataFrame({name: values[kind] for name, kind in BOXES.items()}, index=index[[0, 0, 1]])
    folds = pd.DataFrame({"fold": [0, 1, 0], "seen_fold": -1, "split": "boat", "seed": 0}, index=index[:3])
    predictions = pd.DataFrame({"ALB": 0.25, "BET": 0.5, "NoF": 0.25}, index=index)
    return manifest, {
        "manifest": manifest,
        "boxes": boxes,
        "folds": folds,
        "predictions": predictions,
        "labels": manifest.loc[index[:2], ["label"]].assign(note="sure"),
        "boats": manifest[["boat"]],
        "bursts": manifest[["burst"]].assign(burst=index),
    }


def annotations() -> bytes:
    """Return rectangles as the community drew them."""
    box = {"class": "rect", "x": 10.5, "y": 20, "width": 30, "height": 40}
    entries = [{"class": "image", "filename": f"img_{n}.jpg", "annotations": [box] * n} for n in range(3)]
    return json.dumps(entries).encode()


def features(image_ids: pd.Index) -> bytes:
    """Return features made elsewhere."""
    file = io.BytesIO()
    np.savez_compressed(
        file, features=np.ones((len(image_ids), 3), np.float32), image_id=np.array(image_ids, dtype=str)
    )
    return file.getvalue()


def stored() -> bytes:
    """Return a shard of a store."""
    with TemporaryDirectory() as folder:
        name = write_shard(Path(folder), ["a", "b", "c"], np.ones((3, 4), np.float32))
        return (Path(folder) / f"{name}.npy").read_bytes()


def notes() -> bytes:
    """Return what is noted beside a submission."""
    facts = {"created_utc": "2026-01-31T12:00:00", "rows": 3, "sha256": "00", "classes": ["ALB", "BET"], "steps": []}
    runs = [{"name": "a", "folds_hash": "0123", "git_commit": "abc"}]
    expected = {"unseen": {"log_loss": 1.5, "low": 1.2, "high": 1.9}}
    return json.dumps({**facts, "runs": runs, "expected": expected, "real": {"public": 1.5}}).encode()


def configuration() -> bytes:
    """Return some of a run's configuration."""
    values = {
        "data": {"root": "/photos", "classes": ["ALB", "BET"]},
        "model": {"backbone": "x", "options": {"widths": [4, 8]}},
    }
    return yaml.safe_dump({**values, "trainer": {"max_epochs": 3}, "logger": {"csv": True}, "seed": 0}).encode()


def archive() -> bytes:
    """Return a zip archive of two files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("train/ALB/img_1.jpg", b"x" * 300)
        packed.writestr("boats.csv", b"image_id,boat\nimg_1.jpg,a\n")
    return file.getvalue()
