"""From layers and arrays to what the C interface takes, with all of it checked.

The kernels believe what they are told: an array of another type, shape or layout, or a label out of
range, would be read for something else, or past its end.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping, Sequence
from ctypes import POINTER, c_float, c_int64, c_uint8
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tenfold.errors import UsageError
from tenfold.models import layers as kinds
from tenfold.models.layers import IMAGES, Layer, Shape
from tenfold.native.structures import (
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


class Normalization(NamedTuple):
    """What is done to pixels in 0..1: `(x - mean) / deviation`, one of each for every channel."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class TrainedTensor:
    """A tensor of a network, and what training keeps beside it: float32, all changed in place.

    Attributes:
        value: what the network computes with.
        moments: the momentum buffer of SGD, or Adam's first and second; none where it needs none.
        average: the moving average; None where there is none.
        is_trained: whether a gradient is taken.
    """

    value: np.ndarray
    moments: Sequence[np.ndarray] = ()
    average: np.ndarray | None = None
    is_trained: bool = False


def tensor_shapes(layers: Sequence[Layer]) -> dict[str, Shape]:
    """The tensors that the kernels compute with: all of the network's but the counts of batches."""
    counts = {each.num_batches_tracked for each in layers if isinstance(each, kinds.BatchNorm2d)}
    tensors = dict(tensor for layer in layers for tensor in layer.tensors())
    return {name: shape for name, shape in tensors.items() if name not in counts}


def layer_records(layers: Sequence[Layer], names: Iterable[str]) -> ctypes.Array[LayerRecord]:
    """The layers, with the places of their tensors among these names."""
    places = {name: place for place, name in enumerate(names)}
    return (LayerRecord * len(layers))(*(_layer_record(layer, places) for layer in layers))


def _layer_record(layer: Layer, places: Mapping[str, int]) -> LayerRecord:
    """A layer as the kernels know it, with the places of its tensors instead of their names."""
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
    """The addresses of tensors, which the caller keeps alive, in the order of the shapes.

    Args:
        tensors: by name; there may be more.
        shapes: by name, of those that are wanted.
        settings: of the steps that will change them; None for none.

    Raises:
        UsageError: one is missing, or has another type, shape or layout, or lacks what steps need.
    """
    records = (TensorRecord * len(shapes))()
    for record, (name, shape) in zip(records, shapes.items(), strict=True):
        if name not in tensors:
            raise UsageError(f"{name}: it is missing")
        tensor = tensors[name]
        for field, array in _arrays(tensor).items():
            require_array(f"{name} ({field})", array, np.float32, shape)
            setattr(record, field, pointer(array, c_float))
        if settings is not None:
            _require_changeable(name, tensor, settings)
        record.size, record.trained = math.prod(shape), tensor.is_trained
    return records


def _arrays(tensor: TrainedTensor) -> dict[str, np.ndarray]:
    """Those that there are, by the names of the record's fields."""
    found = {
        "value": tensor.value,
        **dict(zip(("moment1", "moment2"), tensor.moments, strict=False)),
    }
    return found if tensor.average is None else {**found, "average": tensor.average}


def _require_changeable(name: str, tensor: TrainedTensor, settings: StepSettingsRecord) -> None:
    """Refuse a tensor that steps of these settings cannot change, or not what is beside it."""
    moments = bool(settings.momentum) if settings.optimizer == SGD else 2
    if tensor.is_trained and len(tensor.moments) != moments:
        raise UsageError(f"{name}: it has {len(tensor.moments)} moments, wanted {moments:d}")
    if settings.average_decay and tensor.average is None:
        raise UsageError(f"{name}: its average is missing")
    for field, array in _arrays(tensor).items():
        if not array.flags.writeable:
            raise UsageError(f"{name} ({field}): it is read-only, wanted what training can change")


def images_record(
    shape: Shape,
    images: np.ndarray,
    normalization: Normalization | None,
    labels: np.ndarray | None = None,
    classes: int = 0,
) -> ImagesRecord:
    """The addresses of images, which the caller keeps alive.

    Args:
        shape: of one image.
        images: raw pixels.
        normalization: None for pixels in 0..1 as they are.
        labels: of all images; None for none.
        classes: how many there are.

    Raises:
        UsageError: an array has another type, shape or layout, or a label is out of range.
    """
    require_array("images", images, np.uint8, (len(images), *shape))
    record = ImagesRecord(pixels=pointer(images, c_uint8), count=len(images))
    if labels is not None:
        require_array("labels", labels, np.int64, (len(images),))
        require_all_within("labels", labels, classes)
        record.labels = pointer(labels, c_int64)
    if normalization is not None:
        for name, values in zip(normalization._fields, normalization, strict=True):
            require_array(name, values, np.float32, shape[:1])
        record.mean = pointer(normalization.mean, c_float)
        record.deviation = pointer(normalization.deviation, c_float)
    return record


def pointer(array: np.ndarray, kind: type[Any]) -> Any:  # noqa: ANN401 - a pointer of this kind
    """The address of an array, which the caller keeps alive."""
    return ctypes.cast(array.ctypes.data, POINTER(kind))


def require_array(place: str, array: np.ndarray, dtype: type, shape: Shape) -> None:
    """Refuse what the kernels would take for something else."""
    if array.dtype != dtype or array.shape != shape:
        raise UsageError(
            f"{place}: found {array.dtype} {list(array.shape)}, "
            f"wanted {np.dtype(dtype)} {list(shape)}"
        )
    if not array.flags.c_contiguous:
        raise UsageError(f"{place}: it does not lie in one block of memory, row after row")


def require_all_within(place: str, values: np.ndarray, end: int) -> None:
    """Refuse whole numbers that are not 0..end-1."""
    if len(values):
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0 or highest >= end:
            raise UsageError(f"{place}: found {lowest}..{highest}, wanted 0..{end - 1}")


def require_within(place: str, value: int, least: int, most: int) -> None:
    """Refuse a number that is out of its range."""
    if not least <= value <= most:
        raise UsageError(f"{place} is {value}, wanted {least}..{most}")
