"""Gathering rows of a tensor gives the same as stacking them."""

from __future__ import annotations

import pytest
import torch
from comparing import SIZE, assert_alike, images
from torch.utils.data import TensorDataset

from tenfold.data import DataLoader


@pytest.mark.parametrize("shape", [(SIZE,), (SIZE, 1, 1, 1), (SIZE, 3, 1, 1), (SIZE, 2, 3, 4)])
@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.uint8, torch.int16, torch.uint16, torch.float16, torch.float64],
    ids=str,
)
def test_tensors_of_any_type_and_shape(shape, dtype):
    values = torch.randint(2, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert_alike(lambda: TensorDataset(values, values), batch_size=5, shuffle=True)


class Doubled(torch.Tensor):
    def __getitem__(self, index):
        return super().__getitem__(index) * 2


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.contiguous(memory_format=torch.channels_last),
        lambda values: values[:, ::2],
        lambda values: values.to_sparse(),
        lambda values: values.to_mkldnn(),
        lambda values: values.as_subclass(Doubled),
        lambda values: torch.nn.Parameter(values),
        lambda values: (values * 1j).conj().imag,
        lambda values: values.requires_grad_() * 2,
    ],
)
def test_tensors_of_any_memory_layout(change):
    values = torch.arange(SIZE * 24.0).view(SIZE, 2, 3, 4)
    assert_alike(lambda: TensorDataset(change(values), values), batch_size=5)


def test_batches_are_fresh_memory():
    dataset = images()
    before = dataset.images.clone()
    for batch, _ in DataLoader(dataset, batch_size=SIZE):
        batch.zero_()
    assert torch.equal(dataset.images, before)
