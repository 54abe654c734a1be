from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fisheries.inference.blending import SINGLE
from fisheries.inference.ensemble import choose, ensemble
from fisheries.inference.outputs import Outputs
from fisheries.inference.scoring import log_loss
from fisheries.schema import KEY, InputError, check_predictions, table_hash

CLASSES = ["ALB", "BET", "NoF"]
BOATS, ON_BOAT = 6, 30


def world(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A manifest of boats that catch all classes, with labels for the test images, too, and its folds."""
    rng = np.random.default_rng(seed)
    train = [f"img_{number:03}.jpg" for number in range(BOATS * ON_BOAT)]
    test = [f"test_stg2/image_{number:03}.jpg" for number in range(ON_BOAT)]
    boat = np.repeat([f"boat_{number}" for number in range(BOATS + 1)], ON_BOAT)
    manifest = pd.DataFrame(
        {
            "label": rng.choice(CLASSES, len(boat)),
            "boat": boat,
            "burst": [*train, *test],
            "subset": np.repeat(["train", "test_stg2"], [len(train), len(test)]),
            "status": "ok",
        },
        pd.Index([*train, *test], name=KEY),
    )
    numbers = np.repeat(np.arange(BOATS) % 2, ON_BOAT)
    return manifest, pd.DataFrame({"fold": numbers}, pd.Index(train, name=KEY))


def member(skill: float, seed: int, noise: float = 1.5) -> Outputs:
    """What a network says that knows the label by `skill`, and else noise of its own; rows in no order."""
    manifest, folds = world()
    rng = np.random.default_rng(seed)
    known = (manifest["label"].to_numpy()[:, None] == np.array(CLASSES)).astype(float)
    scores = np.exp(skill * known + rng.normal(0, noise, known.shape))
    said = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), manifest.index, CLASSES)
    said = said.sample(frac=1, random_state=seed)
    is_train = said.index.isin(folds.index)
    return Outputs(said[is_train], said[~is_train], manifest, folds)


@pytest.fixture
def members() -> dict[str, Outputs]:
    return {"a": member(2.0, 1), "b": member(2.0, 2)}


def changed_boat(outputs: Outputs, boat: str) -> Outputs:
    """The same with every label of one boat moved on by a class."""
    moved = dict(zip(CLASSES, [*CLASSES[1:], CLASSES[0]], strict=True))
    labels = outputs.manifest["label"].mask(outputs.manifest["boat"] == boat, outputs.manifest["label"].map(moved))
    return replace(outputs, manifest=outputs.manifest.assign(label=labels))


def test_an_ensemble_of_networks_with_mistakes_of_their_own_is_better_than_each(members: dict[str, Outputs]):
    result = ensemble(members)
    assert result.method == "geometric"  # their mistakes were drawn in logits
    assert result.after.mean() < result.before.mean() < result.members["log_loss"].max()
    assert result.methods.loc["geometric", "low"] > 0
    truth = result.outputs.manifest["label"].loc[result.outputs.test.index]
    assert log_loss(result.outputs.test, truth) < min(log_loss(m.test, truth) for m in members.values())
    for table in (result.outputs.oof, result.outputs.test):
        check_predictions(table)


@pytest.mark.parametrize("method", ["mean", "geometric", "weighted", "greedy", None])
def test_the_order_of_rows_columns_and_members_changes_nothing(members: dict[str, Outputs], method: str | None):
    members["c"] = member(1.0, 3)
    first = ensemble(members, method)
    turned = {
        name: replace(m, oof=m.oof.iloc[::-1, ::-1], test=m.test.iloc[::-1, ::-1])
        for name, m in reversed(members.items())
    }
    second = ensemble(turned, method)
    assert second.method == first.method
    for one, other in ((first.outputs.oof, second.outputs.oof), (first.outputs.test, second.outputs.test)):
        pd.testing.assert_frame_equal(other.loc[one.index, one.columns], one, atol=1e-5)
    pd.testing.assert_frame_equal(second.members.loc[first.members.index], first.members, atol=1e-5)


@pytest.mark.parametrize("method", ["weighted", "greedy"])
def test_a_useless_member_has_a_weight_near_0_and_is_not_missed(members: dict[str, Outputs], method: str):
    members["noise"] = member(0.0, 3, noise=3.0)
    result = ensemble(members, method)
    assert result.members["weight"].sum() == pytest.approx(1)
    assert result.members.loc["noise", "weight"] < 0.03
    assert result.members["without"].idxmin() == "noise"
    assert (result.members.loc[["a", "b"], "without"] > result.after.mean() + 0.02).all()


@pytest.mark.parametrize("method", ["weighted", "greedy", None])
def test_what_is_said_of_a_boat_does_not_depend_on_its_labels(members: dict[str, Outputs], method: str | None):
    members["c"] = member(1.0, 3)
    plain = ensemble(members, method).outputs.oof
    changed = ensemble({name: changed_boat(m, "boat_3") for name, m in members.items()}, method).outputs.oof
    own = members["a"].boats[members["a"].boats == "boat_3"].index
    pd.testing.assert_frame_equal(changed.loc[own], plain.loc[own], check_exact=True)
    others = plain.index.difference(own)
    assert (changed.loc[others] != plain.loc[others]).any(axis=None) or method is None


def test_the_best_member_is_handed_on_as_it_is_if_no_ensemble_is_better():
    wrong = member(2.0, 1)
    wrong = replace(wrong, oof=wrong.oof.iloc[:, [1, 2, 0]].set_axis(CLASSES, axis=1))
    members = {"wrong": wrong, "good": member(6.0, 2, noise=0.1)}
    result = ensemble(members)
    assert result.method == SINGLE
    assert result.members["weight"].to_dict() == {"wrong": 0, "good": 1}
    pd.testing.assert_frame_equal(result.outputs.oof, members["good"].oof, check_exact=True)
    pd.testing.assert_frame_equal(result.outputs.test, members["good"].test, check_exact=True)
    assert result.members.loc["good", "without"] == pytest.approx(result.members.loc["wrong", "log_loss"])


def test_a_method_that_is_asked_for_is_used_even_if_it_is_worse():
    members = {"good": member(6.0, 2, noise=0.1), "noise": member(0.0, 1, noise=3.0)}
    result = ensemble(members, "mean")
    assert result.method == "mean"
    assert result.after.mean() > result.before.mean()


def test_the_simplest_method_within_one_standard_error_of_the_best_is_chosen():
    boats = pd.Series(np.repeat(list("abcd"), 5), [f"{number}" for number in range(20)])
    noise = boats.map({"a": 0.1, "b": -0.1, "c": 0.1, "d": -0.1})
    losses = pd.DataFrame({"mean": 1.0, "geometric": 0.99 + noise, "weighted": 0.5, "greedy": 0.499, SINGLE: 1.2})
    assert choose(losses, boats) == "greedy"
    assert choose(losses.drop(columns=["weighted", "greedy"]), boats) == "mean"
    assert choose(losses[["mean", SINGLE]] * [1, 0.5], boats) == SINGLE
    # what is simple, and within the error, but no better than the best member alone, is no choice
    assert choose(losses[["mean", "geometric", SINGLE]] * [1, 1, 0.83], boats) == "geometric"


def test_one_boat_can_not_judge_weights(members: dict[str, Outputs]):
    alone = {name: replace(m, manifest=m.manifest.assign(boat="the only one")) for name, m in members.items()}
    assert ensemble(alone).method == "mean"
    with pytest.raises(InputError, match="--method greedy: its weights can't be judged, all images are of one boat"):
        ensemble(alone, "greedy")


def test_members_of_other_folds_are_refused_with_both_hashes(members: dict[str, Outputs]):
    other = replace(members["b"], folds=members["b"].folds.assign(fold=0))
    with pytest.raises(InputError) as caught:
        ensemble({"runs/a": members["a"], "runs/b": other})
    message = str(caught.value)
    for part in ("runs/a", "runs/b", table_hash(members["a"].folds), table_hash(other.folds)):
        assert part in message


def test_a_missing_image_is_refused_by_name(members: dict[str, Outputs]):
    short = replace(members["b"], oof=members["b"].oof.drop("img_005.jpg"))
    with pytest.raises(InputError, match=r"b/oof\.csv: lacks 'img_005\.jpg', which a has; 1 such images"):
        ensemble({"a": members["a"], "b": short})
    with pytest.raises(InputError, match=r"b/oof\.csv: lacks 'img_005\.jpg', which a has"):
        ensemble({"b": short, "a": members["a"]})
    short = replace(members["b"], test=members["b"].test.drop("test_stg2/image_000.jpg"))
    with pytest.raises(InputError, match=r"b/test\.csv: lacks 'test_stg2/image_000\.jpg'"):
        ensemble({"a": members["a"], "b": short})


def test_other_classes_and_other_labels_are_refused(members: dict[str, Outputs]):
    renamed = replace(members["b"], oof=members["b"].oof.rename(columns={"BET": "SHARK"}))
    with pytest.raises(InputError, match="b: has the classes ALB,SHARK,NoF, a has ALB,BET,NoF"):
        ensemble({"a": members["a"], "b": renamed})
    labels = members["b"].manifest["label"].copy()
    labels["img_007.jpg"] = "ALB" if labels["img_007.jpg"] == "BET" else "BET"
    relabeled = replace(members["b"], manifest=members["b"].manifest.assign(label=labels))
    with pytest.raises(InputError, match=r"b: 'img_007\.jpg' is labeled .*, in a .*; 1 such images"):
        ensemble({"a": members["a"], "b": relabeled})


def test_less_than_two_members_and_unknown_methods_are_refused(members: dict[str, Outputs]):
    with pytest.raises(InputError, match="a: an ensemble has two members or more"):
        ensemble({"a": members["a"]})
    with pytest.raises(InputError, match=r"--method meen: no such method \(did you mean 'mean'\?\); there are mean"):
        ensemble(members, "meen")


def test_a_bar_is_drawn_on_standard_error_if_asked(members: dict[str, Outputs], capfd: pytest.CaptureFixture[str]):
    ensemble(members, "mean")
    assert capfd.readouterr() == ("", "")
    ensemble(members, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Choosing a method" in err
