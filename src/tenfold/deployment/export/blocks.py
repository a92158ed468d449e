"""The code of a class of residual blocks, with parameters for all that differs among them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from tenfold.deployment.export.modules import (
    INSIDE,
    ModuleCode,
    constructor,
    statements,
    tensor_names,
)
from tenfold.deployment.export.structure import Block
from tenfold.deployment.export.text import call, size_literal
from tenfold.models.layers import BatchNorm2d, Conv2d, Layer, Linear

Value = int | tuple[int, int] | bool
Column = tuple[Value | None, ...]
"""What one size is in each block; None where the layer is missing."""

_NAMES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_SIZES = ("in_channels", "out_channels", "in_features", "out_features", "channels")
_WITH_SIZES = (Conv2d, Linear, BatchNorm2d)


def kind_of(block: Block) -> str:
    """What blocks of one class have in common: their layers, without names and sizes."""
    return json.dumps([block.ends_with_relu, *map(_form, block.main)])


def _form(layer: Layer) -> dict[str, Any]:
    facts = layer.model_dump(mode="json", exclude={"input", *_NAMES, *_SIZES})
    if isinstance(layer, Conv2d):
        del facts["stride"]
    return {**facts, "has_bias": getattr(layer, "bias", None) is not None}


class BlockClass:
    """The class of blocks of one kind.

    Args:
        name: of the class.
        blocks: all of them, at least one.

    Attributes:
        code: of the class.
    """

    def __init__(self, name: str, blocks: Sequence[Block]) -> None:
        self.name, self._blocks = name, blocks
        self._columns: dict[str, Column] = {}
        self._name_ends()
        self._module = ModuleCode(sum(isinstance(layer, Linear) for layer in blocks[0].main))
        self._attributes = [
            self._module.add(layer, partial(self._main_size, place))
            for place, layer in enumerate(blocks[0].main)
        ]
        self._shortcuts = next((block.shortcut for block in blocks if block.shortcut), ())
        self.code = self._written()

    def made(self, block: Block) -> str:
        """The call that makes this block."""
        place = next(place for place, each in enumerate(self._blocks) if each is block)
        values = {name: column[place] for name, column in self._columns.items()}
        given = [_text(value) for name, value in values.items() if not _has_default(name)]
        given += [
            f"{name}={_text(value)}"
            for name, value in values.items()
            if _has_default(name) and _text(value) != _default(name)
        ]
        return f"{self.name}({', '.join(given)})"

    def tensor_names(self, block: Block, prefix: str) -> dict[str, str]:
        """The names of a block's tensors in the bundle, by those in the network with its code."""
        found: dict[str, str] = {}
        for layer, attribute in zip(block.main, self._attributes, strict=True):
            if attribute:
                found |= tensor_names(layer, f"{prefix}.{attribute}")
        for place, layer in enumerate(block.shortcut):
            found |= tensor_names(layer, f"{prefix}.downsample.{place}")
        return found

    def _name_ends(self) -> None:
        """Name the sizes that a block begins and ends with."""
        sized = [
            i for i, layer in enumerate(self._blocks[0].main) if isinstance(layer, _WITH_SIZES)
        ]
        if not sized:
            return
        first = self._main_column(sized[0], _sizes_of(self._blocks[0].main[sized[0]])[0])
        last = self._main_column(sized[-1], _sizes_of(self._blocks[0].main[sized[-1]])[-1])
        if first == last:
            self._columns["channels"] = first
        else:
            self._columns |= {"inputs": first, "outputs": last}

    def _main_column(self, place: int, size: str) -> Column:
        return tuple(_value(block.main[place], size) for block in self._blocks)

    def _main_size(self, place: int, size: str) -> str:
        return self._expression(self._main_column(place, size), size)

    def _shortcut_size(self, place: int, size: str) -> str:
        column = tuple(
            _value(block.shortcut[place], size) if block.shortcut else None
            for block in self._blocks
        )
        return self._expression(column, size)

    def _expression(self, column: Column, size: str) -> str:
        """A number, or the parameter that has these values; a new one if none has."""
        known = {value for value in column if value is not None}
        if size == "stride" and known == {1}:
            return "1"
        for name, other in self._columns.items():
            is_same = all(
                value in (None, found) for value, found in zip(column, other, strict=True)
            )
            if is_same and name.startswith("stride") == (size == "stride"):
                return name
        if len(known) == 1:
            return _text(known.pop())
        return self._new("stride" if size == "stride" else "width", column, 1)

    def _new(self, wanted: str, column: Column, filler: Value) -> str:
        name, number = wanted, 1
        while name in self._columns:
            number += 1
            name = f"{wanted}{number}"
        self._columns[name] = tuple(filler if value is None else value for value in column)
        return name

    def _written(self) -> str:
        shortcut = self._shortcut_code()
        statement = "y + self.downsample(x)" if shortcut else "y + x"
        if self._blocks[0].ends_with_relu:
            statement = f"F.relu({statement})"
        lines = [
            *self._module.declarations,
            *shortcut,
            "",
            "    def forward(self, x):",
            *statements(self._module.calls, "x", "y"),
            f"{' ' * INSIDE}return {statement}",
        ]
        self._columns = dict(sorted(self._columns.items(), key=lambda item: _order(item[0])))
        parameters = [
            f"{name}={_default(name)}" if _has_default(name) else name for name in self._columns
        ]
        head = call("def __init__(", ["self", *parameters], "):", indent=4)
        return (
            f"class {self.name}(nn.Module):\n"
            '    """Layers whose output is added to their input."""\n\n'
            f"{head}\n{' ' * INSIDE}super().__init__()\n" + "\n".join(lines) + "\n"
        )

    def _shortcut_code(self) -> list[str]:
        """The statements of `__init__` that make the shortcut; none if there never is one."""
        if not self._shortcuts:
            return []
        condition = self._condition()
        deeper = INSIDE + (4 if condition else 0)
        made = [
            constructor(layer, partial(self._shortcut_size, place), deeper + 4).lstrip()
            for place, layer in enumerate(self._shortcuts)
        ]
        declared = call("self.downsample = nn.Sequential(", made, ")", deeper)
        if not condition:
            return [declared]
        margin = " " * INSIDE
        return [f"{margin}self.downsample = nn.Identity()", f"{margin}if {condition}:", declared]

    def _condition(self) -> str:
        """When a block has a shortcut; empty for always."""
        wanted = tuple(bool(block.shortcut) for block in self._blocks)
        if all(wanted):
            return ""
        tests = {"stride": "stride != 1", "inputs": "inputs != outputs"}
        there = [test for name, test in tests.items() if name in self._columns]
        rows = [
            dict(zip(self._columns, values, strict=True))
            for values in zip(*self._columns.values(), strict=True)
        ]
        if there and wanted == tuple(_changes_shape(row) for row in rows):
            return " or ".join(there)
        return self._new("has_shortcut", wanted, False)


def _changes_shape(values: dict[str, Value | None]) -> bool:
    return values.get("stride", 1) != 1 or values.get("inputs") != values.get("outputs")


def _sizes_of(layer: Layer) -> list[str]:
    return [size for size in _SIZES if hasattr(layer, size)]


def _value(layer: Layer, size: str) -> Value:
    found: int | tuple[int, int] = getattr(layer, size)
    if isinstance(found, tuple) and found[0] == found[1]:
        return found[0]
    return found


def _text(value: Value | None) -> str:
    return size_literal(value) if isinstance(value, tuple) else str(value)


_PARAMETERS = ("channels", "inputs", "width", "outputs", "stride", "has_shortcut")


def _order(name: str) -> tuple[int, str]:
    return _PARAMETERS.index(name.rstrip("0123456789")), name


def _has_default(name: str) -> bool:
    return name.startswith(("stride", "has_shortcut"))


def _default(name: str) -> str:
    return "1" if name.startswith("stride") else "False"
