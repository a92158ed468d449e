"""A network of known layers whose steps and logits compiled kernels compute, on arrays in place.

The arrays are NumPy's, or PyTorch's seen as such; nothing here needs PyTorch.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref, c_double, c_float, c_int32, c_int64, c_uint8
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from tenfold.errors import NotNativeError, UsageError
from tenfold.models import layers as kinds
from tenfold.models.layers import IMAGES, LARGEST_OUTPUT, Layer, Shape, output_shapes
from tenfold.native.library import Kernels, NoKernels, find_kernels
from tenfold.native.structures import (
    AugmentationRecord,
    ImagesRecord,
    LayerRecord,
    StepSettingsRecord,
    StretchRecord,
    TensorRecord,
)

SLICE_SECONDS = 0.1
"""How long the kernels should predict at a stretch: Ctrl-C waits for its end."""

_FIRST_SLICE = 16
"""Images; how many the next slices have is judged by how long this one takes."""

_LARGEST_BATCH = 2**24
MOST_THREADS = 1024
_MOST_STEPS = 2**53

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

_DONE, _OUT_OF_MEMORY = range(2)
"""`TenfoldResult`."""


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


@dataclass(frozen=True)
class TakenSteps:
    """What came of some steps in a row.

    Attributes:
        losses: the mean loss of each batch.
        correct: correct predictions in all of them.
        largest_gradients: of the last step, the largest absolute entry of the gradient of each
            tensor that is trained, after clipping, by name.
    """

    losses: Float32[np.ndarray, " batches"]
    correct: int
    largest_gradients: Mapping[str, float]


class CompiledNetwork:
    """A network that the compiled kernels can compute, and the memory that they work in.

    Several networks may work at once, for threads of their own; one works for one thread after the
    other. Between calls the kernels have no threads, so that a process may be forked.

    Args:
        layers: a valid `Network`, of which the last gives one number for every class.
        input_shape: channels, height and width of an image.
        batch_size: images in a step, or to be worked on at once; the last batch may be smaller.
        training: whether it can train, which takes more memory.
        threads: that work in a call, 1..1024; the results do not depend on it.
        kernels: None for the best that there are here.

    Attributes:
        tensors: the shapes of the network's tensors, by name.
        classes: how many logits an image has.

    Raises:
        NotNativeError: there are no kernels here.
        UsageError: a layer cannot take what it reads, or gives what cannot be logits.
        MemoryError: there is not enough.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Sequence[int],
        batch_size: int,
        *,
        training: bool = False,
        threads: int = 1,
        kernels: Kernels | None = None,
    ) -> None:
        self.input_shape, self.batch_size, self.threads = tuple(input_shape), batch_size, threads
        output = output_shapes(layers, input_shape)[-1]
        if len(output) != 1:
            raise UsageError(
                f"the last layer ({layers[-1].op}) gives {'x'.join(map(str, output))} numbers an "
                "image, wanted logits in a row"
            )
        (self.classes,) = output
        _require_within("numbers an image", math.prod(input_shape), 1, LARGEST_OUTPUT)
        _require_within("batch_size", batch_size, 1, _LARGEST_BATCH)
        _require_within("threads", threads, 1, MOST_THREADS)
        self.tensors = tensor_shapes(layers)
        self._can_train = training
        self._functions = (kernels or usable_kernels()).functions
        places = {name: place for place, name in enumerate(self.tensors)}
        records = (LayerRecord * len(layers))(*(_layer_record(each, places) for each in layers))
        shape = (c_int32 * 3)(*input_shape)
        self._address: int | None = self._functions.tenfold_network_new(
            records, len(records), shape, batch_size, training, threads
        )
        if self._address is None:
            raise MemoryError(f"a network for batches of {batch_size:,} images finds no room")
        self._free = weakref.finalize(self, self._functions.tenfold_network_free, self._address)
        self._working = threading.Lock()

    def close(self) -> None:
        """Give the memory back; the network is of no use any more."""
        with self._working:
            self._address = None
            self._free()

    def predict(
        self,
        weights: Mapping[str, np.ndarray],
        images: np.ndarray,
        *,
        normalization: Normalization | None = None,
    ) -> Float32[np.ndarray, "n classes"]:
        """The logits of any number of images, in evaluation mode.

        The kernels are left about ten times a second, so that Ctrl-C is answered.

        Args:
            weights: float32, by the names of `tensors`; there may be more.
            images: raw pixels, uint8, n x channels x height x width.
            normalization: None for pixels in 0..1 as they are.

        Raises:
            UsageError: an array is missing, or has another type, shape or layout.
            MemoryError: there is not enough.
        """
        tensors = self._tensors({name: TrainedTensor(array) for name, array in weights.items()})
        pixels = self._images(images, None, normalization)
        logits = np.empty((len(images), self.classes), np.float32)
        done, size = 0, _FIRST_SLICE
        while done < len(images):
            part = slice(done, done + size)
            pixels.pixels, pixels.count = _pointer(images[part], c_uint8), len(images[part])
            began = time.perf_counter()
            found = _pointer(logits[part], c_float)
            self._call("tenfold_predict", tensors, byref(pixels), self.threads, found)
            seconds = max(time.perf_counter() - began, 1e-6)
            done += size
            size = max(1, min(4 * size, int(SLICE_SECONDS * size / seconds)))
        return logits

    def train(
        self,
        tensors: Mapping[str, TrainedTensor],
        images: np.ndarray,
        labels: np.ndarray,
        order: np.ndarray,
        learning_rates: Sequence[float],
        *,
        settings: StepSettingsRecord,
        augmentation: AugmentationRecord | None = None,
        normalization: Normalization | None = None,
        step: int = 0,
        optimizer_step: int = 0,
        dropout_seed: int = 0,
    ) -> TakenSteps:
        """Take steps in a row, one for each learning rate.

        Args:
            tensors: by the names of `tensors`.
            images: all raw pixels that there are, uint8, n x channels x height x width.
            labels: of all images, int64.
            order: which images, batch after batch, int64; the last batch may be smaller.
            learning_rates: one for each batch.
            settings: how a step is taken; class weights, if any, are as many as there are classes.
            augmentation: None leaves the images as they are.
            normalization: None for pixels in 0..1 as they are.
            step: how many steps were taken before.
            optimizer_step: how many steps the optimizer has counted before.
            dropout_seed: 0 <= value < 2**63.

        Raises:
            UsageError: an array is missing, or has another type, shape or layout; a label, or a
                place in the order, is out of range; there are more or fewer batches than learning
                rates.
            MemoryError: there is not enough.
        """
        assert self._can_train, "it was made to predict"
        _require_within("step", step, 0, _MOST_STEPS)
        _require_within("optimizer_step", optimizer_step, 0, _MOST_STEPS)
        self._require_order(order, len(images), len(learning_rates))
        pixels = self._images(images, labels, normalization)
        records = self._tensors(tensors, settings)
        losses = np.empty(len(learning_rates), np.float32)
        gradients = np.zeros(len(records), np.float32)
        correct = c_int64()
        stretch = StretchRecord(
            order=_pointer(order, c_int64),
            images=len(order),
            learning_rates=(c_double * len(learning_rates))(*learning_rates),
            batches=len(learning_rates),
            step=step,
            optimizer_step=optimizer_step,
            dropout_seed=dropout_seed,
            threads=self.threads,
            losses=_pointer(losses, c_float),
            correct=ctypes.pointer(correct),
            largest_gradients=_pointer(gradients, c_float),
        )
        self._call(
            "tenfold_train",
            records,
            len(records),
            byref(pixels),
            byref(settings),
            None if augmentation is None else byref(augmentation),
            byref(stretch),
        )
        largest = {
            name: gradient
            for name, gradient in zip(self.tensors, gradients.tolist(), strict=True)
            if tensors[name].is_trained
        }
        return TakenSteps(losses, correct.value, largest)

    def _call(self, function: str, *arguments: object) -> None:
        with self._working:
            if self._address is None:
                raise UsageError("the network is closed", remedy="make it anew")
            result = getattr(self._functions, function)(self._address, *arguments)
        if result == _OUT_OF_MEMORY:
            raise MemoryError("the compiled kernels find no room to work in")
        assert result == _DONE, f"{function} refuses what was checked here"

    def _tensors(
        self, tensors: Mapping[str, TrainedTensor], settings: StepSettingsRecord | None = None
    ) -> ctypes.Array[TensorRecord]:
        """All tensors, with what steps of these settings need; None for no step."""
        records = (TensorRecord * len(self.tensors))()
        for record, (name, shape) in zip(records, self.tensors.items(), strict=True):
            if name not in tensors:
                raise UsageError(f"{name}: it is missing")
            arrays = _arrays(tensors[name])
            if settings is not None:
                _require_beside(name, tensors[name], settings)
            for field, array in arrays.items():
                place = f"{name} ({field})"
                _require_array(place, array, np.float32, shape)
                if settings is not None and not array.flags.writeable:
                    raise UsageError(f"{place}: it is read-only, wanted what training can change")
                setattr(record, field, _pointer(array, c_float))
            record.size, record.trained = math.prod(shape), tensors[name].is_trained
        return records

    def _images(
        self, images: np.ndarray, labels: np.ndarray | None, normalization: Normalization | None
    ) -> ImagesRecord:
        _require_array("images", images, np.uint8, (len(images), *self.input_shape))
        record = ImagesRecord(pixels=_pointer(images, c_uint8), count=len(images))
        if labels is not None:
            _require_array("labels", labels, np.int64, (len(images),))
            _require_all_within("labels", labels, self.classes)
            record.labels = _pointer(labels, c_int64)
        if normalization is not None:
            for name, values in zip(normalization._fields, normalization, strict=True):
                _require_array(name, values, np.float32, self.input_shape[:1])
            record.mean = _pointer(normalization.mean, c_float)
            record.deviation = _pointer(normalization.deviation, c_float)
        return record

    def _require_order(self, order: np.ndarray, images: int, batches: int) -> None:
        _require_array("order", order, np.int64, (len(order),))
        _require_all_within("order", order, images)
        if not 0 < batches == math.ceil(len(order) / self.batch_size):
            raise UsageError(
                f"there are {batches} learning rates, but {len(order)} images in batches of "
                f"{self.batch_size}, wanted one for each batch"
            )


