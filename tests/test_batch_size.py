"""The search for a batch size, on steps whose time and memory are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fisheries.batch_size import repeated, try_sizes
from fisheries.doctor.step import StepTimes
from fisheries.schema import InputError
from fisheries.training.fitting import OutOfMemoryError, memory_told
from tests.conftest import run_dir


def steps(*, fits: int = 1 << 20, fastest: int = 1 << 20) -> Callable[[int], StepTimes]:
    """Steps that get no faster beyond a batch, and that take all memory beyond another."""

    def measure(size: int) -> StepTimes:
        with memory_told(size, accumulated=1):
            if size > fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return StepTimes(1 / min(size, fastest), 0.0, size * 1000)

    return measure


def test_batches_double_until_memory_is_short():
    tried = try_sizes(steps(fits=40, fastest=8), most=1000, to_the_limit=True)
    assert [each.batch_size for each in tried] == [2, 4, 8, 16, 32]
    assert [each.images_per_s for each in tried] == [2, 4, 8, 8, 8]
    assert tried[-1].peak_bytes == 32000


def test_batches_double_until_they_get_no_faster():
    tried = try_sizes(steps(fastest=8), most=1000, to_the_limit=False)
    assert [each.batch_size for each in tried] == [2, 4, 8, 16, 32]
    assert [each.batch_size for each in try_sizes(steps(fits=4), most=1000, to_the_limit=False)] == [2, 4]


def test_no_batch_is_larger_than_the_training_part():
    assert [each.batch_size for each in try_sizes(steps(), most=9, to_the_limit=True)] == [2, 4, 8]


@pytest.mark.parametrize(("most", "lacking"), [(9, "memory: give smaller pictures"), (1, "images")])
def test_it_is_said_if_not_even_two_images_fit(most: int, lacking: str):
    with pytest.raises(
        InputError, match=f"no batch of 2 of the {most} images to train on could be .* for want of {lacking}"
    ):
        try_sizes(steps(fits=1), most=most, to_the_limit=True)


@pytest.mark.parametrize(
    "text", ["expected scalar type Float", "could not create a primitive descriptor for the convolution forward"]
)
def test_what_is_no_lack_of_memory_is_raised(text: str):
    def measure(size: int) -> StepTimes:
        with memory_told(size, accumulated=1):
            raise RuntimeError(text)

    with pytest.raises(RuntimeError, match=text):
        try_sizes(measure, most=9, to_the_limit=True)


@pytest.mark.parametrize(
    "text",
    ["[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory", "could not create a primitive\n"],
)
def test_lack_of_the_computers_memory_says_which_batch_to_try(text: str):
    with (
        pytest.raises(OutOfMemoryError, match=r"data\.batch_size=8: try data\.batch_size=4"),
        memory_told(8, accumulated=1),
    ):
        raise RuntimeError(text)


def test_a_batch_is_repeated_image_by_image():
    batch = {"image": torch.arange(3)[:, None], "target": torch.eye(3), "image_id": ["a", "b", "c"]}
    large = repeated(batch, 7)
    assert large["image_id"] == list("abcabca")
    assert large["image"].flatten().tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert torch.equal(large["target"][4], batch["target"][1])


def test_a_search_for_the_batch_size_tries_real_steps_and_trains_nothing(train_py, tmp_path: Path):
    answer = train_py(
        "find_batch_size=true",
        "fold=all",
        "ema=0.9",
        "transform.schedule=[0.5,1]",
        "data.image_hw=[32,64]",
        "trainer.max_epochs=2",
    )
    run = run_dir(tmp_path)
    (suggested,) = re.findall(r"the fastest is data.batch_size=(\d+) \(now \d+\)", answer.stdout)
    rates = {int(size): float(rate) for size, rate in re.findall(r"│ +(\d+) +│ +(\d+) +│", answer.stdout)}
    assert list(rates)[:2] == [2, 4]
    assert rates[int(suggested)] == max(rates.values())
    assert {path.name for path in run.rglob("*")} == {"config.yaml", "manifest.csv", "boxes.csv", "folds.csv"}
    assert not (tmp_path / "submissions").exists()
