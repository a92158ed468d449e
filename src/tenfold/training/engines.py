"""The choice of an engine for a run."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from tenfold.data.dataset import ImageDataset
from tenfold.errors import NotNativeError, UsageError
from tenfold.evaluation.compiled import CompiledModel, Predict, torch_predictor
from tenfold.evaluation.flushing import flushing_logits
from tenfold.models.layers import Layer
from tenfold.native.library import NoKernels, find_kernels
from tenfold.tensors import Images, Logits
from tenfold.training.agreement import require_agreement
from tenfold.training.engine import Engine, MakeEngine, StepSettings
from tenfold.training.engine_table import AUTO, ENGINES, NATIVE, require_engine
from tenfold.training.flushing import FlushingEngine
from tenfold.training.frozen_engine import FrozenEngine, FrozenFeatures
from tenfold.training.memory import is_out_of_memory
from tenfold.training.native_engine import NativeEngine
from tenfold.training.state import TrainingState
from tenfold.training.torch_engine import TorchEngine


@dataclass(frozen=True)
class ChosenEngine:
    """The engine that takes a run's steps.

    Attributes:
        kind: its class, from the table of engines.
        make: creates it.
        predict: computes the current model's logits, bit for bit as the engine does in
            validation, unless that uses known features.
        instructions: the vector instructions that the run's bits depend on.
        why_not_native: why PyTorch trains although not requested; otherwise empty.
    """

    kind: type[Engine]
    make: MakeEngine
    predict: Predict
    instructions: str
    why_not_native: str = ""


def choose_engine(
    name: str,
    state: TrainingState,
    data: ImageDataset,
    settings: StepSettings,
    layers: Sequence[Layer] | None = None,
) -> ChosenEngine:
    """The engine with this name; the native one is first compared with PyTorch.

    Args:
        name: of `ENGINES`, or `auto`.
        state: what to train; left unchanged.
        data: the training images.
        settings: how to take a step.
        layers: the network's layers, if known.

    Raises:
        UsageError: there is no such engine, or the native one was requested and cannot be used.
    """
    require_engine(name)
    if name not in (AUTO, NATIVE):
        return _by_pytorch(pkgutil.resolve_name(ENGINES[name]), state, data, settings)
    try:
        return _native(state, data, settings, layers)
    except NotNativeError as error:
        if name == AUTO:
            return _by_pytorch(TorchEngine, state, data, settings, error.message)
        if isinstance(find_kernels(), NoKernels):
            raise UsageError(
                f"the native engine is not available: {error.message}",
                remedy="to train without it, choose --engine auto",
            ) from error
        raise UsageError(
            f"the native engine cannot train this: {error.message}",
            remedy="choose --engine auto",
        ) from error


def auto_engine(state: TrainingState, data: ImageDataset, settings: StepSettings) -> Engine:
    """The native engine if it can train this, otherwise PyTorch; for `train`'s `make_engine`.

    The native one is first compared with PyTorch on some of the images. If PyTorch trains, the
    watcher gets a note that says why.
    """
    try:
        return _native(state, data, settings).make(state, data, settings)
    except NotNativeError as error:
        settings.acceleration.require_possible(state.model, data, settings.batch_size)
        engine = TorchEngine(state, data, settings)
        engine.note = because_of(error.message)
        return engine


def because_of(why_not_native: str) -> str:
    """The note that PyTorch trains, and why."""
    return f"training with PyTorch instead of compiled kernels: {why_not_native}"


def choose_frozen(
    name: str,
    features: FrozenFeatures,
    state: TrainingState,
    data: ImageDataset,
    settings: StepSettings,
) -> ChosenEngine:
    """The engine that trains only the last layer.

    Args:
        name: of `ENGINES`, or `auto`.
        features: that the last layer reads.
        state: see `choose_engine`.
        data: see `choose_engine`.
        settings: see `choose_engine`.

    Raises:
        UsageError: there is no such engine, or the native one was requested.
    """
    require_engine(name)
    if name == NATIVE:
        raise UsageError(
            "the native engine trains all layers, and freeze leaves all but the last as they are",
            remedy="choose --engine auto",
        )
    make = partial(FrozenEngine, features=features)
    why = "only the last layer is trained" if name == AUTO else ""
    return _by_pytorch(FrozenEngine, state, data, settings, why, make)


def _native(
    state: TrainingState,
    data: ImageDataset,
    settings: StepSettings,
    layers: Sequence[Layer] | None = None,
) -> ChosenEngine:
    compiled = CompiledModel(state.model, data.image_shape, layers)
    make = partial(NativeEngine, compiled=compiled)
    make(state, data, settings)  # raises if it cannot train this
    try:
        require_agreement(compiled, data, settings)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise NotNativeError("memory ran out while comparing it with PyTorch") from error
    return ChosenEngine(
        kind=NativeEngine,
        make=make,
        predict=compiled.logits,
        instructions=f"{compiled.instruction_set} ({_of_pytorch()} in PyTorch)",
    )


def _by_pytorch(
    kind: type[Engine],
    state: TrainingState,
    data: ImageDataset,
    settings: StepSettings,
    why_not_native: str = "",
    make: MakeEngine | None = None,
) -> ChosenEngine:
    model, acceleration = state.model, settings.acceleration
    acceleration.require_possible(model, data, settings.batch_size)
    make = make or kind
    compute = torch_predictor(model)
    if state.device.type == "cpu":
        make, compute = partial(FlushingEngine, make), partial(flushing_logits, model)

    def predict(images: Images, batch_size: int) -> Logits:
        with acceleration.evaluating(model):
            return compute(images, batch_size)

    return ChosenEngine(kind, make, predict, _of_pytorch(), why_not_native)


def _of_pytorch() -> str:
    return torch.backends.cpu.get_cpu_capability()
