"""Decide what the photographs of a synthetic competition show: boats, classes that keep to them, bursts and nights."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fisheries.data.synthetic_fish import Rng
from fisheries.schema import KEY, InputError

# How many training images the real competition has of each class, in the submission's order.
CLASS_COUNTS = {"ALB": 1719, "BET": 200, "DOL": 117, "LAG": 67, "NoF": 465, "OTHER": 299, "SHARK": 176, "YFT": 734}
NO_FISH = "NoF"
# Stage 2: four shares are published, the rest is divided as in training.
STAGE2_SHARES = {"BET": 0.108, "LAG": 0.047, "SHARK": 0.012, "NoF": 0.076}
# How many real training images have each size (width, height).
SIZE_COUNTS = {
    (1280, 720): 2174,
    (1280, 750): 597,
    (1280, 974): 395,
    (1276, 718): 220,
    (1192, 670): 198,
    (1280, 924): 60,
    (1518, 854): 39,
    (1732, 974): 35,
    (1334, 750): 31,
    (1244, 700): 27,
}
REDUCTION = 4  # sizes are the real ones divided by this
# The share of the boats that each class keeps to at leak 1.
BOAT_SHARES = {"LAG": 0.15, "SHARK": 0.2, "DOL": 0.2, "OTHER": 0.25, "BET": 0.25, "NoF": 0.4, "YFT": 0.45, "ALB": 0.6}
FEW_BOATS = 3  # each class is on at least so many training boats, so that folds can be grouped by boat
NIGHT_SHARE = 0.2
ALONE_SHARE = 0.75  # of the moments; the others are bursts of 2 to 5 frames, which makes half of the images


def plan_competition(
    *,
    train: int = 800,
    stage1: int = 100,
    stage2: int = 200,
    boats: int = 20,
    new_boats: int = 10,
    leak: float = 0.8,
    seed: int = 0,
) -> pd.DataFrame:
    """Decide what each photograph of a synthetic competition shows, without drawing any.

    Args:
        train: training images.
        stage1: test images from the training boats.
        stage2: test images from new boats.
        boats: training boats.
        new_boats: boats of stage 2.
        leak: how far class goes with boat, from 0 (independent) to 1 (each class on few boats):
            P(class | boat) is (1 - leak) times the share of the class, plus leak times the boat's own.
        seed: another seed is another world.

    Returns:
        One row an image, indexed by `image_id` and sorted by `path`: `stage` (train, stg1, stg2), `path` below the
        root, `label`, `boat` (a number; new boats follow the others), `burst` (a number; frames of one moment share
        it), `is_night`, `width` and `height` in pixels.

    Raises:
        InputError: a count is too small, `leak` is not in [0, 1] or `seed` is negative.
    """
    _check(train=train, stage1=stage1, stage2=stage2, boats=boats, new_boats=new_boats, leak=leak, seed=seed)
    rng = np.random.default_rng([seed, 0])
    shares = shares_of(CLASS_COUNTS)
    known = _plan_boats(
        [_counts(shares, train, least=max(FEW_BOATS, train // 32)), _counts(shares, stage1, least=1)],
        boats=boats,
        leak=leak,
        rng=rng,
    )
    new = _plan_boats([_counts(_stage2_shares(), stage2, least=1)], boats=new_boats, leak=leak, rng=rng)
    new = new.assign(part=2, boat=new["boat"] + boats, burst=new["burst"] + known["burst"].max() + 1)
    plan = pd.concat([known, new], ignore_index=True)
    plan["stage"] = plan["part"].map({0: "train", 1: "stg1", 2: "stg2"})
    return _name(plan, rng=rng)


def _check(*, leak: float, seed: int, **counts: int) -> None:
    least = {"train": 40, "stage1": 8, "stage2": 8, "boats": 3, "new_boats": 1}
    for name, value in counts.items():
        if value < least[name]:
            raise InputError(f"{name}={value} is too small: at least {least[name]}; give a larger {name}")
    for images, name in (("train", "boats"), ("stage2", "new_boats")):
        if counts[images] < 4 * counts[name]:
            raise InputError(
                f"{name}={counts[name]} is too many for {images}={counts[images]}: at least 4 images a boat; "
                f"give fewer {name} or more {images}"
            )
    if not 0 <= leak <= 1:
        raise InputError(f"leak={leak} is not in [0, 1]; give 0 for no link of class and boat, 1 for the strongest")
    if seed < 0:
        raise InputError(f"seed={seed} is negative; give 0 or more")


def shares_of(counts: dict[str, int]) -> dict[str, float]:
    """Divide counts by their sum."""
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _stage2_shares() -> dict[str, float]:
    rest = {name: count for name, count in CLASS_COUNTS.items() if name not in STAGE2_SHARES}
    left = 1 - sum(STAGE2_SHARES.values())
    return {name: STAGE2_SHARES.get(name, left * rest.get(name, 0) / sum(rest.values())) for name in CLASS_COUNTS}


def _counts(shares: dict[str, float], total: int, *, least: int) -> NDArray[np.int64]:
    """Divide `total` images among the classes: at least `least` each, then always to the one that lacks most."""
    wanted = np.array(list(shares.values())) * total
    counts = np.full(len(shares), least)
    for _ in range(total - counts.sum()):
        counts[(wanted - counts).argmax()] += 1
    return counts


def _plan_boats(parts: list[NDArray[np.int64]], *, boats: int, leak: float, rng: Rng) -> pd.DataFrame:
    """Plan one fleet's images; `parts` are the numbers of each class in train and in stage 1, or in stage 2.

    Returns:
        Columns part, label, boat, burst, is_night, width, height.
    """
    total = np.sum(parts, axis=0)
    sizes = _sizes(boats, rng=rng)
    joint = _joint(total / total.sum(), sizes, leak=leak, rng=rng)
    moments: list[pd.DataFrame] = []
    for label, name in enumerate(CLASS_COUNTS):
        frames = _moments([int(part[label]) for part in parts], joint[:, label] / joint[:, label].sum(), rng=rng)
        moments.append(frames.assign(label=name))
    plan = pd.concat(moments, ignore_index=True)
    plan["burst"] = plan.groupby(["label", "burst"], sort=False).ngroup()
    plan = _settle(plan, joint)
    night = rng.random(plan["burst"].max() + 1) < NIGHT_SHARE
    width, height = (np.array(sizes)[plan["boat"]] // REDUCTION).T
    return plan.assign(is_night=night[plan["burst"]], width=width, height=height)


def _sizes(boats: int, *, rng: Rng) -> list[tuple[int, int]]:
    """Give each boat a size: the commonest to nearly half, and each other to one before any comes twice."""
    (common, *others), counts = list(SIZE_COUNTS), np.array(list(SIZE_COUNTS.values())[1:], float)
    rest = boats - round(0.45 * boats)
    once = rng.choice(len(others), min(rest, len(others)), replace=False, p=counts / counts.sum())
    again = rng.choice(len(others), rest - len(once), p=counts / counts.sum())
    sizes = [common] * (boats - rest) + [others[i] for i in (*once, *again)]
    return [sizes[i] for i in rng.permutation(boats)]


def _joint(shares: NDArray[np.float64], sizes: list[tuple[int, int]], *, leak: float, rng: Rng) -> NDArray[np.float64]:
    """Return P(boat, class): `leak` moves it from independence to a world where each class keeps to a few boats."""
    often = np.array([SIZE_COUNTS[size] / sizes.count(size) for size in sizes])
    weight = (often / often.sum() + 1 / len(sizes)) * rng.lognormal(0, 0.3, len(sizes))
    haunts = _haunts(sizes, rng=rng)
    own = haunts / haunts.sum(axis=1, keepdims=True) * weight[:, None] * rng.lognormal(0, 0.3, haunts.shape)
    own = own / own.sum(axis=0) * shares
    return leak * own + (1 - leak) * own.sum(axis=1, keepdims=True) * shares


def _haunts(sizes: list[tuple[int, int]], *, rng: Rng) -> NDArray[np.float64]:
    """Choose which boats (B, C) have a class of their own: one class on boats of a rare size, 1 to 3 on others."""
    room = np.array([1.0 if SIZE_COUNTS[size] < 50 else 3.0 for size in sizes])
    haunts = np.zeros((len(sizes), len(CLASS_COUNTS)))
    for name, share in BOAT_SHARES.items():
        load = haunts.sum(axis=1) / room + rng.uniform(0, 0.01, len(sizes))
        chosen = np.argsort(load)[: max(FEW_BOATS, round(share * len(sizes)))]
        haunts[chosen, list(CLASS_COUNTS).index(name)] = 1
    haunts[haunts.sum(axis=1) == 0, list(CLASS_COUNTS).index("ALB")] = 1
    return haunts


def _moments(counts: list[int], odds: NDArray[np.float64], *, rng: Rng) -> pd.DataFrame:
    """Spread one class's images over moments and the moments over boats.

    The first moments take different boats, and their first frames are in train, so that the class is on several.
    """
    total = sum(counts)
    long = np.where(rng.random(total) < ALONE_SHARE, 1, rng.integers(2, 6, total))
    few = min(FEW_BOATS, len(odds), int((odds > 0).sum()), counts[0])
    long[:few] = np.minimum(long[:few], max(1, total // few))
    burst = np.repeat(np.arange(total), long)[:total]
    first = rng.choice(len(odds), few, replace=False, p=odds)
    boat = np.concatenate([first, rng.choice(len(odds), total - few, p=odds)])[burst]
    kept = np.searchsorted(burst, np.arange(few))
    free = rng.permutation(np.setdiff1d(np.arange(total), kept))
    part = np.empty(total, int)
    part[np.concatenate([kept, free])] = np.repeat(np.arange(len(counts)), counts)
    return pd.DataFrame({"part": part, "boat": boat, "burst": burst})


def _settle(plan: pd.DataFrame, joint: NDArray[np.float64]) -> pd.DataFrame:
    """Give a boat without an image in the first part a moment of a likely class, from a boat that has more of them."""
    for boat in sorted(set(range(len(joint))) - set(plan.loc[plan["part"] == 0, "boat"])):
        first = plan[plan["part"] == 0]
        spare = first.groupby(["boat", "label"])["burst"].transform("nunique") - 1
        likely = first["label"].map(dict(zip(CLASS_COUNTS, joint[boat], strict=True)))
        moved = plan["burst"] == first.loc[(likely * spare).idxmax(), "burst"]
        plan = plan.assign(boat=plan["boat"].where(~moved, boat))
    return plan


def _name(plan: pd.DataFrame, *, rng: Rng) -> pd.DataFrame:
    """Number the images at random, so that a number tells neither class nor boat nor burst."""
    is_new = plan["stage"] == "stg2"
    known = int((~is_new).sum())
    number = pd.Series(0, index=plan.index)
    number[~is_new] = rng.permutation(round(1.6 * known))[:known] + 1
    number[is_new] = rng.permutation(len(plan) - known) + 1
    digits = number.astype(str).str.zfill(5)
    name = ("image_" + digits + ".jpg").where(is_new, "img_" + digits + ".jpg")
    folder = ("train/" + plan["label"]).where(plan["stage"] == "train", "test_" + plan["stage"])
    plan = plan.assign(path=folder + "/" + name, image_id=name.where(~is_new, "test_stg2/" + name))
    columns = ["stage", "path", "label", "boat", "burst", "is_night", "width", "height"]
    return plan.sort_values("path").set_index(KEY)[columns]
