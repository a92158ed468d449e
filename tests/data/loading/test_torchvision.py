"""torchvision's data sets: transforms run on whole batches, or are left to torchvision."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
import torch
from comparing import (
    SIZE,
    assert_alike,
    cifar,
    mnist,
    normalize,
    over,
    random_pixels,
    some_labels,
    to_tensor,
    torchvision,
)
from torch.utils.data import ConcatDataset, Subset

from tenfold.data.loading.rows import find_rows

worker_or_none = pytest.mark.parametrize("num_workers", [0, 1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_all_256_values_are_scaled_as_to_tensor_does(dtype, gathered):
    values = torch.arange(256, dtype=torch.uint8).view(4, 8, 8)
    step = normalize((0.1307,), (0.3081,))

    def make():
        return over("mnist", "MNIST", values, some_labels(4), to_tensor(step))

    assert_alike(make, batch_size=3)
    try:
        torch.set_default_dtype(dtype)
        assert_alike(make, batch_size=3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(gathered)


def test_real_images(real_data, tmp_path, gathered):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (real_data / "MNIST" / "raw").glob("*.gz"):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    kind = torchvision().datasets.MNIST
    dataset = kind(tmp_path, train=False, transform=to_tensor(composed=False))
    assert_alike(lambda: dataset, batch_size=64, shuffle=True, stop_after=20)
    assert len(gathered) == 20


def without_transform(dataset):
    return changed(dataset, transform=None)


@pytest.mark.parametrize("make", [mnist, cifar])
def test_pictures_are_gathered_as_raw_pixels_where_they_may_be(make):
    dataset = without_transform(make())
    joined = Subset(ConcatDataset([dataset, without_transform(make())]), range(3, 40))
    for wanted in (dataset, joined):
        rows = find_rows(wanted, pictures=True)
        pixels, labels = rows.batch(list(range(len(wanted))))
        assert pixels.dtype == torch.uint8
        for (picture, label), own, number in zip(wanted, pixels, labels, strict=True):
            assert np.array_equal(np.atleast_3d(picture), own.permute(1, 2, 0))
            assert label == number
        assert find_rows(wanted) is None
    assert find_rows(without_transform(subclass()), pictures=True) is None


def subclass():
    class Inverted(torchvision().datasets.MNIST):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return 1 - image, label

    dataset = mnist()
    dataset.__class__ = Inverted
    return dataset


def changed(dataset, **attributes):
    vars(dataset).update(attributes)
    return dataset


def hooked():
    step = normalize((0.5,), (0.5,))
    step.register_forward_hook(lambda module, arguments, output: output * 2)
    return mnist(transform=to_tensor(step))


def with_its_own_forward():
    step = normalize((0.5,), (0.5,))
    step.forward = torch.neg
    return mnist(transform=to_tensor(step))


def of_colors(*numbers):
    return lambda: cifar(transform=to_tensor(normalize(*numbers)))


READ_BY_TORCHVISION = {
    "subclass": subclass,
    "target transform": lambda: changed(mnist(), target_transform=lambda label: -label),
    "no transform": lambda: changed(mnist(), transform=None),
    "QMNIST": lambda: changed(mnist("QMNIST"), compat=False),
    "hook": hooked,
    "forward of its own": with_its_own_forward,
    "other transform": lambda: mnist(transform=np.array),
    "third transform": lambda: mnist(transform=to_tensor(normalize((0,), (1,)), torch.neg)),
    "second transform": lambda: cifar(transform=to_tensor(torchvision().transforms.Grayscale())),
    "nothing to do": lambda: cifar(transform=torchvision().transforms.Compose([])),
    "NumPy labels": lambda: cifar(targets=some_labels().numpy()),
    "float labels": lambda: mnist(targets=some_labels().double()),
    "too few labels": lambda: mnist(targets=some_labels(SIZE - 1)),
    "no deviation": of_colors((0.5,), (0,)),
    "no deviation as float32": of_colors((0.5,), (1e-50,)),
    "numbers for two channels": of_colors((0.5, 0.5), (1, 1)),
    "single numbers": of_colors(0.5, 0.5),
    "tensors of numbers": of_colors(torch.ones(3) / 2, torch.ones(3)),
}


@pytest.mark.parametrize("make", READ_BY_TORCHVISION.values(), ids=READ_BY_TORCHVISION)
@worker_or_none
def test_everything_else_is_left_to_torchvision(make, num_workers, gathered):
    assert_alike(make, batch_size=4, shuffle=True, num_workers=num_workers, stop_after=3)
    assert not gathered


def test_arrays_of_any_memory_layout(gathered):
    views = (
        lambda pixels: pixels.copy(),
        lambda pixels: pixels[:, ::-1],
        lambda pixels: pixels[:, :, 1:],
    )
    for view in views:
        pixels = view(random_pixels(SIZE, 3, 32, 32).numpy().transpose(0, 2, 3, 1))
        labels = some_labels().tolist()
        assert_alike(lambda: over("cifar", "CIFAR10", pixels, labels, to_tensor()), batch_size=9)  # noqa: B023
    assert len(gathered) == 8
    assert all(gathered)


def test_labels_of_several_kinds(gathered):
    labels = [*some_labels(SIZE - 2).tolist(), np.int64(3), 2**70]
    assert_alike(lambda: cifar(targets=labels), batch_size=4)
    assert [batch is not None for batch in gathered] == [True] * 6 + [False] * 2
