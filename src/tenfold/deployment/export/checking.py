"""Whether an exported model computes what the model computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tenfold.deployment.bundle import Bundle
from tenfold.deployment.classifier import Classifier
from tenfold.errors import ExportError, counted
from tenfold.evaluation.metrics import softmax
from tenfold.models.layers import multiply_adds
from tenfold.types import PixelArray

Scores = Float[np.ndarray, "n classes"]

Compute = Callable[[PixelArray], tuple[Scores, Scores]]
"""From raw pixels to logits and probabilities."""

LARGEST_DIFFERENCE = 1e-4
"""The largest difference of a logit that is accepted, as long as no logit is over 10."""

_RELATIVE = 1e-5
"""Of larger logits, the largest difference as a share of the largest logit."""

_MOST_IMAGES, _FEWEST_IMAGES = 1000, 64
_MOST_WORK = 50e9
"""Multiply-adds of all images that are checked together: some seconds of work."""

_BATCH = 128


@dataclass(frozen=True)
class Agreement:
    """How well an exported model agrees with the model.

    Attributes:
        images: number of images that both computed.
        largest_difference: of a logit.
        tolerance: the largest difference that is accepted.
        near_ties: number of images whose class changed, where the model preferred its own by no
            more than the tolerance.
    """

    images: int
    largest_difference: float
    tolerance: float
    near_ties: int = 0


def images_to_check(bundle: Bundle) -> int:
    """How many images an export is checked on, as far as there are as many."""
    layers = bundle.header.layers
    work = multiply_adds(layers, bundle.input_shape) if layers else 0
    return max(_FEWEST_IMAGES, min(_MOST_IMAGES, int(_MOST_WORK / max(1, work))))


def require_agreement(compute: Compute, bundle: Bundle, images: PixelArray) -> Agreement:
    """Compare an exported model with the model: one image, two, and many at a time.

    Args:
        compute: the exported model.
        bundle: the model.
        images: at least one; raw pixels in the model's shape.

    Raises:
        ExportError: a logit differs by more than the tolerance, another class is the most probable
            although the model prefers its own by more than the tolerance, or the probabilities are
            not those of the logits.
        FileRefusedError: the model's outputs are not finite.
    """
    wanted = Classifier(bundle).logits(images)
    found, chances = map(np.concatenate, zip(*map(compute, _batches(images)), strict=True))
    if found.shape != wanted.shape:
        raise ExportError(f"the exported model's logits are {found.shape}, wanted {wanted.shape}")
    scale = float(np.abs(wanted).max())
    tolerance = max(LARGEST_DIFFERENCE, _RELATIVE * scale)
    difference = float(np.abs(found.astype(np.float64) - wanted).max())
    if not difference <= tolerance:  # also if it is not a number
        raise ExportError(
            f"the exported model differs from the model by {difference:.2g} in a logit, wanted at "
            f"most {tolerance:.2g}; nothing was written"
        )
    changed, near_ties = _changed_classes(found, wanted, tolerance)
    if changed:
        raise ExportError(
            f"the exported model answers another class for {counted(changed, 'image')} of "
            f"{len(images):,}; nothing was written"
        )
    temperature = bundle.header.temperature
    error = float(np.abs(softmax(found, temperature) - chances).max())
    if not error <= max(LARGEST_DIFFERENCE, _RELATIVE * scale / temperature):
        raise ExportError(
            f"the exported model's probabilities differ by {error:.2g} from those of its logits; "
            "nothing was written"
        )
    return Agreement(len(images), difference, tolerance, near_ties)


def _batches(images: PixelArray) -> Iterator[PixelArray]:
    """All images: the first alone, two together, and many at a time."""
    start = 0
    for size in (1, 2):
        if start < len(images):
            yield images[start : start + size]
        start += size
    for first in range(start, len(images), _BATCH):
        yield images[first : first + _BATCH]


def _changed_classes(found: Scores, wanted: Scores, tolerance: float) -> tuple[int, int]:
    """How many images are of another class: clearly, and where the model hardly prefers one."""
    if wanted.shape[1] == 1:
        return 0, 0
    second, best = np.partition(wanted, -2, axis=1)[:, -2:].T
    changed = found.argmax(axis=1) != wanted.argmax(axis=1)
    is_clear = best - second > tolerance
    return int((changed & is_clear).sum()), int((changed & ~is_clear).sum())
