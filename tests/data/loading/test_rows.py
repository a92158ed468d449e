"""Which data sets are read as rows in memory, with the same results as PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from comparing import (
    GATHERED,
    assert_alike,
    assert_same,
    images,
    some_labels,
    spoil,
    tensors,
    trace,
)
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import IterableDataset, StackDataset, Subset, TensorDataset

from tenfold.data import DataLoader, ImageDataset
from tenfold.data.loading.rows import find_rows

worker_or_none = pytest.mark.parametrize("num_workers", [0, 1])


@pytest.mark.parametrize("make", GATHERED.values(), ids=GATHERED)
@worker_or_none
def test_rows_in_memory_are_gathered_in_this_process(make, num_workers, gathered, started):
    arguments = {"batch_size": 4, "shuffle": True, "num_workers": num_workers, "change": spoil}
    ours = trace(DataLoader, make, **arguments)
    assert gathered
    assert all(gathered)
    assert not started
    assert_same(ours, trace(TorchDataLoader, make, **arguments))


class Doubled(ImageDataset):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image * 2, label


class DoubledSubset(Subset):
    def __getitem__(self, index):
        return super().__getitem__(index), 2

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def with_its_own_method(dataset):
    dataset.__getitems__ = lambda indices: indices
    return dataset


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(10))


READ_BY_PYTORCH = {
    "subclass": lambda: Doubled(torch.ones(9, 1, 2, 2).byte(), some_labels(9), "0123456789"),
    "subclass of a subset": lambda: DoubledSubset(images(), range(9)),
    "its own method": lambda: with_its_own_method(tensors()),
    "subset with its own method": lambda: with_its_own_method(Subset(tensors(), range(5))),
    "subset by a mask": lambda: Subset(tensors(), torch.arange(9) > 4),
    "subset by bytes": lambda: Subset(tensors(), torch.arange(9).byte()),
    "stacked": lambda: StackDataset(a=tensors(), b=images()),
    "joined types": lambda: TensorDataset(torch.arange(9)) + TensorDataset(torch.arange(9.0)),
    "joined ints and tensors": lambda: images() + TensorDataset(images().images, some_labels()),
    "gradients": lambda: TensorDataset(torch.ones(9, 2, requires_grad=True)),
    "complex": lambda: TensorDataset(torch.arange(9) * 1j),
    "so it is empty": lambda: TensorDataset(torch.ones(9, 0)),
    "other memory layout": lambda: TensorDataset(torch.arange(162).view(9, 3, 6).mT),
    "list": lambda: [1.5, 2.5, 3.5],
    "dicts": lambda: [{"x": i, "y": torch.ones(2) * i} for i in range(9)],
    "stream": Stream,
}


@pytest.mark.parametrize("make", READ_BY_PYTORCH.values(), ids=READ_BY_PYTORCH)
@worker_or_none
def test_everything_else_is_read_by_pytorch(make, num_workers, gathered):
    assert_alike(make, batch_size=2, num_workers=num_workers)
    assert not any(gathered)


@pytest.mark.parametrize("sampler", [[0, -1], [-1, 0]])
@pytest.mark.parametrize("name", ["joined types", "joined ints and tensors"])
def test_unequal_items_in_one_batch_fail_as_they_do_in_workers(name, sampler):
    make = READ_BY_PYTORCH[name]
    assert_alike(make, sampler=lambda d: sampler, batch_size=2, num_workers=1)


def test_replaced_labels_are_used():
    dataset = ImageDataset(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4), "abcd")
    dataset.label_array = np.array([3, 2, 1, 0])
    rows = find_rows(dataset)
    assert rows.batch([0, 1, 2, 3])[1].tolist() == [dataset[i][1] for i in range(4)] == [3, 2, 1, 0]
    for unusual in ([3, 2, 1, 0], np.array([3, 2, 1, 0], dtype=object)):
        dataset.label_array = unusual
        assert find_rows(dataset) is None
