"""Where in a learner's code an exception was raised: the layer that failed, and their own line."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

_NOT_A_LEARNERS = tuple(
    str(folder)
    for folder in (
        Path(__file__).parents[2],
        Path(torch.__file__).parent,
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)
"""Folders of code that no learner wrote."""

_MADE_UP = ("<frozen", "<@beartype", "<eval_with_key")
"""How names of files begin that are not files."""


class Place:
    """Where an exception was raised.

    Args:
        error: with its traceback.

    Attributes:
        layer: the innermost module whose `forward` was running; None outside of any.
        taken: that layer's input; None if it is not a tensor.
        line: such as `net.py line 23, x = self.fc1(x)`; empty if no learner's code was running.
        variables: the local variables at that line.
    """

    def __init__(self, error: BaseException) -> None:
        frames = list(traceback.walk_tb(error.__traceback__))
        self.layer, self.taken = _innermost_layer(frame for frame, _ in frames)
        own = [(frame, number) for frame, number in frames if _is_a_learners(frame)]
        self.line, self.code = _as_text(*own[-1]) if own else ("", "")
        self.variables = dict(own[-1][0].f_locals) if own else {}


def _innermost_layer(frames: Iterator[FrameType]) -> tuple[nn.Module | None, Tensor | None]:
    layer, taken = None, None
    for frame in frames:
        module = next(map(frame.f_locals.get, frame.f_code.co_varnames[:1]), None)
        if frame.f_code.co_name == "forward" and isinstance(module, nn.Module):
            layer = module
            values = (frame.f_locals.get(name) for name in ("input", "x"))
            taken = next((value for value in values if isinstance(value, Tensor)), None)
    return layer, taken


def _is_a_learners(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith((*_NOT_A_LEARNERS, *_MADE_UP))


def _as_text(frame: FrameType, number: int) -> tuple[str, str]:
    """The place of a line, with the line itself where it can be read; and the line alone."""
    name = frame.f_code.co_filename
    linecache.checkcache(name)  # the file may have been edited since it was last run
    code = linecache.getline(name, number, frame.f_globals).strip()
    if "ipykernel" in name or name.startswith("<"):  # a cell, or typed at a prompt
        return (f"line {number}, {code}" if code else f"line {number}"), code
    file = Path(name).name
    return (f"{file} line {number}, {code}" if code else f"{file} line {number}"), code
