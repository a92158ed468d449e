"""Data sets that lie in memory as rows.

`find_rows` recognises them; what it does not know exactly must be asked item by item.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torch.utils.data import dataset as torch_datasets

from tenfold.data.dataset import ImageDataset
from tenfold.data.loading.sources import (
    Joined,
    Picked,
    Rows,
    RowSource,
    are_labels,
    can_be_gathered,
    is_written_in,
)
from tenfold.data.loading.torchvision import TORCHVISION_READERS, torchvision_source

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
    elif type(dataset).__module__ in TORCHVISION_READERS:
        source = torchvision_source(dataset)
    else:
        return None
    return None if hasattr(dataset, "__getitems__") else source


def _image_source(dataset: ImageDataset) -> RowSource | None:
    images, labels = dataset.images, dataset.labels
    is_known = (
        ImageDataset.__getitem__ is _OWN_GETITEM
        and can_be_gathered(images)
        and are_labels(labels)
        and len(images) == len(labels)
    )
    return Rows("image and int", (images, labels)) if is_known else None


def _tensor_source(dataset: TensorDataset) -> RowSource | None:
    tensors = dataset.tensors
    is_known = (
        is_written_in(torch_datasets, TensorDataset.__getitem__, "TensorDataset.__getitem__")
        and type(tensors) is tuple
        and len(tensors) > 0
        and all(can_be_gathered(tensor) for tensor in tensors)
        and all(len(tensor) == len(tensors[0]) for tensor in tensors)
    )
    return Rows(f"{len(tensors)} tensors", tensors) if is_known else None


def _subset_source(dataset: Subset[Any]) -> RowSource | None:
    positions: object = dataset.indices
    is_known = (
        is_written_in(torch_datasets, Subset.__getitem__, "Subset.__getitem__")
        and is_written_in(torch_datasets, Subset.__getitems__, "Subset.__getitems__")
        and "__getitems__" not in vars(dataset)
    )
    if not is_known or type(positions) not in (list, tuple, range, Tensor, np.ndarray):
        return None
    assert isinstance(positions, list | tuple | range | Tensor | np.ndarray)
    if isinstance(positions, Tensor) and not positions.is_cpu:
        return None
    source = find_rows(dataset.dataset)
    return None if source is None else Picked(source, positions)


def _concat_source(dataset: ConcatDataset[Any]) -> RowSource | None:
    if not is_written_in(torch_datasets, ConcatDataset.__getitem__, "ConcatDataset.__getitem__"):
        return None
    sources = [find_rows(part) for part in dataset.datasets]
    known = [source for source in sources if source is not None]
    if len(known) < len(sources) or len({source.kind for source in known}) != 1:
        return None
    return Joined(known, dataset.cumulative_sizes)
