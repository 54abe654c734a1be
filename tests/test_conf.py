from __future__ import annotations

import inspect
import math
import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from fisheries import config as config_room
from fisheries import launch
from fisheries.compose import check_parts, run_phases
from fisheries.config import read_config, save_config
from fisheries.config_check import check_config
from fisheries.data import transforms
from fisheries.data.metadata import SizeStatistics
from fisheries.data.transforms import train_transform
from fisheries.models import heads
from fisheries.nets import create_net, image_hw_of
from fisheries.schema import InputError
from fisheries.training import mixing
from fisheries.training.devices import choose_devices

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = ["data", "experiment", "finetune", "logger", "model", "optimizer", "scale", "schedule", "split", "trainer"]
GROUPS += ["transform", "hparams_search"]
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
MODELS = sorted({file.stem for file in (CONF / "model").glob("*.yaml")} - {"imported"})  # sees no pictures
SIZES = SizeStatistics(mean_hw=(180.0, 320.0), std_hw=(2.0, 3.0), known_hw=((180, 320), (182, 323)))
QUIET = Console(quiet=True)


def composed(*overrides: str):
    OmegaConf.register_new_resolver("fisheries.run_dir", launch._run_dir, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def test_every_group_has_at_least_two_members():
    folders = {folder.name for folder in CONF.iterdir() if folder.is_dir()} - {"hydra", "local", "sweep"}
    assert folders == set(GROUPS)
    assert all(sum(group == of for of, _ in CHOICES) >= 2 for group in GROUPS)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_passes_the_check(group: str, choice: str):
    needed = {
        "fish_crops": ["data.root=x"],
        "timm": ["model.backbone=resnet10t"],
        "folder": ["data.root=x"],
        "ncfm": ["data.root=x"],
        "file": ["split.file=folds.csv"],
    }
    config = composed(f"{group}={choice}", *needed.get(choice, []))
    check_config(config)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("head", ["linear", "dense"])
def test_every_model_maps_a_picture_to_logits_and_a_box(model: str, head: str):
    config = composed(
        f"model={model}",
        "model.predict_box=true",
        "model.metadata=onehot",
        f"model.head={head}",
        "model.pretrained=false",
    )
    if model == "timm":
        config.model.backbone = "resnet10t"
    side = 96 if model in ("inception_v3", "inception_resnet_v2", "xception") else 64
    net = create_net(config.model, classes=8, sizes=SIZES, image_hw=(side, side), console=QUIET).eval()
    with torch.inference_mode():
        outputs = net(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8), torch.zeros(2, 2))
    assert outputs["logits"].shape == (2, 8)
    assert outputs["box_cxcywh"].shape == (2, 4)
    assert outputs["logits"].isfinite().all()


def test_a_network_that_takes_one_size_only_says_how_to_give_it_another():
    config = composed("model=timm", "model.backbone=vit_tiny_patch16_224", "model.pretrained=false")
    with pytest.raises(
        InputError,
        match=r"does not take pictures of data.image_hw=\[64,96\] .*={img_size:\[64,96\]}",
    ):
        create_net(config.model, classes=8, sizes=SIZES, image_hw=(64, 96), console=QUIET)
    config.model.options = {"img_size": [64, 96]}
    create_net(config.model, classes=8, sizes=SIZES, image_hw=(64, 96), console=QUIET)


def test_trainer_names_every_argument_of_lightning_but_those_that_are_ours():
    ours = {"self", "logger", "callbacks", "default_root_dir", "use_distributed_sampler", "enable_checkpointing"}
    # each would undo what a run promises: its checkpoints, its order of images, its folder
    ours |= {"barebones", "reload_dataloaders_every_n_epochs", "model_registry", "enable_autolog_hparams"}
    # there is no test loop, and prediction is ours
    ours |= {"limit_test_batches", "limit_predict_batches"}
    known = set(inspect.signature(pl.Trainer.__init__).parameters)
    assert set(composed().trainer) == (known - ours) | {"gpus", "on_oom", "channels_last", "compile"}


def test_transform_names_every_argument_of_the_training_transform():
    known = set(inspect.signature(train_transform).parameters) - {"image_hw"}
    assert set(composed().transform) == known | {"schedule"}


def test_box_loss_has_the_scale_of_lesson_7():
    loss = composed().loss
    assert (loss.box_weight, loss.box_unit_px) == (0.001, 224)


