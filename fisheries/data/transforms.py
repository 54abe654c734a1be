"""Augmentations, each moving the box along; the only file that knows albumentations."""

from __future__ import annotations

import os
import warnings
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network for news
import albumentations as A  # noqa: N812

from fisheries.data.night_view import night_view
from fisheries.data.shrinking import shrink
from fisheries.data.warp import MIN_VISIBLE, Amounts, Change, Matrix, apply_change, draw_change, move_box

# of the training transform's values these are probabilities; the others are amounts
PROBABILITIES = frozenset({"hflip", "vflip", "night", "gray", "blur", "noise", "jpeg", "erase"})


class View(NamedTuple):
    """A transformed photograph: `image` (H, W, 3) uint8, and the box's corners in [0, 1] or None."""

    image: NDArray[np.uint8]
    box_xyxy: NDArray[np.float64] | None


class Transform:
    """Make a view of a photograph, the same for the same seed, and move its box along.

    A class, because workers must be able to pickle it.

    Args:
        image_hw: height and width of the view.
        amounts: of what is done in one step, see `warp`.
        night: probability that a photograph by day is shown as by night, before that.
        steps: what albumentations does in the end.
    """

    border = cv2.BORDER_REFLECT_101

    def __init__(
        self,
        image_hw: tuple[int, int],
        *,
        amounts: Amounts = Amounts(),  # noqa: B008 - a tuple
        night: float = 0.0,
        steps: list[A.BasicTransform] | None = None,
    ) -> None:
        self.image_hw, self.amounts, self.night = image_hw, amounts, night
        boxes = A.BboxParams(
            format="albumentations",
            label_fields=["row"],
            clip=True,
            filter_invalid_bboxes=True,
            min_visibility=MIN_VISIBLE,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Got processor for bboxes, but no transform")  # as of blur alone
            self.compose = A.Compose(steps, bbox_params=boxes) if steps else None

    def __call__(self, image: NDArray[np.uint8], box_xyxy: NDArray[np.float64] | None, seed: int) -> View:
        """Return the view of `image` (H, W, 3) and its box (4,) in [0, 1], or None, that `seed` stands for."""
        view, change = self.draw(image, box_xyxy, seed)
        view = View(apply_change(view.image, change, border=self.border), view.box_xyxy)
        return view if self.compose is None else _composed(self.compose, view, seed)

    def draw(self, image: NDArray[np.uint8], box_xyxy: NDArray[np.float64] | None, seed: int) -> tuple[View, Change]:
        """Return the shrunk picture, its box where it will be, and what is yet to be done to the picture in one step."""
        image = shrink(image, self.image_hw)
        if not any(self.amounts) and not self.night:
            return View(image, box_xyxy), Change(None, None)
        rng = np.random.default_rng(seed)
        if rng.random() < self.night:
            image = night_view(image, rng)  # while the colors still tell whether it is night already
        change = draw_change(self.amounts, image_hw=self.image_hw, mean_rgb=_mean_rgb(image), rng=rng)
        if box_xyxy is not None:
            box_xyxy = move_box(box_xyxy, change.places, image_hw=self.image_hw)
        return View(image, box_xyxy), change


def eval_transform(*, image_hw: tuple[int, int]) -> Transform:
    """Shrink to (height, width) with antialiasing, and nothing else."""
    return Transform(image_hw)


def train_transform(
    *,
    image_hw: tuple[int, int],
    hflip: float = 0.0,
    vflip: float = 0.0,
    rotate_deg: float = 0.0,
    zoom: float = 0.0,
    shift: float = 0.0,
    shear_deg: float = 0.0,
    night: float = 0.0,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    gray: float = 0.0,
    blur: float = 0.0,
    noise: float = 0.0,
    jpeg: float = 0.0,
    erase: float = 0.0,
) -> Transform:
    """Shrink, then change the photograph at random; 0 switches a change off.

    Args:
        image_hw: height and width of the result.
        hflip: probability of a mirror image.
        vflip: probability of a picture upside down.
        rotate_deg: largest turn to either side.
        zoom: 0.2 scales by 0.8 to 1.2.
        shift: largest move to any side, as a share of the picture.
        shear_deg: largest slant.
        night: probability that a photograph by day becomes one by night.
        brightness: 0.3 scales by 0.7 to 1.3.
        contrast: likewise.
        saturation: likewise.
        hue: largest change, as a share of the color circle; at most 0.5.
        gray: probability of a picture without color.
        blur: probability of a soft picture, out of focus or shaken.
        noise: probability of a grainy picture.
        jpeg: probability of the blocks of a strongly compressed one.
        erase: probability of up to six dark patches over the picture.
    """
    steps: list[A.BasicTransform] = []
    if blur:
        steps.append(A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.MotionBlur(blur_limit=(3, 7))], p=blur))
    if noise:
        steps.append(A.GaussNoise(std_range=(0.01, 0.06), p=noise))
    if jpeg:
        steps.append(A.ImageCompression(quality_range=(30, 80), p=jpeg))
    if erase:
        steps.append(
            A.CoarseDropout(
                num_holes_range=(1, 6), hole_height_range=(0.05, 0.2), hole_width_range=(0.05, 0.2), p=erase
            )
        )
    amounts = Amounts(
        hflip, vflip, rotate_deg, zoom, shift, shear_deg, brightness, contrast, saturation, hue, gray
    )  # fmt: skip
    return Transform(image_hw, amounts=amounts, night=night, steps=steps)


def _composed(compose: A.Compose, view: View, seed: int) -> View:
    # each worker has the same generator, and repeats it every epoch, unless every sample is seeded
    compose.set_random_seed(seed)
    given = [] if view.box_xyxy is None else [view.box_xyxy.tolist()]
    result = compose(image=view.image, bboxes=given, row=[0] * len(given))
    boxes = result["bboxes"]
    return View(result["image"], np.asarray(boxes[0], dtype=np.float64) if len(boxes) else None)


def _mean_rgb(image: NDArray[np.uint8]) -> Matrix:
    return np.array(cv2.mean(image)[:3])
