"""Checkpoints as tutorials write them: one dictionary of state dicts and facts, by `torch.save`."""

from __future__ import annotations

import inspect
import io
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.errors import FileRefusedError, UsageError, counted, listing, printable
from tenfold.models.torch_files import MOST_SHARED, is_finite, is_plain, is_usual, values_within
from tenfold.models.weight_files import read_weights
from tenfold.storage import write_bytes
from tenfold.training.optimizer_state import OptimizerHeader, parts_of

MODEL, OPTIMIZER = "model_state_dict", "optimizer_state_dict"
"""Keys of the dictionary; every other one is a fact."""

_SAVE = (
    "save state dicts, numbers and text instead of objects, a number of NumPy as float(...): "
    "torch.save({'model_state_dict': net.state_dict(), 'optimizer_state_dict': "
    "optimizer.state_dict(), 'epoch': epoch, 'loss': float(loss)}, FILE)"
)

_READ_YOURSELF = "read it with torch.load(FILE, weights_only=True)"

_NOT_ALWAYS_SAVED = frozenset(
    {"foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay"}
    | {"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"}
    | {"params", "param_names"}
)
"""Entries of a group that depend on PyTorch's version, or that schedules add."""

_ADAMS = {"Adam", "AdamW"}
"""With the same settings; newer versions of PyTorch save whether weight decay is decoupled."""


class TorchCheckpoint(NamedTuple):
    """What is in such a file."""

    weights: dict[str, Tensor]
    """By their names in the file."""
    optimizer: tuple[OptimizerHeader, dict[str, Tensor]] | None
    """Its state, for the optimizer that it was read for; None if it was read for none."""
    facts: dict[str, Any]
    """Everything else."""


def write_torch_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, facts: Mapping[str, object]
) -> None:
    """Write `model_state_dict`, `optimizer_state_dict` and facts, all on the CPU, by `torch.save`.

    Raises:
        UsageError: a fact has the name of a state dict, a state has other objects than tensors,
            numbers and text, or the file's name ends in `.safetensors`.
        StorageError: the file could not be written.
    """
    if path.suffix == ".safetensors":
        raise UsageError(
            f"save_checkpoint: {path} ends in .safetensors, but the format is torch, and "
            "torch.load takes files for what their names say",
            remedy="choose a name that ends in .pth",
        )
    taken = [name for name in (MODEL, OPTIMIZER) if name in facts]
    if taken:
        raise UsageError(
            f"save_checkpoint: a fact is called {taken[0]}, which is where the file has a state",
            remedy="give it another name",
        )
    weights = model.state_dict()  # a new dictionary, which also has the versions of its layers
    for name, value in weights.items():
        weights[name] = _plain(value, f"the model's {name}")
    states = {MODEL: weights, OPTIMIZER: _plain(optimizer.state_dict(), "the optimizer's state")}
    buffer = io.BytesIO()
    torch.save({**states, **facts}, buffer)
    write_bytes(path, buffer.getvalue())


def _plain(value: object, place: str) -> object:
    """A state with copies of its tensors on the CPU, which can be read without running code."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()  # of a view, the rest is not saved
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(each, place) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, place) for each in value]
    if isinstance(value, tuple):
        return tuple(_plain(each, place) for each in value)
    if type(value) in (bool, int, float, str, NoneType):
        return value
    raise UsageError(
        f"save_checkpoint: {place} has an object of type {type(value).__name__}, wanted tensors, "
        "numbers and text"
    )


def read_torch_checkpoint(path: Path, optimizer: torch.optim.Optimizer | None) -> TorchCheckpoint:
    """Read a checkpoint that `torch.save` wrote; no code in it is run.

    Args:
        path: of a dictionary with a network's state dict under one of the usual keys, and an
            optimizer's under any; or of a network's state dict alone, if no optimizer is given.
        optimizer: whose kind and groups the file's have to be; None to leave the state out.

    Raises:
        FileRefusedError: it is damaged, has other objects than finite tensors and plain values, or
            its optimizer's state is missing or another one.
    """
    file = read_weights(path, remedy=_SAVE)
    _require_safe(path, file.others, file.size)
    states = {key: state for key, value in file.others.items() if (state := _state_in(value))}
    facts = _facts(path, {key: v for key, v in file.others.items() if key not in states})
    if optimizer is None:
        return TorchCheckpoint(file.weights, None, facts)
    if len(states) != 1:
        raise _not_one_optimizer(path, states)
    (state,) = states.values()
    _require_finite_state(path, state)
    _require_same_kind(path, state["param_groups"], optimizer)
    parts = parts_of(type(optimizer).__name__, state)
    return TorchCheckpoint(file.weights, parts, facts)


def _require_safe(path: Path, others: Mapping[str, object], size: int) -> None:
    """Refuse unusual tensors, and more values than the file can have by itself."""
    values, numbers = 0, 0
    for key, value in others.items():
        for each in values_within(value):
            values += 1
            if isinstance(each, Tensor):
                if not is_usual(each) or not is_plain(each):
                    raise FileRefusedError(
                        f"{path}: its {printable(key, 40)} has a tensor that is not plain numbers",
                        remedy=_READ_YOURSELF,
                    )
                numbers += each.nbytes
            if max(values, numbers) > MOST_SHARED * size:
                raise FileRefusedError(
                    f"{path}: its {printable(key, 40)} takes far more memory than the file has",
                    remedy=_READ_YOURSELF,
                )


def _state_in(value: object) -> Mapping[str, Any] | None:
    """An optimizer's state dict, which Lightning puts into a list; None if it is none."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Mapping) or not {"state", "param_groups"} <= value.keys():
        return None
    state, groups = value["state"], value["param_groups"]
    is_one = (
        isinstance(state, Mapping)
        and all(isinstance(values, Mapping) for values in state.values())
        and isinstance(groups, list)
        and all(isinstance(group, dict) and "params" in group for group in groups)
        and all(isinstance(name, str) for group in groups for name in group)
        and all(isinstance(group["params"], list) for group in groups)
    )
    return value if is_one else None


