"""Trace a module into a flat list of layers, if possible.

`torch.fx` runs the module's code with a proxy for the images and records the calls. The recording
is then read strictly: if a call is unknown, or has an argument that no layer expresses, there is no
list.
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

from tenfold.errors import StoppedAtOnce, UsageError, listing, printable
from tenfold.models.calls import NotAListError, read_calls, require
from tenfold.models.layers import Layer, Network, output_shapes, require_weights
from tenfold.models.outline import without_weights
from tenfold.models.remembering import changes_in, memory_of
from tenfold.models.snapshot import HOOKS

_NETWORK: TypeAdapter[tuple[Layer, ...]] = TypeAdapter(Network)
_TRACING = threading.RLock()
"""While tracing, `torch.fx` changes `nn.Module` itself, for all threads."""

if hasattr(os, "register_at_fork"):  # a child must get an unpatched `nn.Module` and a free lock
    os.register_at_fork(
        before=_TRACING.acquire,
        after_in_parent=_TRACING.release,
        after_in_child=_TRACING.release,
    )


def layer_list(
    network: nn.Module, image_shape: Sequence[int] | None = None
) -> tuple[Layer, ...] | None:
    """The network as a flat list of known layers, or None if it is not known to be one.

    For every image shape that `output_shapes` accepts for the list, the list computes what the
    network computes, in evaluation and in training. (For other shapes, PyTorch may compute
    something that no list expresses, such as a broadcast sum of maps of different sizes.) The
    network, its mode and the random state do not change, and no weight is copied.

    The list is wrong for code that branches differently later: code that checks whether its input
    is a tensor (`isinstance`), looks at the clock, or draws from a generator that it makes itself.
    Code that counts its calls in an attribute or a global variable is found out.

    Args:
        network: accepts float images, n x channels x height x width; on any device.
        image_shape: channels, height, width of images that the list must accept.
    """
    try:
        return require_layer_list(network, image_shape)
    except NotAListError:
        return None


def require_layer_list(
    network: nn.Module, image_shape: Sequence[int] | None = None
) -> tuple[Layer, ...]:
    """Like `layer_list`, but raises if there is no list.

    Raises:
        NotAListError: the message says what no layer expresses, or is empty.
    """
    try:
        _require_plain(network)
        outline = without_weights(network)
        memory = memory_of(outline)
        with _TRACING, _no_shape_checks(), _no_randomness(), redirect_stdout(io.StringIO()):
            trained, evaluated = (_traced(outline, training=mode) for mode in (True, False))
        changed = changes_in(memory, memory_of(outline))
        require(not changed, f"its code changes {listing(changed, 3)}")
        require(trained == evaluated, "it does something different in training")
        found = _NETWORK.validate_python(trained)
        require_weights(found, {name: tuple(t.shape) for name, t in network.state_dict().items()})
        if image_shape is not None:
            _require_accepted(found, image_shape)
    except (NotAListError, StoppedAtOnce):
        raise
    except (Exception, SystemExit) as error:  # user code runs here and may raise anything
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


# ---- Before tracing: checks of what a trace does not show --------------------------------------


_OF_THE_CLASS = {"__call__", "_call_impl", "train", "eval"}
_OVERRIDES = {"forward", "_compiled_call_impl", *_OF_THE_CLASS}
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)


def more_than_its_code(model: nn.Module) -> str:
    """A description of what a module does besides its class's `forward`; empty if nothing."""
    if nn.modules.module._has_any_global_hook():  # type: ignore[no-untyped-call]
        return "all modules have hooks"
    for name, module in model.named_modules():
        called = f"its module {name}" if name else "it"
        if isinstance(module, torch.jit.ScriptModule):
            return f"{called} is compiled by torch.jit"
        if any(getattr(module, hooks) for hooks in HOOKS):
            return f"{called} has hooks"
        for method in sorted(_own_methods(module)):
            return f"{called} has its own method {method}"
    return ""


def _own_methods(module: nn.Module) -> set[str]:
    """Methods of an object or its classes that override `nn.Module`'s behavior.

    `nn.Module` itself is not inspected: while another thread traces, its `__call__` is replaced.
    """
    classes = type(module).__mro__
    own = {name for each in classes[: classes.index(nn.Module)] for name in vars(each)}
    return (own & _OF_THE_CLASS) | (vars(module).keys() & _OVERRIDES)


def has_gradient_hooks(parameter: nn.Parameter) -> bool:
    """Whether the parameter's gradient has hooks."""
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def _require_plain(network: nn.Module) -> None:
    """Refuse modules that do more than their class's `forward`, and unusual tensors."""
    more = more_than_its_code(network)
    require(not more, more)
    for name, module in network.named_modules():
        has_generator = any(isinstance(value, _GENERATORS) for value in vars(module).values())
        called = f"its module {name}" if name else "it"
        require(not has_generator, f"{called} has a random number generator")
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
    """Refuse tensors that share memory, and tensors that are not in the state dict."""
    tensors = {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }
    require(
        tensors.keys() == network.state_dict().keys(), "one of its tensors is not in its state dict"
    )
    places = [tensor.data_ptr() for tensor in tensors.values() if not tensor.is_meta]
    require(
        len({id(tensor) for tensor in tensors.values()}) == len(tensors)
        and len(set(places)) == len(places),
        "two of its tensors share memory",
    )


# ---- Tracing -----------------------------------------------------------------------------------


@contextmanager
def _no_shape_checks() -> Iterator[None]:
    """Turn off shape checks, which would reject the proxy because it is not a tensor."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@contextmanager
def _no_randomness() -> Iterator[None]:
    """Refuse code that draws random numbers: it may branch differently each time."""
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
    require(unchanged, "its code draws random numbers")


class _Proxy(fx.Proxy):
    """A proxy for a tensor that also records `+=`."""

    def __iadd__(self, other: object) -> fx.Proxy:
        """Record the in-place addition; by default Python would call `+` instead."""
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    """Refuses code that switches gradients or autocast, which a trace does not show."""

    def __init__(self) -> None:
        super().__init__()
        self._switches = _switches()

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

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
        """Trace a call; modules of other threads also end up here, and run normally."""
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
