"""Convert layers and arrays into the structures of the C interface, and validate them.

The kernels do not check: with an array of the wrong type, shape or layout, or a label out of range,
they would misread memory or read past its end.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping, Sequence
from ctypes import POINTER, c_float, c_int64, c_uint8
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from tenfold.errors import UsageError
from tenfold.models import layers as kinds
from tenfold.models.layers import IMAGES, Layer, Shape
from tenfold.native.structures import (
    AugmentationRecord,
    ImagesRecord,
    LayerRecord,
    StepSettingsRecord,
    TensorRecord,
)

_OPERATIONS = {
    kinds.Conv2d: 0,
    kinds.MaxPool2d: 1,
    kinds.AveragePool2d: 2,
    kinds.GlobalAveragePool: 3,
    kinds.ReLU: 4,
    kinds.Flatten: 5,
    kinds.Linear: 6,
    kinds.Dropout: 7,
    kinds.BatchNorm2d: 8,
    kinds.Add: 9,
}
"""`TenfoldOperation`."""

SGD, ADAM, ADAMW = range(3)
"""`TenfoldOptimizer`."""


BY_IMAGE: Literal["image"] = "image"
"""Each image is normalized by its own mean and deviation."""

NUMBERS_OF_CHANGES = 11
"""Integers in `TenfoldChanges`."""


class ChannelNormalization(NamedTuple):
    """Applied to pixels in 0..1: `(x - mean) / deviation`, one of each per channel."""

    mean: np.ndarray
    deviation: np.ndarray


Normalization: TypeAlias = ChannelNormalization | Literal["image"] | None
"""None to only scale pixels to 0..1."""


@dataclass(frozen=True)
class ImageChanges:
    """How the images of a stretch of steps are augmented.

    Attributes:
        numbers: int64, n x `NUMBERS_OF_CHANGES`; a row for each image in the stretch's order.
        warps: whether images are rotated, scaled or shifted.
        recolors: whether brightness or contrast change.
        crop_padding: black pixels on every side before the crop.
        cutout: side of the black square; 0 for none.
    """

    numbers: np.ndarray
    warps: bool
    recolors: bool
    crop_padding: int
    cutout: int

    def record(self, images: int) -> AugmentationRecord:
        """The same for the kernels; the caller keeps this object alive.

        Raises:
            UsageError: there is not one row for each of so many images.
        """
        require_array("changes", self.numbers, np.int64, (images, NUMBERS_OF_CHANGES))
        return AugmentationRecord(
            changes=pointer(self.numbers, c_int64),
            warps=self.warps,
            recolors=self.recolors,
            crop_padding=self.crop_padding,
            cutout=self.cutout,
        )


@dataclass(frozen=True)
class TrainedTensor:
    """A tensor of a network and its training state: float32, all updated in place.

    Attributes:
        value: the tensor itself.
        moments: SGD's momentum buffer, or Adam's first and second moments; empty if not needed.
        average: the moving average, if there is one.
        is_trained: whether it has a gradient.
    """

    value: np.ndarray
    moments: Sequence[np.ndarray] = ()
    average: np.ndarray | None = None
    is_trained: bool = False


def tensor_shapes(layers: Sequence[Layer]) -> dict[str, Shape]:
    """The tensors that the kernels use: all of the network's except the batch counts."""
    counts = {each.num_batches_tracked for each in layers if isinstance(each, kinds.BatchNorm2d)}
    tensors = dict(tensor for layer in layers for tensor in layer.tensors())
    return {name: shape for name, shape in tensors.items() if name not in counts}


def layer_records(layers: Sequence[Layer], names: Iterable[str]) -> ctypes.Array[LayerRecord]:
    """The layers, with tensors given by their positions among these names."""
    places = {name: place for place, name in enumerate(names)}
    return (LayerRecord * len(layers))(*(_layer_record(layer, places) for layer in layers))


def _layer_record(layer: Layer, places: Mapping[str, int]) -> LayerRecord:
    """A layer for the kernels, with tensors given by position instead of name."""
    record = LayerRecord(
        operation=_OPERATIONS[type(layer)],
        input=layer.input,
        other=getattr(layer, "other", IMAGES),
        **{
            field: places.get(getattr(layer, field, None) or "", -1)
            for field in ("weight", "bias", "running_mean", "running_var")
        },
        **{field: getattr(layer, field, 0.0) for field in ("p", "eps", "momentum")},
    )
    match layer:
        case kinds.Conv2d():
            record.outputs = layer.out_channels
        case kinds.Linear():
            record.outputs, record.transposed = layer.out_features, layer.transposed
    if isinstance(layer, kinds.Conv2d | kinds.MaxPool2d | kinds.AveragePool2d):
        record.kernel, record.stride, record.padding = (
            layer.kernel_size,
            layer.stride,
            layer.padding,
        )
    return record


