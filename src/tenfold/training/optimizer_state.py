"""Conversion of an optimizer's state to plain values and named tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from tenfold.errors import FileRefusedError, listing
from tenfold.storage import Facts
from tenfold.training.optimizers import OPTIMIZERS


class OptimizerHeader(Facts):
    """The non-tensor part of an optimizer's state.

    Attributes:
        kind: the name of the optimizer's class.
        groups: its parameter groups: settings and parameter indices.
        plain: per-parameter state that is not a tensor, by `<index of the parameter>.<key>`.
    """

    kind: str
    groups: list[dict[str, Any]]
    plain: dict[str, Any]


def optimizer_to_parts(
    optimizer: torch.optim.Optimizer,
) -> tuple[OptimizerHeader, dict[str, Tensor]]:
    """An optimizer's state as a header and tensors named `<index of the parameter>.<key>`."""
    return parts_of(type(optimizer).__name__, optimizer.state_dict())


def parts_of(kind: str, state: Mapping[str, Any]) -> tuple[OptimizerHeader, dict[str, Tensor]]:
    """The same of what an optimizer's `state_dict()` returned.

    Args:
        kind: the name of the optimizer's class.
        state: with per-parameter values under `state`, and groups under `param_groups`.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            where = tensors if isinstance(value, Tensor) else plain
            where[f"{index}.{key}"] = value
    return OptimizerHeader(kind=kind, groups=state["param_groups"], plain=plain), tensors


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    header: OptimizerHeader,
    tensors: Mapping[str, Tensor],
    *,
    keep_settings: bool = False,
) -> None:
    """Restore an optimizer from the result of `optimizer_to_parts`; on error it is unchanged.

    Args:
        optimizer: of the same kind, over as many parameters.
        header: the non-tensor part.
        tensors: named `<index of the parameter>.<key>`.
        keep_settings: restore the per-parameter state, but not settings such as the learning rate.

    Raises:
        FileRefusedError: the state is of another kind, or does not fit.
    """
    remembered = _by_parameter({**tensors, **header.plain})
    _require_usable(optimizer, header, remembered)
    groups = [{**group, **_tuples(group)} for group in header.groups]
    if keep_settings:
        groups = optimizer.state_dict()["param_groups"]
    before = optimizer.state, optimizer.param_groups
    try:
        # A copy: otherwise the optimizer would update the checkpoint's tensors.
        optimizer.load_state_dict({"state": deepcopy(remembered), "param_groups": groups})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        optimizer.state, optimizer.param_groups = before
        raise FileRefusedError(f"the checkpoint's optimizer does not fit: {error}") from error


def _by_parameter(values: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The values named `<index of the parameter>.<key>`, by index and key."""
    remembered: dict[int, dict[str, Any]] = {}
    for name, value in values.items():
        index, _, key = name.partition(".")
        if not index.isdecimal() or len(index) > 9:
            raise FileRefusedError(f"the checkpoint's optimizer has an entry {name!r}")
        remembered.setdefault(int(index), {})[key] = value
    return remembered


def _require_usable(
    optimizer: torch.optim.Optimizer,
    header: OptimizerHeader,
    remembered: Mapping[int, Mapping[str, Any]],
) -> None:
    """Refuse a state with which this optimizer could not take its next step."""
    kind = type(optimizer).__name__
    if header.kind != kind:
        raise FileRefusedError(
            f"the checkpoint is from a run with {header.kind}, this one has {kind}"
        )
    entry = next((entry for entry in OPTIMIZERS.values() if entry.kind == kind), None)
    if entry is None:
        return  # a user's own optimizer, whose state is unknown here
    groups = [group["params"] for group in optimizer.state_dict()["param_groups"]]
    if [group.get("params") for group in header.groups] != groups:
        raise FileRefusedError("the checkpoint's optimizer does not fit: its groups differ")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    has_maximum = any(group.get("amsgrad") for group in header.groups)
    wanted_keys = entry.remembers | ({"max_exp_avg_sq"} if has_maximum else set())
    for index, values in remembered.items():
        if index >= len(parameters):
            raise FileRefusedError(
                f"the checkpoint's optimizer has state for parameter {index}, "
                f"but there are only {len(parameters)}"
            )
        if values.keys() != wanted_keys:
            raise FileRefusedError(
                f"the checkpoint's {kind} has {listing(sorted(values))}, "
                f"wanted {listing(sorted(wanted_keys))}"
            )
        for key, value in values.items():
            wanted = torch.zeros(()) if key == "step" else parameters[index]
            # SGD without momentum stores None.
            if value is not None and not (
                isinstance(value, Tensor)
                and value.shape == wanted.shape
                and value.dtype == wanted.dtype
            ):
                raise FileRefusedError(f"the checkpoint's optimizer has no usable {key}")


def _tuples(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's values that JSON turned from tuples into lists, except the parameters."""
    return {
        key: tuple(value)
        for key, value in group.items()
        if isinstance(value, list) and key != "params"
    }
