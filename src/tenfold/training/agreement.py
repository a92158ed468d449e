"""Whether the compiled kernels compute what PyTorch computes, looked at before they are used.

It finds a network that is not what its list of layers says, and kernels that do not work on this
machine. Nothing of a run is changed by it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from ctypes import c_float
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tenfold.data.dataset import ImageDataset
from tenfold.errors import NotNativeError
from tenfold.evaluation.compiled import NETWORK, CompiledModel
from tenfold.evaluation.passes import predict_logits
from tenfold.models.image_model import ImageModel
from tenfold.models.layers import Dropout
from tenfold.native.network import CompiledNetwork
from tenfold.native.records import SGD, TrainedTensor
from tenfold.native.structures import StepSettingsRecord
from tenfold.training.engine import StepSettings

MOST_IMAGES = 32
"""In a batch that is looked at."""

ATTEMPTS = 3
"""Batches, of which one must agree."""

TOLERANCE = 1e-3
"""The length of a difference, in lengths of what PyTorch has.

Two orders of summation differ by some 1e-6 of it, or 1e-5 in a deep network. Now and then rounding
decides on which side of 0 the input of a ReLU lies, or which of two pixels is the largest: then one
unit of one image counts in one sum and not in the other, which is 1e-2 at the worst; so another
batch may be tried. What is wrong is wrong by more, in every batch.
"""

SHARE_OF_ALL = 1e-2
"""Lengths of gradients are taken for at least this share of that of all of them together.

The gradient of a bias before batch normalization is 0 but for rounding errors.
"""


@dataclass(frozen=True)
class _Step:
    """What a step finds on one batch.

    Attributes:
        loss: the batch's mean.
        gradients: by the names of the parameters in the layers.
        logits: of the batch in evaluation mode, with the running figures after the step.
    """

    loss: float
    gradients: Mapping[str, Tensor]
    logits: Tensor


def require_agreement(compiled: CompiledModel, data: ImageDataset, settings: StepSettings) -> None:
    """Refuse kernels that find something else than PyTorch on images of a data set.

    Compared are the loss and each gradient of a training step without dropout, and the logits in
    evaluation mode with the running figures that the step leaves.

    Args:
        compiled: of a model, whose tensors, gradients and mode stay as they are.
        data: what will be learned from.
        settings: how a step will be taken.

    Raises:
        NotNativeError: it says what differs most, and by how much.
        MemoryError: there is not enough.
    """
    size = min(settings.batch_size, MOST_IMAGES, len(data))
    difference, place = 0.0, ""
    for attempt in range(ATTEMPTS):
        # From all over the data set, which may be sorted by class.
        batch = data.select((np.arange(size) * len(data) // size + attempt) % len(data))
        wanted = _step_of_pytorch(compiled.model, batch, settings)
        difference, place = _largest(wanted, _step_of_kernels(compiled, batch, settings))
        if difference <= TOLERANCE:
            return
    raise NotNativeError(
        f"on {size} of the training images the kernels and PyTorch differ in {place} by "
        f"{difference:.1e} of its length, wanted at most {TOLERANCE:.0e}"
    )


def _step_of_pytorch(model: ImageModel, batch: ImageDataset, settings: StepSettings) -> _Step:
    model = copy.deepcopy(model).train()
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    weights = settings.class_weights
    with _WithoutDropout():
        loss = nn.functional.cross_entropy(
            model(batch.images),
            batch.labels,
            weight=None if weights is None else torch.tensor(weights, dtype=torch.float32),
            label_smoothing=settings.label_smoothing,
        )
    gradients = torch.autograd.grad(loss, list(trained.values()))
    names = [name.removeprefix(NETWORK) for name in trained]
    return _Step(
        loss.item(),
        dict(zip(names, gradients, strict=True)),
        predict_logits(model, batch.images),
    )


def _step_of_kernels(compiled: CompiledModel, batch: ImageDataset, settings: StepSettings) -> _Step:
    """With copies of the tensors; a momentum buffer of zeros becomes the gradient."""
    model, weights, size = compiled.model, settings.class_weights, len(batch)
    arrays = compiled.arrays(model.state_dict())
    parameters = model.network.named_parameters()
    trained = {name for name, parameter in parameters if parameter.requires_grad}
    tensors = {
        name: TrainedTensor(
            array.copy(),
            [np.zeros_like(array)] if name in trained else [],
            is_trained=name in trained,
        )
        for name, array in arrays.items()
    }
    record = StepSettingsRecord(
        optimizer=SGD, momentum=0.5, label_smoothing=settings.label_smoothing
    )
    if weights is not None:
        record.class_weights = (c_float * len(weights))(*weights)
    layers = [
        layer.model_copy(update={"p": 0.0}) if isinstance(layer, Dropout) else layer
        for layer in compiled.layers
    ]
    normalization, threads = compiled.normalization, torch.get_num_threads()
    learning, predicting = (
        CompiledNetwork(layers, batch.image_shape, size, training=training, threads=threads)
        for training in (True, False)
    )
    taken = learning.train(
        tensors,
        batch.image_array,
        batch.label_array,
        np.arange(size),
        [0.0],
        settings=record,
        normalization=normalization,
    )
    logits = predicting.predict(
        {name: tensor.value for name, tensor in tensors.items()},
        batch.image_array,
        normalization=normalization,
    )
    return _Step(
        float(taken.losses[0]),
        {name: torch.from_numpy(tensors[name].moments[0]) for name in trained},
        torch.from_numpy(logits),
    )


class _WithoutDropout(TorchFunctionMode):
    """Dropout does nothing inside the block: kernels and PyTorch draw other numbers for it."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        if func is nn.functional.dropout:
            return args[0]
        return func(*args, **(kwargs or {}))


def _largest(wanted: _Step, found: _Step) -> tuple[float, str]:
    """The largest difference in lengths of what is wanted, and where it is."""
    whole = math.hypot(*(_length(gradient) for gradient in wanted.gradients.values()))
    loss = _ratio(abs(found.loss - wanted.loss), abs(wanted.loss))
    logits = _ratio(_length(found.logits - wanted.logits), _length(wanted.logits))
    differences = {"the loss": loss, "the logits": logits}
    for name, gradient in wanted.gradients.items():
        scale = max(_length(gradient), SHARE_OF_ALL * whole)
        difference = _length(found.gradients[name] - gradient)
        differences[f"the gradient of {name}"] = _ratio(difference, scale)
    return max((difference, place) for place, difference in differences.items())


def _length(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))


def _ratio(difference: float, scale: float) -> float:
    if not math.isfinite(difference):
        return math.inf
    if difference == 0:
        return 0.0
    return difference / scale if scale else math.inf
