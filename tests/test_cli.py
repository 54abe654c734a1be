from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from hydra.core.global_hydra import GlobalHydra
from typer.testing import CliRunner

from fisheries import cli, launch
from fisheries.cli import app
from fisheries.errors import user_error
from fisheries.schema import InputError
from tests.conftest import ROOT
from tests.processes import FISHERIES, TRAIN, call


def failed_with_one_line(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    lines = answer.stderr.strip().splitlines()
    assert len(lines) == 1, answer.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=resnet5"], "fisheries: no model=resnet5 (did you mean model=resnet50?); there are convnext_tiny, "),
        (["modell=resnet50"], "fisheries: there is no 'modell' in the configuration (did you mean 'model'?)"),
        (["optimizer.learning_rate=1"], "fisheries: there is no 'optimizer.learning_rate' in the configuration"),
        (["optimizer.l_r=1"], "did you mean 'optimizer.lr'?"),
        (["trainer.max_epoch=1"], "did you mean 'trainer.max_epochs'?"),
        (["data=ncfm"], "fisheries: data.root is missing: give data.root=DIR"),
        (["data=ncfm", "data.root=nowhere"], "fisheries: nowhere: no such folder"),
        (["-m", "resume=nowhere"], "resume takes one run: give it without -m"),
        (["-m", "trainer.accelerator=cpu", "trainer.devices=2"], "a multirun trains on one GPU at a time"),
        (["model.options={depth:[1]}"], "there is no 'model.options' in the configuration"),
        (["model.options={widths:[4],depths:[1,1]}"], "model.options does not fit 'small_residual'"),
        (["data.solution=nowhere.csv"], "nowhere.csv"),
        (["optimizer.lr=fast"], "fisheries: optimizer.lr='fast': expected a number"),
        (["trainer.gpus=64"], "fisheries: trainer.gpus=64: this machine has"),
        (["split=file", "split.file=nowhere.csv"], "split.file=nowhere.csv: no such file"),
        (["data=synthetic", "data.root=photos"], "data.root=photos: data=synthetic draws its own; use data=ncfm"),
        (["resume=nowhere"], "fisheries: nowhere: no config.yaml in it; expected the folder of a run"),
        (["optimizer.name=adamv"], "fisheries: optimizer.name='adamv': did you mean"),
        (["model=timm", "model.backbone=resnett50", "model.pretrained=false"], "no network 'resnett50' in timm"),
        (["model=mobilenetv2_035"], "no pretrained weights for 'mobilenetv2_035'"),
        (["model=resnet18", "model.weights=nowhere.pth"], "model.weights=nowhere.pth: no such file"),
        (["split.folds=99"], "split.folds=99: expected 2 to 8, the number of boats"),
        (["trainer.precision=17"], "fisheries: trainer: "),
        (["lr==3"], "fisheries: "),
    ],
)
def test_a_wrong_word_on_the_command_line_is_one_line(
    overrides: list[str], message: str, tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
):
    data = [] if any(o.startswith("data") for o in overrides) else ["data=folder", f"data.root={world}"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *overrides, *data])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("FISHERIES_RUN_ID", "run")
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as caught:
        launch.train()
    line = str(caught.value.code)  # what Python prints, and exits with 1
    assert line.startswith("fisheries: ")
    assert message in line
    assert "\n" not in line


def test_a_file_of_folds_that_divides_a_boat_stops_the_run_by_name(
    tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
):
    boats = pd.read_csv(world / "boats.csv", index_col="image_id")["boat"]
    train = boats[boats.index.isin([path.name for path in (world / "train").rglob("*.jpg")])]
    fold = (train > "boat_03").astype(int)
    fold.iloc[0] = 1 - fold.iloc[0]
    fold.to_frame("fold").to_csv(tmp_path / "mine.csv")
    monkeypatch.chdir(tmp_path)
    overrides = ["split=file", "split.file=mine.csv", "data=folder", f"data.root={world}"]
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *overrides])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("FISHERIES_RUN_ID", "run")
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as caught:
        launch.train()
    assert re.search(
        r"mine.csv: '\S+' in fold \d and '\S+' in fold \d share (boat 'boat_\d+'|a burst)", str(caught.value)
    )
    assert not (tmp_path / "runs" / "run").exists()


def test_a_wrong_word_exits_with_1_and_prints_nothing_else(tmp_path: Path):
    for overrides in (["model=resnet5"], ["optimizer.lr=fast"]):
        failed_with_one_line(call(TRAIN, *overrides, cwd=tmp_path, check=False, fresh=True))


def test_what_a_worker_process_says_is_one_line_too():
    told = (
        "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File ...\n"
    )
    assert user_error(InputError(f"{told}fisheries.schema.InputError: x.jpg: truncated\n")) == "x.jpg: truncated"


def test_a_mistake_of_ours_keeps_its_traceback():
    assert user_error(ZeroDivisionError("division by zero")) is None


def test_a_run_does_not_begin_in_the_folder_of_another(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    line = failed_with_one_line(call(TRAIN, "hydra.run.dir=run", cwd=tmp_path, check=False))
    assert "run: is a run already: go on with resume=" in line
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 1\n"


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path):
    call(TRAIN, "optimizer.lr=-1", cwd=tmp_path, check=False)
    assert not list((tmp_path / "runs").iterdir())


