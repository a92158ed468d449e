"""Simple classifiers to compare with, beside scikit-learn's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from tenfold.data.dataset import ImageDataset
from tenfold.data.load import load_splits
from tenfold.evaluation.baselines import nearest_mean_accuracy


def rows(part: ImageDataset) -> np.ndarray:
    return part.image_array.reshape(len(part), -1).astype(np.float64)


def scikit_learns(train: ImageDataset, other: ImageDataset) -> float:
    with warnings.catch_warnings(action="ignore"):  # pixels that are the same in a whole class
        fitted = NearestCentroid().fit(rows(train), train.label_array)
    return float((fitted.predict(rows(other)) == other.label_array).mean())


def test_it_is_scikit_learns_on_digits():
    splits = load_splits("digits").splits
    assert splits.test is not None
    found = nearest_mean_accuracy(splits.train, splits.test)
    assert found == scikit_learns(splits.train, splits.test) > 0.8


def test_it_is_scikit_learns_on_mnist(real_data):
    splits = load_splits("mnist", data_root=real_data).splits
    assert splits.test is not None
    train, test = splits.train.select(np.arange(5000)), splits.test.select(np.arange(2000))
    found = nearest_mean_accuracy(train, test)
    assert found == pytest.approx(scikit_learns(train, test), abs=5e-4)


def test_a_class_without_training_images_is_never_the_answer():
    images = np.stack([np.full((3, 2, 2), value, np.uint8) for value in (0, 10, 200, 210)])
    train = ImageDataset(images, np.array([0, 0, 2, 2]), ["a", "b", "c"])
    other = ImageDataset(images, np.array([0, 1, 2, 2]), ["a", "b", "c"])
    assert nearest_mean_accuracy(train, other) == 0.75
