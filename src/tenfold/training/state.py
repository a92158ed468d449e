"""The state of a run between two steps, as objects and as the parts of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from tenfold.errors import FileRefusedError, listing
from tenfold.storage import Facts
from tenfold.tensors import differences, part_of
from tenfold.training.averaging import AveragedWeights
from tenfold.training.history import EpochMetrics
from tenfold.training.optimizer_state import (
    OptimizerHeader,
    load_optimizer,
    optimizer_to_parts,
)

ChooseBy = Literal["val_loss", "val_acc"]


@dataclass(frozen=True)
class Best:
    """The weights of the best epoch by validation.

    Attributes:
        epoch: counted from 1.
        value: the metric that chose it.
        weights: a copy of the model's state at the end of that epoch.
    """

    epoch: int
    value: float
    weights: dict[str, Tensor]


class BestHeader(Facts):
    """Which epoch was best, in a checkpoint's header."""

    epoch: PositiveInt
    value: float


class StateHeader(Facts):
    """The non-tensor part of a checkpoint, checked for consistency."""

    epoch: NonNegativeInt
    batch: NonNegativeInt
    step: NonNegativeInt
    seconds: NonNegativeFloat
    history: list[EpochMetrics]
    best: BestHeader | None
    epochs_without_gain: NonNegativeInt
    optimizer: OptimizerHeader
    parameters: list[str]

    @model_validator(mode="after")
    def _make_sense(self) -> StateHeader:
        # Not a list of `epoch` numbers: a file may claim any number of epochs.
        epochs = [metrics.epoch for metrics in self.history]
        if len(epochs) != self.epoch or epochs != list(range(1, len(epochs) + 1)):
            raise ValueError("the history does not list each finished epoch exactly once")
        if max(self.epochs_without_gain, self.best.epoch if self.best else 0) > self.epoch:
            raise ValueError("the best epoch is not among those finished")
        if not self.epoch + self.batch <= self.step < 2**53:
            raise ValueError("fewer steps than batches")
        return self


