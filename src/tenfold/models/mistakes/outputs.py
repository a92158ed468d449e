"""What a network returns: a row of logits for each image."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.models.mistakes.declarations import about_not_called
from tenfold.models.mistakes.failure import Failure
from tenfold.models.mistakes.naming import (
    called,
    in_forward,
    linear,
    lines_of_forward,
    sizes,
    written,
)
from tenfold.models.mistakes.trial import Call

RESHAPES = r"view\(|reshape\(|flatten\("
"""Code that can take numbers from one image to another."""

_CLOSE = 1e-5
"""How far from 1 the sum of a softmax in single precision can be, with room to spare."""


def wrong_outputs(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """Outputs from which no loss can be computed."""
    trial, images = failure.trial, failure.images
    if trial.failed or failure.network is None or not isinstance(images, Tensor):
        return None
    rows = min(len(images), 2)
    return not_logits(failure.network, trial.output, rows) or mixed_images(
        failure.network, trial.output, rows, trial.calls
    )


def not_logits(network: nn.Module, outputs: object, rows: int) -> UsageError | None:
    """The error for outputs that are not a tensor of rows of floats; None if they are."""
    kind = type(network).__name__
    returns = " and ".join(lines_of_forward(network, r"^\s*return\b"))
    returned = f" ({returns})" if returns else ""
    if outputs is None:
        return UsageError(
            f"{kind}.forward returns None{returned}, wanted the logits",
            remedy="end forward with return x; print(x) returns nothing",
        )
    if isinstance(outputs, tuple | list | dict):
        return UsageError(
            f"{kind}.forward returns a {type(outputs).__name__} of {len(outputs)}{returned}, "
            "wanted one tensor, the logits",
            remedy="return only the logits",
        )
    if isinstance(outputs, nn.Module) and (
        found := about_not_called(network, type(outputs).__name__)
    ):
        return found
    if not isinstance(outputs, Tensor):
        return UsageError(
            f"{kind}.forward returns an object of type {type(outputs).__name__}{returned}, "
            "wanted a tensor, the logits",
            remedy="return the output of the last layer",
        )
    if not outputs.is_floating_point():
        return UsageError(
            f"{kind} gives {outputs.dtype}{returned}, wanted logits, floats that training can "
            "improve",
            remedy="return the output of the last layer, without argmax",
        )
    if outputs.ndim == 2:
        return None
    if outputs.ndim > 2:
        return UsageError(
            f"{kind} gives {sizes(outputs.shape)} numbers per image{returned}, wanted a row, one "
            "for each class",
            remedy="flatten them: x.flatten(1)",
        )
    return UsageError(
        f"{kind} gives outputs of shape {list(outputs.shape)} for {rows} images{returned}, wanted "
        "images x classes",
        remedy="leave out what takes a dimension away, such as mean(), max() or squeeze()",
    )


def mixed_images(
    network: nn.Module, outputs: object, rows: int, calls: Sequence[Call]
) -> UsageError | None:
    """The error for another number of rows than images; None if there is one for each."""
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) == rows:
        return None
    kind, remedy = type(network).__name__, "flatten with x.flatten(1), which keeps images apart"
    before = None
    for call in calls:
        if call.taken is not None and call.taken[0] != rows:
            if isinstance(call.layer, nn.Linear) and before is not None:
                numbers = torch.Size(before[1:]).numel()
                remedy += (
                    f", and {written(network, call.layer, linear(call.layer, inputs=numbers))}"
                )
            break
        before = call.given
    return UsageError(
        f"{kind} gives {len(outputs)} rows of outputs for {rows} images"
        f"{in_forward(network, RESHAPES)}, wanted one row per image",
        remedy=remedy,
    )


def wrong_count(
    network: nn.Module, outputs: Tensor, n_classes: int, calls: Sequence[Call]
) -> UsageError | None:
    """The error for another number of outputs than classes; None if it is that."""
    found = outputs.shape[1]
    if found == n_classes:
        return None
    linears = [call.layer for call in calls if isinstance(call.layer, nn.Linear)]
    remedy = f"end the network with a layer of {n_classes} outputs"
    if linears and linears[-1].out_features == found:
        remedy = written(network, linears[-1], linear(linears[-1], outputs=n_classes))
    return UsageError(
        f"{type(network).__name__} gives {found} outputs per image, wanted {n_classes}, "
        "one for each class",
        remedy=remedy,
    )


def softmax_at_the_end(
    network: nn.Module, outputs: Tensor, calls: Sequence[Call]
) -> UsageError | None:
    """The error for probabilities in place of logits; None for logits."""
    last = calls[-1].layer if calls else None
    is_softmax = isinstance(last, nn.Softmax)
    if not (is_softmax or _are_probabilities(outputs)) or outputs.shape[1] == 1:
        return None
    lines = list(lines_of_forward(network, r"softmax\("))
    where = called(network, last) if is_softmax and last is not None else " and ".join(lines)
    return UsageError(
        f"{type(network).__name__} gives probabilities{f' ({where})' if where else ''}, wanted "
        "logits: the loss has a softmax of its own, and would apply it twice",
        remedy="leave out the softmax, and return what goes into it",
    )


def _are_probabilities(outputs: Tensor) -> bool:
    values = outputs.detach().double()
    if bool((values == values[0, 0]).all()):
        return False  # as of weights that are all zero
    sums = (values.sum(1), values.sum(0))
    return bool((values >= 0).all()) and any(
        bool(((each - 1).abs() < _CLOSE).all()) for each in sums
    )
