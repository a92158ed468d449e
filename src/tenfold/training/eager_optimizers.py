"""PyTorch's own optimizers, except that they do not import its compiler.

In `torch.optim`, creating an optimizer and taking its steps import `torch._dynamo`, only to tell
the compiler to leave them alone. The import takes about as long as that of the rest of PyTorch.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def _without_compiler(name: str) -> Callable[..., Any]:
    """A method of `Optimizer`; the compiler is told about it only if it has been imported."""
    for_compiler: Callable[..., Any] = getattr(Optimizer, name)
    plain = inspect.unwrap(for_compiler)

    def method(self: Optimizer, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        function = for_compiler if "torch._dynamo" in sys.modules else plain
        return function(self, *args, **kwargs)

    method.__doc__ = "See PyTorch."
    return method


class _Eager(Optimizer):
    """To be inherited from together with an optimizer, and before it."""

    add_param_group = _without_compiler("add_param_group")
    load_state_dict = _without_compiler("load_state_dict")
    state_dict = _without_compiler("state_dict")
    zero_grad = _without_compiler("zero_grad")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401
        """See PyTorch."""
        step = inspect.unwrap(super().step.__func__)  # type: ignore[attr-defined]
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, closure)


class SGD(_Eager, torch.optim.SGD):
    """`torch.optim.SGD`."""


class Adam(_Eager, torch.optim.Adam):
    """`torch.optim.Adam`."""


class AdamW(_Eager, torch.optim.AdamW):
    """`torch.optim.AdamW`."""
