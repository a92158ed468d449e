"""A network as a flat, JSON-serializable list of known layers.

Each layer computes one output from the images (-1) or from outputs of earlier layers, given by
their places in the list. The last output is the logits. Values are float32, images and features
channels-first. A layer's docstring describes evaluation, and training if that differs. Layers refer
to weights by name; the weights are kept separately.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tenfold.errors import UsageError, set_option

IMAGES = -1
"""The place that stands for the images."""

MOST_LAYERS = 4096
LARGEST_OUTPUT = 2**30
"""Maximum number of values in a layer's output for one image."""

Shape = tuple[int, ...]
"""Shape of a tensor, or of a layer's output for one image: channels, height, width; or features."""

_LARGEST_TRIED = 256  # pixels per side, when searching for a large enough image size

_Place = Annotated[int, Field(ge=IMAGES, lt=MOST_LAYERS)]
_Count = Annotated[int, Field(ge=1, le=LARGEST_OUTPUT)]
_Pixels = Annotated[int, Field(ge=1, le=2**14)]
_Padding = Annotated[int, Field(ge=0, le=2**14)]
# Not strict, because JSON gives lists.
_Size = Annotated[tuple[_Pixels, _Pixels], Field(strict=False)]
_PaddingSize = Annotated[tuple[_Padding, _Padding], Field(strict=False)]
_Name = Annotated[str, Field(max_length=500, pattern=r"^[^.]+(\.[^.]+){0,31}$")]


class _Layer(BaseModel):
    """Base class of the layers; `input` is the place that it reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    input: _Place

    def sources(self) -> tuple[int, ...]:
        """All places that it reads."""
        return (self.input,)

    def tensors(self) -> list[tuple[str, Shape]]:
        """Names and shapes of its parameters and buffers."""
        return []

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of its output for one image, from that of its input.

        Raises:
            UsageError: it does not accept this shape.
        """
        return shape


class _Windows(_Layer):
    """A layer that moves a window over the pixels; sizes are height and width."""

    kernel_size: _Size
    stride: _Size
    padding: _PaddingSize

    def positions(self, shape: Shape) -> tuple[int, int]:
        """The number of vertical and horizontal window positions."""
        _require(len(shape) == 3, shape, "channels, height and width")
        padded = [size + 2 * pad for size, pad in zip(shape[1:], self.padding, strict=True)]
        height, width = (
            (size - kernel) // stride + 1
            for size, kernel, stride in zip(padded, self.kernel_size, self.stride, strict=True)
        )
        _require(min(height, width) > 0, shape, f"room for a window of {_text(self.kernel_size)}")
        return height, width


class Conv2d(_Windows):
    """A cross-correlation with zero padding; weight is outputs x inputs x kernel."""

    op: Literal["conv2d"] = "conv2d"
    in_channels: _Count
    out_channels: _Count
    weight: _Name
    bias: _Name | None

    def tensors(self) -> list[tuple[str, Shape]]:
        """Weight and, where there is one, bias."""
        weight = (self.out_channels, self.in_channels, *self.kernel_size)
        return [(self.weight, weight), *_if_named(self.bias, (self.out_channels,))]

    def output_shape(self, shape: Shape) -> Shape:
        """One channel per output."""
        height, width = self.positions(shape)
        _require(shape[0] == self.in_channels, shape, f"{self.in_channels} channels")
        return (self.out_channels, height, width)


class _Pool2d(_Windows):
    @model_validator(mode="after")
    def _require_pixels(self) -> _Pool2d:
        """Refuse windows that can lie entirely in the padding."""
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"padding is {self.padding}, wanted at most half of kernel_size")
        return self

    def output_shape(self, shape: Shape) -> Shape:
        """The same number of channels."""
        height, width = self.positions(shape)
        return (shape[0], height, width)


class MaxPool2d(_Pool2d):
    """The largest pixel in each window, never the padding."""

    op: Literal["max_pool2d"] = "max_pool2d"


class AveragePool2d(_Pool2d):
    """The mean of each window; padding counts as zeros."""

    op: Literal["average_pool2d"] = "average_pool2d"


class GlobalAveragePool(_Layer):
    """The mean over all pixels of each channel, as one pixel."""

    op: Literal["global_average_pool"] = "global_average_pool"

    def output_shape(self, shape: Shape) -> Shape:
        """One pixel per channel."""
        _require(len(shape) == 3, shape, "channels, height and width")
        return (shape[0], 1, 1)


