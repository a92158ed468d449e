"""The order of mistakes."""

from __future__ import annotations

import numpy as np

from tenfold.data.dataset import ImageDataset
from tenfold.evaluation.metrics import mean_cross_entropy
from tenfold.reporting.pages.answers import Answers


def split(n: int, label: int = 1, classes: int = 2) -> ImageDataset:
    names = [str(number) for number in range(classes)]
    return ImageDataset(np.zeros((n, 1, 2, 2), np.uint8), np.full(n, label), names, split="test")


def test_the_greatest_loss_comes_first_even_where_probabilities_are_0() -> None:
    logits = np.float32([[150, 0], [900, 0], [300, 0], [1, 2], [3, 0]])
    answers = Answers(split(5), logits, 1.0)
    assert answers.costliest.tolist() == [1, 2, 0, 4]
    assert answers.probability_of_true[:3].tolist() == [0, 0, 0]


def test_the_order_is_that_of_the_cross_entropy() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (200, 4)).astype(np.float32)
    answers = Answers(split(200, classes=4), logits, 1.7)
    losses = [mean_cross_entropy(row[None] / np.float32(1.7), np.array([1])) for row in logits]
    found = [losses[index] for index in answers.costliest.tolist()]
    assert found == sorted(found, reverse=True)
    assert set(answers.costliest.tolist()) == set(np.flatnonzero(logits.argmax(1) != 1).tolist())
