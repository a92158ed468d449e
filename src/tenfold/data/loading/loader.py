"""A drop-in replacement for PyTorch's loader that gathers whole batches from memory if it can.

PyTorch's loader still does the iteration, so the batches, the random numbers and when they are
drawn, and the errors are PyTorch's. Only collation differs: it gets a batch's indices, and gathers
its rows from memory at once. Data sets not known to be rows in memory are left to PyTorch.
"""

# PyTorch's loader, the base of this one, is untyped.
# mypy: allow-untyped-calls

from __future__ import annotations

import copy
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from tenfold.data.loading.gathering import Column, Indices, Rows
from tenfold.data.loading.rows import find_rows
from tenfold.data.loading.untouched import raise_as_worker, stacks
from tenfold.errors import UsageError

ItemT = TypeVar("ItemT", covariant=True)

MapStyle: TypeAlias = Any
"""A data set with `__len__` and `__getitem__`, of PyTorch's class or not."""

LARGEST_COPY = 2**30
"""Maximum size in bytes of a data set that is copied to avoid starting worker processes."""


class DataLoader(torch.utils.data.DataLoader[ItemT]):
    """`torch.utils.data.DataLoader`, but faster for data sets in memory.

    Arguments, errors, batches, their order, and the numbers drawn from PyTorch's global generator
    or from `generator` are the same. With the default `collate_fn`, whole batches are gathered at
    once from `ImageDataset` and `TensorDataset` on the CPU, from torchvision's MNIST and CIFAR
    families (except QMNIST) with `ToTensor()` (alone, or in a `Compose`, optionally followed by
    `Normalize`), and from `Subset` and `ConcatDataset` of these. Everything else, including
    subclasses of these data sets, is loaded by PyTorch.

    With `num_workers > 0`, such a data set of at most `LARGEST_COPY` bytes is copied when the
    iteration starts, as it would be for workers, and read in this process. Batches are then not in
    shared memory. `worker_init_fn`, `persistent_workers` or `timeout` do start workers.

    Args:
        dataset: see PyTorch's.
        args: see PyTorch's.
        scale: give the images of each batch, its first part, as floats 0..1 instead of raw pixels;
            for networks that do not start with `tenfold.models.Preprocessing`.
        kwargs: see PyTorch's.
    """

    scale: bool = False

    if TYPE_CHECKING:

        def __init__(
            self,
            dataset: Dataset[ItemT],
            *args: Any,  # noqa: ANN401
            scale: bool = False,
            **kwargs: Any,  # noqa: ANN401
        ) -> None: ...

    else:  # PyTorch accepts any `MapStyle` data set

        def __init__(self, *args: Any, scale: bool = False, **kwargs: Any) -> None:  # noqa: ANN401
            super().__init__(*args, **kwargs)
            self.scale = scale

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override] # PyTorch names a private class
        """The batches.

        Raises:
            UsageError: `scale` is set, but a batch does not start with raw pixels.
        """
        batches = self._batches()
        return map(_scaled, batches) if self.scale else batches

    def _batches(self) -> Iterator[Any]:
        if not self._gathers_here():
            return super().__iter__()
        if self.num_workers > 0:
            return self._iterate_in_place_of_workers()
        return self._iterate(self.batch_sampler, partial(_read, self.dataset, self.collate_fn))

    def check_worker_number_rationality(self) -> None:
        """Warn about too many worker processes, unless none will be started."""
        if not self._gathers_here():
            super().check_worker_number_rationality()

    def _gathers_here(self) -> bool:
        """Whether whole batches are read in this process; if not, PyTorch loads them."""
        rows = _stacked_rows(self.dataset, self.collate_fn)
        return (
            rows is not None
            and self.batch_sampler is not None
            and self.timeout == 0
            and not getattr(self, "pin_memory_device", None)
            and get_worker_info() is None
            and (self.num_workers == 0 or self._needs_no_worker(rows))
        )

    def _needs_no_worker(self, rows: Rows) -> bool:
        """Whether reading a copy here is indistinguishable from reading in worker processes."""
        return (
            self.worker_init_fn is None
            and not self.persistent_workers
            and type(self.prefetch_factor) is int
            and self.prefetch_factor > 0
            # A spawned worker, unlike a forked one, does not inherit a changed default dtype.
            and torch.get_default_dtype() == torch.float32
            and sum(map(_bytes_to_copy, rows.columns)) <= LARGEST_COPY
        )

    def _iterate(
        self, batch_sampler: Iterable[Any] | None, read: Callable[[Any], Any]
    ) -> Iterator[Any]:
        """PyTorch's iterator in this process, with `read` turning indices into a batch."""
        loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
            _Indices(),
            batch_size=None,
            sampler=batch_sampler,
            collate_fn=read,
            pin_memory=self.pin_memory,
            generator=self.generator,
        )
        return iter(loader)

    def _iterate_in_place_of_workers(self) -> Iterator[Any]:
        try:
            dataset = copy.deepcopy(self.dataset)
        except Exception:  # noqa: BLE001 - anything attached to it by the user may raise
            return super().__iter__()
        rows, collate_fn = find_rows(dataset), self.collate_fn
        turns = itertools.cycle(range(self.num_workers))
        assert rows is not None
        assert self.batch_sampler is not None
        assert self.prefetch_factor is not None

        def read(indices: object) -> object:
            worker = next(turns)
            batch = rows.batch(indices)
            if batch is not None:
                return batch
            try:
                return _collated(dataset, collate_fn, indices)
            except Exception:
                raise_as_worker(worker)
                raise

        ahead = _DrawnAhead(self.batch_sampler)
        iterator = self._iterate(ahead, read)
        ahead.start(self.prefetch_factor * self.num_workers)
        return iterator


