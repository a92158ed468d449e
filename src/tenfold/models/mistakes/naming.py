"""How messages name a learner's layers, and write them as code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence

from torch import nn


def name_of(network: nn.Module | None, layer: nn.Module) -> str:
    """The layer's name in the network; empty for the network itself, and outside of it."""
    modules = () if network is None else network.named_modules()
    return next((name for name, module in modules if module is layer), "")


def called(network: nn.Module | None, layer: nn.Module) -> str:
    """The layer in a sentence, such as `fc1`, `layer 3 (Linear)` or `Net`."""
    name, kind = name_of(network, layer), type(layer).__name__
    if layer is network or not name:
        return kind
    return f"layer {name} ({kind})" if _is_numbered(name) else name


def written(network: nn.Module | None, layer: nn.Module, code: str) -> str:
    """A remedy that replaces the layer by this code."""
    name = name_of(network, layer)
    if network is None or not name:
        return f"use {code}"
    if _is_numbered(name):
        return f"make layer {name} {code}"
    parent, _, attribute = name.rpartition(".")
    inside = f" in {type(network.get_submodule(parent)).__name__}" if parent else ""
    return f"write self.{attribute} = {code}{inside}"


def linear(layer: nn.Linear, *, inputs: int = 0, outputs: int = 0) -> str:
    """The code of a layer like this one with other sizes; 0 for its own."""
    bias = "" if layer.bias is not None else ", bias=False"
    return f"nn.Linear({inputs or layer.in_features}, {outputs or layer.out_features}{bias})"


def convolution(layer: nn.Module, **changes: object) -> str:
    """The code of a convolution or pooling like this one with other arguments."""
    code = re.sub(r"\((\d+), \1\)", r"\1", repr(layer))  # a square kernel
    for argument, value in changes.items():
        if argument == "in_channels":
            code = re.sub(r"\(\d+", f"({value}", code, count=1)
        elif f"{argument}=" in code:
            code = re.sub(rf"{argument}=\w+", f"{argument}={value}", code)
        else:
            code = f"{code[:-1]}, {argument}={value})"
    return f"nn.{code.replace(', stride=1', '')}"


def sizes(shape: Sequence[int]) -> str:
    """The shape of one image's numbers, such as `16 x 5 x 5`, from the shape of a batch."""
    return " x ".join(str(size) for size in shape[1:])


def lines_of_forward(network: nn.Module, pattern: str) -> Iterator[str]:
    """The lines that match in the code of `forward`, of the network and of its own modules."""
    kinds = dict.fromkeys(
        type(module) for module in network.modules() if not _is_of_torch(type(module))
    )
    for kind in kinds:
        try:
            lines = inspect.getsource(kind.forward).splitlines()
        except (OSError, TypeError):  # typed at a prompt, or not in Python
            continue
        yield from (line.strip() for line in lines if re.search(pattern, line))


def in_forward(network: nn.Module | None, pattern: str) -> str:
    """The lines of `lines_of_forward` after a word in a sentence; empty if there are none."""
    lines = [] if network is None else list(lines_of_forward(network, pattern))
    return f" (in forward: {' and '.join(lines)})" if lines else ""


def _is_of_torch(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "torch"


def _is_numbered(name: str) -> bool:
    return name.rpartition(".")[2].isdigit()
