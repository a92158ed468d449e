"""What the models demand of their arguments, and the sizes that follow from them.

The largest values are far above what small images need; they keep a file from a stranger from
asking for a model that no machine can hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from tenfold.errors import UsageError
from tenfold.types import ImageShape

LARGEST_SIDE = 2**14
"""Channels, height or width of an image, at the most."""

LARGEST_WIDTH = 2**16
"""Units or channels of a layer, or classes, at the most."""

LARGEST_KERNEL = 127
"""Pixels along one side of a convolution's kernel, at the most."""

MOST_LAYERS = 64
"""Layers that one argument can ask for, at the most."""


def require_whole(model: str, argument: str, value: int, largest: int) -> None:
    """Refuse a whole number outside 1..largest.

    Raises:
        UsageError: with the model, the argument, the value and the range.
    """
    if not 1 <= value <= largest:
        raise UsageError(f"{model}: {argument} is {value}, wanted 1..{largest}")


def require_wholes(model: str, argument: str, values: Sequence[int], largest: int) -> None:
    """Refuse a list that is too long or has an entry outside 1..largest.

    Raises:
        UsageError: with the model, the argument, the place in the list, the value and the range.
    """
    if len(values) > MOST_LAYERS:
        raise UsageError(
            f"{model}: {argument} has {len(values)} entries, wanted at most {MOST_LAYERS}"
        )
    for place, value in enumerate(values):
        require_whole(model, f"{argument}[{place}]", value, largest)


def require_dropout(model: str, value: float) -> None:
    """Refuse a dropout probability outside 0 <= value < 1.

    Raises:
        UsageError: with the model, the value and the range.
    """
    if not 0 <= value < 1:
        raise UsageError(f"{model}: dropout is {value}, wanted 0 <= dropout < 1")


def require_task(model: str, input_shape: ImageShape, classes: int) -> None:
    """Refuse images without pixels, no classes, and numbers beyond all reason.

    Raises:
        UsageError: with the model, what is out of range, and the range.
    """
    if not all(1 <= size <= LARGEST_SIDE for size in input_shape):
        raise UsageError(
            f"{model}: the images' shape is {input_shape}, "
            f"wanted 1..{LARGEST_SIDE} channels, pixels in height and pixels in width"
        )
    require_whole(model, "the number of classes", classes, LARGEST_WIDTH)


def flattened_size(model: str, features: nn.Sequential, input_shape: ImageShape) -> int:
    """How many numbers an image has become once it has passed convolutions and pools.

    Args:
        model: its name, for the message.
        features: a row of layers; convolutions and max-pools change the size, others do not.
        input_shape: of one image.

    Raises:
        UsageError: a layer would have no pixels left to give; the message names it, and the
            smallest images that work.
    """
    height, width = (_size_after(features, size) for size in input_shape[1:])
    if height < 1 or width < 1:
        smallest = _smallest_size(features)
        raise UsageError(
            f"{model}: images of {input_shape} are too small: "
            f"{_where_it_ends(features, min(input_shape[1:]))} would have no pixels left, "
            f"wanted at least {smallest}x{smallest} pixels",
            remedy="choose another model or larger images",
        )
    channels = input_shape.channels
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
    return channels * height * width


def _size_after(features: nn.Sequential, size: int) -> int:
    """Height or width after all the layers; 0 where no pixel is left on the way."""
    for layer in features:
        size = _size_after_layer(layer, size)
        if size < 1:
            return 0
    return size


def _smallest_size(features: nn.Sequential) -> int:
    """The height or width that leaves one pixel after all the layers."""
    size = 1
    for layer in reversed(features):
        if isinstance(layer, nn.Conv2d):
            size = max(1, (size - 1) * layer.stride[0] + layer.kernel_size[0] - 2 * _padding(layer))
        elif isinstance(layer, nn.MaxPool2d):
            size *= _window(layer)
    return size


def _where_it_ends(features: nn.Sequential, size: int) -> str:
    """The first layer that has no pixels to give, by place and kind."""
    for place, layer in enumerate(features):
        size = _size_after_layer(layer, size)
        if size < 1:
            return f"layer features.{place} ({type(layer).__name__})"
    raise AssertionError("every layer has pixels left")


def _size_after_layer(layer: nn.Module, size: int) -> int:
    """Height or width after one layer; square kernels, and no dilation."""
    if isinstance(layer, nn.Conv2d):
        return (size + 2 * _padding(layer) - layer.kernel_size[0]) // layer.stride[0] + 1
    if isinstance(layer, nn.MaxPool2d):
        return size // _window(layer)
    return size


def _padding(layer: nn.Conv2d) -> int:
    padding = layer.padding[0]
    assert isinstance(padding, int)
    return padding


def _window(layer: nn.MaxPool2d) -> int:
    assert isinstance(layer.kernel_size, int)
    return layer.kernel_size
