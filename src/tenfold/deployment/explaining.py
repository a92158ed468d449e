"""Why a classifier answers what it answers: which parts of an image its answer depends on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from tenfold.deployment.classifier import Classifier, images_at_once
from tenfold.evaluation.metrics import softmax
from tenfold.types import PixelArray

_WINDOWS = 6
"""About how many covering windows lie side by side along the longer side of an image."""


def occlusion_map(
    classifier: Classifier, pixels: PixelArray, label: int
) -> Float32[np.ndarray, "height width"]:
    """How much each part of an image speaks for a class.

    A window is moved over the image, and what it covers gets the color of the background: black or
    white if the training images had such a background, otherwise the image's mean (Zeiler and
    Fergus, "Visualizing and understanding convolutional networks", ECCV 2014).

    Args:
        classifier: the model.
        pixels: one image, n = 1, in the model's shape.
        label: the index of the class.

    Returns:
        For each pixel, by how much the logarithm of the probability of the class falls if the pixel
        is covered, the mean over all windows that cover it; negative where the image speaks
        against the class.
    """
    _, channels, height, width = pixels.shape
    side = max(1, round(max(height, width) / _WINDOWS))
    step = max(1, side // 2)
    tops, lefts = (_starts(length, min(side, length), step) for length in (height, width))
    windows = [(slice(y, y + side), slice(x, x + side)) for y in tops for x in lefts]
    background = classifier.bundle.header.background
    if background is not None:
        color = np.full(channels, 0 if background.shade == "dark" else 255, np.uint8)
    else:
        color = np.round(pixels[0].mean(axis=(1, 2))).astype(np.uint8)
    at_once = images_at_once(pixels.shape[1:])
    covered = np.repeat(pixels, len(windows) + 1, axis=0)
    for image, (rows, columns) in zip(covered, windows, strict=False):  # the last one is whole
        image[:, rows, columns] = color[:, None, None]
    chances = softmax(
        classifier.logits(covered, batch_size=at_once), classifier.bundle.header.temperature
    )[:, label]
    surprise = -np.log(np.maximum(chances.astype(np.float64), np.finfo(np.float32).tiny))
    falls = surprise[:-1] - surprise[-1]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for fall, window in zip(falls.tolist(), windows, strict=True):
        total[window] += fall
        count[window] += 1
    return (total / count).astype(np.float32)


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where windows begin along one side, so that they cover all of it."""
    return sorted({*range(0, length - side, step), length - side})