class ReLU(_Layer):
    """`max(x, 0)`."""

    op: Literal["relu"] = "relu"


class Flatten(_Layer):
    """The same values as a vector: the whole first channel, row by row, then the next."""

    op: Literal["flatten"] = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        """One axis."""
        return (math.prod(shape),)


class Linear(_Layer):
    """`x @ weight.T + bias`, with weight as outputs x inputs.

    If transposed, `x @ weight + bias`, with weight as inputs x outputs.
    """

    op: Literal["linear"] = "linear"
    in_features: _Count
    out_features: _Count
    weight: _Name
    bias: _Name | None
    transposed: bool

    def tensors(self) -> list[tuple[str, Shape]]:
        """Weight and, where there is one, bias."""
        weight = (self.out_features, self.in_features)
        if self.transposed:
            weight = weight[::-1]
        return [(self.weight, weight), *_if_named(self.bias, (self.out_features,))]

    def output_shape(self, shape: Shape) -> Shape:
        """One value per output."""
        _require(shape == (self.in_features,), shape, f"{self.in_features} features")
        return (self.out_features,)


class Dropout(_Layer):
    """Identity; in training, each value is set to 0 with probability p, else divided by 1 - p."""

    op: Literal["dropout"] = "dropout"
    p: float = Field(ge=0, lt=1)


class BatchNorm2d(_Layer):
    """`(x - running_mean) / sqrt(running_var + eps) * weight + bias`, per channel.

    In training, mean and (biased) variance are the batch's, and the running ones become
    `(1 - momentum) * running + momentum * batch's` (with the unbiased variance);
    num_batches_tracked, an int64, grows by 1.
    """

    op: Literal["batch_norm2d"] = "batch_norm2d"
    channels: _Count
    weight: _Name
    bias: _Name
    running_mean: _Name
    running_var: _Name
    num_batches_tracked: _Name
    eps: float = Field(gt=0, le=1)
    momentum: float = Field(ge=0, le=1)

    def tensors(self) -> list[tuple[str, Shape]]:
        """Four tensors with one value per channel, and a count."""
        per_channel = (self.weight, self.bias, self.running_mean, self.running_var)
        return [*((name, (self.channels,)) for name in per_channel), (self.num_batches_tracked, ())]

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape."""
        fits = len(shape) == 3 and shape[0] == self.channels
        _require(fits, shape, f"{self.channels} channels, height and width")
        return shape


class Add(_Layer):
    """The sum of two outputs of equal shape."""

    op: Literal["add"] = "add"
    other: _Place

    def sources(self) -> tuple[int, ...]:
        """Both places."""
        return (self.input, self.other)


Layer = Annotated[
    Conv2d
    | MaxPool2d
    | AveragePool2d
    | GlobalAveragePool
    | ReLU
    | Flatten
    | Linear
    | Dropout
    | BatchNorm2d
    | Add,
    Field(discriminator="op"),
]


def _in_order(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Check that each layer reads only earlier ones, and that all but the last are read."""
    for place, layer in enumerate(layers):
        if max(layer.sources()) >= place:
            raise ValueError(f"layer {place} ({layer.op}) reads a layer that does not precede it")
    unread = set(range(len(layers) - 1)).difference(*(layer.sources() for layer in layers))
    if unread:
        raise ValueError(f"layer {min(unread)} is not read by any other")
    return layers


Network = Annotated[
    tuple[Layer, ...],
    Field(min_length=1, max_length=MOST_LAYERS, strict=False),
    AfterValidator(_in_order),
]
"""Pydantic type of a list of layers: a tuple, from a tuple or a list."""


