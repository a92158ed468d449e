"""A loader in the place of PyTorch's that gathers whole batches where the data allows it.

Which images make a batch, which random numbers are drawn and when, and every error is left to
PyTorch's own code. Only one step differs: where a batch is known to be rows of tensors that lie in
memory, they are gathered at once instead of being fetched one by one and stacked. Whether that is
so is decided anew for what the loader finds, and in doubt PyTorch's way is taken.
"""

# PyTorch's own loading, which is built on here, has no types.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._utils import ExceptionWrapper
from torch.utils.data import get_worker_info
from torch.utils.data._utils import collate
from torch.utils.data._utils.fetch import _MapDatasetFetcher
from torch.utils.data._utils.pin_memory import pin_memory
from torch.utils.data.dataloader import _BaseDataLoaderIter, _DatasetKind

from tenfold.data.loading.rows import find_rows
from tenfold.data.loading.sources import RowSource

ItemT = TypeVar("ItemT", covariant=True)

LARGEST_COPY = 2**30
"""Up to how many bytes a data set is copied so that no worker process has to hold it."""


class DataLoader(torch.utils.data.DataLoader[ItemT]):
    """`torch.utils.data.DataLoader`, faster where the data set lies in memory.

    Arguments, errors, the batches and their order, and what is drawn from PyTorch's global
    generator or from `generator` are PyTorch's. With the default `collate_fn`, whole batches are
    gathered at once from `ImageDataset` and `TensorDataset` on the CPU, from torchvision's MNIST
    and CIFAR families with `ToTensor()` (alone, or in a `Compose`, also before `Normalize`), and
    from `Subset` and `ConcatDataset` of these. Everything else goes through PyTorch's own loading,
    subclasses of these data sets included.

    With `num_workers > 0` such a data set of at most `LARGEST_COPY` bytes is copied as it stands
    when the iteration starts, as workers have it, and read in this process: no process is started
    unless there is a `worker_init_fn` to run in it. The sampler is drawn from as far ahead as for
    workers. Such batches do not lie in shared memory.
    """

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self._dataset_kind != _DatasetKind.Map or not self._auto_collation:
            return super()._get_iterator()
        if self.num_workers == 0:
            iterator = super()._get_iterator()
            fetcher = _BatchFetcher(iterator._dataset, True, self.collate_fn, self.drop_last)
            iterator._dataset_fetcher = fetcher  # type: ignore[attr-defined]
            return iterator
        rows = self._rows_in_place_of_workers()
        if rows is None:
            return super()._get_iterator()
        self.check_worker_number_rationality()
        return _WorkerlessIterator(self, rows)

    def _rows_in_place_of_workers(self) -> RowSource | None:
        """What can be read here so that nobody can tell it from reading in worker processes."""
        workers_are_plain = (
            self.worker_init_fn is None
            and isinstance(self.prefetch_factor, int)
            and self.prefetch_factor > 0
            # A worker that is spawned, not forked, does not inherit another default type.
            and torch.get_default_dtype() == torch.float32
        )
        if not workers_are_plain or not _collates_by_stacking(self.collate_fn):
            return None
        rows = find_rows(self.dataset)
        if rows is None:
            return None
        tensors = list(rows.tensors())
        # Workers see it when shared memory changes.
        if any(tensor.is_shared() for tensor in tensors):
            return None
        return rows if sum(tensor.nbytes for tensor in tensors) <= LARGEST_COPY else None


class _BatchFetcher(_MapDatasetFetcher):
    """Gathers a batch at once, or reads it item by item as PyTorch does."""

    def fetch(self, indices: object) -> Any:  # noqa: ANN401 - whatever `collate_fn` makes
        batch = self._gather(indices)
        return super().fetch(indices) if batch is None else batch

    def _gather(self, indices: object) -> list[Tensor] | None:
        if not _collates_by_stacking(self.collate_fn):
            return None
        rows = find_rows(self.dataset)
        return None if rows is None else rows.batch(indices)


class _WorkerlessIterator(_BaseDataLoaderIter):
    """Does in this process, in the same order, what worker processes would be asked to do."""

    def __init__(self, loader: DataLoader[Any], rows: RowSource) -> None:
        super().__init__(loader)
        self._workers: list[Any] = []
        self._rows = rows.copied()
        self._item_by_item = _MapDatasetFetcher(
            self._dataset, self._auto_collation, self._collate_fn, self._drop_last
        )
        assert loader.prefetch_factor is not None
        self._most_ahead = loader.prefetch_factor * self._num_workers
        self._reset(loader, first_iter=True)

    def _reset(self, loader: DataLoader[Any], first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        self._drawn_ahead: deque[Any] = deque()
        self._batches_read = 0
        for _ in range(self._most_ahead):
            self._draw_ahead()

    def _draw_ahead(self) -> None:
        try:
            indices = self._next_index()
        except StopIteration:
            return
        # A batch sampler may fill the same list again for its next batch.
        self._drawn_ahead.append(list(indices) if type(indices) is list else indices)

    def _next_data(self) -> Any:  # noqa: ANN401 - whatever `collate_fn` makes
        if not self._drawn_ahead:
            raise StopIteration
        batch = self._read(self._drawn_ahead.popleft())
        self._draw_ahead()
        if isinstance(batch, ExceptionWrapper):
            batch.reraise()
        return pin_memory(batch, self._pin_memory_device) if self._pin_memory else batch

    def _read(self, indices: object) -> object:
        """A batch, or the error that reading it raised, in a worker's words."""
        worker = self._batches_read % self._num_workers
        self._batches_read += 1
        try:
            batch = self._rows.batch(indices)
            return self._item_by_item.fetch(indices) if batch is None else batch
        except Exception:  # noqa: BLE001 - whatever a worker would hand on
            return ExceptionWrapper(where=f"in DataLoader worker process {worker}")

    def _shutdown_workers(self) -> None:
        self._drawn_ahead.clear()


def _collates_by_stacking(collate_fn: object) -> bool:
    """Whether tuples of tensors and ints become lists of stacked tensors, and those on the CPU.

    PyTorch lets users put their own functions into the default's table. A mode for torch functions
    may move new tensors to another device, and a worker puts its batches into shared memory.
    """
    table = collate.default_collate_fn_map
    return (
        collate_fn is collate.default_collate
        and table.get(Tensor) is collate.collate_tensor_fn
        and table.get(int) is collate.collate_int_fn
        and not any(isinstance((), kind) for kind in table)
        and torch._C._len_torch_function_stack() == 0
        and get_worker_info() is None
    )
