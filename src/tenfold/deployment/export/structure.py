"""A list of layers as a person would divide it: layers one after the other, and residual blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tenfold.errors import UsageError
from tenfold.models.layers import IMAGES, Add, Layer, Linear, ReLU


@dataclass(frozen=True)
class Block:
    """Layers whose output is added to their input, or to what a shortcut makes of it.

    Attributes:
        main: the layers; at least one.
        shortcut: the layers of the shortcut; empty if the input itself is added.
        ends_with_relu: whether a ReLU follows.
    """

    main: tuple[Layer, ...]
    shortcut: tuple[Layer, ...]
    ends_with_relu: bool


Step: TypeAlias = Layer | Block


class _Branching:
    """Follows the outputs of layers to the layers that read them."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._readers = defaultdict[int, list[int]](list)
        for place, layer in enumerate(layers):
            for source in layer.sources():
                self._readers[source].append(place)

    def steps(self) -> list[Step]:
        """All layers and blocks, in order."""
        found: list[Step] = []
        at = IMAGES
        while readers := self._readers[at]:
            if len(readers) == 1:
                (at,) = readers
                found.append(self._layers[at])
            else:
                block, at = self._block(readers)
                found.append(block)
        return found

    def _block(self, starts: Sequence[int]) -> tuple[Block, int]:
        """The block that begins at these two layers, and the place of its last layer."""
        (one, end), (other, other_end), *more = map(self._way, starts)
        main, shortcut = sorted((one, other), key=len, reverse=True)
        is_raw = any(isinstance(layer, Linear) and layer.transposed for layer in shortcut)
        if more or end != other_end or not main or is_raw:
            raise _too_branched()
        readers = self._readers[end]
        has_relu = len(readers) == 1 and isinstance(self._layers[readers[0]], ReLU)
        return Block(tuple(main), tuple(shortcut), has_relu), readers[0] if has_relu else end

    def _way(self, place: int) -> tuple[list[Layer], int]:
        """The layers from here to the next addition, and the place of that."""
        way: list[Layer] = []
        while not isinstance(self._layers[place], Add):
            way.append(self._layers[place])
            if len(self._readers[place]) != 1:
                raise _too_branched()
            (place,) = self._readers[place]
        return way, place


def steps_of(layers: Sequence[Layer]) -> list[Step]:
    """A network's layers and residual blocks, in order.

    Args:
        layers: a valid `Network`.

    Raises:
        UsageError: it branches in another way than by residual blocks.
    """
    return _Branching(layers).steps()


def _too_branched() -> UsageError:
    return UsageError(
        "the network branches in another way than by residual blocks, so no code can be written "
        "for it",
        remedy="export it with --to torch-export or --to onnx",
    )
