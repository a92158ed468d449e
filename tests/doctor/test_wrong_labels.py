"""Labels that may be wrong: the same as cleanlab's, and planted ones are found in real data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cleanlab.count import num_label_issues
from cleanlab.filter import find_label_issues
from hypothesis import given, settings
from hypothesis import strategies as st

from small_images import digits
from tenfold.data.dataset import ImageDataset
from tenfold.doctor.wrong_labels import judge_labels, number_wrong, wrong_labels
from tenfold.errors import DataError
from tenfold.runs.resources import Resources
from tenfold.training.watching import Watcher

ONE_THREAD = Resources(device="cpu", threads=1)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(2, 6),
    n=st.integers(30, 300),
    sharpness=st.floats(0.2, 8),
)
def test_the_same_are_found_as_by_cleanlab(
    seed: int, classes: int, n: int, sharpness: float
) -> None:
    generator = np.random.default_rng(seed)
    true = generator.integers(0, classes, n)
    logits = generator.normal(0, 1, (n, classes))
    logits[np.arange(n), true] += sharpness
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.where(generator.random(n) < 0.1, generator.integers(0, classes, n), true)
    labels[:classes] = np.arange(classes)
    estimated = num_label_issues(labels, probabilities)
    # Of several classes that a model is confident of, the paper takes the most probable; cleanlab
    # takes the most probable of all classes, even if the model is not confident of it.
    own = probabilities[np.arange(n), labels]
    thresholds = np.array([own[labels == label].mean() for label in range(classes)])
    confident = probabilities >= thresholds - 1e-6
    surest = confident[np.arange(n), probabilities.argmax(1)]
    differing = int(((confident.sum(1) > 1) & ~surest).sum())
    assert abs(number_wrong(probabilities, labels) - estimated) <= differing
    expected = find_label_issues(
        labels,
        probabilities,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    if differing:  # the lists are as long as the estimates
        return
    found = wrong_labels(probabilities, labels).tolist()
    # cleanlab takes half as many, and also images whose label is the most probable class.
    best = probabilities.argmax(1)
    doubted = [place for place in expected.tolist() if best[place] != labels[place]]
    assert found[: len(doubted)] == doubted
    assert len(found) <= 2 * len(expected)
    assert estimated == 0 or found


def test_planted_ones_are_found_among_digits() -> None:
    data = digits()
    generator = np.random.default_rng(0)
    wrong = generator.choice(len(data), 20, replace=False)
    labels = data.label_array.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, 20)) % 10
    parts = [
        data.with_labels(labels, data.classes).select(np.arange(1500)),
        data.with_labels(labels, data.classes).select(np.arange(1500, 1797), split="test"),
    ]
    judged = judge_labels(parts, resources=ONE_THREAD, watcher=Watcher())
    assert judged.n == 1797
    assert 0.9 < judged.accuracy < 0.995
    found = [
        image.index + (1500 if image.split == "test" else 0)
        for finding in judged.findings[:30]
        for image in finding.images
        if image.index is not None
    ]
    assert len(set(found) & set(wrong.tolist())) >= 16
    first = judged.findings[0]
    place = first.images[0].index or 0
    assert first.images[0].label == "0123456789"[parts[0].label_array[place]] or (
        first.images[0].split == "test"
    )
    assert first.proposed in "0123456789"
    assert f"more likely {first.proposed!r}" in first.text


def test_classes_of_few_images_are_not_judged(train_for: Callable[[int], None]) -> None:
    train_for(3)
    data = digits(100)
    few = ImageDataset(
        np.concatenate([data.image_array, data.image_array[:3]]),
        np.append(data.label_array % 2, [2, 2, 2]),
        "abc",
    )
    judged = judge_labels([few], resources=ONE_THREAD, watcher=Watcher())
    assert judged.n == 100
    one_class = few.select(few.label_array != 1)
    with pytest.raises(DataError, match="fewer than two classes have 5 images or more"):
        judge_labels([one_class], resources=ONE_THREAD, watcher=Watcher())


@pytest.mark.parametrize("grouped", [True, False])
def test_groups_are_judged_by_models_that_have_not_seen_them(
    grouped: bool, train_for: Callable[[int], None]
) -> None:
    """Labels at random, but of one group the same: only a model that has seen it knows them."""
    train_for(30)
    generator = np.random.default_rng(0)
    images = np.repeat(generator.integers(0, 200, (40, 1, 8, 8), np.uint8), 5, 0)
    images += generator.integers(0, 9, images.shape, np.uint8)
    labels = np.repeat(generator.permutation(np.arange(40) % 2), 5)
    groups = [str(number // 5) for number in range(200)] if grouped else None
    data = ImageDataset(images, labels, "ab", groups=groups)
    judged = judge_labels([data], resources=ONE_THREAD, watcher=Watcher())
    assert (judged.accuracy < 0.7) == grouped