def _scaled(batch: Any) -> Any:  # noqa: ANN401 - of the same type
    """A batch with its images, raw pixels, as floats 0..1."""
    if isinstance(batch, list | tuple) and batch:
        items = [_floats(batch[0]), *batch[1:]]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    return _floats(batch)


def _floats(images: object) -> Tensor:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        found = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise UsageError(
            f"DataLoader: the images are {found}, wanted raw pixels 0..255 as torch.uint8 to scale",
            remedy="leave out scale=True",
        )
    return images.to(torch.get_default_dtype()).div_(255)


class _Indices(Dataset[Any]):
    """A data set whose items are their own indices, so that collation does the reading."""

    def __getitem__(self, indices: object) -> object:
        return indices


class _DrawnAhead:
    """A sampler's batches, drawn as far ahead as PyTorch draws them for its workers."""

    def __init__(self, sampler: Iterable[Any]) -> None:
        self._sampler = sampler
        self._drawn: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self._sampler)  # type: ignore[arg-type]

    def __iter__(self) -> _DrawnAhead:
        self._rest = map(_kept, self._sampler)
        return self

    def start(self, most_ahead: int) -> None:
        """Start over and draw ahead, which PyTorch does after drawing its seed."""
        self._rest = map(_kept, self._sampler)
        self._drawn.extend(itertools.islice(self._rest, most_ahead))

    def __next__(self) -> object:
        if not self._drawn:
            raise StopIteration
        indices = self._drawn.popleft()
        self._drawn.extend(itertools.islice(self._rest, 1))
        return indices


def _kept(indices: Indices) -> Indices:
    """A copy of a batch's indices: a sampler may reuse the same list for its next batch."""
    return list(indices) if type(indices) is list else indices


def _stacked_rows(dataset: object, collate_fn: object) -> Rows | None:
    return find_rows(dataset) if stacks(collate_fn) else None


def _bytes_to_copy(column: Column) -> float:
    """The size of a copy equivalent to what workers read; infinite if no copy is."""
    if isinstance(column, Tensor):
        # Workers see changes of shared memory, a copy does not. Copying copies the whole storage.
        return math.inf if column.is_shared() else float(column.untyped_storage().nbytes())
    return 0.0 if set(map(type, column)) == {int} else math.inf


def _read(dataset: MapStyle, collate_fn: Callable[[Any], Any], indices: Indices) -> object:
    """A batch, gathered if the data set is in memory now, else read item by item."""
    rows = _stacked_rows(dataset, collate_fn)
    batch = None if rows is None else rows.batch(indices)
    return _collated(dataset, collate_fn, indices) if batch is None else batch


def _collated(dataset: MapStyle, collate_fn: Callable[[Any], Any], indices: Indices) -> object:
    """A batch, read item by item."""
    read_items = getattr(dataset, "__getitems__", None)
    return collate_fn(read_items(indices) if read_items else [dataset[i] for i in indices])
