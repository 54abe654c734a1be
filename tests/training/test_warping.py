from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fisheries.data.transforms import train_transform
from fisheries.data.warp import backwards
from fisheries.training.warping import warp_batch, warp_images

HW = (60, 100)
PICTURE = cv2.resize(np.random.default_rng(0).integers(60, 190, (6, 10, 3), dtype=np.uint8), HW[::-1])
CHANGES = [
    {"hflip": 1.0},
    {"rotate_deg": 180.0, "zoom": 0.3, "shift": 0.3, "shear_deg": 10.0},
    {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    {"gray": 1.0, "vflip": 1.0, "rotate_deg": 20.0},
]


@pytest.mark.parametrize("amounts", CHANGES, ids=lambda amounts: next(iter(amounts)))
def test_the_device_makes_the_picture_that_a_worker_would_make(amounts: dict[str, float]):
    transform = train_transform(image_hw=HW, **amounts)
    for seed in range(5):
        made = transform(PICTURE, None, seed).image
        view, change = transform.draw(PICTURE, None, seed)
        assert (view.image == PICTURE).all()
        colors = np.eye(3, 4) if change.colors is None else change.colors
        image = torch.from_numpy(view.image.transpose(2, 0, 1).copy())[None]
        warped = warp_images(
            image, torch.from_numpy(backwards(change.places))[None].float(), torch.from_numpy(colors)[None].float()
        )
        difference = np.abs(warped[0].numpy().transpose(1, 2, 0) - made)
        assert difference.mean() < 0.5  # of 255: OpenCV computes in fixed point
        assert difference.max() < 8


def test_each_picture_of_a_batch_is_changed_by_its_own_matrix():
    image = torch.from_numpy(np.stack([PICTURE, PICTURE]).transpose(0, 3, 1, 2).copy())
    mirrored = torch.tensor([[[-1.0, 0, HW[1] - 1], [0, 1, 0]], [[1.0, 0, 0], [0, 1, 0]]])
    dark = torch.tensor(np.array([np.eye(3, 4), 0.5 * np.eye(3, 4)])).float()
    warped = warp_images(image, mirrored, dark)
    torch.testing.assert_close(warped[0], image[0].flip(2).float(), atol=1e-3, rtol=0)
    torch.testing.assert_close(warped[1], image[1].float() / 2, atol=1e-3, rtol=0)


def test_a_batch_that_says_nothing_stays():
    batch = {"image": torch.zeros(1, 3, 4, 4)}
    assert warp_batch(batch) is batch
