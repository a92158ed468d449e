"""Checks that PyTorch's and torchvision's functions have not been replaced.

This is the only place that uses PyTorch's private names. If one is missing or has changed, the
answer is no, and PyTorch's loader is used.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import FunctionType

import torch
from torch import Tensor, nn


def is_original(owner: object, name: str) -> bool:
    """Whether a class or module still has its original function of this name."""
    function = getattr(owner, name, None)
    return type(function) is FunctionType and _is_written_in(owner, function, name)


@lru_cache(maxsize=64)  # called for every batch
def _is_written_in(owner: object, function: FunctionType, name: str) -> bool:
    prefix, home = "", owner
    if isinstance(owner, type):
        prefix, home = f"{owner.__qualname__}.", sys.modules.get(owner.__module__)
    return (
        home is not None
        and function.__globals__ is vars(home)
        and function.__code__.co_qualname == prefix + name
    )


def stacks(collate_fn: object) -> bool:
    """Whether tuples of CPU tensors and ints are collated to a list of stacked tensors.

    Users can add functions to the table of PyTorch's default collation, and a torch function mode,
    such as a default device, changes how ints are collated.
    """
    collate = sys.modules.get("torch.utils.data._utils.collate")
    table = getattr(collate, "default_collate_fn_map", None)
    modes = getattr(torch._C, "_len_torch_function_stack", None)
    if collate is None or not isinstance(table, dict) or not callable(modes):
        return False
    functions = ("default_collate", "collate", "collate_tensor_fn", "collate_int_fn")
    return (
        all(is_original(collate, name) for name in functions)
        and collate_fn is collate.default_collate
        and table.get(Tensor) is collate.collate_tensor_fn
        and table.get(int) is collate.collate_int_fn
        and not any(isinstance((), kind) for kind in table)
        and modes() == 0
    )


def only_calls_forward(module: nn.Module) -> bool:
    """Whether calling a module calls its class's `forward` and nothing else, such as a hook."""
    call = getattr(nn.Module, "_wrapped_call_impl", None)
    has_global_hook = getattr(nn.modules.module, "_has_any_global_hook", None)
    return (
        type(module).__call__ is call
        and is_original(nn.Module, "_wrapped_call_impl")
        and callable(has_global_hook)
        and not has_global_hook()
        # A module's hooks are in dicts; `compile` or a replaced `forward` leaves a callable.
        and not any(
            callable(value) or (isinstance(value, dict) and len(value) > 0)
            for value in vars(module).values()
        )
    )


def raise_as_worker(number: int) -> None:
    """Re-raise the current exception the way PyTorch re-raises it from a worker process.

    Returns normally if PyTorch no longer has the wrapper for such errors.
    """
    wrapper = getattr(sys.modules.get("torch._utils"), "ExceptionWrapper", None)
    if wrapper is not None:
        wrapper(where=f"in DataLoader worker process {number}").reraise()
