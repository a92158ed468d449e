"""From a module to its flat list of layers, where it is one.

`torch.fx` runs the module's own code with a stand-in for the images and writes down what is done
to it. What is written down is then read strictly: a call that is not known, or a known one with an
argument that a layer cannot express, means that there is no list.
"""

from __future__ import annotations

import io
import operator
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import jaxtyping
import numpy as np
import torch
from pydantic import TypeAdapter
from torch import fx, nn

from tenfold.errors import UsageError, printable
from tenfold.models.calls import NotAListError, read_calls, require
from tenfold.models.layers import Layer, Network, output_shapes, require_weights
from tenfold.models.outline import without_weights
from tenfold.models.snapshot import HOOKS

_NETWORK: TypeAdapter[tuple[Layer, ...]] = TypeAdapter(Network)
_TRACING = threading.RLock()
"""While tracing, `torch.fx` changes `nn.Module` itself, for all threads."""

if hasattr(os, "register_at_fork"):  # a child shall find `nn.Module` as it is, and can trace
    os.register_at_fork(
        before=_TRACING.acquire,
        after_in_parent=_TRACING.release,
        after_in_child=_TRACING.release,
    )


def layer_list(
    network: nn.Module, image_shape: Sequence[int] | None = None
) -> tuple[Layer, ...] | None:
    """The network as a flat list of known layers, or None where it is not known to be one.

    For images of every shape that `output_shapes` accepts for the list, it computes what the
    network computes, in evaluation and in training. (Of other shapes PyTorch may compute something
    that no list expresses: a sum of maps of different sizes, for one.) The network, its mode and
    the random numbers stay as they are, and no weight is copied.

    Code that asks whether it is given a tensor (`isinstance`) takes another way while it is traced,
    and code that counts its calls, or draws from a generator that is no attribute of a module, may
    take another way later; such a list is wrong.

    Args:
        network: takes float images, n x channels x height x width; it may be on any device.
        image_shape: of images that the list must accept: channels, height, width.
    """
    try:
        return require_layer_list(network, image_shape)
    except NotAListError:
        return None


def require_layer_list(
    network: nn.Module, image_shape: Sequence[int] | None = None
) -> tuple[Layer, ...]:
    """`layer_list`, or why there is none.

    Raises:
        NotAListError: its text says what no layer expresses, or is empty.
    """
    try:
        _require_plain(network)
        outline = without_weights(network)
        with _TRACING, _no_shape_checks(), _no_randomness(), redirect_stdout(io.StringIO()):
            trained, evaluated = (_traced(outline, training=mode) for mode in (True, False))
        require(trained == evaluated, "it does something else in training")
        found = _NETWORK.validate_python(trained)
        require_weights(found, {name: tuple(t.shape) for name, t in network.state_dict().items()})
        if image_shape is not None:
            _require_accepted(found, image_shape)
    except NotAListError:
        raise
    except Exception as error:  # a user's code runs here: whatever it raises, it is no list
        said = printable(str(error).partition("\n")[0], 100)
        raise NotAListError(f"tracing its code raises {type(error).__name__}: {said}") from error
    return found


def _require_accepted(layers: Sequence[Layer], image_shape: Sequence[int]) -> None:
    try:
        output_shapes(layers, image_shape)
    except UsageError as error:
        shape = "x".join(map(str, image_shape))
        raise NotAListError(f"for images of {shape}, {error.message}") from error


def _traced(outline: nn.Module, *, training: bool) -> tuple[Layer, ...]:
    """The layers of a network in one of its modes."""
    for module in outline.modules():
        module.training = training
    with torch.inference_mode(not training), torch.set_grad_enabled(training):
        graph = _Tracer().trace(outline)
    return read_calls(outline, graph, training=training)


# ---- Before tracing: what a trace does not show ------------------------------------------------


_OF_THE_CLASS = {"__call__", "_call_impl", "train", "eval"}
_OVERRIDES = {"forward", "_compiled_call_impl", *_OF_THE_CLASS}
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)


