"""How much each class counts in the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError, quoted


def weights_of(wanted: str | Sequence[float], data: ImageDataset) -> tuple[float, ...] | None:
    """The weight of each class in the loss, such that the images' mean weight is 1.

    With `balanced`, all classes that have images count alike: a class with n of N images has the
    weight N / (classes n), as in scikit-learn and after King and Zeng, "Logistic regression in rare
    events data", Political Analysis 9 (2001). With `sqrt`, weights are in proportion to the square
    roots of these. A class without images has the weight 0.

    Args:
        wanted: `none`, `balanced`, `sqrt`, or one number per class, which is taken as it is.
        data: the training images.

    Returns:
        None for `none`.

    Raises:
        UsageError: there is not one number per class, or that of a class with images is 0.
    """
    if wanted == "none":
        return None
    if not isinstance(wanted, str):
        if len(wanted) != len(data.classes):
            raise UsageError(
                f"class_weights has {len(wanted)} numbers, but there are {len(data.classes)} "
                "classes",
                remedy="write one number per class, in the order of tenfold data; or "
                "--set class_weights=balanced",
            )
        ignored = [
            name
            for name, weight, n in zip(data.classes, wanted, data.class_counts(), strict=True)
            if n and not weight
        ]
        if ignored:
            raise UsageError(
                f"class_weights is {list(wanted)}, so images of {quoted(ignored)} would not count, "
                "wanted more than 0 for every class with images",
                remedy="give a small weight, or leave these images out of the data",
            )
        return tuple(wanted)
    counts = data.class_counts()
    power = 0.5 if wanted == "sqrt" else 1.0
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0.0)
    return tuple((weights * len(data) / (weights * counts).sum()).tolist())