def tensor_records(
    tensors: Mapping[str, TrainedTensor],
    shapes: Mapping[str, Shape],
    settings: StepSettingsRecord | None = None,
) -> ctypes.Array[TensorRecord]:
    """The addresses of tensors, in the order of `shapes`; the caller keeps the tensors alive.

    Args:
        tensors: by name; extra ones are ignored.
        shapes: by name, for the tensors to use.
        settings: of the steps that will update them; None for prediction.

    Raises:
        UsageError: a tensor is missing, has the wrong type, shape or layout, or lacks training
            state.
    """
    records = (TensorRecord * len(shapes))()
    for record, (name, shape) in zip(records, shapes.items(), strict=True):
        if name not in tensors:
            raise UsageError(f"{name} is missing")
        tensor = tensors[name]
        for field, array in _arrays(tensor).items():
            require_array(f"{name} ({field})", array, np.float32, shape)
            setattr(record, field, pointer(array, c_float))
        if settings is not None:
            _require_changeable(name, tensor, settings)
        record.size, record.trained = math.prod(shape), tensor.is_trained
    return records


def _arrays(tensor: TrainedTensor) -> dict[str, np.ndarray]:
    """The tensor's arrays, by the names of the record's fields."""
    found = {
        "value": tensor.value,
        **dict(zip(("moment1", "moment2"), tensor.moments, strict=False)),
    }
    return found if tensor.average is None else {**found, "average": tensor.average}


def _require_changeable(name: str, tensor: TrainedTensor, settings: StepSettingsRecord) -> None:
    """Refuse a tensor that steps with these settings cannot update."""
    moments = bool(settings.momentum) if settings.optimizer == SGD else 2
    if tensor.is_trained and len(tensor.moments) != moments:
        raise UsageError(f"{name} has {len(tensor.moments)} moments, wanted {moments:d}")
    if settings.average_decay and tensor.average is None:
        raise UsageError(f"{name} has no average")
    for field, array in _arrays(tensor).items():
        if not array.flags.writeable:
            raise UsageError(f"{name} ({field}) is read-only, wanted a writable array")


def images_record(
    shape: Shape,
    images: np.ndarray,
    normalization: Normalization,
    labels: np.ndarray | None = None,
    classes: int = 0,
) -> ImagesRecord:
    """The addresses of images, which the caller keeps alive.

    Args:
        shape: of one image.
        images: raw pixels.
        normalization: see `Normalization`.
        labels: of all images; None for prediction.
        classes: number of classes.

    Raises:
        UsageError: an array has the wrong type, shape or layout, or a label is out of range.
    """
    require_array("images", images, np.uint8, (len(images), *shape))
    record = ImagesRecord(pixels=pointer(images, c_uint8), count=len(images))
    if labels is not None:
        require_array("labels", labels, np.int64, (len(images),))
        require_all_within("labels", labels, classes)
        record.labels = pointer(labels, c_int64)
    if normalization == BY_IMAGE:
        record.by_image = True
    elif normalization is not None:
        for name, values in zip(normalization._fields, normalization, strict=True):
            require_array(name, values, np.float32, shape[:1])
        record.mean = pointer(normalization.mean, c_float)
        record.deviation = pointer(normalization.deviation, c_float)
    return record


def pointer(array: np.ndarray, kind: type[Any]) -> Any:  # noqa: ANN401 - a pointer of this kind
    """The address of an array, which the caller keeps alive."""
    return ctypes.cast(array.ctypes.data, POINTER(kind))


def require_array(place: str, array: np.ndarray, dtype: type, shape: Shape) -> None:
    """Refuse an array that the kernels would misread."""
    if array.dtype != dtype or array.shape != shape:
        raise UsageError(
            f"{place}: found {array.dtype} {list(array.shape)}, "
            f"wanted {np.dtype(dtype)} {list(shape)}"
        )
    if not array.flags.c_contiguous:
        raise UsageError(f"{place} is not C-contiguous")


def require_all_within(place: str, values: np.ndarray, end: int) -> None:
    """Refuse integers outside 0..end-1."""
    if len(values):
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0 or highest >= end:
            raise UsageError(f"{place}: found {lowest}..{highest}, wanted 0..{end - 1}")


def require_within(place: str, value: int, least: int, most: int) -> None:
    """Refuse a number outside least..most."""
    if not least <= value <= most:
        raise UsageError(f"{place} is {value}, wanted {least}..{most}")
