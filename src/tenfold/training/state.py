"""Everything that a run is at one instant, as objects and as the tensors of a checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)
from torch import Tensor, nn

from tenfold.errors import FileRefusedError, listing
from tenfold.training.averaging import AveragedWeights
from tenfold.training.optimizers import entry_of

ChooseBy = Literal["val_loss", "val_acc"]


@dataclass(frozen=True)
class EpochMetrics:
    """One line of the history.

    Attributes:
        epoch: counted from 1.
        train_loss: mean loss over the epoch's images while the weights were moving.
        train_acc: the share of right predictions likewise, 0..1.
        val_loss: mean cross-entropy on the validation split after the epoch; None without one.
        val_acc: the share of right predictions there, 0..1; None without one.
        lr: the learning rate of the epoch's last step.
        seconds: how long training and validation took.
    """

    epoch: int
    train_loss: float
    train_acc: float
    val_loss: float | None
    val_acc: float | None
    lr: float
    seconds: float


@dataclass(frozen=True)
class Best:
    """The weights of the epoch that validation liked best.

    Attributes:
        epoch: counted from 1.
        value: the figure that chose it.
        weights: a copy of the model's state at that epoch's end.
    """

    epoch: int
    value: float
    weights: dict[str, Tensor]


class _BestCounters(BaseModel):
    """Which epoch was best, as a checkpoint's header says it."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    epoch: PositiveInt
    value: float


