"""Explain failures of the loss from labels that it cannot take."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.models.mistakes.failure import Failure

_WANTED = "wanted class numbers from 0, torch.int64, one per image"


def require_one_each(labels: object) -> None:
    """Refuse one-hot rows: a loss can be computed from them, but no accuracy.

    Raises:
        UsageError: the labels have two dimensions.
    """
    if isinstance(labels, Tensor) and labels.ndim == 2:
        is_column = labels.shape[1] == 1
        kind = "a column" if is_column else f"rows of {labels.shape[1]}"
        remedy = "labels.flatten().long()" if is_column else "labels.argmax(1) if they are one-hot"
        raise UsageError(f"the labels are {kind}, {_WANTED}", remedy=f"convert them: {remedy}")


def out_of_range(failure: Failure, match: re.Match[str]) -> UsageError | None:
    """A label for which there is no output."""
    label = int(match[1])
    outputs = failure.trial.output
    known = isinstance(outputs, Tensor) and outputs.ndim == 2
    n = outputs.shape[1] if isinstance(outputs, Tensor) and known else None
    if n is not None and 0 <= label < n:
        return None  # it has as many outputs only for some images
    wanted = "" if n is None else f", wanted 0..{n - 1}: the network has {n} outputs"
    if label < 0:
        remedy = "number the classes from 0"
    elif n is None or label == n:
        remedy = "if the classes are numbered from 1, subtract 1: labels - 1"
    else:
        remedy = f"number the classes from 0, or give the last layer {label + 1} outputs"
    return failure.explained_by(f"a label is {label}{wanted}", remedy=remedy)


def wrong_type(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """Labels that are not whole numbers."""
    labels = failure.labels
    require_one_each(labels)
    if not isinstance(labels, Tensor) or labels.dtype == torch.int64:
        return None
    return failure.explained_by(
        f"the labels are {labels.dtype}, {_WANTED}", remedy="convert them: labels.long()"
    )
