"""Data sets that lie in memory as rows, and how whole batches of them are gathered.

`find_rows` recognises them; what it does not know exactly must be asked item by item.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torch.utils.data import dataset as torch_datasets

from tenfold.data.dataset import ImageDataset

Foreign: TypeAlias = Any
"""An object of torchvision's, which is recognised without being imported."""

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


class _Rows(RowSource):
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
        return (column for column in self.columns if isinstance(column, Tensor))

    def copied(self) -> _Rows:
        columns = [
            column.clone() if isinstance(column, Tensor) else list(column)
            for column in self.columns
        ]
        return _Rows(self.kind, columns, self.transform)


class _Picked(RowSource):
    """Some items of another source: item i is its item `positions[i]`."""

    def __init__(self, source: RowSource, positions: Positions) -> None:
        self.kind = source.kind
        self.source = source
        self.positions = positions

    def gather(self, indices: list[int]) -> list[Tensor] | None:
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
        return self.source.tensors()

    def copied(self) -> _Picked:
        positions = self.positions
        own = positions.clone() if isinstance(positions, Tensor) else copy(positions)
        return _Picked(self.source.copied(), own)


class _Joined(RowSource):
    """Sources one after another; `ends` are where each stops in the common count."""

    def __init__(self, sources: Sequence[RowSource], ends: Sequence[int]) -> None:
        self.kind = sources[0].kind
        self.sources = sources
        self.ends = ends

    def gather(self, indices: list[int]) -> list[Tensor] | None:
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
        return (tensor for source in self.sources for tensor in source.tensors())

    def copied(self) -> _Joined:
        return _Joined([source.copied() for source in self.sources], list(self.ends))


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


_OWN_GETITEM = ImageDataset.__getitem__


def find_rows(dataset: object) -> RowSource | None:
    """Where batches of this data set can be gathered, or None if its items must be asked for.

    Exact types only: a subclass may read its items differently, and so may a replaced method.
    """
    if type(dataset) is Subset:
        return _subset_source(dataset)
    if type(dataset) is ImageDataset:
        source = _image_source(dataset)
    elif type(dataset) is TensorDataset:
        source = _tensor_source(dataset)
    elif type(dataset) is ConcatDataset:
        source = _concat_source(dataset)
    elif type(dataset).__module__ in _TORCHVISION_READERS:
        source = _torchvision_source(dataset)
    else:
        return None
    return None if hasattr(dataset, "__getitems__") else source


def _image_source(dataset: ImageDataset) -> RowSource | None:
    images, labels = dataset.images, dataset.labels
    is_known = (
        ImageDataset.__getitem__ is _OWN_GETITEM
        and _can_be_gathered(images)
        and _are_labels(labels)
        and len(images) == len(labels)
    )
    return _Rows("image and int", (images, labels)) if is_known else None


def _tensor_source(dataset: TensorDataset) -> RowSource | None:
    tensors = dataset.tensors
    is_known = (
        _is_written_in(torch_datasets, TensorDataset.__getitem__, "TensorDataset.__getitem__")
        and type(tensors) is tuple
        and len(tensors) > 0
        and all(_can_be_gathered(tensor) for tensor in tensors)
        and all(len(tensor) == len(tensors[0]) for tensor in tensors)
    )
    return _Rows(f"{len(tensors)} tensors", tensors) if is_known else None


def _subset_source(dataset: Subset[Any]) -> RowSource | None:
    positions: object = dataset.indices
    is_known = (
        _is_written_in(torch_datasets, Subset.__getitem__, "Subset.__getitem__")
        and _is_written_in(torch_datasets, Subset.__getitems__, "Subset.__getitems__")
        and "__getitems__" not in vars(dataset)
    )
    if not is_known or type(positions) not in (list, tuple, range, Tensor, np.ndarray):
        return None
    assert isinstance(positions, list | tuple | range | Tensor | np.ndarray)
    if isinstance(positions, Tensor) and not positions.is_cpu:
        return None
    source = find_rows(dataset.dataset)
    return None if source is None else _Picked(source, positions)


def _concat_source(dataset: ConcatDataset[Any]) -> RowSource | None:
    if not _is_written_in(torch_datasets, ConcatDataset.__getitem__, "ConcatDataset.__getitem__"):
        return None
    sources = [find_rows(part) for part in dataset.datasets]
    known = [source for source in sources if source is not None]
    if len(known) < len(sources) or len({source.kind for source in known}) != 1:
        return None
    return _Joined(known, dataset.cumulative_sizes)


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


def _can_be_gathered(tensor: object) -> bool:
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


def _is_written_in(module: ModuleType, function: object, name: str) -> bool:
    """Whether a method is the one its module defines, not one that was put in its place."""
    return (
        type(function) is FunctionType
        and function.__globals__ is vars(module)
        and function.__code__.co_qualname == name
    )


