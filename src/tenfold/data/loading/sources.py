"""Where whole batches are gathered: rows of tensors, a choice of them, several of them joined."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Positions: TypeAlias = list[Any] | tuple[Any, ...] | range | Tensor | np.ndarray
"""What a `Subset` may hold as its indices here."""


class RowSource(ABC):
    """Where whole batches can be gathered.

    Attributes:
        kind: what its items are; items of one kind can stand in one batch.
    """

    kind: str

    def batch(self, indices: object) -> list[Tensor] | None:
        """What PyTorch's fetching and collating give for these indices, in fresh memory.

        Returns:
            The stacked parts of the items, or None if the items must be asked for one by one: an
            index is out of range, or is not a whole number.
        """
        numbers = _whole_numbers(indices)
        return None if numbers is None else self.gather(numbers)

    @abstractmethod
    def gather(self, indices: list[int]) -> list[Tensor] | None:
        """The batch of these items in fresh memory; None if it must be read item by item."""

    @abstractmethod
    def tensors(self) -> Iterable[Tensor]:
        """The tensors that are gathered from."""

    @abstractmethod
    def copied(self) -> RowSource:
        """The same in memory of its own."""


class Rows(RowSource):
    """Columns of equal length; item i is made of their i-th entries.

    Args:
        kind: see `RowSource`.
        columns: tensors, or lists that may hold ints.
        transform: what the first column's gathered rows go through; it may change them in place.
    """

    def __init__(
        self,
        kind: str,
        columns: Sequence[Tensor | list[Any]],
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.kind = kind
        self.columns = columns
        self.transform = transform

    def gather(self, indices: list[int]) -> list[Tensor] | None:
        """See `RowSource`."""
        length = len(self.columns[0])
        lowest, highest = min(indices), max(indices)
        if lowest < -length or highest >= length:
            return None
        if lowest < 0:
            indices = [index % length for index in indices]
        rows = torch.from_numpy(np.array(indices, dtype=np.int64))
        batch = []
        for column in self.columns:
            gathered = (
                column.index_select(0, rows)
                if isinstance(column, Tensor)
                else _as_tensor([column[index] for index in indices])
            )
            if gathered is None:
                return None
            batch.append(gathered)
        if self.transform is not None:
            batch[0] = self.transform(batch[0])
        return batch

    def tensors(self) -> Iterable[Tensor]:
        """See `RowSource`."""
        return (column for column in self.columns if isinstance(column, Tensor))

    def copied(self) -> Rows:
        """See `RowSource`."""
        columns = [
            column.clone() if isinstance(column, Tensor) else list(column)
            for column in self.columns
        ]
        return Rows(self.kind, columns, self.transform)


class Picked(RowSource):
    """Some items of another source: item i is its item `positions[i]`."""

    def __init__(self, source: RowSource, positions: Positions) -> None:
        self.kind = source.kind
        self.source = source
        self.positions = positions

    def gather(self, indices: list[int]) -> list[Tensor] | None:
        """See `RowSource`."""
        positions = self.positions
        try:
            chosen = (
                positions[indices]
                if isinstance(positions, Tensor | np.ndarray)
                else [positions[index] for index in indices]
            )
        except IndexError:
            return None
        return self.source.batch(chosen)

    def tensors(self) -> Iterable[Tensor]:
        """See `RowSource`."""
        return self.source.tensors()

    def copied(self) -> Picked:
        """See `RowSource`."""
        positions = self.positions
        own = positions.clone() if isinstance(positions, Tensor) else copy(positions)
        return Picked(self.source.copied(), own)


class Joined(RowSource):
    """Sources one after another; `ends` are where each stops in the common count."""

    def __init__(self, sources: Sequence[RowSource], ends: Sequence[int]) -> None:
        self.kind = sources[0].kind
        self.sources = sources
        self.ends = ends

    def gather(self, indices: list[int]) -> list[Tensor] | None:
        """See `RowSource`."""
        length = self.ends[-1]
        if min(indices) < -length or max(indices) >= length:
            return None
        rows = np.array(indices, dtype=np.int64) % length
        members = np.searchsorted(self.ends, rows, side="right")
        starts = np.array([0, *self.ends[:-1]], dtype=np.int64)
        parts: list[list[Tensor]] = []
        places = []
        for member in np.unique(members).tolist():
            place = np.flatnonzero(members == member)
            part = self.sources[member].gather((rows[place] - starts[member]).tolist())
            if part is None:
                return None
            parts.append(part)
            places.append(place)
        if len(parts) == 1:
            return parts[0]
        columns = list(zip(*parts, strict=True))
        if not all(_can_stand_in_one_batch(column) for column in columns):
            return None
        order = torch.from_numpy(np.argsort(np.concatenate(places)))
        return [torch.cat(column).index_select(0, order) for column in columns]

    def tensors(self) -> Iterable[Tensor]:
        """See `RowSource`."""
        return (tensor for source in self.sources for tensor in source.tensors())

    def copied(self) -> Joined:
        """See `RowSource`."""
        return Joined([source.copied() for source in self.sources], list(self.ends))


def _whole_numbers(indices: object) -> list[int] | None:
    """Indices as a list of ints, not empty, or None if they are something else than that."""
    if isinstance(indices, Tensor | np.ndarray):
        is_plain = type(indices) in (Tensor, np.ndarray) and indices.ndim == 1
        if not is_plain or indices.dtype not in (torch.int64, np.dtype(np.int64)):
            return None
        numbers: list[int] = indices.tolist()
        return numbers or None
    if type(indices) is not list and type(indices) is not tuple:
        return None
    kinds = set(map(type, indices))
    if kinds == {int}:
        return list(indices)
    is_plain = kinds == {np.int64} or (
        kinds == {Tensor} and all(i.ndim == 0 and i.dtype == torch.int64 for i in indices)
    )
    return [int(index) for index in indices] if is_plain else None


def _as_tensor(values: list[Any]) -> Tensor | None:
    """A list of ints as int64; None if there is anything else in it."""
    if set(map(type, values)) != {int}:
        return None
    try:
        return torch.from_numpy(np.array(values, dtype=np.int64))
    except OverflowError:
        return None


def _can_stand_in_one_batch(parts: Sequence[Tensor]) -> bool:
    first = parts[0]
    return all(part.dtype == first.dtype and part.shape[1:] == first.shape[1:] for part in parts)


_GATHERED_TYPES = {
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
}


def can_be_gathered(tensor: object) -> bool:
    """Whether stacking this tensor's rows and selecting them give the same bits and strides.

    On other devices than the CPU that is not known.
    """
    return (
        type(tensor) is Tensor
        and tensor.layout == torch.strided
        and tensor.dtype in _GATHERED_TYPES
        and tensor.is_cpu
        and tensor.ndim > 0
        and tensor.numel() > 0
        and tensor.is_contiguous()
        and not tensor.requires_grad
        and not tensor.is_neg()
    )


def is_written_in(module: ModuleType, function: object, name: str) -> bool:
    """Whether a method is the one its module defines, not one that was put in its place."""
    return (
        type(function) is FunctionType
        and function.__globals__ is vars(module)
        and function.__code__.co_qualname == name
    )


def are_labels(labels: object) -> bool:
    """Whether this is a vector of class indices that can be gathered from."""
    return (
        can_be_gathered(labels)
        and isinstance(labels, Tensor)
        and labels.dtype == torch.int64
        and labels.ndim == 1
    )