def _facts(path: Path, values: Mapping[str, object]) -> dict[str, Any]:
    try:
        return {key: _fact(value) for key, value in values.items()}
    except RecursionError as error:
        raise FileRefusedError(
            f"{path}: what it has besides weights is nested too deeply", remedy=_READ_YOURSELF
        ) from error


def _fact(value: object) -> object:
    """A value of which tensors of one element are numbers."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value.detach()
    if isinstance(value, Mapping):
        return {key: _fact(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_fact(each) for each in value]
    if isinstance(value, tuple):
        return tuple(_fact(each) for each in value)
    return value


def _not_one_optimizer(path: Path, states: Mapping[str, object]) -> FileRefusedError:
    if states:
        return FileRefusedError(
            f"{path}: it has the states of {counted(len(states), 'optimizer')}: "
            f"{listing([printable(key, 40) for key in states])}, wanted one",
            remedy="load it without an optimizer, and give each the state of its own: "
            "optimizer.load_state_dict(torch.load(FILE, weights_only=True)[KEY])",
        )
    return FileRefusedError(
        f"{path}: it has weights, but no optimizer's state",
        remedy="load them without an optimizer: load_checkpoint(path, model)",
    )


def _require_finite_state(path: Path, state: Mapping[str, Any]) -> None:
    tensors = (value for value in values_within(state) if isinstance(value, Tensor))
    if not all(is_finite(tensor) for tensor in tensors):
        raise FileRefusedError(
            f"{path}: not all numbers of its optimizer's state are finite",
            remedy="load the weights without an optimizer: load_checkpoint(path, model)",
        )


def _require_same_kind(
    path: Path, groups: list[dict[str, Any]], optimizer: torch.optim.Optimizer
) -> None:
    """Refuse the state of another kind of optimizer, which the file does not name."""
    kind, own = type(optimizer).__name__, optimizer.state_dict()["param_groups"]
    saved, wanted = ([len(group["params"]) for group in each] for each in (groups, own))
    remedy = "build the optimizer as it was, or leave it out: load_checkpoint(path, model)"
    for group, other in zip(groups, own, strict=False):
        is_other_adam = kind in _ADAMS and _decouples(group, other) != _decouples(other, other)
        if _settings(group) != _settings(other) or is_other_adam:
            kinds = " or ".join(_kinds_with(group))
            found = kinds or f"one with {listing(sorted(_settings(group)))}"
            raise FileRefusedError(
                f"{path}: the checkpoint's optimizer is {found}, this one is {kind}", remedy=remedy
            )
    if saved != wanted:
        raise FileRefusedError(
            f"{path}: the checkpoint's optimizer has {_sizes(saved)}, this one {_sizes(wanted)}",
            remedy=remedy,
        )
    if [group["params"] for group in groups] != [group["params"] for group in own]:
        raise FileRefusedError(
            f"{path}: the checkpoint's optimizer does not number its parameters in order",
            remedy=remedy,
        )


def _settings(group: Mapping[str, object]) -> set[str]:
    return {*group} - _NOT_ALWAYS_SAVED


def _decouples(group: Mapping[str, object], default: Mapping[str, object]) -> bool:
    """Whether weight decay is decoupled from the gradient, which tells AdamW from Adam."""
    key = "decoupled_weight_decay"
    return group.get(key, default.get(key)) is True


def _kinds_with(group: Mapping[str, object]) -> list[str]:
    """PyTorch's optimizers that have the settings of a group."""
    kinds = [
        name
        for name, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)
        if _settings(inspect.signature(kind).parameters) == _settings(group)
    ]
    if {*kinds} >= _ADAMS and "decoupled_weight_decay" in group:
        kinds.remove("Adam" if group["decoupled_weight_decay"] is True else "AdamW")
    return kinds


def _sizes(sizes: list[int]) -> str:
    return (
        f"{counted(len(sizes), 'group')} of {listing([str(size) for size in sizes], 5)} parameters"
    )