def _torchvision_source(dataset: Foreign) -> RowSource | None:
    """Batches of one of torchvision's data sets, which are known without being imported here."""
    kind = type(dataset)
    module = sys.modules[kind.__module__]
    reader = _TORCHVISION_READERS[kind.__module__].get(kind.__name__)
    if reader is None or getattr(module, kind.__name__, None) is not kind:
        return None
    defined_by, columns_of = reader
    if not _is_written_in(module, kind.__getitem__, f"{defined_by}.__getitem__"):
        return None
    columns = columns_of(dataset)
    if dataset.target_transform is not None or columns is None:
        return None
    transform = _batch_transform(dataset.transform, channels=columns[0].shape[1])
    return None if transform is None else _Rows("scaled image and int", columns, transform)


def _mnist_columns(dataset: Foreign) -> tuple[Tensor, Tensor | list[Any]] | None:
    images, labels = dataset.data, dataset.targets
    is_known = (
        _are_grey_images(images)
        and (type(labels) is list or _are_labels(labels))
        and len(labels) == len(images)
    )
    return (images.unsqueeze(1), labels) if is_known else None


def _qmnist_columns(dataset: Foreign) -> tuple[Tensor, Tensor | list[Any]] | None:
    """The class is the first of the numbers that QMNIST has for an image."""
    images, facts = dataset.data, dataset.targets
    is_known = (
        dataset.compat is True
        and _are_grey_images(images)
        and _can_be_gathered(facts)
        and facts.dtype == torch.int64
        and facts.ndim == 2
        and len(facts) == len(images)
    )
    return (images.unsqueeze(1), facts[:, 0]) if is_known else None


def _cifar_columns(dataset: Foreign) -> tuple[Tensor, list[Any]] | None:
    images, labels = dataset.data, dataset.targets
    is_known = (
        type(images) is np.ndarray
        and images.dtype == np.uint8
        and images.ndim == 4
        and images.shape[3] == 3
        and images.size > 0
        and images.flags.writeable
        and min(images.strides) > 0
        and type(labels) is list
        and len(labels) == len(images)
    )
    return (torch.from_numpy(images.transpose(0, 3, 1, 2)), labels) if is_known else None


def _are_grey_images(images: object) -> bool:
    return (
        _can_be_gathered(images)
        and isinstance(images, Tensor)
        and images.dtype == torch.uint8
        and images.ndim == 3
    )


def _are_labels(labels: object) -> bool:
    return (
        _can_be_gathered(labels)
        and isinstance(labels, Tensor)
        and labels.dtype == torch.int64
        and labels.ndim == 1
    )


_TORCHVISION_READERS: dict[str, dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "torchvision.datasets.mnist": {
        "MNIST": ("MNIST", _mnist_columns),
        "FashionMNIST": ("MNIST", _mnist_columns),
        "KMNIST": ("MNIST", _mnist_columns),
        "EMNIST": ("MNIST", _mnist_columns),
        "QMNIST": ("QMNIST", _qmnist_columns),
    },
    "torchvision.datasets.cifar": {
        "CIFAR10": ("CIFAR10", _cifar_columns),
        "CIFAR100": ("CIFAR10", _cifar_columns),
    },
}
"""By module and class: the class whose `__getitem__` it has, and where its items lie."""


def _batch_transform(transform: Foreign, channels: int) -> Callable[[Tensor], Tensor] | None:
    """What one of torchvision's transforms does to each image, for a whole batch of raw pixels.

    Known are `ToTensor()`, and a `Compose` of it, with or without a `Normalize` after it.
    """
    transforms = sys.modules.get("torchvision.transforms.transforms")
    functional = sys.modules.get("torchvision.transforms.functional")
    if transforms is None or functional is None:
        return None
    steps = [transform]
    if type(transform) is transforms.Compose:
        if not _is_written_in(transforms, transforms.Compose.__call__, "Compose.__call__"):
            return None
        steps = transform.transforms
    is_known = (
        1 <= len(steps) <= 2
        and type(steps[0]) is transforms.ToTensor
        and _is_written_in(transforms, transforms.ToTensor.__call__, "ToTensor.__call__")
        and _is_written_in(functional, functional.to_tensor, "to_tensor")
    )
    if not is_known:
        return None
    if len(steps) == 1:
        return _scale
    normalize = steps[1]
    if not _is_plain_normalize(normalize, transforms, functional, channels):
        return None
    mean, std = tuple(normalize.mean), tuple(normalize.std)
    return lambda images: functional.normalize(_scale(images), mean, std, inplace=True)


def _is_plain_normalize(
    step: Foreign, transforms: ModuleType, functional: ModuleType, channels: int
) -> bool:
    """Whether this is a `Normalize` that nothing is hooked on, with numbers that fit."""
    return (
        type(step) is transforms.Normalize
        and _is_written_in(transforms, transforms.Normalize.forward, "Normalize.forward")
        and _is_written_in(functional, functional.normalize, "normalize")
        and "forward" not in vars(step)
        and not step._forward_hooks
        and not step._forward_pre_hooks
        and all(
            type(numbers) in (list, tuple)
            and len(numbers) in (1, channels)
            and all(type(number) in (float, int) for number in numbers)
            for numbers in (step.mean, step.std)
        )
    )


def _scale(images: Tensor) -> Tensor:
    """Raw pixels as `ToTensor` scales them: 0..255 to 0..1 in the default floating type."""
    return images.to(torch.get_default_dtype()).div_(255)
