"""Augmentations, each moving the box along; the only file that knows albumentations."""

from __future__ import annotations

import os
import warnings
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network for news
import albumentations as A  # noqa: N812
from albumentations.augmentations.geometric.functional import bboxes_affine

from fisheries.data.night_view import night_view

# Less of the box than this left in the picture, and it no longer says where the fish is.
MIN_VISIBLE = 0.3
# of the training transform's values these are probabilities; the others are amounts
PROBABILITIES = frozenset({"hflip", "vflip", "night", "gray", "blur", "noise", "jpeg", "erase"})


class View(NamedTuple):
    """A transformed photograph: `image` (H, W, 3) uint8, and the box's corners in [0, 1] or None."""

    image: NDArray[np.uint8]
    box_xyxy: NDArray[np.float64] | None


class Transform:
    """Steps of albumentations that move a box along, and give the same view for the same seed.

    A class, because workers must be able to pickle it.
    """

    def __init__(self, image_hw: tuple[int, int], steps: list[A.BasicTransform]) -> None:
        self.image_hw = image_hw  # of the view
        boxes = A.BboxParams(
            format="albumentations",
            label_fields=["row"],
            clip=True,
            filter_invalid_bboxes=True,
            min_visibility=MIN_VISIBLE,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Got processor for bboxes, but no transform")  # as of transform=none
            self.compose = A.Compose([_resize(image_hw), *steps], bbox_params=boxes)

    def __call__(self, image: NDArray[np.uint8], box_xyxy: NDArray[np.float64] | None, seed: int) -> View:
        """Return the view of `image` (H, W, 3) and its box (4,) in [0, 1], or None, that `seed` stands for."""
        # each worker has the same generator, and repeats it every epoch, unless every sample is seeded
        self.compose.set_random_seed(seed)
        given = [] if box_xyxy is None else [box_xyxy.tolist()]
        result = self.compose(image=image, bboxes=given, row=[0] * len(given))
        boxes = result["bboxes"]
        return View(result["image"], np.asarray(boxes[0], dtype=np.float64) if len(boxes) else None)


class Affine(A.Affine):  # type: ignore[misc]
    """Turn, scale, move and slant, filling the border with the picture's mirror image.

    albumentations gives each mirror image of a box as a box, and takes a sixth of the feed's time for it. Here the box
    stays with the fish.
    """

    def apply_to_bboxes(
        self,
        bboxes: NDArray[np.float64],
        bbox_matrix: NDArray[np.float64],
        output_shape: tuple[int, int],
        **params: Any,
    ) -> NDArray[np.float64]:
        """Move boxes (N, 4 or more) as if nothing filled the border."""
        hw = params["shape"][:2]
        return bboxes_affine(bboxes, bbox_matrix, self.rotate_method, hw, cv2.BORDER_CONSTANT, output_shape)


class NightView(A.ImageOnlyTransform):  # type: ignore[misc]
    """Show a photograph as by night, see `night_view`."""

    def apply(self, img: NDArray[np.uint8], **params: Any) -> NDArray[np.uint8]:
        """Return the view (H, W, 3) of a photograph (H, W, 3)."""
        return night_view(img, self.random_generator)


def eval_transform(*, image_hw: tuple[int, int]) -> Transform:
    """Shrink to (height, width) with antialiasing, and nothing else."""
    return Transform(image_hw, [])


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
    if night:
        steps.append(NightView(p=night))  # while the colors still tell whether it is night already
    if hflip:
        steps.append(A.HorizontalFlip(p=hflip))
    if vflip:
        steps.append(A.VerticalFlip(p=vflip))
    if rotate_deg or zoom or shift or shear_deg:
        steps.append(
            Affine(
                rotate=(-rotate_deg, rotate_deg),
                scale=(1 - zoom, 1 + zoom),
                keep_ratio=True,  # a fish's shape tells its species
                translate_percent=(-shift, shift),
                shear=(-shear_deg, shear_deg),
                border_mode=cv2.BORDER_REFLECT_101,
                p=1.0,
            )
        )
    if brightness or contrast or saturation or hue:
        steps.append(A.ColorJitter(_around_one(brightness), _around_one(contrast), _around_one(saturation), hue, p=1.0))
    if gray:
        steps.append(A.ToGray(p=gray))
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
    return Transform(image_hw, steps)


def _resize(image_hw: tuple[int, int]) -> A.Resize:
    return A.Resize(*image_hw, interpolation=cv2.INTER_LINEAR, area_for_downscale="image")


def _around_one(amount: float) -> tuple[float, float]:
    return (max(0.0, 1 - amount), 1 + amount)