def usable_kernels() -> Kernels:
    """The best kernels that there are here.

    Raises:
        NotNativeError: there are none; it says why.
    """
    found = find_kernels()
    if isinstance(found, NoKernels):
        raise NotNativeError(found.reason)
    return found


def tensor_shapes(layers: Sequence[Layer]) -> dict[str, Shape]:
    """The tensors that the kernels compute with: all of the network's but the counts of batches."""
    counts = {each.num_batches_tracked for each in layers if isinstance(each, kinds.BatchNorm2d)}
    tensors = dict(tensor for layer in layers for tensor in layer.tensors())
    return {name: shape for name, shape in tensors.items() if name not in counts}


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


def _arrays(tensor: TrainedTensor) -> dict[str, np.ndarray]:
    """Those that there are, by the names of the record's fields."""
    found = {
        "value": tensor.value,
        **dict(zip(("moment1", "moment2"), tensor.moments, strict=False)),
    }
    return found if tensor.average is None else {**found, "average": tensor.average}


def _require_beside(name: str, tensor: TrainedTensor, settings: StepSettingsRecord) -> None:
    """Refuse a tensor without what steps of these settings change beside it."""
    moments = bool(settings.momentum) if settings.optimizer == SGD else 2
    if tensor.is_trained and len(tensor.moments) != moments:
        raise UsageError(f"{name}: it has {len(tensor.moments)} moments, wanted {moments:d}")
    if settings.average_decay and tensor.average is None:
        raise UsageError(f"{name}: its average is missing")


def _pointer(array: np.ndarray, kind: type[Any]) -> Any:  # noqa: ANN401 - a pointer of this kind
    """The address of an array, which the caller keeps alive."""
    return ctypes.cast(array.ctypes.data, POINTER(kind))


def _require_array(place: str, array: np.ndarray, dtype: type, shape: Shape) -> None:
    """Refuse what the kernels would take for something else."""
    if array.dtype != dtype or array.shape != shape:
        raise UsageError(
            f"{place}: found {array.dtype} {list(array.shape)}, "
            f"wanted {np.dtype(dtype)} {list(shape)}"
        )
    if not array.flags.c_contiguous:
        raise UsageError(f"{place}: it does not lie in one block of memory, row after row")


def _require_all_within(place: str, values: np.ndarray, end: int) -> None:
    if len(values):
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0 or highest >= end:
            raise UsageError(f"{place}: found {lowest}..{highest}, wanted 0..{end - 1}")


def _require_within(place: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{place} is {value}, wanted {least}..{most}")
