"""A network whose training steps and logits are computed in place by compiled kernels.

Arrays are NumPy's, possibly sharing memory with PyTorch tensors; nothing here needs PyTorch.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from ctypes import byref, c_double, c_float, c_int32, c_int64, c_uint8
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from tenfold.errors import NotNativeError, UsageError
from tenfold.models.layers import LARGEST_OUTPUT, Layer, output_shapes
from tenfold.native.library import Kernels, NoKernels, find_kernels
from tenfold.native.records import (
    ImageChanges,
    Normalization,
    TrainedTensor,
    images_record,
    layer_records,
    pointer,
    require_all_within,
    require_array,
    require_within,
    tensor_records,
    tensor_shapes,
)
from tenfold.native.structures import StepSettingsRecord, StretchRecord
from tenfold.native.threads import MOST_THREADS

SLICE_SECONDS = 0.1
"""Target duration of one prediction call; Ctrl-C takes effect between calls."""

IMAGES_PER_BLOCK = 16
"""Images that the kernels process side by side; fewer cost just as much."""

_LARGEST_BATCH, _MOST_STEPS = 2**24, 2**53

_DONE, _OUT_OF_MEMORY = range(2)
"""`TenfoldResult`."""


@dataclass(frozen=True)
class TakenSteps:
    """The results of consecutive steps.

    Attributes:
        losses: the mean loss of each batch.
        correct: number of correct predictions in all batches.
        largest_gradients: by name of each trained tensor, the largest absolute entry of its
            gradient in the last step, after clipping.
    """

    losses: Float32[np.ndarray, " batches"]
    correct: int
    largest_gradients: Mapping[str, float]


_NETWORKS: weakref.WeakSet[CompiledNetwork] = weakref.WeakSet()


def _unlock_all() -> None:
    """Reset locks in a forked child: the thread that held one exists only in the parent."""
    for network in _NETWORKS:
        network._working = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_unlock_all)


class CompiledNetwork:
    """A network for the compiled kernels, with their working memory.

    Different networks may be used from different threads at once; calls on one network take turns.
    The kernels have no threads between calls, so the process may fork at any time, even while
    another thread is in a call: that thread does not exist in the child.

    Args:
        layers: a valid `Network` whose last layer gives one number per class.
        input_shape: channels, height and width of an image.
        batch_size: images per step, or processed at once; the last batch may be smaller.
        training: whether it can train, which takes more memory.
        threads: threads per call, 1..1024; results do not depend on it.
        kernels: None for the best available.

    Attributes:
        tensors: shapes of the network's tensors, by name.
        classes: logits per image.

    Raises:
        NotNativeError: no kernels are available.
        UsageError: a layer does not fit its input, or the output cannot be logits.
        MemoryError: not enough memory.
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
                f"the last layer ({layers[-1].op}) outputs {'x'.join(map(str, output))} per image, "
                "wanted a vector of logits"
            )
        (self.classes,) = output
        require_within("values per image", math.prod(input_shape), 1, LARGEST_OUTPUT)
        require_within("batch_size", batch_size, 1, _LARGEST_BATCH)
        require_within("threads", threads, 1, MOST_THREADS)
        self.tensors = tensor_shapes(layers)
        self._can_train = training
        self._functions = (kernels or usable_kernels()).functions
        self._address: int | None = self._functions.tenfold_network_new(
            layer_records(layers, self.tensors),
            len(layers),
            (c_int32 * 3)(*input_shape),
            batch_size,
            training,
            threads,
        )
        if self._address is None:
            raise MemoryError(f"not enough memory for batches of {batch_size:,} images")
        self._free = weakref.finalize(self, self._functions.tenfold_network_free, self._address)
        self._working = threading.Lock()
        _NETWORKS.add(self)

    def close(self) -> None:
        """Free the memory; the network cannot be used afterwards."""
        with self._working:
            self._address = None
            self._free()

    def predict(
        self,
        weights: Mapping[str, np.ndarray],
        images: np.ndarray,
        *,
        normalization: Normalization = None,
    ) -> Float32[np.ndarray, "n classes"]:
        """The logits of any number of images, in evaluation mode.

        Returns to Python about ten times a second, so that Ctrl-C works.

        Args:
            weights: float32, by the names in `tensors`; extra ones are ignored.
            images: raw pixels, uint8, n x channels x height x width.
            normalization: see `Normalization`.

        Raises:
            UsageError: an array is missing, or has the wrong type, shape or layout.
            MemoryError: not enough memory.
        """
        values = {name: TrainedTensor(array) for name, array in weights.items()}
        tensors = tensor_records(values, self.tensors)
        pixels = images_record(self.input_shape, images, normalization)
        logits = np.empty((len(images), self.classes), np.float32)
        done, size = 0, IMAGES_PER_BLOCK
        while done < len(images):
            part = slice(done, done + size)
            pixels.pixels, pixels.count = pointer(images[part], c_uint8), len(images[part])
            began = time.perf_counter()
            found = pointer(logits[part], c_float)
            self._call("tenfold_predict", tensors, len(tensors), byref(pixels), self.threads, found)
            seconds = max(time.perf_counter() - began, 1e-6)
            done += size
            blocks = min(4 * size, int(SLICE_SECONDS * size / seconds)) // IMAGES_PER_BLOCK
            size = max(1, blocks) * IMAGES_PER_BLOCK
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
        augmentation: ImageChanges | None = None,
        normalization: Normalization = None,
        step: int = 0,
        optimizer_step: int = 0,
        dropout_seed: int = 0,
    ) -> TakenSteps:
        """Take consecutive steps, one per learning rate.

        Args:
            tensors: by the names in `tensors`.
            images: raw pixels of all training images, uint8, n x channels x height x width.
            labels: of all images, int64.
            order: image indices, batch after batch, int64; the last batch may be smaller.
            learning_rates: one per batch.
            settings: of the optimizer and loss; class weights, if any, are one per class.
            augmentation: None for none.
            normalization: see `Normalization`.
            step: number of steps taken before.
            optimizer_step: number of steps the optimizer has counted before.
            dropout_seed: 0 <= value < 2**63.

        Raises:
            UsageError: an array is missing, or has the wrong type, shape or layout; a label or an
                index in the order is out of range; the number of batches differs from that of
                learning rates.
            MemoryError: not enough memory.
        """
        assert self._can_train, "the network was created for prediction only"
        require_within("step", step, 0, _MOST_STEPS)
        require_within("optimizer_step", optimizer_step, 0, _MOST_STEPS)
        self._require_order(order, len(images), len(learning_rates))
        pixels = images_record(self.input_shape, images, normalization, labels, self.classes)
        records = tensor_records(tensors, self.tensors, settings)
        losses = np.empty(len(learning_rates), np.float32)
        gradients = np.zeros(len(records), np.float32)
        correct = c_int64()
        stretch = StretchRecord(
            order=pointer(order, c_int64),
            images=len(order),
            learning_rates=(c_double * len(learning_rates))(*learning_rates),
            batches=len(learning_rates),
            step=step,
            optimizer_step=optimizer_step,
            dropout_seed=dropout_seed,
            threads=self.threads,
            losses=pointer(losses, c_float),
            correct=ctypes.pointer(correct),
            largest_gradients=pointer(gradients, c_float),
        )
        self._call(
            "tenfold_train",
            records,
            len(records),
            byref(pixels),
            byref(settings),
            None if augmentation is None else byref(augmentation.record(len(order))),
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
                raise UsageError("the network is closed", remedy="create a new one")
            result = getattr(self._functions, function)(self._address, *arguments)
        if result == _OUT_OF_MEMORY:
            raise MemoryError("not enough memory for the compiled kernels")
        assert result == _DONE, f"{function} refused arguments that were checked here"

    def _require_order(self, order: np.ndarray, images: int, batches: int) -> None:
        require_array("order", order, np.int64, (len(order),))
        require_all_within("order", order, images)
        if not 0 < batches == math.ceil(len(order) / self.batch_size):
            raise UsageError(
                f"there are {batches} learning rates for {len(order)} images in batches of "
                f"{self.batch_size}, wanted one per batch"
            )


def usable_kernels() -> Kernels:
    """The best kernels available.

    Raises:
        NotNativeError: there are none; says why.
    """
    found = find_kernels()
    if isinstance(found, NoKernels):
        raise NotNativeError(found.reason)
    return found
