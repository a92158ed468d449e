"""A network of known layers whose steps and logits compiled kernels compute, on arrays in place.

The arrays are NumPy's, or PyTorch's seen as such; nothing here needs PyTorch.
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
from tenfold.native.structures import AugmentationRecord, StepSettingsRecord, StretchRecord

SLICE_SECONDS = 0.1
"""How long the kernels should predict at a stretch: Ctrl-C waits for its end."""

IMAGES_OF_A_BLOCK = 16
"""Images that the kernels compute side by side; fewer cost as much."""

_LARGEST_BATCH, _MOST_STEPS, _MOST_THREADS = 2**24, 2**53, 1024

_DONE, _OUT_OF_MEMORY = range(2)
"""`TenfoldResult`."""


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


_NETWORKS: weakref.WeakSet[CompiledNetwork] = weakref.WeakSet()


def _unlock_all() -> None:
    """In a child after a fork: whoever had locked a network is in the parent."""
    for network in _NETWORKS:
        network._working = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_unlock_all)


class CompiledNetwork:
    """A network that the compiled kernels can compute, and the memory that they work in.

    Several networks may work at once, for threads of their own; one works for one thread after the
    other. Between calls the kernels have no threads, so that a process may be forked; also while
    another of its threads is in a call, for that thread does not go on in the child.

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
        require_within("numbers an image", math.prod(input_shape), 1, LARGEST_OUTPUT)
        require_within("batch_size", batch_size, 1, _LARGEST_BATCH)
        require_within("threads", threads, 1, _MOST_THREADS)
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
            raise MemoryError(f"a network for batches of {batch_size:,} images finds no room")
        self._free = weakref.finalize(self, self._functions.tenfold_network_free, self._address)
        self._working = threading.Lock()
        _NETWORKS.add(self)

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
        values = {name: TrainedTensor(array) for name, array in weights.items()}
        tensors = tensor_records(values, self.tensors)
        pixels = images_record(self.input_shape, images, normalization)
        logits = np.empty((len(images), self.classes), np.float32)
        done, size = 0, IMAGES_OF_A_BLOCK
        while done < len(images):
            part = slice(done, done + size)
            pixels.pixels, pixels.count = pointer(images[part], c_uint8), len(images[part])
            began = time.perf_counter()
            found = pointer(logits[part], c_float)
            self._call("tenfold_predict", tensors, len(tensors), byref(pixels), self.threads, found)
            seconds = max(time.perf_counter() - began, 1e-6)
            done += size
            blocks = min(4 * size, int(SLICE_SECONDS * size / seconds)) // IMAGES_OF_A_BLOCK
            size = max(1, blocks) * IMAGES_OF_A_BLOCK
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

    def _require_order(self, order: np.ndarray, images: int, batches: int) -> None:
        require_array("order", order, np.int64, (len(order),))
        require_all_within("order", order, images)
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
