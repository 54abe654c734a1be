"""Two stages: one network finds the fish in a frame, another says of a crop which fish it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fisheries.inference.scoring import constant_predictions
from fisheries.schema import KEY, InputError

MOST_NO_FISH = 0.5  # probability of no fish above which the first stage sees none


def check_stages(
    frame_classes: Sequence[str], crop_classes: Sequence[str], *, no_fish: str, name: Path | str = "the second stage"
) -> None:
    """Check that both stages know the same fish; the second may lack the class without fish, or know it, too.

    Raises:
        InputError: a class of fish that one stage alone knows, by name.
    """
    frame_fish, crop_fish = set(frame_classes) - {no_fish}, set(crop_classes) - {no_fish}
    odd = sorted(frame_fish ^ crop_fish)
    if odd:
        raise InputError(
            f"{name}: only the {'first' if odd[0] in frame_fish else 'second'} stage knows the class {odd[0]!r}; expected "
            f"{','.join(cls for cls in frame_classes if cls != no_fish)}: train on crops of the same classes, or give data.classes"
        )


def sees_fish(frames: pd.DataFrame, no_fish: str) -> pd.Series:
    """Return whether the first stage sees a fish: no fish is not likelier than `MOST_NO_FISH`.

    Args:
        frames: its predictions.
        no_fish: the class without fish; where it has none, there is a fish in every frame.
    """
    if no_fish not in frames:
        return pd.Series(True, frames.index)
    return frames[no_fish] <= MOST_NO_FISH


def merge_crops(crops: pd.DataFrame, frame: pd.Series, score: pd.Series) -> pd.DataFrame:
    """Return for each frame the mean of its crops' predictions, weighted by score.

    Args:
        crops: predictions (N, C) by crop.
        frame: by crop, the `image_id` of its frame.
        score: by crop, above 0; only its ratios in a frame count.

    Returns:
        A row for each frame that has crops, by `image_id`; rows sum to 1.
    """
    ordered = crops.sort_index()  # sums do not depend on the order then, not even in the last digit
    frame, score = frame.loc[ordered.index], score.loc[ordered.index]
    weight = score / score.groupby(frame).transform("max")
    total = ordered.mul(weight, axis=0).groupby(frame).sum().rename_axis(KEY)
    return total.div(total.sum(axis=1), axis=0)


def chain_stages(frames: pd.DataFrame, crops: pd.DataFrame, *, prior: pd.Series, no_fish: str) -> pd.DataFrame:
    """Return what both stages say together: no fish as the first, and of the rest the shares that the second gives.

    Args:
        frames: the first stage's predictions (N, C).
        crops: the second stage's, merged by frame, for frames in which the first sees a fish; of the same classes, with
            or without the one without fish, which does not count.
        prior: class -> frequency; shares of frames that `crops` lacks, or of which it says only that there is no fish.
        no_fish: the class without fish.

    Returns:
        Predictions with the rows and columns of `frames`.
    """
    fish = [name for name in frames if name != no_fish]
    rest = crops.index[crops[fish].sum(axis=1) > 0]
    answers = pd.concat([crops.loc[rest, fish], constant_predictions(prior[fish], frames.index.difference(rest))])
    answers = answers.loc[frames.index]
    no_fish_share = frames[no_fish] if no_fish in frames else pd.Series(0.0, frames.index)
    table = answers.div(answers.sum(axis=1), axis=0).mul(1 - no_fish_share, axis=0)
    return table.assign(**{no_fish: no_fish_share})[list(frames.columns)]