def test_hydra_full_error_shows_the_traceback(tmp_path: Path):
    answer = call(TRAIN, "optimizer.lr=-1", cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"}, check=False)
    assert "Traceback" in answer.stderr


def test_help_of_train_lists_the_groups_and_examples(tmp_path: Path):
    for command in ([TRAIN], [FISHERIES, "train"]):
        answer = call(*command, "--help", cwd=tmp_path, fresh=True)
        assert "model: convnext_tiny, efficientnet_b0" in answer.stdout
        assert "python train.py data=ncfm data.root=DIR model=resnet50 trainer.gpus=1" in answer.stdout


def commands(group: Any, *before: str) -> list[tuple[str, ...]]:
    names = [(*before, name) for name, command in group.commands.items() if not hasattr(command, "commands")]
    deeper = [
        commands(command, *before, name) for name, command in group.commands.items() if hasattr(command, "commands")
    ]
    return sum(deeper, names)


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]):
    assert len(COMMANDS) >= 15
    if words != ("train",):  # which hands everything on to Hydra
        answer = CliRunner().invoke(app, [*words, "--help"], terminal_width=200)
        assert answer.exit_code == 0
        assert f"fisheries {' '.join(words)} " in answer.output.split("Example")[1]


def test_help_does_not_load_torch(tmp_path: Path):
    code = "import sys; from fisheries import launch; sys.argv = ['train.py', '--help']\n"
    code += "try: launch.train()\nfinally: print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert answer.stdout.strip().endswith("False")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrat"], "fisheries: No such command 'calibrat'. Did you mean 'calibrate'? (see fisheries --help)"),
        (["calibrate"], "fisheries: Missing argument 'OOF' (see fisheries calibrate --help)"),
        (["calibrate", "oof.csv", "--expct", "x"], "fisheries: No such option: --expct (Possible options: --expect"),
        (["split", "manifest.csv", "--seed", "many"], "fisheries: Invalid value for '--seed'"),
    ],
)
def test_a_wrong_word_of_a_command_is_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["fisheries", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.out == ""
    assert said.err.startswith(message)
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["features"]])
def test_without_a_command_there_is_help_once(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["fisheries", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert (said.out + said.err).count("Usage: ") == 1


def test_completion_offers_choices_and_options_and_does_not_load_torch(tmp_path: Path):
    code = "import sys; from fisheries import launch; sys.argv = ['train.py', '-sc', 'query=bash']\n"
    code += "try: launch.train()\nfinally: print('torch' in sys.modules)"
    env = {
        **os.environ,
        "COMP_LINE": "python train.py model=resn",
        "COMP_WORDS": "fisheries calibrate --exp",
        "COMP_CWORD": "2",
    }
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert answer.stdout.split() == ["model=resnet18", "model=resnet34", "model=resnet50", "False"]
    code = "import sys; from fisheries import cli; sys.argv = ['fisheries']\n"
    code += "try: cli.app(prog_name='fisheries')\nfinally: print('torch' in sys.modules)"
    env["_FISHERIES_COMPLETE"] = "complete_bash"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert answer.stdout.split() == ["--expect", "False"]


def test_train_can_be_called_as_a_command_and_composes_the_same(tmp_path: Path):
    here = call(TRAIN, "--cfg", "job", "model=resnet18", cwd=tmp_path)
    there = call(FISHERIES, "train", "--cfg", "job", "model=resnet18", cwd=tmp_path)
    assert "backbone: resnet18" in here.stdout
    assert here.stdout == there.stdout


def test_synth_and_manifest_write_what_they_say(tmp_path: Path):
    small = ["--train", "40", "--stage1", "8", "--stage2", "8", "--boats", "5", "--new-boats", "2"]
    drawn = call(FISHERIES, "synth", "boats", *small, cwd=tmp_path)
    assert "boats: 40 training images of 5 boats, 8 + 8 test images" in drawn.stdout
    listed = call(FISHERIES, "manifest", "boats", "--out", "tables", cwd=tmp_path)
    assert (tmp_path / "tables" / "manifest.csv").is_file()
    assert (tmp_path / "tables" / "boxes.csv").is_file()
    assert "clipped" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synth", "boats", "--leak", "2"], "leak"),
        (["manifest", "nowhere"], "nowhere"),
        (["predict", "nowhere", "photo.jpg"], "nowhere: no config.yaml in it"),
        (["submit", "nowhere.csv"], "nowhere.csv: no such file"),
        (["score", "nowhere.csv", "none.csv"], "nowhere.csv"),
    ],
)
def test_a_wrong_argument_of_a_command_is_one_line(arguments: list[str], message: str, tmp_path: Path):
    line = failed_with_one_line(call(FISHERIES, *arguments, cwd=tmp_path, check=False))
    assert line.startswith("fisheries: ")
    assert message in line


def test_a_local_configuration_makes_the_data_permanent(tmp_path: Path):
    conf = tmp_path / "conf"
    (conf / "local").mkdir(parents=True)
    (conf / "local" / "default.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: ncfm\n\ndata:\n  root: /data/ncfm\n"
    )
    answer = call(TRAIN, "--config-dir", conf, "--cfg", "job", cwd=tmp_path)
    assert "root: /data/ncfm" in answer.stdout
    assert "- ALB" in answer.stdout


def test_a_run_of_another_version_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "fold-0").mkdir()
    (tmp_path / "fold-0" / "oof.csv").touch()
    (tmp_path / "fold-0" / "sizes.json").write_text('{"mean_hw": [1, 1], "std_hw": [1, 1], "known_hw": [[1, 1]]}')
    (tmp_path / "config.yaml").write_text(
        "model: {backbone: resnet18}\ndata: {classes: [ALB, BET], image_hw: [32, 48]}\n"
    )
    answer = call(FISHERIES, "predict", tmp_path, tmp_path, cwd=tmp_path, check=False)
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "the run is of another version of fisheries; train it anew" in answer.stderr
