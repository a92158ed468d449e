"""What the models demand of their arguments, and what follows from them.

The largest values are far above what small images need; they keep a file from a stranger from
asking for a model that no machine can hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def require_arguments(
    model: str,
    input_shape: ImageShape,
    classes: int,
    *,
    dropout: float = 0.0,
    init_std: float = 0.0,
    layers: Mapping[str, Sequence[int]] = {},
) -> None:
    """Refuse images without pixels, no classes, and numbers beyond all reason.

    Args:
        model: its name, for the message.
        input_shape: of one image.
        classes: how many there are.
        dropout: 0 <= dropout < 1.
        init_std: 0 <= init_std <= 100.
        layers: lists with one number a layer, by the argument's name: `kernels`, or else widths.

    Raises:
        UsageError: with the model, the argument, its value and the range.
    """
    if not all(1 <= size <= LARGEST_SIDE for size in input_shape):
        raise UsageError(
            f"{model}: the images' shape is {input_shape}, "
            f"wanted 1..{LARGEST_SIDE} channels, pixels in height and pixels in width"
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


def require_whole(model: str, argument: str, value: int, largest: int) -> None:
    """Refuse a whole number outside 1..largest.

    Raises:
        UsageError: with the model, the argument, the value and the range.
    """
    if not 1 <= value <= largest:
        raise UsageError(f"{model}: {argument} is {value}, wanted 1..{largest}")


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
    channels, height, width = input_shape
    for place, layer in enumerate(features):
        kernel, stride, padding = _window(layer)
        height, width = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
        if height < 1 or width < 1:
            smallest = _smallest_size(features)
            larger = ",".join(str(max(side, smallest)) for side in input_shape[1:])
            raise UsageError(
                f"{model}: images of {input_shape} are too small: "
                f"layer features.{place} ({type(layer).__name__}) would have no pixels left, "
                f"wanted at least {smallest}x{smallest} pixels",
                remedy=f"choose another model, or larger images with --set image_size=[{larger}]",
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
    """Side, stride and padding of the square window that a layer moves over the pixels."""
    match layer:
        case nn.Conv2d(kernel_size=(kernel, _), stride=(stride, _), padding=(int(padding), _)):
            return kernel, stride, padding
        case nn.MaxPool2d(kernel_size=int(kernel)):
            return kernel, kernel, 0
    return 1, 1, 0
