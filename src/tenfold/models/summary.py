"""Layer-by-layer model summary: output shapes, parameters, multiply-adds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tenfold.errors import printable
from tenfold.models.mistakes.explaining import explained, named
from tenfold.models.outline import without_weights
from tenfold.types import ImageShape

_HEADINGS = ("layer", "kind", "output", "parameters", "multiply-adds")


@dataclass(frozen=True)
class LayerSummary:
    """One row of the table.

    Attributes:
        name: the layer's name in the model, as in the names of its parameters; empty for the model
            itself.
        kind: its class.
        output: the shape of its output for one image, such as `6x28x28`; empty if it is not used.
        parameters: its own, without those of layers inside it or of an earlier row.
        multiply_adds: for one image, in matrix products and convolutions; other work counts 0.
    """

    name: str
    kind: str
    output: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class ModelSummary:
    """The table of layers and its totals; `str()` gives the table as plain text.

    Attributes:
        model: the model's class.
        input: the shape of one image, such as `1x28x28`.
        layers: a row for each use, in their order; then those that are not used.
        parameters: total number; shared ones count once.
        trainable_parameters: number that receive gradients.
        parameter_bytes: memory of the parameters in bytes.
        multiply_adds: for one image.
    """

    model: str
    input: str
    layers: tuple[LayerSummary, ...]
    parameters: int
    trainable_parameters: int
    parameter_bytes: int
    multiply_adds: int

    def to_dict(self) -> dict[str, Any]:
        """The summary as a JSON-serializable dict."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [
            (
                printable(layer.name or "(model)"),
                printable(layer.kind),
                layer.output or "(not used)",
                f"{layer.parameters:,}",
                f"{layer.multiply_adds:,}",
            )
            for layer in self.layers
        ]
        return "\n".join(
            (
                f"{printable(self.model)} on images of {self.input}",
                "",
                *_aligned([_HEADINGS, *rows]),
                "",
                f"parameters     {self.parameters:,} ({self.trainable_parameters:,} trainable)",
                f"memory         {_in_bytes(self.parameter_bytes)}",
                f"multiply-adds  {self.multiply_adds:,} per image",
            )
        )


def summarize(model: nn.Module, input_shape: Sequence[int], name: str = "") -> ModelSummary:
    """Count a model's parameters and work, and follow one image's shape through its layers.

    The image passes through a copy without weights, in evaluation mode: the model, its mode and
    the random state do not change.

    Args:
        model: accepts float images, n x channels x height x width.
        input_shape: channels, height and width of one image.
        name: what the model is called; by default as its class.

    Raises:
        UsageError: the model fails, and why.
    """
    shape = ImageShape(*input_shape)
    outline = without_weights(model).eval()
    layers = _layers_of(outline)
    images, title = torch.empty(1, *shape, device="meta"), name or type(model).__name__
    with (
        named(title),
        explained(outline, images),
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        watch = _Watch(layers, counter)
        outline(images)
    parameters = list(model.parameters())
    return ModelSummary(
        model=title,
        input=str(shape),
        layers=tuple(_rows(layers, watch)),
        parameters=_count(parameters),
        trainable_parameters=_count(p for p in parameters if p.requires_grad),
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        multiply_adds=counter.get_total_flops() // 2,
    )


def _layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """By name, the leaf layers and those that directly own parameters."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if not list(layer.children()) or list(layer.parameters(recurse=False))
    }


@dataclass
class _Use:
    """One use of a layer.

    Attributes:
        name: the layer's.
        output: the shape of its output for one image.
        flops: its own, without those of layers inside it.
    """

    name: str
    output: str = ""
    flops: int = 0


class _Watch:
    """Records each use of a layer while a model runs."""

    def __init__(self, layers: dict[str, nn.Module], counter: FlopCounterMode) -> None:
        self._counter = counter
        self.uses: list[_Use] = []
        self._counted = 0  # the part of the counter's total already in the uses
        self._running: list[_Use] = []  # outermost first
        for name, layer in layers.items():
            layer.register_forward_pre_hook(partial(self._enter, name))
            layer.register_forward_hook(self._leave)

    def _enter(self, name: str, _layer: nn.Module, _inputs: object) -> None:
        self._count_for_innermost()
        self.uses.append(_Use(name))
        self._running.append(self.uses[-1])

    def _leave(self, _layer: nn.Module, _inputs: object, output: object) -> None:
        self._count_for_innermost()
        self._running.pop().output = _shape_text(output)

    def _count_for_innermost(self) -> None:
        total = self._counter.get_total_flops()
        if self._running:
            self._running[-1].flops += total - self._counted
        self._counted = total


def _rows(layers: dict[str, nn.Module], watch: _Watch) -> Iterator[LayerSummary]:
    counted: set[Tensor] = set()
    used = {use.name for use in watch.uses}
    for use in [*watch.uses, *(_Use(name) for name in layers if name not in used)]:
        layer = layers[use.name]
        own = set(layer.parameters(recurse=False)) - counted
        counted |= own
        yield LayerSummary(
            name=use.name,
            kind=type(layer).__name__,
            output=use.output,
            parameters=_count(own),
            multiply_adds=use.flops // 2,
        )


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _shape_text(output: object) -> str:
    """The shape for one image, such as `6x28x28`; the type name if it is not a tensor."""
    if isinstance(output, Tensor):
        return "x".join(str(size) for size in output.shape[1:])
    return type(output).__name__


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows as lines: text columns left-aligned, the last two, which are numbers, right-aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        texts = [cell.ljust(width) for cell, width in zip(row[:-2], widths[:-2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[-2:], widths[-2:], strict=True)]
        yield "  ".join(texts + numbers)


def _in_bytes(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