def output_shapes(layers: Sequence[Layer], input_shape: Sequence[int]) -> tuple[Shape, ...]:
    """The shape of every layer's output for one image.

    Args:
        layers: a valid `Network`.
        input_shape: channels, height and width of one image.

    Raises:
        UsageError: a layer does not accept its input, or its output is over `LARGEST_OUTPUT`.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise UsageError(f"the images are {_text(input_shape)}, wanted channels, height and width")
    shapes: dict[int, Shape] = {IMAGES: tuple(input_shape)}
    for place, layer in enumerate(layers):
        shape, *others = (shapes[source] for source in layer.sources())
        try:
            for other in others:
                _require(other == shape, other, _text(shape))
            shapes[place] = layer.output_shape(shape)
        except UsageError as error:
            raise UsageError(f"layer {place} ({layer.op}): {error.message}") from None
        if math.prod(shapes[place]) > LARGEST_OUTPUT:
            raise UsageError(
                f"layer {place} ({layer.op}): its output is {_text(shapes[place])} per image, "
                f"wanted at most {LARGEST_OUTPUT:,}"
            )
    del shapes[IMAGES]
    return tuple(shapes.values())


def multiply_adds(layers: Sequence[Layer], input_shape: Sequence[int]) -> int:
    """Those of the convolutions and linear layers for one image, forward.

    Args:
        layers: in order.
        input_shape: of one image: channels, height, width.

    Raises:
        UsageError: a layer does not fit its input.
    """
    total = 0
    for layer, shape in zip(layers, output_shapes(layers, input_shape), strict=True):
        if isinstance(layer, Conv2d | Linear):
            (_, weight), *_ = layer.tensors()
            total += math.prod(weight) * math.prod(shape[1:])
    return total


def require_weights(layers: Sequence[Layer], shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse weights whose names and shapes are not exactly those that the layers use.

    Args:
        layers: a valid `Network`.
        shapes: the shape of every weight, by name.

    Raises:
        UsageError: one is missing, has another shape, or is used by no layer or more than once.
    """
    wanted = [tensor for layer in layers for tensor in layer.tensors()]
    uses = Counter(name for name, _ in wanted)
    for name, shape in wanted:
        if name not in shapes:
            raise UsageError(f"weight {name!r} is missing")
        if tuple(shapes[name]) != shape:
            raise UsageError(f"weight {name!r} is {_text(shapes[name])}, wanted {_text(shape)}")
    for name in shapes:
        if uses[name] != 1:
            raise UsageError(f"weight {name!r} is used {uses[name]} times, wanted once")


def require_batches(
    layers: Sequence[Layer], input_shape: Sequence[int], images: int, batch_size: int
) -> None:
    """Refuse a last batch of one image if batch normalization would see only one pixel of it.

    Args:
        layers: a valid `Network`.
        input_shape: channels, height and width of one image.
        images: number of training images.
        batch_size: in images; the last batch of an epoch has the remaining ones.

    Raises:
        UsageError: with the layer, and what to change.
    """
    if batch_size != 1 and images % batch_size != 1:
        return
    weight = _sees_one_pixel(layers, input_shape)
    if weight:
        sizes = (size for size in range(batch_size + 1, images + 1) if images % size != 1)
        remedies = [f"--batch-size {size}" for size in itertools.islice(sizes, 1)]
        if smallest := _smallest_side(layers, input_shape):
            height, width = (max(side, smallest) for side in input_shape[1:])
            remedies.append(set_option("image_size", f"[{height},{width}]"))
        which = "every batch" if batch_size == 1 else "the last batch"
        raise UsageError(
            f"batch_size is {batch_size}, so {which} of {images:,} training images has "
            f"one image, which leaves batch normalization ({weight}) with one value per channel, "
            "wanted at least two",
            remedy=f"choose {' or '.join([*remedies, 'another model'])}",
        )


def _sees_one_pixel(layers: Sequence[Layer], input_shape: Sequence[int]) -> str:
    """The weight of the first batch normalization that sees a single pixel; empty if none does."""
    for layer, shape in zip(layers, output_shapes(layers, input_shape), strict=True):
        if isinstance(layer, BatchNorm2d) and shape[1:] == (1, 1):
            return layer.weight
    return ""


def _smallest_side(layers: Sequence[Layer], input_shape: Sequence[int]) -> int:
    """The side of the smallest square image that leaves more than one pixel; 0 if none is found."""
    for side in range(min(input_shape[1:]), _LARGEST_TRIED):
        try:
            if not _sees_one_pixel(layers, (input_shape[0], side, side)):
                return side
        except UsageError:  # the network accepts only one image size
            return 0
    return 0


def _if_named(name: str | None, shape: Shape) -> list[tuple[str, Shape]]:
    return [] if name is None else [(name, shape)]


def _require(fits: bool, found: Sequence[int], wanted: str) -> None:
    if not fits:
        raise UsageError(f"it reads {_text(found)}, wanted {wanted}")


def _text(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape) or "a single number"
