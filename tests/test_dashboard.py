from __future__ import annotations

import hashlib
import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import wandb
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console
from wandb.proto import wandb_internal_pb2

from fisheries.config import plain
from fisheries.dashboard import workspace
from fisheries.dashboard.pictures import box_data, choose_rows
from fisheries.dashboard.scores import best_epoch, image_rows, send_figures
from fisheries.dashboard.send import artifact_name, send_files
from fisheries.errors import conf_dir
from fisheries.launch import _run_dir
from fisheries.run import run
from fisheries.schema import InputError, read_predictions
from fisheries.tracking import AUTO_IMAGES, picture_count

PICTURES = 8
SWEEPS_RUN = "asked4by"


def records(path: Path) -> Iterator[Any]:
    """Read a file of wandb, a log as LevelDB writes it: blocks of 32 KiB with records in pieces."""
    data, position, record = path.read_bytes(), 7, b""
    while position < len(data):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or its last piece
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def read_back(path: Path) -> SimpleNamespace:
    """Return what a run of wandb holds: its names, config, summary, history and artifacts."""
    found = SimpleNamespace(history=defaultdict(list), summary={}, config={}, artifacts={}, exit_code=None)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        body = getattr(record, kind)
        if kind == "run":
            found.id, found.group, found.name, found.job_type = (
                body.run_id,
                body.run_group,
                body.display_name,
                body.job_type,
            )
            found.config |= {item.key: json.loads(item.value_json) for item in body.config.update}
        elif kind == "config":
            found.config |= {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in body.update}
        elif kind in ("summary", "history"):
            for item in body.update if kind == "summary" else body.item:
                key, value = "/".join(item.nested_key) or item.key, json.loads(item.value_json)
                if kind == "summary":
                    found.summary[key] = value
                else:
                    found.history[key].append(value)
        elif kind == "artifact":
            found.artifacts[body.name] = SimpleNamespace(
                type=body.type,
                aliases=set(body.aliases),
                metadata=json.loads(body.metadata or "{}"),
                files={entry.path: Path(entry.local_path) for entry in body.manifest.contents},
            )
        elif kind == "exit":
            found.exit_code = body.exit_code
    return found