class _Counters(BaseModel):
    """A checkpoint's header without the optimiser's part, checked for sense."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    epoch: NonNegativeInt
    batch: NonNegativeInt
    step: NonNegativeInt
    seconds: NonNegativeFloat
    history: list[EpochMetrics]
    best: _BestCounters | None
    epochs_without_gain: NonNegativeInt
    parameters: list[str]

    @model_validator(mode="after")
    def _make_sense(self) -> _Counters:
        if [metrics.epoch for metrics in self.history] != list(range(1, self.epoch + 1)):
            raise ValueError("the history does not have each finished epoch once")
        figures = [value for metrics in self.history for value in asdict(metrics).values()]
        if not all(value is None or math.isfinite(value) for value in figures):
            raise ValueError("the history has figures that are not finite")
        if max(self.epochs_without_gain, self.best.epoch if self.best else 0) > self.epoch:
            raise ValueError("the best epoch is not among those finished")
        if not self.epoch + self.batch <= self.step < 2**53:
            raise ValueError("fewer steps than batches")
        return self


@dataclass
class TrainingState:
    """What a run is between two steps; a checkpoint holds all of it.

    Attributes:
        model: raw images to logits.
        optimizer: over the model's parameters.
        averaged: the moving average of the weights, if the run keeps one.
        epoch: how many epochs are finished.
        batch: how many batches of the current epoch are done.
        step: how many steps were taken in all.
        losses: the mean loss of each batch of the current epoch, float32, on the model's device.
        correct: right predictions in the current epoch, an int64 scalar on the model's device.
        seconds: how long the current epoch has taken so far.
        history: one entry for each finished epoch.
        best: the best epoch's weights, once there is one.
        epochs_without_gain: finished epochs since the best one.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: AveragedWeights | None = None
    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    correct: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    seconds: float = 0.0
    history: list[EpochMetrics] = field(default_factory=list)
    best: Best | None = None
    epochs_without_gain: int = 0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def begin_epoch(self, batches: int) -> None:
        """Make room for an epoch's figures, keeping those of a half-finished one."""
        if self.batch and self.batch >= batches:
            raise FileRefusedError(
                f"the state stands after batch {self.batch} of an epoch of {batches}"
            )
        losses = torch.zeros(batches, device=self.device)
        losses[: self.batch] = self.losses[: self.batch]
        self.losses = losses
        self.correct = self.correct.to(self.device)

    def begin_epoch_anew(self) -> None:
        """Forget how far the current epoch has come; what was learned in it stays."""
        self.batch, self.seconds = 0, 0.0
        self.losses, self.correct = self.losses[:0], torch.zeros_like(self.correct)

    def running_loss(self) -> float:
        """The mean of the current epoch's batch losses so far; NaN before the first."""
        return float(self.losses[: self.batch].cpu().double().mean()) if self.batch else math.nan

    @contextmanager
    def weights_that_count(self) -> Iterator[None]:
        """The model as it would be used now: with averaged weights where the run keeps them."""
        if self.averaged is None:
            yield
            return
        with self.averaged.in_place_of(self.model):
            yield

    def copy_of_weights_that_count(self) -> dict[str, Tensor]:
        """The weights that would be saved as the model if the run ended now."""
        with self.weights_that_count():
            return _copy(self.model.state_dict())

    def final_weights(self) -> tuple[int, dict[str, Tensor]]:
        """The epoch (from 1) and weights that a run ends with: the best, else the last."""
        if self.best is not None:
            return self.best.epoch, self.best.weights
        return self.epoch, self.copy_of_weights_that_count()

    def to_checkpoint(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The JSON header and the tensors of a checkpoint.

        The tensors are the run's own, which the next step changes: write or copy them before it.
        """
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        if self.averaged is not None:
            tensors |= {f"averaged.{name}": t for name, t in self.averaged.tensors.items()}
        if self.best is not None:
            tensors |= {f"best.{name}": t for name, t in self.best.weights.items()}
        optimizer_header, optimizer_tensors = optimizer_to_parts(self.optimizer)
        tensors |= optimizer_tensors
        tensors |= {f"random.{name}": t for name, t in _generator_states(self.device).items()}
        tensors["losses"] = self.losses[: self.batch]
        tensors["correct"] = self.correct
        header = {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "seconds": self.seconds,
            "history": [asdict(metrics) for metrics in self.history],
            "best": None
            if self.best is None
            else {"epoch": self.best.epoch, "value": self.best.value},
            "epochs_without_gain": self.epochs_without_gain,
            "optimizer": optimizer_header,
            "parameters": [name for name, _ in self.model.named_parameters()],
        }
        return header, tensors

    def restore(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Become what `to_checkpoint` wrote down, generators of random numbers included.

        Raises:
            FileRefusedError: the checkpoint belongs to another architecture or optimiser.
            ValueError, KeyError, TypeError, RuntimeError: it is no checkpoint at all.
        """
        counters = _Counters.model_validate_json(json.dumps(dict(header)))
        weights, averaged = part_of(tensors, "model"), part_of(tensors, "averaged")
        best = part_of(tensors, "best")
        own = self.model.state_dict()
        require_same_weights(own, weights)
        if [name for name, _ in self.model.named_parameters()] != counters.parameters:
            raise FileRefusedError("the checkpoint's parameters stand in another order")
        if (self.averaged is not None) != bool(averaged):
            raise FileRefusedError("only one of checkpoint and recipe averages the weights")
        if averaged:
            require_same_weights(own, averaged)
        if counters.best is not None:
            require_same_weights(own, best)
        losses, correct = tensors["losses"], tensors["correct"]
        if (losses.shape, losses.dtype) != ((counters.batch,), torch.float32) or (
            correct.shape,
            correct.dtype,
        ) != ((), torch.int64):
            raise FileRefusedError("the checkpoint's running figures are not of its batches")
        _require_moments(self.optimizer, header["optimizer"], part_of(tensors, "optimizer"))
        self.model.load_state_dict(weights)
        if self.averaged is not None:
            for name, tensor in averaged.items():
                self.averaged.tensors[name].copy_(tensor)
        load_optimizer(
            self.optimizer,
            # What the optimiser is set to is the recipe's to say; what it remembers is here.
            {**header["optimizer"], "groups": self.optimizer.state_dict()["param_groups"]},
            part_of(tensors, "optimizer"),
        )
        self.best = None
        if counters.best is not None:
            on_device = {name: t.to(self.device) for name, t in best.items()}
            self.best = Best(counters.best.epoch, counters.best.value, on_device)
        self.epoch, self.batch, self.step = counters.epoch, counters.batch, counters.step
        self.seconds = counters.seconds
        self.history = counters.history
        self.epochs_without_gain = counters.epochs_without_gain
        self.losses = losses.to(self.device)
        self.correct = correct.to(self.device, copy=True)
        _set_generator_states(self.device, part_of(tensors, "random"))


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix and a dot, under the rest of their names."""
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def require_same_weights(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of an architecture.

    Raises:
        FileRefusedError: a name is missing, too many, or of another shape or type; each is named.
    """
    shapes = {name: _shape_and_type(tensor) for name, tensor in wanted.items()}
    others = {name: _shape_and_type(tensor) for name, tensor in found.items()}
    differing = sorted(
        f"{name}: {others.get(name, 'missing')}, wanted {shapes.get(name, 'none')}"
        for name in shapes.keys() | others.keys()
        if shapes.get(name) != others.get(name)
    )
    if differing:
        raise FileRefusedError(
            f"the checkpoint is of another architecture: {listing(differing, 5)}"
        )


def _shape_and_type(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def optimizer_to_parts(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An optimiser's state as a JSON header and as tensors named `optimizer.<index>.<key>`."""
    state = optimizer.state_dict()
    tensors, plain = {}, {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                plain[f"{index}.{key}"] = value
    header = {"kind": type(optimizer).__name__, "groups": state["param_groups"], "plain": plain}
    return header, tensors


def load_optimizer(
    optimizer: torch.optim.Optimizer, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimiser the state that `optimizer_to_parts` wrote down.

    Args:
        optimizer: of the same kind, over as many parameters.
        header: the JSON header.
        tensors: named `<index>.<key>`.

    Raises:
        FileRefusedError: it is of another kind, or does not fit.
    """
    if type(optimizer).__name__ != header["kind"]:
        raise FileRefusedError(
            f"the checkpoint is of a run with {header['kind']}, "
            f"this one has {type(optimizer).__name__}"
        )
    _require_moments(optimizer, header, tensors)
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *header["plain"].items()]:
        index, _, key = name.partition(".")
        own = value.clone() if isinstance(value, Tensor) else value
        state.setdefault(int(index), {})[key] = own
    groups = [{**group, **_tuples(group)} for group in header["groups"]]
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError) as error:
        raise FileRefusedError(f"the checkpoint's optimizer does not fit: {error}") from error


def _require_moments(
    optimizer: torch.optim.Optimizer, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Refuse what this optimiser could not take its next step with."""
    kind = type(optimizer).__name__
    entry = entry_of(kind)
    if header["kind"] != kind or entry is None:
        return  # another kind is said by `load_optimizer`; of an unknown one nothing is known
    groups = [group["params"] for group in optimizer.state_dict()["param_groups"]]
    if [group["params"] for group in header["groups"]] != groups:
        raise FileRefusedError("the checkpoint's optimizer does not fit: it has other groups")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    remembered: dict[int, set[str]] = {}
    for name, value in [*tensors.items(), *header["plain"].items()]:
        index, _, key = name.partition(".")
        remembered.setdefault(int(index), set()).add(key)
        parameter = parameters[int(index)]
        wanted = torch.zeros(()) if key == "step" else parameter
        if value is not None and not (
            isinstance(value, Tensor)
            and value.shape == wanted.shape
            and value.dtype == wanted.dtype
        ):
            raise FileRefusedError(f"the checkpoint's optimizer has no usable {key}")
    for keys in remembered.values():
        if keys != entry.remembers:
            raise FileRefusedError(f"the checkpoint's {kind} remembers {listing(sorted(keys))}")


def _tuples(group: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON turned from tuples into lists, but for the list of parameters."""
    return {
        key: tuple(value)
        for key, value in group.items()
        if isinstance(value, list) and key != "params"
    }


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_generator_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
