"""From a network and batches to prediction tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from fisheries.batch import Batch, run_net
from fisheries.boxes import clip_xywh_px, cxcywh_to_xywh_px
from fisheries.inference.scoring import constant_predictions
from fisheries.inference.tta import Reader, predict_views
from fisheries.schema import KEY

ARITHMETIC, GEOMETRIC = "arithmetic", "geometric"
BOX = ("cx", "cy", "w", "h")
_FLOOR = 1e-15  # where Kaggle clips; below it one network's 0 would decide for all


@dataclass(frozen=True)
class Predictions:
    """What a network says of images, both tables indexed by `image_id` in the order predicted."""

    probabilities: pd.DataFrame  # (N, C) one column a class, rows sum to 1
    boxes_cxcywh: pd.DataFrame | None  # (N, 4) in the picture's [0, 1], or None without a box head


def predict(
    net: nn.Module, batches: Iterable[Batch], *, classes: Sequence[str], device: torch.device, tta: str = "none"
) -> Predictions:
    """Predict every image of `batches`.

    Args:
        net: maps images and standardized sizes to outputs by name, such as `FishNet`; left in evaluation mode.
        batches: as made by `FisheriesDataModule.predict_loader`.
        classes: names of the columns.
        device: to predict on.
        tta: a key of `tta.VIEWS`: which views of each image are averaged.

    Raises:
        InputError: several views of stored features.
    """
    answers = predict_batches([Reader(net.float())], batches, classes=classes, device=device, tta=tta)
    return join_predictions([answer for (answer,) in answers], classes)


@torch.inference_mode()
def predict_batches(
    readers: Sequence[Reader],
    batches: Iterable[Batch],
    *,
    classes: Sequence[str],
    device: torch.device,
    tta: str = "none",
) -> Iterator[list[Predictions]]:
    """Yield, batch by batch, what each of several networks says, so that each photograph is decoded once for all.

    Args:
        readers: the networks, see `predict_views`; left in evaluation mode.
        batches: as in `predict`.
        classes: likewise.
        device: likewise.
        tta: likewise.

    Raises:
        InputError: several views of stored features.
    """
    for reader in readers:
        reader.net.to(device).eval()
    for batch in batches:
        index = pd.Index(batch["image_id"], name=KEY)
        yield [
            Predictions(
                pd.DataFrame(said.numpy(), index, list(classes)),
                None if found is None else pd.DataFrame(found.numpy(), index, list(BOX)),
            )
            for said, found in predict_views(readers, batch, tta, device)
        ]


def join_predictions(parts: Sequence[Predictions], classes: Sequence[str]) -> Predictions:
    """Return what one network said of one batch after the other, as one; no rows where there are no parts."""
    if not parts:
        return Predictions(pd.DataFrame(columns=list(classes), index=pd.Index([], name=KEY), dtype="float64"), None)
    boxes = [part.boxes_cxcywh for part in parts if part.boxes_cxcywh is not None]
    return Predictions(_stack([part.probabilities for part in parts]), _stack(boxes) if boxes else None)


@torch.inference_mode()
def extract_features(net: nn.Module, batches: Iterable[Batch], *, device: torch.device) -> pd.DataFrame:
    """Return the features (N, F) that the network's heads see, indexed by `image_id`; arguments as `predict`."""
    net.to(device).float().eval()
    image_ids: list[str] = []
    rows = []
    for batch in batches:
        rows.append(run_net(net, batch, device)["features"].cpu().numpy())
        image_ids += batch["image_id"]
    return pd.DataFrame(np.concatenate(rows), index=pd.Index(image_ids, name=KEY))


def mean_predictions(tables: Sequence[pd.DataFrame], how: str = ARITHMETIC) -> pd.DataFrame:
    """Average prediction tables of the same images, joined by `image_id`; rows of the result sum to 1.

    Args:
        tables: one a network.
        how: "arithmetic", or "geometric": the mean of the logarithms, in which one network can rule a class out.
    """
    first = tables[0]
    joined = [table.loc[first.index, first.columns] for table in tables]
    if how == GEOMETRIC:
        # less the highest of each row, or far apart answers would all vanish
        logs = sum(np.log(table.clip(lower=_FLOOR)) for table in joined) / len(joined)
        total = np.exp(logs.sub(logs.max(axis=1), axis=0))
    else:
        total = sum(joined)
    return total.div(total.sum(axis=1), axis=0)


def box_table(boxes_cxcywh: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Turn predicted boxes into a box table in frame pixels, cut at the frame's edges; see `schema.BOXES`."""
    hw = manifest.loc[boxes_cxcywh.index, ["height", "width"]].to_numpy(dtype=np.float64)
    xywh_px = clip_xywh_px(cxcywh_to_xywh_px(boxes_cxcywh.to_numpy(), hw), hw)
    table = pd.DataFrame(xywh_px, index=boxes_cxcywh.index, columns=["left", "top", "box_width", "box_height"])
    return table.assign(source="model", status=np.where((xywh_px[:, 2:] > 0).all(axis=1), "ok", "empty"))


def with_prior(probabilities: pd.DataFrame, image_ids: pd.Index, prior: pd.Series) -> pd.DataFrame:
    """Return predictions for all of `image_ids`, the prior for those that could not be read and predicted."""
    rest = constant_predictions(prior, image_ids.difference(probabilities.index))
    return pd.concat([probabilities, rest]).loc[image_ids]


def _stack(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one table after the other, laid out row by row: sums over a row depend on it in their last digit."""
    values = np.ascontiguousarray(np.concatenate([table.to_numpy() for table in tables]))
    index = pd.Index([image_id for table in tables for image_id in table.index], name=KEY)
    return pd.DataFrame(values, index, tables[0].columns)
