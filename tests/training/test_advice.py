"""The advice, when it is given, and that it is given only once."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenfold.training.advice import (
    ENOUGH_STEPS,
    Advisor,
    advice_on_few_steps,
    advice_on_the_last_steps,
    constant_loss,
)
from tenfold.training.history import EpochMetrics

LABELS = np.arange(100) % 10


def epochs(
    train: list[float],
    val: list[float | None] | None = None,
    *,
    train_acc: float = 0.1,
    lrs: list[float] | None = None,
) -> list[EpochMetrics]:
    val, lrs = val or [None] * len(train), lrs or [0.1] * len(train)
    return [
        EpochMetrics(
            epoch=number,
            train_loss=loss,
            train_acc=train_acc,
            val_loss=val_loss,
            val_acc=None,
            lr=lr,
            seconds=1.0,
        )
        for number, (loss, val_loss, lr) in enumerate(zip(train, val, lrs, strict=True), start=1)
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


@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.5]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_constant_prediction_is_better(weights: list[float] | None, smoothing: float) -> None:
    """The loss that PyTorch gives, minimized by gradient descent."""
    labels = torch.tensor([0] * 5 + [1] * 2 + [2])
    answer = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([answer], max_iter=200, tolerance_grad=1e-12)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = nn.functional.cross_entropy(
            answer.expand(8, 3), labels, weight=weight, label_smoothing=smoothing
        )
        found.backward()
        return found

    optimizer.step(loss)
    found = constant_loss(labels.numpy(), 3, label_smoothing=smoothing, class_weights=weights)
    assert found == pytest.approx(loss().item())


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 10))


def moved(model: nn.Module, share: float) -> nn.Module:
    """Every weight is changed by this share of its size."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + share)
    return model


def advice(
    advisor: Advisor,
    history: list[EpochMetrics],
    gradient_norms: dict[str, float] = ALIVE,
    steps: int = 1000,
) -> list[str]:
    """What is said after the last epoch, whose batches all had its loss."""
    losses = torch.full((10,), history[-1].train_loss)
    return list(advisor.after_epoch(history, losses, gradient_norms, steps))


def test_a_loss_no_better_than_a_constant_answers_is_reported_once() -> None:
    model = network()
    advisor, history = Advisor(LABELS, 10, schedule, model), epochs([2.3026, 2.3030, 2.3021])
    moved(model, 0.1)
    said = [advice(advisor, history[:n]) for n in (1, 2, 3)]
    assert [len(each) for each in said] == [1, 0, 0]
    assert said[0][0].startswith(
        "after epoch 1 and 1,000 steps, the training loss is 2.303, and a model that gives one "
        "answer for every image gets 2.303, so this one has learned next to nothing yet: "
    )


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (
            0.0001,
            "moved by 0.01% only; try a learning rate ten times higher (it went up to 0.1)",
        ),
        (0.1, "give it more epochs, or try learning rates ten times lower and ten times higher"),
        (
            3.0,
            "moved by 300%; try a learning rate ten times lower (it went up to 0.1)",
        ),
    ],
)
def test_the_direction_depends_on_how_far_weights_have_moved(share: float, words: str) -> None:
    model = network()
    advisor = Advisor(LABELS, 10, schedule, model)
    moved(model, share)
    (said,) = advice(advisor, epochs([2.3026]))
    assert words in said


def test_weights_that_were_zero_say_nothing_about_the_direction() -> None:
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    advisor = Advisor(LABELS, 10, schedule, model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-6)
    (said,) = advice(advisor, epochs([2.3026]))
    assert "ten times lower and ten times higher" in said


@pytest.mark.parametrize(
    ("loss", "train_acc", "words"),
    [
        (3.1, 0.81, "although 81% of this one's answers are right: it is too sure of the others"),
        (3.1, 0.15, "has learned next to nothing yet"),
        (2.29, 0.81, "has learned next to nothing yet"),
    ],
)
def test_many_right_answers_with_a_high_loss(loss: float, train_acc: float, words: str) -> None:
    """With a high learning rate, most answers may be right, and the others cost more than ln 10."""
    model = network()
    advisor = Advisor(LABELS, 10, schedule, model)
    moved(model, 3.0)
    (said,) = advice(advisor, epochs([loss], train_acc=train_acc))
    assert words in said
    assert "try a learning rate ten times lower (it went up to 0.1)" in said


def test_many_right_answers_of_weights_that_have_hardly_moved() -> None:
    """The loss is still that of the beginning, and a lower rate would be the wrong direction."""
    model = network()
    advisor = Advisor(LABELS, 10, schedule, model)
    moved(model, 0.0001)
    (said,) = advice(advisor, epochs([2.4], train_acc=0.3))
    assert "try a learning rate ten times higher" in said


def test_the_loss_of_the_later_half_of_an_epoch_counts() -> None:
    advisor, halves = Advisor(LABELS, 10, schedule, network()), [2.303] * 5 + [1.9] * 5
    assert list(advisor.after_epoch(epochs([2.1]), torch.tensor(halves), ALIVE, 1000)) == []
    (_,) = advisor.after_epoch(epochs([2.1]), torch.tensor(halves[::-1]), ALIVE, 1000)


def test_label_smoothing_and_class_weights_raise_the_constant_loss() -> None:
    """A loss that would be good without them is no better than a constant answer's with them."""
    rare = np.array([0] * 95 + [1] * 5)
    plain = Advisor(rare, 2, schedule, network())
    weighted = Advisor(rare, 2, schedule, network(), class_weights=[0.5, 10.0])
    assert advice(plain, epochs([0.15])) == advice(weighted, epochs([0.15])) == []
    assert advice(plain, epochs([0.6]))
    assert advice(weighted, epochs([0.6])) == []
    assert advice(weighted, epochs([0.69]))


