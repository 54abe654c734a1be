"""Held-out photographs in wandb: with true and predicted boxes, heat map, probabilities and loss."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import wandb
from rich.console import Console

from fisheries.analysis.heat import overlay
from fisheries.analysis.looks import Looker, class_heat, create_looker, read_case
from fisheries.boxes import Floats, xywh_px_to_xyxy
from fisheries.dashboard.scores import image_rows
from fisheries.data.images import read_small
from fisheries.progress import IMAGES, track
from fisheries.schema import BOXES, OK, InputError, usable_boxes
from fisheries.training.wandb_runs import steady

TABLE = "held_out"
SIDE_PX = 480  # of the pictures that are sent
_WORST_SHARE = 0.75  # of the pictures; the others are chosen at random
_NO_BOXES = pd.DataFrame(columns=list(BOXES))


def send_pictures(
    run: wandb.Run,
    predictions: pd.DataFrame,
    manifest: pd.DataFrame,
    *,
    boxes_true: pd.DataFrame,
    boxes_predicted: pd.DataFrame,
    looker: Looker | None,
    most: int,
    seed: int,
    console: Console,
) -> None:
    """Send a table of held-out photographs, the highest loss first, at most 480 pixels a side.

    Args:
        run: of wandb.
        predictions: (N, C) by `image_id`.
        manifest: of these images; those that can't be read are left out.
        boxes_true: a box table; usable boxes are drawn.
        boxes_predicted: likewise.
        looker: which draws the heat of the class predicted; None for no heat maps.
        most: how many photographs, three quarters of them the worst and the others chosen at random.
        seed: of the choice.
        console: where to show progress, and to say that wandb fails.
    """
    with steady(console, "gets no pictures"):
        readable = manifest.loc[predictions.index]
        readable = readable[(readable["status"] == OK) & (readable["path"] != "")]
        rows = choose_rows(image_rows(predictions.loc[readable.index], manifest), most=most, seed=seed)
        shown = track(rows.index, "  pictures for wandb", console=console, disable=not console.is_terminal, unit=IMAGES)
        drawn = [
            _draw(manifest.loc[image_id], rows.loc[image_id], list(predictions), boxes_true, boxes_predicted, looker)
            for image_id in shown
        ]
        pictures = pd.DataFrame(drawn, index=rows.index)
        table = pictures.join(rows).reset_index()
        run.log({TABLE: wandb.Table(columns=list(table), data=table.to_numpy(dtype=object).tolist())})


def choose_rows(rows: pd.DataFrame, *, most: int, seed: int) -> pd.DataFrame:
    """Return at most `most` rows in their order, worst first: three quarters of them the first, the others at random."""
    worst, rest = rows[: ceil(most * _WORST_SHARE)], rows[ceil(most * _WORST_SHARE) :]
    others = rest.sample(min(most - len(worst), len(rest)), random_state=seed)
    return rows[rows.index.isin(worst.index) | rows.index.isin(others.index)]


def looker_or_none(net: Any, *, console: Console, **about: Any) -> Looker | None:
    """Return what `create_looker` does, or None, which is said, where the network has no layer for heat."""
    try:
        return create_looker(net, **about)
    except InputError as error:
        console.print(f"  wandb gets no heat maps: {error}", markup=False)
        return None


def box_data(boxes_xyxy: Floats, *, label: int, caption: str, scores: dict[str, float]) -> list[dict[str, Any]]:
    """Return boxes (N, 4) in [0, 1] as wandb takes them; cut at the picture's edges, those of which nothing is left out.

    Args:
        boxes_xyxy: corners, NaN where there is no box.
        label: index of their class.
        caption: of each.
        scores: of each, by name.
    """
    inside = np.clip(boxes_xyxy, 0, 1)
    inside = inside[(inside[:, 2:] > inside[:, :2]).all(axis=1)]  # NaN is no more than anything
    return [
        {
            "position": dict(zip(("minX", "minY", "maxX", "maxY"), map(float, box), strict=True)),
            "class_id": int(label),
            "box_caption": caption,
            "scores": scores,
        }
        for box in inside
    ]


def _draw(
    photo: pd.Series,
    row: pd.Series,
    classes: list[str],
    boxes_true: pd.DataFrame,
    boxes_predicted: pd.DataFrame,
    looker: Looker | None,
) -> dict[str, Any]:
    """Return the pictures of a row of the table by column."""
    scale = min(1.0, SIDE_PX / max(photo["height"], photo["width"]))
    image_hw = max(1, round(photo["height"] * scale)), max(1, round(photo["width"] * scale))
    picture = read_small(photo["path"], image_hw=image_hw)
    names = dict(enumerate(classes))
    probability = {"probability": float(row[f"p({row['predicted']})"])}
    kinds = {"true": (boxes_true, row["true"], {}), "predicted": (boxes_predicted, row["predicted"], probability)}
    boxes = {
        kind: {
            "box_data": box_data(
                _xyxy(table, photo), label=classes.index(said), caption=f"{kind} {said}", scores=scores
            ),
            "class_labels": names,
        }
        for kind, (table, said, scores) in kinds.items()
    }
    pictures = {"photo": wandb.Image(picture, boxes=boxes, file_type="jpg")}
    if looker is not None:
        _, heat = class_heat(looker, read_case(looker, photo, _NO_BOXES), classes.index(row["predicted"]))
        pictures["heat"] = wandb.Image(overlay(picture, heat), file_type="jpg")
    return pictures


def _xyxy(boxes: pd.DataFrame, photo: pd.Series) -> Floats:
    own = usable_boxes(boxes[boxes.index == photo.name])
    hw = np.tile(photo[["height", "width"]].to_numpy(dtype=np.float64), (len(own), 1))
    return xywh_px_to_xyxy(own[["left", "top", "box_width", "box_height"]].to_numpy(dtype=np.float64), hw)
