"""An optimizer's state as plain values and named tensors, and back into an optimizer that fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tenfold.errors import FileRefusedError, listing
from tenfold.storage import Facts
from tenfold.training.optimizers import entry_of


class OptimizerHeader(Facts):
    """What is not a tensor in an optimizer's state.

    Attributes:
        kind: the optimizer's class.
        groups: its settings, and the indices of the parameters that each group has.
        plain: what it remembers as plain values, by `<index of the parameter>.<key>`.
    """

    kind: str
    groups: list[dict[str, Any]]
    plain: dict[str, Any]


def optimizer_to_parts(
    optimizer: torch.optim.Optimizer,
) -> tuple[OptimizerHeader, dict[str, Tensor]]:
    """An optimizer's state as a header and as tensors named `<index of the parameter>.<key>`."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            where = tensors if isinstance(value, Tensor) else plain
            where[f"{index}.{key}"] = value
    kind = type(optimizer).__name__
    return OptimizerHeader(kind=kind, groups=state["param_groups"], plain=plain), tensors


def load_optimizer(
    optimizer: torch.optim.Optimizer, header: OptimizerHeader, tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimizer the state that `optimizer_to_parts` wrote down.

    Args:
        optimizer: of the same kind, over as many parameters.
        header: what was written down as plain values.
        tensors: named `<index of the parameter>.<key>`.

    Raises:
        FileRefusedError: it is of another kind, or does not fit.
    """
    kind = type(optimizer).__name__
    if kind != header.kind:
        raise FileRefusedError(
            f"the checkpoint is of a run with {header.kind}, this one has {kind}"
        )
    require_usable_state(optimizer, header, tensors)
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *header.plain.items()]:
        index, key = _index_and_key(name)
        own = value.clone() if isinstance(value, Tensor) else value
        state.setdefault(index, {})[key] = own
    groups = [{**group, **_tuples(group)} for group in header.groups]
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError) as error:
        raise FileRefusedError(f"the checkpoint's optimizer does not fit: {error}") from error


def require_usable_state(
    optimizer: torch.optim.Optimizer, header: OptimizerHeader, tensors: Mapping[str, Tensor]
) -> None:
    """Refuse what this optimizer could not take its next step with.

    Raises:
        FileRefusedError: groups, names, shapes or types are not those that it would have.
    """
    kind = type(optimizer).__name__
    entry = entry_of(kind)
    if header.kind != kind or entry is None:
        return  # another kind is said by `load_optimizer`; of an unknown one nothing is known
    groups = [group["params"] for group in optimizer.state_dict()["param_groups"]]
    if [group.get("params") for group in header.groups] != groups:
        raise FileRefusedError("the checkpoint's optimizer does not fit: it has other groups")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    remembered: dict[int, set[str]] = {}
    for name, value in [*tensors.items(), *header.plain.items()]:
        index, key = _index_and_key(name)
        if index >= len(parameters):
            raise FileRefusedError(f"the checkpoint's optimizer remembers parameter {index}")
        remembered.setdefault(index, set()).add(key)
        wanted = torch.zeros(()) if key == "step" else parameters[index]
        if value is not None and not (
            isinstance(value, Tensor)
            and value.shape == wanted.shape
            and value.dtype == wanted.dtype
        ):
            raise FileRefusedError(f"the checkpoint's optimizer has no usable {key}")
    for keys in remembered.values():
        if keys != entry.remembers:
            raise FileRefusedError(f"the checkpoint's {kind} remembers {listing(sorted(keys))}")


def _index_and_key(name: str) -> tuple[int, str]:
    index, _, key = name.partition(".")
    if not index.isdecimal() or len(index) > 9:
        raise FileRefusedError(f"the checkpoint's optimizer has an entry {name!r}")
    return int(index), key


def _tuples(group: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON turned from tuples into lists, but for the list of parameters."""
    return {
        key: tuple(value)
        for key, value in group.items()
        if isinstance(value, list) and key != "params"
    }
