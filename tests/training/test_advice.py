"""The advice, when it is given, and that it is given only once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tenfold.training.advice import Advisor, constant_loss
from tenfold.training.history import EpochMetrics

LABELS = np.arange(100) % 10


def epochs(train: list[float], val: list[float | None] | None = None) -> list[EpochMetrics]:
    val = val or [None] * len(train)
    return [
        EpochMetrics(
            epoch=number,
            train_loss=loss,
            train_acc=0.5,
            val_loss=val_loss,
            val_acc=None,
            lr=0.1,
            seconds=1.0,
        )
        for number, (loss, val_loss) in enumerate(zip(train, val, strict=True), start=1)
    ]


def schedule(step: int) -> float:
    """Rises to 0.1, and falls back to nothing."""
    return 0.1 * min(step, 1000 - step) / 500


ALIVE = {"0.weight": 0.0, "2.weight": 1e-3}
"""The largest entry of each weight's gradient in a model that learns."""


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_loss_of_a_constant_prediction_is_the_logarithm_of_the_number_of_classes(
    classes: int,
) -> None:
    labels = np.arange(300 * classes) % classes
    assert constant_loss(labels, classes) == pytest.approx(math.log(classes))


def test_unequal_classes_make_a_constant_prediction_easier() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    wanted = nn.functional.cross_entropy(torch.tensor([[0.75, 0.25]]).log().expand(4, 2), labels)
    assert constant_loss(labels.numpy(), 2) == pytest.approx(wanted.item())
    assert constant_loss(np.zeros(5, dtype=np.int64), 3) == 0


def test_a_loss_stuck_at_a_constant_prediction_is_reported_once() -> None:
    advisor = Advisor(LABELS, 10, schedule)
    history = epochs([2.3026, 2.3030, 2.3021])
    said = [list(advisor.after_epoch(history[:n], ALIVE, 1000)) for n in (1, 2, 3)]
    assert [len(each) for each in said] == [1, 0, 0]
    assert "stuck at 2.303" in said[0][0]
    assert "learning rate ten times lower (it went up to 0.1)" in said[0][0]


def test_a_falling_loss_gives_no_advice() -> None:
    advisor = Advisor(LABELS, 10, schedule)
    assert list(advisor.after_epoch(epochs([2.29]), ALIVE, 1000)) == []
    assert list(advisor.after_epoch(epochs([2.15]), ALIVE, 1000)) == []
    assert list(advisor.after_epoch(epochs([2.15, 1.8]), ALIVE, 1000)) == []


def test_dead_units_are_detected_by_zero_gradients() -> None:
    (said,) = Advisor(LABELS, 10, schedule).after_epoch(
        epochs([1.9]), {"0.weight": 0.0, "2.weight": 0.0}, 1000
    )
    assert "gradient is zero in every layer after epoch 1" in said


def test_a_model_without_gradients_is_not_called_dead() -> None:
    assert list(Advisor(LABELS, 10, schedule).after_epoch(epochs([1.9]), {}, 1000)) == []


@pytest.mark.parametrize(
    ("train", "val", "speaks"),
    [
        ([1.0, 0.9, 0.8, 0.7], [1.0, 1.1, 1.2, 1.3], True),
        ([1.0, 0.9, 0.8], [1.0, 1.1, 1.2], False),
        ([1.0, 0.9, 0.8, 0.7], [1.0, 1.1, 1.05, 1.3], False),
        ([1.0, 0.9, 0.95, 0.7], [1.0, 1.1, 1.2, 1.3], False),
        ([2.0, 1.0, 0.9, 0.8, 0.7], [0.5, 1.0, 1.1, 1.2, 1.3], True),
        ([1.0, 0.9, 0.8, 0.7], [None, None, None, None], False),
    ],
)
def test_overfitting_is_three_epochs_of_rising_validation_loss(
    train: list[float], val: list[float | None], speaks: bool
) -> None:
    said = list(Advisor(LABELS, 10, schedule).after_epoch(epochs(train, val), ALIVE, 1000))
    assert bool(said) == speaks
    assert all("validation loss has risen for 3 epochs" in sentence for sentence in said)


def test_a_loss_is_not_called_stuck_before_it_could_move() -> None:
    """One epoch of a small folder is a step or two of the warm-up."""
    advisor = Advisor(LABELS, 10, schedule)
    assert list(advisor.after_epoch(epochs([2.3026]), ALIVE, 5)) == []
    (said,) = advisor.after_epoch(epochs([2.3026, 2.3026]), ALIVE, 200)
    assert "it went up to 0.0398" in said  # in step 199, and not the last rate of an epoch
