"""Run a network on a few images to see what it does, and undo all that it changes."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from tenfold.models.image_model import ImageModel

Shape = tuple[int, ...]

_CONTAINERS = (dict, OrderedDict, list, set)
"""Kinds of attributes whose contents can be given back."""


@dataclass
class Call:
    """One call of a layer that has no layers inside.

    Attributes:
        layer: the layer.
        taken: the shape of its input; None if that is not a tensor.
        given: the shape of its output; None if that is not a tensor, or the layer failed.
    """

    layer: nn.Module
    taken: Shape | None
    given: Shape | None = None


@dataclass(frozen=True)
class Trial:
    """What a network did with a few images.

    Attributes:
        calls: of its layers, in order.
        results: what layers, and functions called outside of them, gave in order: the layer or the
            function's name, and the shape.
        output: what it returned; None if it failed.
        failed: whether it raised an exception.
    """

    calls: tuple[Call, ...]
    results: tuple[tuple[nn.Module | str, Shape], ...]
    output: object
    failed: bool


def learners_part(network: nn.Module) -> nn.Module:
    """The network that a person wrote, without the preprocessing before it."""
    return network.network if isinstance(network, ImageModel) else network


def device_of(network: nn.Module) -> torch.device | None:
    """The device of the network's first parameter; None if it has no parameters."""
    return next((parameter.device for parameter in network.parameters()), None)


def try_out(network: nn.Module, images: Tensor) -> Trial:
    """Run the network once, in its current mode, and record the shapes in it.

    All that this changes is undone, and what the network prints is dropped.

    Args:
        network: any module.
        images: its input, on any device.
    """
    device = device_of(network)
    images = images if device is None else images.to(device)
    with undone(network), recorded(network) as calls, torch.no_grad(), redirect_stdout(StringIO()):
        functions = _Functions(calls)
        try:
            with functions:
                output, failed = network(images), False
        except Exception:  # noqa: BLE001 - a learner's code may raise anything, once more
            output, failed = None, True
    return Trial(tuple(calls), tuple(functions.results(calls)), output, failed)


class _Functions(TorchFunctionMode):
    """Records the shapes that functions give inside the block, and after which call of a layer.

    Args:
        calls: of layers, to which a recording of them adds.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        super().__init__()
        self._calls = calls
        self._given: list[tuple[int, str, Shape]] = []

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        del types
        result = func(*args, **(kwargs or {}))
        is_inside = bool(self._calls) and self._calls[-1].given is None
        if isinstance(result, Tensor) and not is_inside:
            self._given.append((len(self._calls), func.__name__, tuple(result.shape)))
        return result

    def results(self, calls: Sequence[Call]) -> Iterator[tuple[nn.Module | str, Shape]]:
        """What layers and functions gave, in order."""
        for number in range(len(calls) + 1):
            if number and (shape := calls[number - 1].given) is not None:
                yield calls[number - 1].layer, shape
            yield from ((name, shape) for after, name, shape in self._given if after == number)


@contextmanager
def recorded(network: nn.Module) -> Iterator[list[Call]]:
    """Record the calls of the network's layers inside the block.

    Args:
        network: any module.
    """
    calls: list[Call] = []
    with ExitStack() as hooks:
        for layer in network.modules():
            if isinstance(layer, torch.jit.ScriptModule):
                continue  # it takes no hooks
            if not any(True for _ in layer.children()):
                for handle in _record(layer, calls):
                    hooks.callback(handle.remove)
        yield calls


def _record(layer: nn.Module, calls: list[Call]) -> tuple[RemovableHandle, ...]:
    """Append each call of the layer."""

    def enter(_layer: nn.Module, inputs: tuple[object, ...]) -> None:
        calls.append(Call(layer, _shape(inputs[0]) if inputs else None))

    def leave(_layer: nn.Module, _inputs: object, output: object) -> None:
        calls[-1].given = _shape(output)  # nothing else was called since: it has no layers inside

    return layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)


def _shape(value: object) -> Shape | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def leaves_of(loss: Tensor) -> Iterator[Tensor]:
    """The tensors that a loss is computed from and has gradients for."""
    seen, left = set(), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)  # of an AccumulateGrad
        if leaf is not None:
            yield leaf
        left += [each for each, _ in node.next_functions]


@contextmanager
def undone(network: nn.Module) -> Iterator[None]:
    """Undo what the block changes: weights, buffers, attributes, modes, hooks, and random states.

    Args:
        network: any module.
    """
    attributes = [(vars(module), vars(module).copy()) for module in network.modules()]
    containers = [
        (value, value.copy())
        for _, values in attributes
        for value in values.values()
        if type(value) in _CONTAINERS  # those of other classes may refuse to be changed
    ]
    tensors = [*network.parameters(), *network.buffers()]
    contents = [tensor.detach().clone() for tensor in tensors]
    with same_randomness(network):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, content in zip(tensors, contents, strict=True):
                    if tensor.shape != content.shape:
                        tensor.data = content
                    elif not tensor.is_meta and not torch.equal(tensor, content):
                        tensor.copy_(content)
            for now, before in [*attributes, *containers]:
                _restore(now, before)


@contextmanager
def same_randomness(network: nn.Module) -> Iterator[None]:
    """Give PyTorch's, Python's and NumPy's random numbers their former states after the block.

    Args:
        network: any module, whose devices have states, too.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = {
        tensor.device.index
        for tensor in (*network.parameters(), *network.buffers())
        if tensor.is_cuda
    }
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002 - users' code draws from it


def _restore(container: Any, before: Any) -> None:  # noqa: ANN401 - a dict, list or set
    """Give a container its former contents; it stays the same object, since handles refer to it."""
    container.clear()
    if isinstance(container, list):
        container.extend(before)
    else:
        container.update(before)
