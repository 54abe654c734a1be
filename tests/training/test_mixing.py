from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torchvision.ops import box_convert

from fisheries.schema import InputError
from fisheries.training.callbacks import StepSeed
from fisheries.training.losses import FishLoss
from fisheries.training.mixing import MIN_VISIBLE, Mixing, cutmix, mixup, patches_xyxy
from fisheries.training.module import FishModule
from tests.training.test_callbacks import trainer_at

SIDE = 16  # corners on the pixels' grid are exact in binary


def batch_of(images: int = 6, *, weight: list[float] | None = None, **changes):
    """Images of one color each (the number of the image), one-hot targets of as many classes, no boxes."""
    number = torch.arange(images, dtype=torch.uint8)
    return {
        "image": number[:, None, None, None].expand(-1, 3, SIDE, SIDE).clone(),
        "image_hw": torch.zeros(images, 2),
        "target": torch.eye(images),
        "weight": torch.ones(images) if weight is None else torch.tensor(weight),
        "box_cxcywh": torch.zeros(images, 4),
        "has_box": torch.zeros(images),
        "image_id": [f"img_{position}.jpg" for position in range(images)],
        **changes,
    }


def drawn(mixing: Mixing, batch, seed: int):
    torch.manual_seed(seed)
    return mixing(batch)


def test_switched_off_nothing_is_mixed_and_nothing_drawn():
    batch, before = batch_of(), torch.get_rng_state()
    assert Mixing()(batch) is batch
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1.0), Mixing(mixup=0.4, cutmix=1.0)])
def test_a_step_mixes_the_same_whenever_it_is_run(mixing: Mixing):
    def step(epoch: int, index: int) -> torch.Tensor:
        StepSeed(3).on_train_batch_start(trainer_at(epoch), None, None, index)
        return mixing(batch_of())["target"]

    first = step(1, 5)
    torch.rand(7)
    np.random.rand(7)  # noqa: NPY002
    assert torch.equal(step(1, 5), first)
    assert not torch.equal(step(1, 6), first)
    assert not torch.equal(step(2, 5), first)


def test_mixup_blends_pictures_and_targets_by_the_same_share():
    image = torch.stack([torch.full((3, 2, 2), 100), torch.full((3, 2, 2), 200)]).to(torch.uint8)
    mixed = mixup(batch_of(2, image=image), torch.tensor([0.75, 0.6]))
    assert mixed["image"].dtype == torch.uint8
    assert mixed["image"][:, 0, 0, 0].tolist() == [125, 160]
    torch.testing.assert_close(mixed["target"], torch.tensor([[0.75, 0.25], [0.4, 0.6]]))
    assert mixed["weight"].tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(8,), (4, 2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_stored_features_are_blended_in_place_of_pictures(shape: tuple[int, ...], dtype: torch.dtype):
    batch = batch_of(3, encoded=torch.randn(3, *shape).to(dtype))
    del batch["image"]
    mixed = mixup(batch, torch.tensor([0.5, 1.0, 0.25]))
    encoded = batch["encoded"].float()
    expected = torch.stack([0.5 * (encoded[0] + encoded[2]), encoded[1], 0.25 * encoded[2] + 0.75 * encoded[1]])
    assert "image" not in mixed
    assert mixed["encoded"].dtype == dtype
    torch.testing.assert_close(mixed["encoded"].float(), expected, atol=2e-3, rtol=1e-3)


def test_nothing_can_be_cut_out_of_stored_features():
    batch = batch_of(encoded=torch.zeros(6, 4))
    with pytest.raises(InputError, match=r"mix.cutmix=0.5: stored features .* give mix.cutmix=0, or mix.mixup instead"):
        Mixing(cutmix=0.5)(batch)


@given(st.integers(0, 2**31), st.floats(0.05, 3), st.sampled_from(["mixup", "cutmix"]))
@settings(deadline=None, max_examples=60)
def test_every_picture_keeps_at_least_half_of_itself_and_so_its_name_and_size(seed: int, alpha: float, kind: str):
    mixed = drawn(Mixing(**{kind: alpha}), batch_of(), seed)
    torch.testing.assert_close(mixed["target"].sum(dim=1), torch.ones(6))
    # a patch of half the picture can take a pixel's rim more
    assert (mixed["target"].diagonal() >= 0.5 - 1 / SIDE).all()
    assert mixed["image_id"] == batch_of()["image_id"]


def test_a_small_parameter_leaves_most_pictures_nearly_whole_and_a_large_one_makes_halves():
    def shares(alpha: float) -> torch.Tensor:
        return torch.cat([drawn(Mixing(mixup=alpha), batch_of(), seed)["target"].diagonal() for seed in range(60)])

    assert shares(0.1).median() > 0.95
    assert shares(20.0).median() < 0.62


@given(st.lists(st.floats(0, 2), min_size=4, max_size=4), st.lists(st.floats(0.5, 1), min_size=4, max_size=4))
@settings(deadline=None, max_examples=60)
def test_the_loss_is_what_both_images_would_add_by_share_and_weight(weight: list[float], share: list[float]):
    batch = batch_of(4, weight=weight)
    part, logits = torch.tensor(share), torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    mixed = mixup(batch, part)

    def losses(target: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits, target, reduction="none")

    own = part * batch["weight"] * losses(batch["target"])
    other = (1 - part) * batch["weight"].roll(1) * losses(batch["target"].roll(1, 0))
    torch.testing.assert_close(losses(mixed["target"]) * mixed["weight"], own + other, atol=1e-5, rtol=1e-4)


def test_an_image_without_weight_says_nothing_about_the_mixture():
    mixed = mixup(batch_of(2, weight=[1.0, 0.0]), torch.tensor([0.6, 0.7]))
    torch.testing.assert_close(mixed["target"], torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(mixed["weight"], torch.tensor([0.6, 0.3]))
    unweighted = mixup(batch_of(2, weight=[0.0, 0.0]), torch.tensor([0.6, 0.7]))
    assert torch.equal(unweighted["target"], torch.eye(2))


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_cutmix_states_the_shares_that_are_in_the_picture(seed: int):
    mixed = drawn(Mixing(cutmix=1.0), batch_of(), seed)
    for number, (image, target) in enumerate(zip(mixed["image"], mixed["target"], strict=True)):
        assert (image[0] == number).float().mean() == pytest.approx(float(target[number]), abs=1e-6)
        assert (image[0] == (number - 1) % 6).float().mean() == pytest.approx(float(target[number - 1]), abs=1e-6)


def test_a_patch_has_the_shape_of_the_picture_and_stops_at_its_edges():
    patches = patches_xyxy(torch.tensor([[0.5, 0.5], [0.0, 0.9]]), torch.tensor([0.25, 0.16]))
    torch.testing.assert_close(patches, torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.0, 0.7, 0.2, 1.0]]))


