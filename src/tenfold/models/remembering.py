"""What a network's code remembers from one call to the next, besides its tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

_CONTAINERS = (list, dict, set)
_VALUES = (bool, int, float, complex, str, bytes, type(None), frozenset)
_NOT_THE_USERS = ("torch", "tenfold")
_NOT_COMPARED = ("training", "_buffers")
"""Attributes of modules: their mode, and tensors, which are remembered rightly."""

_MOST_GLOBALS = 1000
"""Of a module of Python; of more, as in a long session, none is looked at."""


def memory_of(network: nn.Module) -> dict[str, object]:
    """By name, all that `forward` could count or note down: attributes, and those of its class.

    And the global variables of its file. Containers are copied, so that a change in them shows.
    """
    return {name: _kept(value) for name, value in _variables(network)}


def changes_in(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The names of what differs between two memories; tensors that are only kept do not count."""
    absent = object()
    return [
        name
        for name in {**before, **after}
        if not _is_same(before.get(name, absent), after.get(name, absent))
        and not (name not in before and isinstance(after[name], Tensor | fx.Proxy))
    ]


class RandomStates:
    """The states of all sources of random numbers but PyTorch's own, as they are now.

    Args:
        network: whose attributes may be generators.
    """

    def __init__(self, network: nn.Module) -> None:
        self._by_name: dict[str, object] = {
            "Python's random": random.getstate(),
            "NumPy": np.random.get_state(),  # noqa: NPY002 - users' code draws from it
        }
        for name, value in _attributes(network):
            for kind, state in _STATES:
                if isinstance(value, kind):
                    self._by_name[name] = state(value)

    def drawn_until(self, later: RandomStates) -> list[str]:
        """The names of the sources whose states are others later."""
        states = later._by_name
        return [name for name in states if not _is_same(self._by_name.get(name), states[name])]


_STATES: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (random.Random, lambda generator: generator.getstate()),
    (np.random.Generator, lambda generator: str(generator.bit_generator.state)),
    (np.random.RandomState, lambda generator: generator.get_state()),
    (torch.Generator, lambda generator: generator.get_state().tolist()),
)


def _variables(network: nn.Module) -> Iterator[tuple[str, object]]:
    yield from _attributes(network)
    kinds = {
        each
        for module in network.modules()
        for each in type(module).__mro__
        if each is not object and each.__module__.partition(".")[0] not in _NOT_THE_USERS
    }
    for kind in kinds:
        for name, value in vars(kind).items():
            if not name.startswith("__"):
                yield f"{kind.__name__}.{name}", value
        forward = vars(kind).get("forward")
        if isinstance(forward, FunctionType) and len(forward.__globals__) <= _MOST_GLOBALS:
            for name, value in forward.__globals__.items():
                if isinstance(value, (*_VALUES, *_CONTAINERS)) and not name.startswith("__"):
                    yield f"the global {name}", value


def _attributes(network: nn.Module) -> Iterator[tuple[str, object]]:
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            if name not in _NOT_COMPARED:
                yield f"{path or 'self'}.{name}", value


def _kept(value: object) -> object:
    return copy(value) if isinstance(value, _CONTAINERS) else value


def _is_same(one: object, other: object) -> bool:
    """Whether nothing has changed that code could depend on."""
    if one is other or (_is_tensor(one) and _is_tensor(other)):
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)  # type: ignore[arg-type]
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        return len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, (*_VALUES, set)) and one == other


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor | fx.Proxy)
