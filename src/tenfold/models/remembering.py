"""What a network's code remembers from one call to the next, besides its tensors."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

_CONTAINERS = (list, tuple, dict, set, deque)
_VALUES = (bool, int, float, complex, str, bytes, type(None), frozenset, Enum)
_VALUES_OF_LIBRARIES = (torch.device, torch.dtype, range, slice, np.generic)
_NOT_THE_USERS = ("torch", "tenfold")
_NOT_COMPARED = ("training", "_buffers")
"""Attributes of modules: their mode, and tensors, which are remembered rightly."""

_MOST_GLOBALS = 1000
"""Of a module of Python; of more, as in a long session, none is looked at."""

_DEEPEST, _MOST_ITEMS, _LARGEST_ARRAY = 4, 10_000, 2**20
"""Containers in containers, items of one, and bytes of an array, of which a memory has a copy."""


def memory_of(network: nn.Module) -> dict[str, object]:
    """By name, all that `forward` could count or note down: attributes, and those of its class.

    And the global variables of its file. Containers are copied, so that a change in them shows.
    """
    return {name: _kept(value) for name, value in _variables(network)}


def changes_in(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The names of what differs between two memories; tensors do not count."""
    absent = object()
    return [
        name
        for name in {**before, **after}
        if not _is_tensor(after.get(name))
        and not _is_same(before.get(name, absent), after.get(name, absent))
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


def _kept(value: object, depth: int = 0) -> object:
    """A value, of which changes inside will show."""
    if isinstance(value, np.ndarray) and value.nbytes <= _LARGEST_ARRAY:
        return value.copy()
    if not isinstance(value, _CONTAINERS) or depth == _DEEPEST or len(value) > _MOST_ITEMS:
        return value
    if isinstance(value, dict):
        return {key: _kept(each, depth + 1) for key, each in dict.items(value)}
    return set(value) if isinstance(value, set) else [_kept(each, depth + 1) for each in value]


def _is_same(one: object, other: object, depth: int = 0) -> bool:
    """Whether nothing has changed that code could depend on, as far as it is looked at."""
    if one is other or (_is_tensor(one) and _is_tensor(other)):
        return True
    if type(one) is not type(other):
        return False
    if depth > 2 * _DEEPEST:  # made anew with a circle in it
        return True
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        return one.tobytes() == other.tobytes()
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)  # type: ignore[arg-type]
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(
            _is_same(one[key], other[key], depth + 1) for key in one
        )
    if isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_is_same(*pair, depth + 1) for pair in pairs)
    if isinstance(one, (*_VALUES, *_VALUES_OF_LIBRARIES, set)):
        return one == other
    if isinstance(one, FunctionType):
        assert isinstance(other, FunctionType)
        return one.__code__ == other.__code__
    if isinstance(one, nn.Module | type) or not hasattr(one, "__dict__"):
        return False
    return _is_same(vars(one), vars(other), depth + 1)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor | fx.Proxy)