def table_of(part: SimpleNamespace, name: str) -> dict[str, Any]:
    (artifact,) = [one for key, one in part.artifacts.items() if key == f"run-{part.id}-{name}"]
    return json.loads(artifact.files[f"{name}.table.json"].read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, world: Path) -> tuple[Path, dict[str, SimpleNamespace], str]:
    """An offline run of two folds, asked for by an agent of a sweep: its folder, its parts in wandb, what it printed."""
    folder = tmp_path_factory.mktemp("dashboard")
    run_dir = folder / "runs" / "an experiment"
    run_dir.mkdir(parents=True)
    OmegaConf.register_new_resolver("fisheries.run_dir", _run_dir, replace=True)
    overrides = [
        "data=folder",
        f"data.root={world}",
        "data.image_hw=[32,48]",
        "data.workers=0",
        "split.folds=2",
        "fold=all",
    ]
    overrides += ["trainer.max_epochs=3", "model.options={widths:[4,8],depths:[1,1]}", "model.predict_box=true"]
    overrides += [
        "logger=[csv,tensorboard,wandb]",
        "logger.offline=true",
        f"logger.images={PICTURES}",
        "optimizer.lr=0.01",
        "data.batch_size=4",
    ]
    overrides += ["model.pretrained=false"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", overrides=overrides)
    console = Console(record=True, width=300, file=StringIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "")
        patch.setenv("WANDB_RUN_ID", SWEEPS_RUN)
        patch.setenv("HOME", str(folder / "home"))
        run(config, run_dir, name="an experiment", console=console)
        wandb.teardown()
    found = [read_back(path) for path in run_dir.glob("wandb/offline-run-*/*.wandb")]
    return run_dir, {part.name.removeprefix("an experiment-"): part for part in found}, console.export_text()


def test_the_folds_and_their_common_scores_are_runs_of_one_group(finished):
    run_dir, parts, printed = finished
    assert set(parts) == {"fold-0", "fold-1", "score"}
    assert {part.group for part in parts.values()} == {"an experiment"}
    assert {name: part.job_type for name, part in parts.items()} == {
        "fold-0": "train",
        "fold-1": "train",
        "score": "score",
    }
    assert {part.exit_code for part in parts.values()} == {0}
    assert printed.count(f"send the runs later with: wandb sync {run_dir}/wandb/offline-run-*") == 1
    assert "the run goes on" not in printed  # nothing failed


def test_of_several_folds_a_sweep_looks_at_their_common_scores(finished):
    _, parts, _ = finished
    assert parts["score"].id == SWEEPS_RUN
    assert len({part.id for part in parts.values()}) == 3


def test_everything_of_wandb_lies_in_the_runs_folder(finished):
    run_dir, parts, _ = finished
    beside = {path.name for path in run_dir.parents[1].iterdir()}
    assert beside <= {"runs", "submissions", "tables"}
    staged = {path for part in parts.values() for one in part.artifacts.values() for path in one.files.values()}
    assert all(path.is_absolute() and path.is_file() for path in staged)
    assert {path for path in staged if not path.is_relative_to(run_dir)} == {
        run_dir.parents[1] / "submissions" / f"an experiment.{suffix}" for suffix in ("csv", "json")
    }


def test_each_part_knows_its_configuration_and_what_it_was_made_of(finished):
    run_dir, parts, _ = finished
    record = json.loads((run_dir / "run.json").read_text())
    config = plain(OmegaConf.load(run_dir / "config.yaml"))
    for number, name in enumerate(("fold-0", "fold-1")):
        made_of = {key: record[key] for key in ("folds", "manifest", "git_commit")}
        assert parts[name].config["run"] == {"name": "an experiment", "part": name, "fold": number, **made_of}
        known = {
            key: value for key, value in parts[name].config.items() if not key.startswith("_wandb") and key != "run"
        }
        assert known == config
    assert parts["score"].config["run"]["fold"] is None


def test_scores_on_seen_and_unseen_boats_are_numbers_to_sort_by(finished):
    run_dir, parts, _ = finished
    scores = pd.read_csv(run_dir / "scores.csv").set_index(["part", "by", "name"])
    summary = parts["score"].summary
    for part in ("unseen", "seen"):
        for name in ("log_loss", "prior_log_loss", "accuracy", "ece", "box_iou"):
            assert summary[f"{part}/{name}"] == pytest.approx(scores.loc[(part, "all", "all"), name])
    assert summary["unseen/ALB/log_loss"] == pytest.approx(scores.loc[("unseen", "class", "ALB"), "log_loss"])
    record = json.loads((run_dir / "run.json").read_text())
    assert summary["test/stg2/log_loss"] == pytest.approx(record["test"]["stg2"]["log_loss"])
    assert summary["forecast/log_loss"] == pytest.approx(record["forecast"]["log_loss"])
    sent = table_of(parts["score"], "scores")
    boats = {tuple(row[:3]) for row in sent["data"] if row[1] == "boat"}
    assert boats == {key for key in scores.index if key[1] == "boat"}


def test_a_fold_is_judged_by_its_best_epoch_and_not_by_its_last(finished):
    run_dir, parts, _ = finished
    for name in ("fold-0", "fold-1"):
        losses = pd.read_csv(run_dir / name / "epochs.csv")["val/log_loss"]
        summary = parts[name].summary
        assert summary["best/log_loss"] == pytest.approx(losses.min())
        assert summary["best/epoch"] == losses.idxmin()
        assert summary["unseen/log_loss"] == pytest.approx(losses.min(), rel=1e-4)
        assert parts[name].history["val/log_loss"] == pytest.approx(losses.tolist())


def test_steps_tell_learning_rate_throughput_and_a_smooth_loss(finished):
    run_dir, parts, _ = finished
    history = parts["fold-0"].history
    assert max(history["train/lr"]) == pytest.approx(0.01, rel=0.5)
    assert min(history["train/images_per_s"]) > 1
    assert len(history["train/loss_smooth"]) == len(history["train/lr"]) >= 3
    metrics = pd.read_csv(next((run_dir / "fold-0").glob("logs/*/metrics.csv")))
    assert metrics["train/loss_smooth"].dropna().tolist() == pytest.approx(history["train/loss_smooth"])
    assert list((run_dir / "fold-0" / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.parametrize("name", ["fold-0", "score"])
def test_confusion_matrix_precision_recall_and_reliability_are_there(finished, name: str):
    run_dir, parts, _ = finished
    part = parts[name]
    (files,) = {path.parent / "files" for path in run_dir.glob(f"wandb/offline-run-*-{part.id}/*.wandb")}
    for kind in ("unseen", "seen"):
        for figure, spec in (
            ("confusion", "wandb/confusion_matrix/v1"),
            ("precision_recall", "wandb/area-under-curve/v0"),
        ):
            chart = part.config[f"_wandb/visualize/{kind}/{figure}"]
            assert chart["panel_config"]["panelDefId"] == spec
            assert (files / part.summary[f"{kind}/{figure}_table/path"]).is_file()
        picture = Image.open(files / part.summary[f"{kind}/reliability/path"])
        assert picture.format == "PNG"
    counts = json.loads((files / part.summary["unseen/confusion_table/path"]).read_text())["data"]
    tables = [run_dir / "oof.csv"] if name == "score" else [run_dir / name / "oof.csv"]
    assert sum(row[2] for row in counts) == sum(len(read_predictions(table)) for table in tables)


def test_held_out_photographs_come_with_boxes_heat_probabilities_and_loss(finished):
    run_dir, parts, _ = finished
    part, oof = parts["fold-0"], read_predictions(run_dir / "fold-0" / "oof.csv")
    sent = table_of(part, "held_out")
    classes = list(oof)
    table = pd.DataFrame(sent["data"], columns=sent["columns"]).set_index("image_id")
    assert list(table) == [
        "photo",
        "heat",
        "boat",
        "true",
        "predicted",
        "log_loss",
        *(f"p({name})" for name in classes),
    ]
    assert len(table) == PICTURES
    assert set(table.index) < set(oof.index)
    assert table["log_loss"].is_monotonic_decreasing
    np.testing.assert_allclose(table[[f"p({name})" for name in classes]], oof.loc[table.index])
    (files,) = [one.files for key, one in part.artifacts.items() if key.endswith("-held_out")]
    boxes = {"true": 0, "predicted": 0}
    for _, row in table.iterrows():
        for column in ("photo", "heat"):
            assert Image.open(files[row[column]["path"]]).size == (row[column]["width"], row[column]["height"])
        for kind, label in (("true", row["true"]), ("predicted", row["predicted"])):
            for box in row["photo"]["boxes"][kind]:
                boxes[kind] += 1
                assert type(box["class_id"]) is int
                assert classes[box["class_id"]] == label
                assert box["box_caption"] == f"{kind} {label}"
                corners = box["position"]
                assert 0 <= corners["minX"] < corners["maxX"] <= 1
                assert 0 <= corners["minY"] < corners["maxY"] <= 1
    assert min(boxes.values()) > 0


def test_true_boxes_are_drawn_where_they_are(finished, tables: tuple[pd.DataFrame, pd.DataFrame]):
    manifest, rectangles = tables
    sent = table_of(finished[1]["fold-0"], "held_out")
    compared = 0
    for row in sent["data"]:
        photo, drawn = manifest.loc[row[0]], row[1]["boxes"]["true"]
        given_ = rectangles.loc[rectangles.index == row[0]].sort_values("left")
        for box, (_, known) in zip(
            sorted(drawn, key=lambda one: one["position"]["minX"]), given_.iterrows(), strict=True
        ):
            assert box["position"]["minX"] * photo["width"] == pytest.approx(known["left"], abs=1e-6)
            assert box["position"]["maxY"] * photo["height"] == pytest.approx(
                known["top"] + known["box_height"], abs=1e-6
            )
            compared += 1
    assert compared > 3


def test_checkpoints_predictions_and_submission_are_artifacts_with_aliases_and_hashes(finished):
    run_dir, parts, _ = finished
    folds_hash = json.loads((run_dir / "run.json").read_text())["folds"]
    expected = {
        ("fold-1", "an-experiment-fold-1"): (
            "checkpoint",
            {"best", "fold-1"},
            {"best.ckpt", "sizes.json", "config.yaml"},
        ),
        ("fold-1", "an-experiment-fold-1-predictions"): (
            "predictions",
            {"best", "fold-1"},
            {"oof.csv", "seen.csv", "test.csv"},
        ),
        ("score", "an-experiment-predictions"): (
            "predictions",
            {"best", "all-folds"},
            {"oof.csv", "seen.csv", "test.csv", "folds.csv", "scores.csv"},
        ),
        ("score", "an-experiment-submission"): (
            "submission",
            {"best", "all-folds"},
            {"an experiment.csv", "an experiment.json"},
        ),
    }
    for (part, name), (kind, aliases, files) in expected.items():
        artifact = parts[part].artifacts[name]
        assert artifact.type == kind
        assert aliases <= artifact.aliases
        assert set(artifact.files) == files
        assert artifact.metadata["folds"] == folds_hash
        hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in artifact.files.items()}
        assert artifact.metadata["sha256"] == hashes


def test_photographs_go_to_wandb_only_if_they_are_drawn_or_asked_for():
    def count(images: object, *, synth: object) -> tuple[int, str]:
        console = Console(record=True, file=StringIO(), width=100)
        config = OmegaConf.create({"logger": {"images": images}, "data": {"synth": synth}})
        return picture_count(config, console=console), console.export_text()

    assert count("auto", synth={"train": 9}) == (AUTO_IMAGES, "")
    assert count("auto", synth=None) == (0, "  wandb gets no photographs; if you may pass them on: logger.images=32\n")
    assert count(7, synth=None) == (7, "")
    assert count(0, synth={"train": 9}) == (0, "")


def test_a_curve_belongs_to_its_class_where_another_class_does_not_occur():
    sent: dict[str, Any] = {}
    images = [f"img_{number}" for number in range(6)]
    labels = pd.Series(["A", "C", "A", "C", "A", "C"], index=images)
    right = (labels == "A").to_numpy(dtype=float)
    predictions = pd.DataFrame({"A": 0.8 * right + 0.1, "B": 0.1, "C": 0.8 - 0.8 * right}, index=images)
    figures = SimpleNamespace(log=sent.update)
    send_figures(figures, "unseen", predictions, labels, console=Console(quiet=True))
    curves = pd.DataFrame(sent["unseen/precision_recall"].table.data, columns=["class", "precision", "recall"])
    assert set(curves["class"]) == {"A", "C"}
    assert (curves["precision"] == 1).all()  # both are told apart without a mistake


def test_the_best_epoch_is_the_one_with_the_lowest_held_out_loss():
    epochs = pd.DataFrame({"epoch": [0, 1, 2], "val/log_loss": [1.5, 0.5, 0.9]})
    assert best_epoch(epochs) == {"best/epoch": 1, "best/log_loss": 0.5}
    assert best_epoch(epochs[["epoch"]]) == {}


def test_the_worst_pictures_are_shown_and_some_others():
    index = pd.Index([f"img_{number}" for number in range(40)])
    rows = pd.DataFrame({"log_loss": np.linspace(4, 0, 40)}, index=index)
    chosen = choose_rows(rows, most=8, seed=0)
    assert list(chosen.index[:6]) == list(index[:6])
    assert len(chosen) == 8
    assert chosen["log_loss"].is_monotonic_decreasing
    assert choose_rows(rows, most=8, seed=0).equals(chosen)
    assert not choose_rows(rows, most=8, seed=1).equals(chosen)
    assert choose_rows(rows[:5], most=8, seed=0).equals(rows[:5])


def test_rows_of_images_have_the_highest_loss_first():
    predictions = pd.DataFrame({"A": [0.9, 0.2], "B": [0.1, 0.8]}, index=["x", "y"])
    manifest = pd.DataFrame({"label": ["B", "B"], "boat": ["", "b2"]}, index=["y", "x"])
    rows = image_rows(predictions, manifest)
    assert rows.index.tolist() == ["x", "y"]
    assert rows.loc["x"].tolist() == ["b2", "B", "A", pytest.approx(-np.log(0.1)), 0.9, 0.1]


corner = st.floats(-2, 3) | st.just(float("nan"))


@given(st.lists(st.tuples(corner, corner, corner, corner), max_size=5))
def test_boxes_are_cut_at_the_edges_and_empty_ones_are_left_out(boxes: list[tuple[float, ...]]):
    drawn = box_data(np.array(boxes, dtype=float).reshape(-1, 4), label=np.int64(3), caption="x", scores={})
    kept = [box for box in boxes if min(box[2], 1) > max(box[0], 0) and min(box[3], 1) > max(box[1], 0)]
    assert len(drawn) == len(kept)
    for box, (left, top, right, bottom) in zip(drawn, kept, strict=True):
        assert box["class_id"] == 3
        assert type(box["class_id"]) is int
        assert box["position"] == {
            "minX": max(left, 0),
            "minY": max(top, 0),
            "maxX": min(right, 1),
            "maxY": min(bottom, 1),
        }


def test_an_artifact_has_a_name_that_wandb_takes():
    assert artifact_name("a run/of=mine-fold-0") == "a-run-of-mine-fold-0"
    assert len(artifact_name("a" * 200)) == 128


def test_artifacts_are_found_from_any_folder_and_files_that_are_not_there_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sent: list[Any] = []
    fake = SimpleNamespace(log_artifact=lambda artifact, aliases: sent.append(artifact))
    about: dict[str, Any] = {"kind": "predictions", "aliases": [], "about": {}, "console": Console(quiet=True)}
    monkeypatch.chdir(tmp_path)
    send_files(fake, [Path("none.csv")], name="x", **about)
    assert sent == []
    Path("oof.csv").write_text("image_id\n")
    send_files(fake, [Path("none.csv"), Path("oof.csv")], name="x", **about)
    (entries,) = [artifact.manifest.entries for artifact in sent]
    assert {name: Path(entry.local_path) for name, entry in entries.items()} == {"oof.csv": tmp_path / "oof.csv"}


def test_a_projects_layout_is_built_without_a_network():
    spec = json.loads(workspace.create_workspace("fish", "team")._to_model().spec.model_dump_json(by_alias=True))
    section = spec["section"]
    shown = json.dumps(section["panelBankConfig"])
    for name in (
        "unseen/log_loss",
        "seen/log_loss",
        "val/log_loss",
        "train/loss_smooth",
        "train/lr",
        "train/images_per_s",
    ):
        assert f'"{name}"' in shown
    for name in ("held_out", "gpu/memory_gib", "unseen/reliability", "exponentialTimeWeighted"):
        assert f'"{name}"' in shown
    runs = section["runSets"][0]
    assert [(key["key"]["name"], key["ascending"]) for key in runs["sort"]["keys"]] == [("unseen/log_loss", True)]
    assert [key["name"] for key in runs["grouping"]] == ["group", "jobType"]
    assert section["settings"]["shouldAutoGeneratePanels"] is True


def test_a_layout_names_only_what_runs_send(finished):
    _, parts, _ = finished
    known = {key for part in parts.values() for key in (*part.history, *part.summary)} | {"gpu/memory_gib"}
    for column in workspace._COLUMNS:
        assert column in known
    for section in workspace.create_workspace("fish", "team").sections:
        for panel in section.panels:
            names = [*getattr(panel, "y", []), *getattr(panel, "metrics", [])] if not hasattr(panel, "z") else []
            for name in names:
                assert name in known, name


def test_saving_a_layout_without_a_key_is_one_line_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(InputError, match="wandb has no key here: `wandb login` asks for one, or set WANDB_API_KEY"):
        workspace.save_workspace("fish", None)


def test_a_server_that_refuses_a_layout_is_one_line(monkeypatch: pytest.MonkeyPatch):
    def refuse(**options: object) -> None:
        raise wandb.errors.CommError("permission denied\nmore")

    monkeypatch.setattr(wandb, "login", lambda **options: True)
    monkeypatch.setattr(wandb, "Api", refuse)
    with pytest.raises(InputError, match=r"wandb does not save a view of fish \(permission denied\): is the network"):
        workspace.save_workspace("fish", None)
