"""Extremes of the surroundings of each pixel, of which morphological filters are made."""

from __future__ import annotations

import numpy as np


def of_windows(images: np.ndarray, reach: int, extreme: np.ufunc) -> np.ndarray:
    """The extreme of the square around each pixel, as far as that is inside.

    In as many steps as the logarithm of the reach.

    Args:
        images: height x width, after any other axes.
        reach: pixels from the middle of a square to its sides.
        extreme: `np.minimum` or `np.maximum`; of truth, `np.logical_and` or `np.logical_or`.
    """
    for _ in ("rows", "columns"):
        padding = [(0, 0)] * (images.ndim - 1) + [(reach, reach)]
        found, span, wanted = np.pad(images, padding, mode="edge"), 1, 2 * reach + 1
        while span < wanted:
            step = min(span, wanted - span)
            found = extreme(found[..., :-step], found[..., step:])
            span += step
        images = np.swapaxes(found, -1, -2)
    return images