class TrainingState:
    """Everything a run consists of between two steps; a checkpoint holds all of it.

    Args:
        model: raw images to logits.
        optimizer: over the model's parameters.
        averaged: the moving average of the weights, if the run keeps one.

    Attributes:
        epoch: number of finished epochs.
        batch: batches done in the current epoch.
        step: total number of steps taken.
        losses: the mean loss of each batch of the current epoch, float32, on the model's device.
        correct: correct predictions in the current epoch, an int64 scalar on the model's device.
        seconds: time spent on the current epoch so far.
        history: one entry per finished epoch.
        best: the best epoch's weights, once there is one.
        epochs_without_gain: finished epochs since the best one.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averaged: AveragedWeights | None = None,
    ) -> None:
        self.model, self.optimizer, self.averaged = model, optimizer, averaged
        self.epoch = self.batch = self.step = 0
        self.losses = torch.zeros(0)
        self.correct = torch.zeros((), dtype=torch.int64)
        self.seconds = 0.0
        self.history: list[EpochMetrics] = []
        self.best: Best | None = None
        self.epochs_without_gain = 0

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(self.model.parameters()).device

    def begin_epoch(self, batches: int) -> None:
        """Make room for an epoch's figures, and keep those of a half-finished epoch."""
        if self.batch and self.batch >= batches:
            raise FileRefusedError(
                f"the state is at batch {self.batch} of an epoch that has {batches}"
            )
        losses = torch.zeros(batches, device=self.device)
        losses[: self.batch] = self.losses[: self.batch]
        self.losses = losses
        self.correct = self.correct.to(self.device)

    def restart_epoch(self) -> None:
        """Go back to the current epoch's first batch, keeping the weights as they are."""
        self.batch, self.seconds = 0, 0.0
        self.correct = torch.zeros_like(self.correct)

    def running_loss(self) -> float:
        """The mean of the current epoch's batch losses so far; NaN before the first."""
        return float(self.losses[: self.batch].cpu().double().mean())

    def final_weights_in_place(self) -> AbstractContextManager[None]:
        """Put the averaged weights, if the run keeps them, into the model inside the block."""
        return nullcontext() if self.averaged is None else self.averaged.in_place_of(self.model)

    def copy_of_final_weights(self) -> dict[str, Tensor]:
        """A copy of the weights that would be saved as the model if the run ended now."""
        final = self.model.state_dict() if self.averaged is None else self.averaged.tensors
        return {name: tensor.detach().clone() for name, tensor in final.items()}

    def final_weights(self) -> tuple[int, dict[str, Tensor]]:
        """The epoch (from 1) and weights that the run ends with: the best, otherwise the last."""
        if self.best is not None:
            return self.best.epoch, self.best.weights
        return self.epoch, self.copy_of_final_weights()

    def to_checkpoint(self) -> tuple[StateHeader, dict[str, Tensor]]:
        """The header and the tensors of a checkpoint.

        The tensors are not copies, and the next step changes them: write or copy them before.
        """
        best = self.best
        tensors = _under("model", self.model.state_dict())
        if self.averaged is not None:
            tensors |= _under("averaged", self.averaged.tensors)
        if best is not None:
            tensors |= _under("best", best.weights)
        optimizer, moments = optimizer_to_parts(self.optimizer)
        tensors |= _under("optimizer", moments)
        tensors |= _under("random", _generator_states(self.device))
        tensors |= {"losses": self.losses[: self.batch], "correct": self.correct}
        header = StateHeader(
            epoch=self.epoch,
            batch=self.batch,
            step=self.step,
            seconds=self.seconds,
            history=self.history,
            best=None if best is None else BestHeader(epoch=best.epoch, value=best.value),
            epochs_without_gain=self.epochs_without_gain,
            optimizer=optimizer,
            parameters=[name for name, _ in self.model.named_parameters()],
        )
        return header, tensors

    def restore(self, header: StateHeader, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `to_checkpoint` returned, including the random number generators.

        Raises:
            FileRefusedError: the checkpoint is from another architecture or optimizer, or
                lacks a part.
        """
        self._require_fit(header, tensors)
        # The optimizer's settings come from the recipe, its state from the checkpoint.
        moments = part_of(tensors, "optimizer")
        load_optimizer(self.optimizer, header.optimizer, moments, keep_settings=True)
        self.model.load_state_dict(part_of(tensors, "model"))
        if self.averaged is not None:
            for name, tensor in part_of(tensors, "averaged").items():
                self.averaged.tensors[name].copy_(tensor)
        self.best = None
        if header.best is not None:
            weights = {name: t.to(self.device) for name, t in part_of(tensors, "best").items()}
            self.best = Best(header.best.epoch, header.best.value, weights)
        self.epoch, self.batch, self.step = header.epoch, header.batch, header.step
        self.seconds = header.seconds
        self.history = list(header.history)
        self.epochs_without_gain = header.epochs_without_gain
        self.losses = tensors["losses"].to(self.device)
        self.correct = tensors["correct"].to(self.device, copy=True)
        _set_generator_states(self.device, part_of(tensors, "random"))

    def _require_fit(self, header: StateHeader, tensors: Mapping[str, Tensor]) -> None:
        own, averaged = self.model.state_dict(), part_of(tensors, "averaged")
        require_same_weights(own, part_of(tensors, "model"))
        if [name for name, _ in self.model.named_parameters()] != header.parameters:
            raise FileRefusedError("the checkpoint's parameters are in another order")
        if (self.averaged is not None) != bool(averaged):
            raise FileRefusedError("only one of checkpoint and recipe averages the weights")
        if averaged:
            require_same_weights(own, averaged)
        if header.best is not None:
            require_same_weights(own, part_of(tensors, "best"))
        # On the meta device: a file may claim any number of batches.
        wanted = {"losses": torch.empty(header.batch, device="meta"), "correct": self.correct}
        figures = {name: tensors[name] for name in wanted if name in tensors}
        if differences(wanted, figures):
            raise FileRefusedError("the checkpoint's running figures do not fit its batches")
        # The run may have used another kind of device, but it always has the CPU's generator.
        states, generators = _generator_states(self.device), part_of(tensors, "random")
        shared = {name: generators[name] for name in states if name in generators}
        if "cpu" not in shared or differences({name: states[name] for name in shared}, shared):
            raise FileRefusedError("the checkpoint has no usable random number generator state")
        _require_states_of_generators(shared)


def require_same_weights(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fit an architecture.

    Raises:
        FileRefusedError: a tensor is missing, unexpected, or of another shape or type; the first
            of them are named.
    """
    differing = differences(wanted, found)
    if differing:
        raise FileRefusedError(
            f"the checkpoint is from another architecture: {listing(differing, 5)}"
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _require_states_of_generators(states: Mapping[str, Tensor]) -> None:
    """Refuse states that a generator of their device does not take."""
    for device, state in states.items():
        try:
            torch.Generator(device).set_state(state)
        except RuntimeError as error:
            raise FileRefusedError(
                f"the checkpoint's random number generator state is damaged: {error}"
            ) from error


def _set_generator_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
