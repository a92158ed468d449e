"""Simple classifiers that a trained one should beat."""

from __future__ import annotations

import numpy as np

from tenfold.data.dataset import ImageDataset


def nearest_mean_accuracy(train: ImageDataset, other: ImageDataset) -> float:
    """Accuracy of giving each image the class whose mean training image is nearest, 0..1.

    By Euclidean distance between pixels; of equally near classes, the first.

    Args:
        train: the images that the means are of.
        other: the images that are classified, of the same shape and classes.
    """
    means = [
        _rows(train.image_array[train.label_array == label]).mean(axis=0, dtype=np.float64)
        if count
        else None
        for label, count in enumerate(train.class_counts().tolist())
    ]
    present = [label for label, mean in enumerate(means) if mean is not None]
    matrix = np.stack([mean for mean in means if mean is not None]).astype(np.float32)
    squares = (matrix.astype(np.float64) ** 2).sum(axis=1)
    correct = 0
    per_part = max(1, 2**24 // matrix.shape[1])
    for start in range(0, len(other), per_part):
        part = slice(start, start + per_part)
        images = _rows(other.image_array[part]).astype(np.float32)
        # |x - m|^2 without |x|^2, which is the same for all classes.
        nearest = (squares - 2 * (images @ matrix.T)).argmin(axis=1)
        correct += int((np.array(present)[nearest] == other.label_array[part]).sum())
    return correct / len(other)


def _rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)
