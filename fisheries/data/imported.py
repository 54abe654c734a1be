"""Features made elsewhere, as a folder that is trained on as one of photographs is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from fisheries.data.cues import read_features
from fisheries.data.feature_store import ABOUT, FeatureStore, keep_shards, open_store, write_shard
from fisheries.data.tables import MANIFEST_CSV, read_manifest
from fisheries.schema import MANIFEST, OK, TRAIN, InputError, read_table, write_atomic, write_table

_SOURCE = "imported"  # in about.json: the file that the features came from
_SHARD_ROWS = 4096


def import_features(features_npz: Path, manifest_csv: Path, out: Path) -> pd.DataFrame:
    """Write features and what is known of their images into a folder, for `data.root`.

    Args:
        features_npz: `features` (N, F), numbers, and `image_id` (N,), text.
        manifest_csv: a manifest, or any CSV with `image_id`, `label` and perhaps `boat`, `width`, `height`, `subset`.
            Images without a label count as test images: of stage 2 if their id starts with `test_stg2/`.
        out: the folder; must not exist, or be an earlier import.

    Returns:
        The manifest of the images that have features, by `image_id`; its `attrs` hold "without", how many have none.

    Raises:
        InputError: a file can't be used, see `read_features` and `read_manifest`; `out` is something else.
    """
    if out.exists() and not is_imported(out):
        raise InputError(f"{out}: is there already, and no folder of imported features; give another --out")
    manifest = read_manifest(manifest_csv)
    features = read_features(features_npz, manifest.index)
    rows = manifest.loc[features.index]
    values = features.to_numpy(dtype=np.float32)
    keys = [hashlib.sha256(value.tobytes()).hexdigest() for value in values]
    rows = rows.assign(path="", status=OK, subset=_subsets(rows), sha256=pd.Series(keys, rows.index, dtype="str"))
    starts = range(0, len(keys), _SHARD_ROWS)
    parts = [slice(start, start + _SHARD_ROWS) for start in starts]
    keep_shards(out, {write_shard(out, keys[part], values[part]) for part in parts})
    write_table(rows, out / MANIFEST_CSV)
    about = {_SOURCE: features_npz.name, "sha256": hashlib.sha256(features_npz.read_bytes()).hexdigest()}
    write_atomic(out / ABOUT, json.dumps(about, indent=2).encode())
    rows.attrs["without"] = len(manifest) - len(rows)
    return rows


def is_imported(folder: Path) -> bool:
    """Whether a folder was written by `import_features`."""
    try:
        return _SOURCE in json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError, TypeError):  # none, or somebody else's
        return False


def read_imported(folder: Path) -> tuple[pd.DataFrame, FeatureStore]:
    """Read the manifest and the features of a folder written by `import_features`.

    Raises:
        InputError: the manifest can't be used, or has images without features.
    """
    manifest = read_table(folder / MANIFEST_CSV, MANIFEST)
    stored = open_store(folder)
    lost = manifest.index[~manifest["sha256"].isin(set(stored.places))]
    if len(lost):
        raise InputError(f"{folder}: {lost[0]!r} has no features; {len(lost)} such images; import them anew")
    return manifest, stored


def _subsets(rows: pd.DataFrame) -> pd.Series:
    stage = pd.Series(np.where(rows.index.str.startswith("test_stg2/"), "test_stg2", "test_stg1"), rows.index)
    unlabeled = (rows["label"] == "") & (rows["subset"] == TRAIN)
    return rows["subset"].where(~unlabeled, stage).astype("str")
