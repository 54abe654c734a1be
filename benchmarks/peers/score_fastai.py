"""fastai's Learner with fit_one_cycle on photographs in files, telling the held-out log loss of each epoch.

Asked by benchmarks/time_to_score.py.
"""

from __future__ import annotations

from fastai.vision.all import (
    Callback,
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    Hue,
    ImageBlock,
    Learner,
    Normalize,
    Resize,
    ResizeMethod,
    Saturation,
    aug_transforms,
)
from protocol import BRIGHTNESS, HUE, ROTATE_DEG, SATURATION, ZOOM
from started import network, settings_and_tell


class Tell(Callback):
    """Tell the held-out loss once the recorder has it."""

    order = 60

    def __init__(self, tell) -> None:
        self.tell = tell

    def after_epoch(self) -> None:
        """Tell it."""
        self.tell(self.recorder.values[-1][1])


def main() -> None:
    settings, tell = settings_and_tell()
    train, val = settings["train"], settings["val"]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=settings["classes"])),
        get_items=lambda _: [*train, *val],
        get_x=lambda item: item[0],
        get_y=lambda item: item[1],
        splitter=lambda items: (list(range(len(train))), list(range(len(train), len(items)))),
        item_tfms=Resize(tuple(settings["image_hw"]), method=ResizeMethod.Squish),
        batch_tfms=[*augmentations(), Normalize.from_stats(settings["mean"], settings["std"], cuda=False)],
    )
    data = block.dataloaders(None, bs=settings["batch_size"], num_workers=settings["workers"], device="cpu")
    learner = Learner(data, network(settings), loss_func=CrossEntropyLossFlat(), cbs=Tell(tell))
    learner.fit_one_cycle(settings["epochs"], settings["lr"], wd=settings["weight_decay"])


def augmentations() -> list:
    more = [Saturation(SATURATION, p=1), Hue(HUE, p=1)]
    return aug_transforms(
        flip_vert=True,
        max_rotate=ROTATE_DEG,
        min_zoom=1 - ZOOM,
        max_zoom=1 + ZOOM,
        max_lighting=BRIGHTNESS,
        max_warp=0,
        p_affine=1,
        p_lighting=1,
        xtra_tfms=more,
    )


if __name__ == "__main__":
    main()