def corners() -> st.SearchStrategy[torch.Tensor]:
    """Corners on the pixels' grid, of a rectangle that is not empty."""
    side = st.tuples(st.integers(0, SIDE - 1), st.integers(1, SIDE)).filter(lambda ends: ends[0] < ends[1])
    return st.tuples(side, side).map(lambda xy: torch.tensor([xy[0][0], xy[1][0], xy[0][1], xy[1][1]]) / SIDE)


def painted(box_xyxy: torch.Tensor) -> torch.Tensor:
    """Where a box is, on the pixels' grid (SIDE, SIDE)."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    left, top, right, bottom = (box_xyxy * SIDE).round().long().tolist()
    mask[top:bottom, left:right] = True
    return mask


def bounds(mask: torch.Tensor) -> torch.Tensor:
    rows, columns = mask.nonzero().unbind(dim=1)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / SIDE


@given(st.lists(corners(), min_size=2, max_size=2), corners(), st.lists(st.booleans(), min_size=2, max_size=2))
@settings(deadline=None, max_examples=400)
def test_after_cutmix_the_box_is_around_what_is_seen_of_the_larger_fish(boxes, patch, has_box):
    """The first image's fish is painted 100, the second's 200; what is left of them is read from the pixels."""
    own, other = (painted(box) for box in boxes)
    image = torch.stack([own * 100, other * 200]).to(torch.uint8)[:, None].repeat(1, 3, 1, 1)
    box_cxcywh = box_convert(torch.stack(boxes), "xyxy", "cxcywh")
    batch = batch_of(2, image=image, box_cxcywh=box_cxcywh, has_box=torch.tensor(has_box).float())
    mixed = cutmix(batch, torch.stack([patch, patch]))
    picture = mixed["image"][0, 0]
    seen = []
    for mask, whole, there in zip([picture == 100, picture == 200], [own, other], has_box, strict=True):
        left = float(mask.sum() / whole.sum())
        assume(abs(left - MIN_VISIBLE) > 1e-3)
        seen.append(mask if there and left > MIN_VISIBLE else torch.zeros_like(mask))
    largest = max(seen, key=torch.sum)  # the first of two equal ones
    assert bool(mixed["has_box"][0]) == bool(largest.any())
    found = box_convert(mixed["box_cxcywh"], "cxcywh", "xyxy")[0]
    torch.testing.assert_close(found, bounds(largest) if largest.any() else torch.zeros(4), atol=1e-5, rtol=0)


def test_a_mixed_up_picture_keeps_its_own_box_and_mask():
    batch = batch_of(2, has_box=torch.tensor([1.0, 0.0]), box_cxcywh=torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.0] * 4]))
    mixed = mixup(batch, torch.tensor([0.5, 0.5]))
    assert torch.equal(mixed["box_cxcywh"], batch["box_cxcywh"])
    assert torch.equal(mixed["has_box"], batch["has_box"])


def test_with_both_switched_on_batches_take_turns_by_chance():
    pictures = [drawn(Mixing(mixup=20.0, cutmix=1.0), batch_of(), seed)["image"] for seed in range(40)]
    # a blend is one color all over; a picture with a patch is not
    blended = [bool((picture == picture[:, :, :1, :1]).all()) for picture in pictures]
    assert 8 < sum(blended) < 32


def test_only_training_batches_are_mixed_and_only_in_epochs_that_augment():
    seen = []

    class Net(torch.nn.Module):
        def forward(self, image: torch.Tensor, image_hw: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(image)
            return {"logits": image.float().mean(dim=(2, 3)).repeat(1, 2)}

    def step(name: str, **options) -> None:
        module = FishModule(
            Net(),
            FishLoss(),
            optimizer=torch.optim.Adam,
            schedule=None,
            provenance={},
            mix=Mixing(mixup=1.0),
            **options,
        )
        module.log = lambda *args, **kwargs: None
        getattr(module, name)(batch, 0)

    batch = batch_of(6)
    step("validation_step")
    step("training_step")
    step("training_step", unmixed_epochs={0})
    assert [torch.equal(image, batch["image"]) for image in seen] == [True, False, True]
