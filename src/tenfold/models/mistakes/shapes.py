"""Explain failures from shapes that do not fit: layers to each other, or to the images."""

from __future__ import annotations

import re
from typing import TypeGuard

from torch import Tensor, nn

from tenfold.errors import UsageError, counted, set_option
from tenfold.models.mistakes.failure import Failure
from tenfold.models.mistakes.naming import convolution, in_forward, linear, sizes, written
from tenfold.models.mistakes.outputs import RESHAPES

_LARGER = "load larger images (image_size)"


def wrong_features(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """A linear layer that gets another number of features than it takes."""
    layer, taken = failure.layer, failure.taken
    if not isinstance(layer, nn.Linear) or taken is None:
        return None
    if taken.ndim == 1:  # as after `x.flatten()`
        taken = taken[None]
    name, wanted = failure.layer_name, layer.in_features
    takes = f"{name} takes {wanted} features per image"
    numbers = taken[0].numel()
    mended = written(failure.network, layer, linear(layer, inputs=numbers))
    if taken.ndim > 2:
        also = "" if numbers == wanted else f", and {mended}"
        return failure.explained_by(
            f"{takes}, but gets {sizes(taken.shape)}, not flattened",
            remedy=f"flatten them first, with x.flatten(1) or nn.Flatten(){also}",
        )
    mixed = _mixed_rows(failure, len(taken), takes)
    if mixed is not None:
        return mixed
    source = failure.source_of(numbers)
    return failure.explained_by(
        f"{takes}, but gets {numbers}{f': {source}' if source else ''}",
        remedy=mended,
    )


def _mixed_rows(failure: Failure, rows: int, takes: str) -> UsageError | None:
    """The error for rows that are not images, such as after `view(-1, 576)`."""
    if not isinstance(failure.images, Tensor) or rows == len(failure.images):
        return None
    n = len(failure.images)
    return failure.explained_by(
        f"{takes}, but gets {counted(rows, 'row')} for {counted(n, 'image')}, wanted a row per "
        f"image{in_forward(failure.network, RESHAPES)}",
        remedy="flatten with x.flatten(1), which keeps the images apart",
    )


def wrong_view(failure: Failure, match: re.Match[str]) -> UsageError | None:
    """A `view` or `reshape` to a number of features that the images do not have."""
    shape, size = [int(part) for part in match[1].split(",") if part.strip()], int(match[2])
    if not isinstance(failure.images, Tensor) or not len(failure.images):
        return None
    n = len(failure.images)
    if len(shape) > 1 and shape[0] not in (-1, n):
        return failure.explained_by(
            f"{tuple(shape)} is only for a batch of {counted(shape[0], 'image')}, and this one has "
            f"{n:,}",
            remedy="flatten with x.flatten(1), which takes a batch of any size",
        )
    numbers = size // n
    reshaped = _variable_of(failure, size)
    found = f"{reshaped}, which is {numbers} numbers" if reshaped else f"there are {numbers}"
    wanted = shape[-1]
    first = next((m for m in _linear_layers(failure) if m.in_features == wanted != numbers), None)
    also = "" if first is None else written(failure.network, first, linear(first, inputs=numbers))
    return failure.explained_by(
        f"the batch cannot become {tuple(shape)}: {found} per image, not {wanted}",
        remedy=f"flatten with x.flatten(1){f', and {also}' if also else ''}",
    )


def _variable_of(failure: Failure, size: int) -> str:
    """The variable that was reshaped, and its shape per image."""
    for name, value in failure.place.variables.items():
        if isinstance(value, Tensor) and value.numel() == size and f"{name}." in failure.place.code:
            return f"{name} is {sizes(value.shape)}"
    return ""


def _linear_layers(failure: Failure) -> list[nn.Linear]:
    modules = () if failure.network is None else failure.network.modules()
    return [module for module in modules if isinstance(module, nn.Linear)]


def view_of_strides(failure: Failure, _match: re.Match[str]) -> UsageError:
    """A `view` of a tensor whose numbers are not in its order in memory."""
    return failure.explained_by(
        "view needs numbers that lie in order in memory, and after permute or transpose they do "
        "not",
        remedy="write reshape instead of view, or x.flatten(1)",
    )


def wrong_channels(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """A convolution or batch normalization for another number of channels."""
    layer, taken = failure.layer, failure.taken
    if taken is None or taken.ndim < 2:
        return None
    found = taken.shape[1]
    if isinstance(layer, nn.Conv2d):
        wanted, code = layer.in_channels, convolution(layer, in_channels=found)
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        wanted, code = layer.num_features, f"nn.{type(layer).__name__}({found})"
    else:
        return None
    remedy = written(failure.network, layer, code)
    of_images = _takes_the_images(failure)
    if of_images and {found, wanted} == {1, 3}:
        kind = "color" if wanted == 3 else "gray"
        remedy += (
            f", or load {kind} images with channels={wanted} ({set_option('channels', wanted)})"
        )
    source = f"; the images have {found}" if of_images else ""
    return failure.explained_by(
        f"{failure.layer_name} takes {counted(wanted, 'channel')}, but gets {found}{source}",
        remedy=remedy,
    )


def _takes_the_images(failure: Failure) -> bool:
    """Whether no layer with weights comes before the running one."""
    for call in failure.trial.calls:
        if call.layer is failure.layer:
            return True
        if any(True for _ in call.layer.parameters()):
            return False
    return False


def too_small(failure: Failure, match: re.Match[str]) -> UsageError:
    """A convolution or pooling whose window is larger than what is left of the images."""
    images, layer = failure.images, failure.layer
    of_images = f", from images of {sizes(images.shape[1:])}" if _is_a_batch(images) else ""
    remedy = f"leave out an earlier pooling layer, or {_LARGER}"
    if isinstance(layer, nn.Conv2d) and failure.taken is not None:
        sides, kernel = failure.taken.shape[-2:], layer.kernel_size
        missing = max(size - side for side, size in zip(sides, kernel, strict=True))
        padded = convolution(layer, padding=(missing + 1) // 2)
        mended = written(failure.network, layer, padded)
        remedy = f"{mended}, leave out an earlier pooling layer, or {_LARGER}"
        window = f"a kernel of {kernel[0]} x {kernel[1]}"
    elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        window = f"a window of {layer.kernel_size}"
        remedy = f"leave out {failure.layer_name} or an earlier pooling layer, or {_LARGER}"
    else:
        window = "a larger window"
    gets = sizes(failure.taken.shape[1:]) if failure.taken is not None else match[1].strip("()")
    return failure.explained_by(
        f"{failure.layer_name} has {window}, but gets only {gets} pixels{of_images}",
        remedy=remedy,
    )


def _is_a_batch(images: object) -> TypeGuard[Tensor]:
    return isinstance(images, Tensor) and images.ndim == 4


def wrong_dimensions(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """A layer for images that gets flattened ones."""
    taken = failure.taken
    if not isinstance(failure.layer, nn.Conv2d | nn.BatchNorm2d) or taken is None:
        return None
    flattened = f"{sizes(taken.shape)} per image, which is flattened" if taken.ndim == 2 else ""
    return failure.explained_by(
        f"{failure.layer_name} takes images (n x channels x height x width), but gets "
        f"{flattened or tuple(taken.shape)}",
        remedy="flatten only after the last convolution"
        if flattened
        else "give it a batch: images[None] if there is only one",
    )