def test_everything_that_is_out_of_range_is_listed_at_once():
    config = composed(
        "optimizer.lr=-1", "data.batch_size=0", "model.head=dens", "fold=-9", "data.image_hw=[3,4]", "split.folds=2.5"
    )
    with pytest.raises(InputError) as caught:
        check_config(config)
    for part in (
        "optimizer.lr=-1",
        "data.batch_size=0",
        "did you mean 'dense'",
        "fold=-9",
        "data.image_hw=[3, 4]",
        "split.folds=2.5",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.predict_box=no", "model.predict_box='no': expected true or false"),
        ("data.balanced=off", "data.balanced='off': expected true or false"),
        ("data.classes=ALB", "data.classes='ALB': expected a list, such as [ALB]"),
        ("split.holdout=all", "split.holdout='all': expected a number of boats, or a list of their names"),
        ("split.seen_share=0.9", "split.seen_share=0.9: expected a number from 0 to 0.5"),
        ("split.file=folds.csv", "split.file='folds.csv' with split=boat: give split=file split.file=FILE.csv"),
        ("fold=4 split.folds=4", "fold=4: expected 0 to 3, or all"),
        ("split=random split.seen_share=0.1", "split=random holds out seen boats in any case; leave it 0"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: expected at least 1, or -1"),
        ("find_lr=yes", "find_lr='yes': expected true or false"),
        ("find_batch_size=yes", "find_batch_size='yes': expected true or false"),
        ("find_lr=true find_batch_size=true", "find_lr=true with find_batch_size: give one of them"),
        ("find_lr=true trainer.fast_dev_run=true", "find_lr=true with trainer.fast_dev_run: give one of them"),
        ("ema=1", "ema=1: expected a number from 0 to 0.99999"),
        ("finetune.lr_decay=2", "finetune.lr_decay=2: expected a number from 0.001 to 1"),
        ("finetune.batch_norm=off", "finetune.batch_norm='off': expected train, frozen"),
        ("finetune.phases=all", "finetune.phases='all': expected a list such as [{share:1,open:all,lr:1}]"),
        ("finetune.phases=[]", "finetune.phases=[]: expected a list"),
        (
            "finetune.phases=[{share:1,open:0,lr:1}]",
            "{'share': 1, 'open': 0, 'lr': 1} is none; expected {share:S,open:N",
        ),
        ("finetune.phases=[{share:1,open:1,lr:1,augment:0}]", "and maybe augment:false"),
        (
            "finetune.phases=[{share:1,open:1,lr:1,augment:false}]",
            "its only phase has augment=false; give transform=none",
        ),
        ("finetune.phases=[{share:1,open:1}]", "{'share': 1, 'open': 1} is none; expected {share:S,open:N,lr:F}"),
        ("finetune=phased model.backbone_frozen=true", "with phases that would open the backbone: give finetune=none"),
        ("finetune=phased trainer.max_steps=9", "trainer.max_steps=9: phases are counted in epochs; leave it -1"),
        ("transform.night=1.5", "transform.night=1.5: expected a number from 0 to 1"),
        (
            "transform.schedule=0.5",
            "transform.schedule=0.5: expected rising shares of data.image_hw up to 1, such as [0.5,",
        ),
        ("transform.schedule=[0.75,0.5,1]", "transform.schedule=[0.75, 0.5, 1]: expected rising shares"),
        ("transform.schedule=[0.5,0.75]", "transform.schedule=[0.5, 0.75]: expected rising shares"),
        (
            "transform.schedule=[0.9,1] data.image_hw=[64,96]",
            "transform.schedule=[0.9, 1] comes to 64x96, 64x96 pixels: sides are multiples of 32; give other shares",
        ),
        (
            "transform.schedule=[0.5,1] model.backbone_frozen=true transform=none",
            "transform.schedule=[0.5, 1]: features are stored of pictures of one size; give transform.schedule=null",
        ),
        (
            "transform.schedule=[0.5,1] trainer.max_epochs=1",
            "transform.schedule=[0.5, 1] divides the epochs into 2 parts: give as many trainer.max_epochs",
        ),
        ("transform.schedule=[0.5,1] trainer.max_steps=9", "give as many trainer.max_epochs, and no max_steps"),
        ("data.augment=gpu", "data.augment='gpu': expected workers, device"),
        (
            "data.augment=device transform=heavy",
            "data.augment=device: only workers make transform.blur; give transform=light",
        ),
        ("trainer.channels_last=maybe", "trainer.channels_last='maybe': expected true, false or null"),
        ("trainer.compile=1", "trainer.compile=1: expected true or false"),
        ("mix.mixup=-1", "mix.mixup=-1: expected a number from 0 to 100"),
        ("mix.cutmix=yes", "mix.cutmix='yes': expected a number from 0 to 100"),
        ("tta=flip", "tta='flip': did you mean 'flips'?"),
        ("fold_mean=harmonic", "fold_mean='harmonic': expected arithmetic, geometric"),
        (
            "model=imported tta=d4",
            "tta=d4: features made elsewhere have no picture to look at in several ways; give tta=none",
        ),
        ("pseudo=true", "pseudo=True: expected a file that `fisheries pseudo` wrote, or null"),
        ("mix.pseudo=1", "mix.pseudo=1: expected a number from 0.001 to 0.999"),
        (
            "pseudo=p.csv mix.pseudo=0.03",
            "mix.pseudo=0.03 of data.batch_size=16: expected at least one image of either kind in a batch",
        ),
        (
            "model.backbone_frozen=true transform=none mix.cutmix=1",
            "mix.cutmix=1: stored features have no pixels to cut; give mix.cutmix=0, or mix.mixup instead",
        ),
    ],
)
def test_a_word_that_only_looks_like_a_value_is_refused(override: str, message: str):
    with pytest.raises(InputError, match=re.escape(message)):
        check_config(composed(*override.split(" ")))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("finetune=phased trainer=short", "leaves phase 1 of 3 no epoch: give more than trainer.max_epochs=1"),
        ("finetune=phased trainer.max_epochs=-1", "3 phases need an end: give trainer.max_epochs"),
        (
            "find_lr=true trainer.accelerator=cpu trainer.devices=2",
            "find_lr=true searches in one process: give trainer.gpus=1, or trainer.devices=1",
        ),
        (
            "find_batch_size=true trainer.accelerator=cpu trainer.devices=2",
            "find_batch_size=true searches in one process: give trainer.gpus=1, or trainer.devices=1",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_before_the_photographs_are_read(
    override: str, message: str, tmp_path: Path
):
    with pytest.raises(InputError, match=re.escape(message)):
        check_parts(composed(*override.split(" ")), tmp_path)


def test_a_frozen_backbone_is_a_phase_that_opens_the_head_and_a_search_has_the_first_phase_only():
    assert [phase.open for phase in run_phases(composed("model.backbone_frozen=true"))] == [1]
    assert [phase.open for phase in run_phases(composed("finetune=phased"))] == [1, 3, math.inf]
    (only,) = run_phases(composed("finetune=phased", "find_lr=true"))
    assert (only.open, only.lr) == (1, 3.0)


def test_what_two_rooms_must_know_is_the_same_in_both():
    assert (config_room.MAP_HEADS, config_room.CLASS_MAP_HEADS) == (heads.MAP_HEADS, heads.CLASS_MAP_HEADS)
    assert mixing.MIN_VISIBLE == transforms.MIN_VISIBLE


@pytest.mark.parametrize("experiment", [choice for group, choice in CHOICES if group == "experiment"])
def test_the_network_of_every_experiment_takes_its_pictures(experiment: str):
    needed = ["data.root=x"] if experiment == "fish_crops" else []
    config = composed(f"experiment={experiment}", "model.pretrained=false", *needed)
    hw = image_hw_of(config)
    net = create_net(config.model, classes=8, sizes=SIZES, image_hw=hw, console=QUIET)
    assert sum(parameter.numel() for parameter in net.parameters()) > 1000


def test_a_run_from_before_a_value_was_there_went_without_it(tmp_path: Path):
    values = OmegaConf.to_container(composed("mix.mixup=0.2"), resolve=True)
    known = {key: value for key, value in values.items() if key not in ("tta", "fold_mean", "pseudo")}
    save_config(OmegaConf.create(known), tmp_path)
    stored = read_config(tmp_path)
    assert (stored.tta, stored.fold_mean, stored.pseudo, stored.mix.mixup) == ("none", "arithmetic", None, 0.2)


def test_without_a_choice_it_is_the_cpu():
    assert choose_devices(None, accelerator=None, devices=None) == {"accelerator": "cpu", "devices": 1}


def test_accelerator_and_devices_work_as_in_lightning():
    assert choose_devices(None, accelerator="cpu", devices=2) == {"accelerator": "cpu", "devices": 2}


def test_zero_gpus_is_the_cpu_and_auto_is_what_is_there(monkeypatch: pytest.MonkeyPatch):
    assert choose_devices(0, accelerator=None, devices=None)["accelerator"] == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert choose_devices("auto", accelerator=None, devices=None) == {"accelerator": "gpu", "devices": 3}
    assert choose_devices([0, 2], accelerator=None, devices=None) == {"accelerator": "gpu", "devices": [0, 2]}


@pytest.mark.parametrize(
    ("gpus", "accelerator", "message"),
    [
        (1, None, "trainer.gpus=1: this machine has no GPUs; trainer.gpus=0 trains on the CPU"),
        ([0], None, "this machine has no GPUs"),
        (0, "cpu", "trainer.gpus=0 together with trainer.accelerator"),
        ("two", None, "trainer.gpus='two': expected a count"),
        (-1, None, "trainer.gpus=-1: expected a count"),
        (["a"], None, "trainer.gpus=['a']: expected a count"),
    ],
)
def test_impossible_gpus_are_one_line(gpus, accelerator, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError) as caught:
        choose_devices(gpus, accelerator=accelerator, devices=None)
    assert message in str(caught.value)
