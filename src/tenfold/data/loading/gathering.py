"""Items held in memory as rows, and gathering of whole batches of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor

Column: TypeAlias = Tensor | list[Any]
"""One row per item: a tensor, or a list that may hold ints."""

Indices: TypeAlias = Any
"""What a batch sampler yields."""

_TYPES = frozenset(
    {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
    | {torch.float16, torch.bfloat16, torch.float32, torch.float64}
)


@dataclass(frozen=True)
class Rows:
    """A data set whose items are in memory.

    Attributes:
        parts: the parts of an item, each `int` or a tensor's dtype and shape; items with equal
            parts can be in one batch.
        length: the number of items.
        columns: the data that items are read from.
        gather: stacks the items at the given places, 0..length-1, in new memory; None if they
            must be read one by one.
    """

    parts: tuple[object, ...]
    length: int
    columns: tuple[Column, ...]
    gather: Callable[[np.ndarray], list[Tensor] | None]

    def batch(self, indices: Indices) -> list[Tensor] | None:
        """The stacked parts of the items at these indices, as PyTorch's default collation gives.

        Returns:
            None if the items must be read one by one: an index is out of range, or of a type that
            data sets treat differently.
        """
        places = _whole_numbers(indices)
        if places is None or (first := places.min()) < -self.length or places.max() >= self.length:
            return None
        return self.gather(places % self.length if first < 0 else places)


def take(columns: Sequence[Column], places: np.ndarray) -> list[Tensor] | None:
    """The rows of these columns at these places; None if a list has anything but ints there."""
    batch, chosen = [], torch.from_numpy(places)
    for column in columns:
        if isinstance(column, Tensor):
            batch.append(column.index_select(0, chosen))
            continue
        values = [column[place] for place in places.tolist()]
        numbers = np.array(values) if set(map(type, values)) == {int} else None
        if numbers is None or numbers.dtype != np.int64:
            return None
        batch.append(torch.from_numpy(numbers))
    return batch


def part(column: Tensor) -> tuple[object, ...]:
    """The dtype and shape of a tensor's rows."""
    return column.dtype, column.shape[1:]


def can_be_gathered(tensor: object) -> TypeGuard[Tensor]:
    """Whether selecting this tensor's rows gives the same bits and strides as stacking them.

    False on devices other than the CPU, where this is not known.
    """
    return (
        type(tensor) is Tensor
        and tensor.layout == torch.strided
        and tensor.dtype in _TYPES
        and tensor.is_cpu
        and tensor.ndim > 0
        and tensor.numel() > 0
        and tensor.is_contiguous()
        and not tensor.requires_grad
    )


def are_class_indices(labels: object) -> bool:
    """Whether this is an int64 vector that can be gathered from."""
    return can_be_gathered(labels) and labels.dtype == torch.int64 and labels.ndim == 1


def _whole_numbers(indices: Indices) -> np.ndarray | None:
    """Indices as a non-empty int64 vector; None if they are anything else."""
    if type(indices) in (list, tuple):
        kinds = set(map(type, indices))
        if kinds == {Tensor} and all(i.ndim == 0 and i.dtype == torch.int64 for i in indices):
            indices = torch.stack(list(indices))
        elif kinds and kinds <= {int, np.int64, np.int32}:
            indices = np.array(indices)
    if type(indices) is Tensor and indices.is_cpu:
        indices = indices.numpy()
    if type(indices) is not np.ndarray or indices.ndim != 1 or len(indices) == 0:
        return None
    # Small dtypes can overflow in a data set's own arithmetic, and uint8 may be a mask.
    is_wide = indices.dtype in (np.int64, np.int32)
    return indices.astype(np.int64, copy=False) if is_wide else None
