"""Recognition of data sets that are rows in memory.

A data set that `find_rows` does not recognize exactly must be read item by item.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from tenfold.data.dataset import ImageDataset
from tenfold.data.loading.gathering import Rows, are_class_indices, can_be_gathered, part, take
from tenfold.data.loading.torchvision import torchvision_rows
from tenfold.data.loading.untouched import is_original

_OWN_GETITEM = ImageDataset.__getitem__


def find_rows(dataset: object, *, pictures: bool = False) -> Rows | None:
    """The rows of this data set, or None if its items must be read one by one.

    Exact types only: a subclass or a replaced method may read items differently.

    Args:
        dataset: any object.
        pictures: whether items may be Pillow images, which PyTorch cannot collate; their rows are
            raw pixels.
    """
    if type(dataset) is Subset:
        return _subset_rows(dataset, pictures)
    if type(dataset) is ImageDataset:
        rows = _image_rows(dataset)
    elif type(dataset) is TensorDataset:
        rows = _tensor_rows(dataset)
    elif type(dataset) is ConcatDataset:
        rows = _joined_rows(dataset, pictures)
    else:
        rows = torchvision_rows(dataset, pictures)
    # PyTorch would use this to read whole batches.
    return None if rows is None or hasattr(dataset, "__getitems__") else rows


def _image_rows(dataset: ImageDataset) -> Rows | None:
    # An item's image comes from the tensor, its label from the array: either may be replaced.
    array = dataset.label_array
    if type(array) is not np.ndarray or array.dtype != np.int64:
        return None
    images, labels = dataset.images, torch.from_numpy(array)
    is_known = (
        ImageDataset.__getitem__ is _OWN_GETITEM
        and can_be_gathered(images)
        and are_class_indices(labels)
        and len(images) == len(labels)
    )
    if not is_known:
        return None
    columns = (images, labels)
    return Rows((part(images), int), len(images), columns, partial(take, columns))


def _tensor_rows(dataset: TensorDataset) -> Rows | None:
    tensors = dataset.tensors
    is_known = (
        is_original(TensorDataset, "__getitem__")
        and type(tensors) is tuple
        and len(tensors) > 0
        and all(can_be_gathered(tensor) for tensor in tensors)
        and len({tensor.shape[0] for tensor in tensors}) == 1
    )
    if not is_known:
        return None
    return Rows(tuple(map(part, tensors)), len(tensors[0]), tensors, partial(take, tensors))


def _subset_rows(dataset: Subset[Any], pictures: bool) -> Rows | None:
    positions: Any = dataset.indices
    is_known = (
        is_original(Subset, "__getitem__")
        and is_original(Subset, "__getitems__")
        and "__getitems__" not in vars(dataset)
        and type(positions) in (list, tuple, range, Tensor, np.ndarray)
        and getattr(positions, "ndim", 1) == 1
    )
    rows = find_rows(dataset.dataset, pictures=pictures) if is_known else None
    if rows is None:
        return None

    def gather(places: np.ndarray) -> list[Tensor] | None:
        if isinstance(positions, Tensor | np.ndarray):
            return rows.batch(positions[places])
        return rows.batch([positions[place] for place in places.tolist()])

    return Rows(rows.parts, len(positions), rows.columns, gather)


def _joined_rows(dataset: ConcatDataset[Any], pictures: bool) -> Rows | None:
    if not is_original(ConcatDataset, "__getitem__"):
        return None
    ends = dataset.cumulative_sizes
    found = [find_rows(member, pictures=pictures) for member in dataset.datasets]
    members = [rows for rows in found if rows is not None]
    if len(members) < len(found) or len({rows.parts for rows in members}) != 1:
        return None

    def gather(places: np.ndarray) -> list[Tensor] | None:
        member_of = np.searchsorted(ends, places, side="right")
        pieces = []
        for member in np.unique(member_of).tolist():
            start = ends[member - 1] if member > 0 else 0
            piece = members[member].batch(places[member_of == member] - start)
            if piece is None:
                return None
            pieces.append(piece)
        back = np.argsort(np.argsort(member_of, kind="stable"))
        return take([torch.cat(column) for column in zip(*pieces, strict=True)], back)

    columns = tuple(column for rows in members for column in rows.columns)
    return Rows(members[0].parts, ends[-1], columns, gather)
