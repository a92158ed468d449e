"""Check that the compiled kernels compute the same as PyTorch before they are used.

The check catches a network that differs from its list of layers, and kernels that do not work on
this machine. It does not change the run.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from ctypes import c_float
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tenfold.data.dataset import ImageDataset
from tenfold.errors import NotNativeError
from tenfold.evaluation.compiled import NETWORK, CompiledModel
from tenfold.evaluation.passes import predict_logits
from tenfold.evaluation.threads import run_threads
from tenfold.models.image_model import ImageModel
from tenfold.models.layers import Dropout
from tenfold.native.network import CompiledNetwork
from tenfold.native.records import SGD, TrainedTensor
from tenfold.native.structures import StepSettingsRecord
from tenfold.training.comparing import (
    ATTEMPTS,
    TOLERANCE,
    StepResults,
    differences,
    largest_difference,
)
from tenfold.training.engine import StepSettings

MOST_IMAGES = 32
"""Maximum number of images in a batch that is compared."""

TIMES_MOVED, MOST_ROUNDING = 3.0, 0.1
"""How much kernels and PyTorch may differ, in proportion to how much PyTorch's own result moves if
every weight changes by one or two units in its last place, and at most.

In a deep network with batch normalization, rounding decides the sign of many inputs of ReLUs:
PyTorch's gradients of a `resnet50` with new weights differ from those in double precision by 1 to
3 % (measured on the hand signs of docs/folders.md in 64 x 64 pixels), and so do the kernels'.
"""


def require_agreement(compiled: CompiledModel, data: ImageDataset, settings: StepSettings) -> None:
    """Refuse kernels whose results differ from PyTorch's on images of a data set.

    Compares the loss and every gradient of a training step without dropout, and the logits in
    evaluation mode with the running statistics after that step.

    Args:
        compiled: a model; its tensors, gradients and mode are left unchanged.
        data: the training images.
        settings: the settings of the steps to come.

    Raises:
        NotNativeError: results differ; says which differs most and by how much.
        MemoryError: not enough memory.
    """
    size = min(settings.batch_size, MOST_IMAGES, len(data))
    difference, place = 0.0, ""
    for attempt in range(ATTEMPTS):
        # Spread over the data set, which may be sorted by class.
        batch = data.select((np.arange(size) * len(data) // size + attempt) % len(data))
        wanted = _step_of_pytorch(compiled.model, batch, settings)
        found = _step_of_kernels(compiled, batch, settings)
        difference, place = largest_difference(wanted, found)
        if difference <= TOLERANCE or _is_rounding(compiled.model, batch, settings, wanted, found):
            return
    raise NotNativeError(
        f"on {size} training images the kernels and PyTorch differ in {place}: relative "
        f"difference {difference:.1e}, wanted at most {TOLERANCE:.0e}"
    )


def _is_rounding(
    model: ImageModel,
    batch: ImageDataset,
    settings: StepSettings,
    wanted: StepResults,
    found: StepResults,
) -> bool:
    """Whether every difference may be due to rounding, judged one by one."""
    nudged, numbers = copy.deepcopy(model), np.random.default_rng(0)
    for parameter in nudged.parameters():
        signs = torch.from_numpy(numbers.integers(0, 2, parameter.shape) * 2 - 1)
        parameter.data *= 1 + signs * 2.0**-23
    moved = differences(wanted, _step_of_pytorch(nudged, batch, settings))
    return all(
        difference <= max(TOLERANCE, min(MOST_ROUNDING, TIMES_MOVED * moved[place]))
        and math.isfinite(moved[place])
        for place, difference in differences(wanted, found).items()
    )


def _step_of_pytorch(model: ImageModel, batch: ImageDataset, settings: StepSettings) -> StepResults:
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
    return StepResults(
        loss.item(),
        dict(zip(names, gradients, strict=True)),
        predict_logits(model, batch.images),
    )


def _step_of_kernels(
    compiled: CompiledModel, batch: ImageDataset, settings: StepSettings
) -> StepResults:
    """Uses copies of the tensors; a zero-initialized momentum buffer becomes the gradient."""
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
    normalization, threads = compiled.normalization, run_threads()
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
    return StepResults(
        float(taken.losses[0]),
        {name: torch.from_numpy(tensors[name].moments[0]) for name in trained},
        torch.from_numpy(logits),
    )


class _WithoutDropout(TorchFunctionMode):
    """Disables dropout inside the block: kernels and PyTorch draw different masks."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - any function goes through here
        if func is nn.functional.dropout:
            return args[0]
        return func(*args, **(kwargs or {}))