def more_than_its_code(model: nn.Module) -> str:
    """What a module does, as text, beside what its class's `forward` says; empty if nothing."""
    if nn.modules.module._has_any_global_hook():  # type: ignore[no-untyped-call]
        return "all modules have hooks"
    for name, module in model.named_modules():
        called = f"its module {name}" if name else "it"
        if isinstance(module, torch.jit.ScriptModule):
            return f"{called} is compiled by torch.jit"
        if any(getattr(module, hooks) for hooks in HOOKS):
            return f"{called} has hooks"
        for method in sorted(_own_methods(module)):
            return f"{called} has a method {method} of its own"
    return ""


def _own_methods(module: nn.Module) -> set[str]:
    """Those of an object or its classes that would do something else than `nn.Module`'s.

    While another thread traces, `nn.Module` has another `__call__`; so it is not looked at.
    """
    classes = type(module).__mro__
    own = {name for each in classes[: classes.index(nn.Module)] for name in vars(each)}
    return (own & _OF_THE_CLASS) | (vars(module).keys() & _OVERRIDES)


def has_gradient_hooks(parameter: nn.Parameter) -> bool:
    """Whether something else is done with its gradient."""
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def _require_plain(network: nn.Module) -> None:
    """Refuse what a module does beside its class's `forward`, and tensors of an unusual kind."""
    more = more_than_its_code(network)
    require(not more, more)
    for name, module in network.named_modules():
        has_generator = any(isinstance(value, _GENERATORS) for value in vars(module).values())
        called = f"its module {name}" if name else "it"
        require(not has_generator, f"{called} has a generator of random numbers")
    for name, parameter in network.named_parameters():
        require(type(parameter) is nn.Parameter, f"{name} is {type(parameter).__name__}")
        require(parameter.dtype == torch.float32, f"{name} is {parameter.dtype}")
        require(not has_gradient_hooks(parameter), f"the gradient of {name} has hooks")
    for name, buffer in network.named_buffers():
        is_count = name.endswith("num_batches_tracked")
        wanted = torch.int64 if is_count else torch.float32
        require(buffer.dtype == wanted, f"{name} is {buffer.dtype}")
    _require_unshared(network)


def _require_unshared(network: nn.Module) -> None:
    """Refuse tensors that are, or start at, the same memory, and those that are not saved."""
    tensors = {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }
    require(tensors.keys() == network.state_dict().keys(), "a tensor of it is not saved with it")
    places = [tensor.data_ptr() for tensor in tensors.values() if not tensor.is_meta]
    require(
        len({id(tensor) for tensor in tensors.values()}) == len(tensors)
        and len(set(places)) == len(places),
        "two of its tensors share memory",
    )


# ---- Tracing -----------------------------------------------------------------------------------


@contextmanager
def _no_shape_checks() -> Iterator[None]:
    """The stand-in for the images is no tensor, so that functions that check shapes refuse it."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@contextmanager
def _no_randomness() -> Iterator[None]:
    """Refuse code that draws random numbers of its own: it may take another way each time."""
    of_python, of_torch = random.getstate(), torch.get_rng_state()
    of_numpy = np.random.get_state()  # noqa: NPY002 - users' code draws from it
    try:
        yield
    finally:
        unchanged = (
            random.getstate() == of_python
            and torch.equal(torch.get_rng_state(), of_torch)
            and all(map(np.array_equal, np.random.get_state(), of_numpy))  # noqa: NPY002
        )
        if not unchanged:
            random.setstate(of_python)
            torch.set_rng_state(of_torch)
            np.random.set_state(of_numpy)  # noqa: NPY002
    require(unchanged, "its code draws random numbers of its own")


class _StandIn(fx.Proxy):
    """Stands in for a tensor."""

    def __iadd__(self, other: object) -> fx.Proxy:
        """Python would take `+` for `+=`, but this one changes the tensor itself."""
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    """Refuses code that switches gradients or precision, which a trace does not show."""

    def __init__(self) -> None:
        super().__init__()
        self._switches = _switches()

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _StandIn(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:  # noqa: ANN401
        require(_switches() == self._switches, "its code switches gradients or precision")
        return super().create_node(*args, **kwargs)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        """Other threads' modules come here as well, and run as ever."""
        if m not in (self.submodule_paths or {}):
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


def _switches() -> tuple[bool, ...]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )
