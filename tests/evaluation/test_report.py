"""What an evaluation found: figures under their usual names, and nothing under others'."""

import copy
import html
import json
import pickle

import numpy as np
import pytest
from scipy.stats import binomtest

from tenfold.errors import UsageError
from tenfold.evaluation import Report

CONFUSION = np.array([[50, 3, 0], [4, 40, 0], [2, 1, 0]])


def report(split="test", confusion=CONFUSION):
    return Report(
        split=split,
        n=int(confusion.sum()),
        loss=0.25,
        confusion=confusion,
        classes=tuple(f"class {label}" for label in range(len(confusion))),
    )


def test_the_headline():
    found = report()
    assert (found.n, found.correct) == (100, 90)
    assert found.accuracy == 0.9
    wanted = binomtest(90, 100).proportion_ci(0.95, method="wilson")
    assert found.interval == pytest.approx((wanted.low, wanted.high))
    # Wilson's interval of 90 of 100, as textbooks give it: 0.826 to 0.945
    assert str(found) == (
        "test_acc 0.9000 (95 % interval 0.8256 to 0.9448, n = 100), test_loss 0.2500, "
        "balanced_acc 0.6175; always answering the largest class: 0.5300"
    )


def test_accuracy_has_what_it_is_to_be_compared_with():
    found = report()
    assert found.balanced_acc == pytest.approx((50 / 53 + 40 / 44 + 0 / 3) / 3)
    assert found.largest_share == 0.53


def test_classes_without_images_have_no_part_in_the_balanced_accuracy():
    found = report(confusion=np.array([[6, 2, 0], [0, 0, 0], [1, 0, 1]]))
    assert found.balanced_acc == pytest.approx((6 / 8 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("confusion", "note"),
    [
        ([[0, 9], [0, 1]], "all 10 test images were predicted as 'class 1'"),
        ([[9, 0], [1, 0]], "all 10 test images were predicted as 'class 0'"),
        ([[8, 1], [1, 0]], ""),
        ([[0, 0], [0, 9]], ""),  # all images are of this class
        ([[0, 0], [9, 0]], ""),  # a single true class says nothing of the others
    ],
)
def test_one_prediction_for_all_images_is_noted(confusion, note):
    assert report(confusion=np.array(confusion)).note == note


def test_a_notebook_shows_it():
    found = report()
    shown = found._repr_html_()
    low, high = found.interval
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in shown
    for figures in found.per_class:
        assert f"<td>{html.escape(figures.name)}</td><td>{figures.n}</td>" in shown


def test_every_class():
    first, _, third = report().per_class
    assert (first.name, first.n) == ("class 0", 53)
    assert first.precision == 50 / 56
    assert first.recall == 50 / 53
    assert first.f1 == pytest.approx(2 * (50 / 56) * (50 / 53) / (50 / 56 + 50 / 53))
    assert (third.n, third.precision, third.recall, third.f1) == (3, None, 0.0, 0.0)


@pytest.mark.parametrize("split", ["train", "val", "test", "my_own"])
def test_figures_are_named_after_their_split(split):
    found = report(split)
    assert getattr(found, f"{split}_acc") == 0.9
    assert getattr(found, f"{split}_loss") == 0.25
    assert getattr(found, f"{split}_balanced_acc") == found.balanced_acc
    assert getattr(found, f"{split}_largest_share") == 0.53
    assert found.figures() == {
        f"n_{split}": 100,
        f"{split}_loss": 0.25,
        f"{split}_acc": 0.9,
        f"{split}_interval": list(found.interval),
        f"{split}_balanced_acc": found.balanced_acc,
        f"{split}_largest_share": 0.53,
    }


@pytest.mark.parametrize("name", ["test_acc", "test_loss", "test_balanced_acc"])
def test_validation_is_never_called_test(name):
    with pytest.raises(UsageError, match=f"on the val split and has no {name}; ask for val_"):
        getattr(report("val"), name)


@pytest.mark.parametrize("name", ["val_acc", "test_accuracy", "acc", "_acc", "loss_", "splits"])
def test_what_is_not_there_can_be_asked_about(name):
    assert not hasattr(report("test"), name)
    assert getattr(report("test"), name, None) is None


def test_all_of_it_goes_into_json_and_back():
    found = json.loads(json.dumps(report().to_dict(), allow_nan=False))
    assert found == report().to_dict()
    assert found["confusion"] == CONFUSION.tolist()
    assert found["classes"] == ["class 0", "class 1", "class 2"]
    assert found["per_class"][2] == {
        "name": "class 2",
        "n": 3,
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
    }
    assert found["test_acc"] == 0.9


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_say_the_same(duplicate):
    assert duplicate(report()).to_dict() == report().to_dict()


def test_a_report_cannot_be_changed():
    with pytest.raises(AttributeError):
        report().loss = 0.0
