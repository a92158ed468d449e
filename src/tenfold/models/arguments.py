"""Checks of model arguments, and sizes derived from them.

The limits are far above what small images need; they keep an untrusted file from requesting a model
that no machine can hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from tenfold.errors import UsageError, set_option
from tenfold.types import ImageShape

LARGEST_SIDE = 2**14
"""Maximum channels, height or width of an image."""

LARGEST_WIDTH = 2**16
"""Maximum units or channels of a layer, and maximum number of classes."""

LARGEST_KERNEL = 127
"""Maximum side of a convolution's kernel in pixels."""

MOST_LAYERS = 64
"""Maximum number of layers that one argument can request."""


def require_arguments(
    model: str,
    input_shape: ImageShape,
    classes: int,
    *,
    dropout: float = 0.0,
    init_std: float = 0.0,
    layers: Mapping[str, Sequence[int]] = {},
) -> None:
    """Refuse arguments out of range.

    Args:
        model: the model's name, for messages.
        input_shape: shape of one image.
        classes: number of classes.
        dropout: 0 <= dropout < 1.
        init_std: 0 <= init_std <= 100.
        layers: by argument name, a list with one number per layer: `kernels`, or else widths.

    Raises:
        UsageError: with the model, the argument, its value and the range.
    """
    if not all(1 <= size <= LARGEST_SIDE for size in input_shape):
        raise UsageError(
            f"{model}: the images' shape is {input_shape}, "
            f"wanted 1..{LARGEST_SIDE} for channels, height and width"
        )
    require_whole(model, "the number of classes", classes, LARGEST_WIDTH)
    for argument, values in layers.items():
        if len(values) > MOST_LAYERS:
            raise UsageError(
                f"{model}: {argument} has {len(values)} entries, wanted at most {MOST_LAYERS}"
            )
        largest = LARGEST_KERNEL if argument == "kernels" else LARGEST_WIDTH
        for place, value in enumerate(values):
            require_whole(model, f"{argument}[{place}]", value, largest)
    if not 0 <= dropout < 1:
        raise UsageError(f"{model}: dropout is {dropout}, wanted 0 <= dropout < 1")
    if not 0 <= init_std <= 100:
        raise UsageError(f"{model}: init_std is {init_std}, wanted 0 <= init_std <= 100")


def require_whole(model: str, argument: str, value: object, largest: int) -> None:
    """Refuse anything but a whole number in 1..largest.

    Raises:
        UsageError: with the model, the argument, the value and the range.
    """
    if not isinstance(value, int):
        raise UsageError(f"{model}: {argument} is {value!r}, wanted a whole number")
    if not 1 <= value <= largest:
        raise UsageError(f"{model}: {argument} is {value}, wanted 1..{largest}")


def flattened_size(model: str, features: nn.Sequential, input_shape: ImageShape) -> int:
    """The number of features of an image after convolutions and pooling.

    Args:
        model: the model's name, for messages.
        features: the layers; only convolutions and max-pooling change the size.
        input_shape: shape of one image.

    Raises:
        UsageError: a layer's output would have no pixels; the message names the layer and the
            smallest image size that works.
    """
    channels, height, width = input_shape
    for place, layer in enumerate(features):
        kernel, stride, padding = _window(layer)
        height, width = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
        if height < 1 or width < 1:
            smallest = _smallest_size(features)
            larger = ",".join(str(max(side, smallest)) for side in input_shape[1:])
            option = set_option("image_size", f"[{larger}]")
            raise UsageError(
                f"{model}: images of {input_shape} are too small: "
                f"layer features.{place} ({type(layer).__name__}) would have no pixels left, "
                f"wanted at least {smallest}x{smallest} pixels",
                remedy=f"choose another model, or larger images with {option}",
            )
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
    return channels * height * width


def _smallest_size(features: nn.Sequential) -> int:
    """The height or width that leaves one pixel after all the layers."""
    size = 1
    for layer in reversed(features):
        kernel, stride, padding = _window(layer)
        size = max(1, (size - 1) * stride + kernel - 2 * padding)
    return size


def _window(layer: nn.Module) -> tuple[int, int, int]:
    """Kernel size, stride and padding of a layer with square windows."""
    match layer:
        case nn.Conv2d(kernel_size=(kernel, _), stride=(stride, _), padding=(int(padding), _)):
            return kernel, stride, padding
        case nn.MaxPool2d(kernel_size=int(kernel)):
            return kernel, kernel, 0
    return 1, 1, 0
