"""Comparison of one training step as two ways compute it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

ATTEMPTS = 3
"""Number of batches to try; one must agree."""

TOLERANCE = 1e-3
"""Maximum norm of a difference, relative to the norm of PyTorch's result.

Different summation orders differ by about 1e-6, or 1e-5 in a deep network. Occasionally, rounding
decides the sign of a ReLU's input or which of two pixels is larger. Then one unit of one image
counts in one sum but not in the other, a difference of up to 1e-2, so another batch may be tried.
Real errors are larger and show up in every batch.
"""

LEAST_SHARE = 1e-2
"""Lower bound for the norm that a gradient is compared with, relative to that of all gradients.

The gradient of a bias before batch normalization is 0 except for rounding errors.
"""


@dataclass(frozen=True)
class StepResults:
    """The results of a step on one batch.

    Attributes:
        loss: the batch mean.
        gradients: by the parameters' names.
        logits: in evaluation mode, with the running statistics after the step.
    """

    loss: float
    gradients: Mapping[str, Tensor]
    logits: Tensor


def largest_difference(wanted: StepResults, found: StepResults) -> tuple[float, str]:
    """The largest relative difference from what is wanted, and its place."""
    return max((difference, place) for place, difference in differences(wanted, found).items())


def differences(wanted: StepResults, found: StepResults) -> dict[str, float]:
    """The relative differences from what is wanted, by place."""
    whole = math.hypot(*(_norm(gradient) for gradient in wanted.gradients.values()))
    loss = _ratio(abs(found.loss - wanted.loss), abs(wanted.loss))
    logits = _ratio(_norm(found.logits - wanted.logits), _norm(wanted.logits))
    by_place = {"the loss": loss, "the logits": logits}
    for name, gradient in wanted.gradients.items():
        scale = max(_norm(gradient), LEAST_SHARE * whole)
        difference = _norm(found.gradients[name] - gradient)
        by_place[f"the gradient of {name}"] = _ratio(difference, scale)
    return by_place


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))


def _ratio(difference: float, scale: float) -> float:
    if not math.isfinite(difference):
        return math.inf
    if difference == 0:
        return 0.0
    return difference / scale if scale else math.inf