def test_a_falling_loss_gives_no_advice() -> None:
    advisor = Advisor(LABELS, 10, schedule, network())
    assert advice(advisor, epochs([2.25])) == []
    assert advice(advisor, epochs([2.25, 1.8])) == []


def test_dead_units_are_detected_by_zero_gradients() -> None:
    advisor, dead = Advisor(LABELS, 10, schedule, network()), {"0.weight": 0.0, "2.weight": 0.0}
    (said,) = advice(advisor, epochs([1.9]), dead)
    assert "gradient is zero in every layer after epoch 1" in said
    assert advice(advisor, epochs([1.9, 2.303]), dead) == []  # for the same reason


def test_a_model_without_gradients_is_not_called_dead() -> None:
    assert advice(Advisor(LABELS, 10, schedule, network()), epochs([1.9]), {}) == []


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
    said = advice(Advisor(LABELS, 10, schedule, network()), epochs(train, val))
    assert bool(said) == speaks
    assert all("validation loss has risen for 3 epochs" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("val", "lrs"),
    [
        ([1.0, 1.1, 1.2, 1.3], [0.01, 0.02, 0.03, 0.04]),
        ([1.0, 1.1, 1.2, 1.3], [0.1, 0.1, 0.1, 0.2]),
        ([2.3, 2.4, 2.5, 2.6], [0.1, 0.1, 0.1, 0.1]),
    ],
    ids=["the rate rises", "the rate rises at last", "nothing was learned before"],
)
def test_a_rising_validation_loss_that_is_no_overfitting(
    val: list[float | None], lrs: list[float]
) -> None:
    history = epochs([1.0, 0.9, 0.8, 0.7], val, lrs=lrs)
    assert advice(Advisor(LABELS, 10, schedule, network()), history) == []


def test_a_loss_is_not_called_stuck_before_it_could_move() -> None:
    """One epoch of a small folder is a step or two of the warm-up."""
    advisor = Advisor(LABELS, 10, schedule, network())
    assert advice(advisor, epochs([2.3026]), steps=ENOUGH_STEPS - 1) == []
    (said,) = advice(advisor, epochs([2.3026, 2.3026]), steps=ENOUGH_STEPS)
    assert "it went up to 0.0598" in said  # in step 299, and not the last rate of an epoch


def test_steps_before_a_resume_do_not_count() -> None:
    advisor = Advisor(LABELS, 10, schedule, network(), step=800)
    assert advice(advisor, epochs([2.3026]), steps=1000) == []
    assert advice(advisor, epochs([2.3026, 2.3026]), steps=800 + ENOUGH_STEPS)


def last_steps(during: float, after: float, **changes: Any) -> str:
    settings = {"n": 640, "batch_size": 64, "falls": False, **changes}
    return advice_on_the_last_steps(3, during, after, **settings)


@pytest.mark.parametrize(("during", "after"), [(0.9, 0.99), (0.9, 0.9), (0.9, 0.86), (0.0, 0.0)])
def test_nothing_is_said_of_weights_that_are_as_good_as_the_training_was(
    during: float, after: float
) -> None:
    assert not last_steps(during, after)


def test_weights_that_are_worse_than_the_training_was() -> None:
    found = last_steps(0.9, 0.5)
    assert found == (
        "90.0 % of the training images were answered right during epoch 3, but only 50.0 % with "
        "the weights at its end: its last steps went too far; try --set schedule=cosine, which "
        "ends near 0"
    )
    assert last_steps(0.9, 0.5, falls=True).endswith("too far; try a lower learning rate")
    assert "batch normalization may not have caught up" in last_steps(
        0.9, 0.5, averages="batch normalization"
    )


@pytest.mark.parametrize(("n", "images", "size"), [(641, "1 image", 65), (655, "15 images", 66)])
def test_a_batch_size_is_named_that_leaves_no_small_step(n: int, images: str, size: int) -> None:
    assert last_steps(0.9, 0.5, n=n).endswith(
        f"too far, the very last with only {images}; try --set schedule=cosine, which ends near "
        f"0, or --batch-size {size}, which leaves no step so small"
    )


@pytest.mark.parametrize("n", [656, 64])
def test_steps_that_are_large_enough_are_not_blamed(n: int) -> None:
    assert "very last" not in last_steps(0.9, 0.5, n=n)


def test_the_batch_size_that_is_named_leaves_at_least_half_a_step() -> None:
    named = 0
    for n in range(65, 2000):
        if found := re.search(r"--batch-size (\d+)", last_steps(0.9, 0.5, n=n)):
            named += 1
            size = int(found[1])
            assert n % size == 0 or n % size > size / 2
            assert 64 < size < 128
    assert named > 100


def test_few_steps_that_taught_little() -> None:
    assert advice_on_few_steps(4, 2.3, 2.303) == (
        "only 4 steps were taken, and the training loss was 2.300, little less than the 2.303 "
        "of one answer for every image; give it more epochs, or a smaller --batch-size"
    )
    assert advice_on_few_steps(1, 2.3, 2.303).startswith("only 1 step was taken")
    assert not advice_on_few_steps(4, 1.5, 2.303)
    assert not advice_on_few_steps(4, 2.4, 2.303)  # the learning rate is too high
    assert not advice_on_few_steps(ENOUGH_STEPS, 2.3, 2.303)
