"""The loader against PyTorch's: same batches, same bits, same random numbers, same errors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from comparing import (
    GATHERED,
    SIZE,
    assert_alike,
    assert_same,
    attempt,
    cifar,
    images,
    mnist,
    spoil,
    tensors,
    trace,
)
from torch.utils.data import (
    BatchSampler,
    Dataset,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data import DataLoader as TorchDataLoader

from tenfold.data import DataLoader
from tenfold.data.loading import loader as loader_module
from tenfold.errors import UsageError

# A PyTorch iterator whose constructor failed warns when it is garbage-collected.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <function _MultiProcessingDataLoaderIter.__del__"
    ":pytest.PytestUnraisableExceptionWarning"
)

workers_or_none = pytest.mark.parametrize("num_workers", [0, 2])


def test_the_loader_is_imported_on_first_use():
    code = "import sys, tenfold.data; print('tenfold.data.loading.loader' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


# --- Samplers --------------------------------------------------------------------------------


class EveryOther(Sampler):
    """Draws from the global generator for every index."""

    def __init__(self, dataset):
        self.size = len(dataset)

    def __iter__(self):
        for _ in range(self.size // 2):
            yield int(torch.randint(self.size, (1,)))

    def __len__(self):
        return self.size // 2


class DrawsAtOnce(EveryOther):
    """Draws in `__iter__`, not at the first batch."""

    def __iter__(self):
        return iter(torch.randint(self.size, (4, 3)).tolist())


class Failing(EveryOther):
    def __iter__(self):
        yield from ([0], [1], [2], [3])
        raise LookupError("no more")


class FillsOneList(EveryOther):
    def __iter__(self):
        batch = [0, 0]
        for index in range(self.size):
            batch[:] = [index, 0]
            yield batch


TYPES = (torch.int64, torch.uint8)
SAMPLERS = {
    "replacement": lambda d: RandomSampler(d, replacement=True, num_samples=40),
    "more than there are": lambda d: RandomSampler(d, num_samples=2 * len(d) + 3),
    "own generator": lambda d: RandomSampler(d, generator=torch.Generator().manual_seed(3)),
    "subset": lambda d: SubsetRandomSampler(range(1, len(d), 2)),
    "subset by tensor": lambda d: SubsetRandomSampler(torch.arange(1, len(d), 2)),
    "weighted": lambda d: WeightedRandomSampler(torch.arange(len(d)) % 3, 20),
    "distributed": lambda d: DistributedSampler(d, num_replicas=3, rank=1),
    "list": lambda d: [3, -1, 4, -len(d), 5, 9, 2, 6, 5],
    "NumPy": lambda d: np.arange(len(d))[::-1].copy(),
    "small NumPy": lambda d: np.arange(len(d), dtype=np.int32),
    "tensors of two types": lambda d: [torch.tensor(n, dtype=t) for n in (1, 2) for t in TYPES],
    "smaller NumPy": lambda d: list(np.arange(9, dtype=np.int16)),
    "own class": EveryOther,
}
BATCH_SAMPLERS = {
    "batches": lambda d: BatchSampler(RandomSampler(d), 4, drop_last=True),
    "lists": lambda d: [[0, 1], [4], [3, 3, 3]],
    "tuples": lambda d: [(0, 1), (4,)],
    "tensors": lambda d: torch.arange(len(d)).flip(0).split(5),
    "arrays": lambda d: [np.array([1, 2]), np.array([4, -1])],
    "empty": lambda d: [[0], []],
    "draws at once": DrawsAtOnce,
    "fails": Failing,
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize(
    ("name", "num_workers"), [("CIFAR10", 0), ("joined", 0), ("tensors", 0), ("tensors", 2)]
)
def test_samplers(name, sampler, num_workers):
    arguments = {"batch_size": 3, "num_workers": num_workers, "change": spoil}
    assert_alike(GATHERED[name], sampler=sampler, **arguments)


@pytest.mark.parametrize("sampler", BATCH_SAMPLERS.values(), ids=BATCH_SAMPLERS)
@workers_or_none
def test_batch_samplers(sampler, num_workers):
    assert_alike(images, batch_sampler=sampler, num_workers=num_workers)


def test_iterators_of_indices_are_read_once():
    assert_alike(images, batch_sampler=lambda d: [iter([0, 1]), iter([2])])


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_workers": 0},
        {"num_workers": 0, "drop_last": True},
        {"num_workers": 0, "stop_after": 2},
        {"num_workers": 2, "prefetch_factor": 1, "drop_last": True},
        {"num_workers": 1, "prefetch_factor": 3, "stop_after": 2},
        {"num_workers": 2, "persistent_workers": True, "change": spoil},
    ],
    ids=lambda arguments: ", ".join(arguments),
)
def test_epochs_draw_alike_from_the_loaders_own_generator(arguments):
    shuffled = {"batch_size": 4, "shuffle": True, "own_generator": True, "epochs": 3}
    assert_alike(tensors, **shuffled, **arguments)


def test_without_batches():
    assert_alike(tensors, batch_size=None)
    assert_alike(tensors, batch_size=None, collate_fn=default_collate)
    assert_alike(tensors, batch_size=None, sampler=lambda d: BatchSampler(range(9), 4, False))


@workers_or_none
def test_a_reused_index_list_is_read_in_time(num_workers):
    dataset = images()
    loader = DataLoader(dataset, batch_sampler=FillsOneList(dataset), num_workers=num_workers)
    assert [labels.tolist() for _, labels in loader] == [[label, 0] for label in dataset.labels]


BAD = [SIZE, -SIZE - 1, 10**30, "one", 1.5, None, True, np.uint8(3)]


@pytest.mark.parametrize("index", BAD, ids=repr)
@pytest.mark.parametrize(
    ("make", "num_workers"),
    [(images, 0), (cifar, 0), (GATHERED["subset"], 0), (GATHERED["joined"], 0), (tensors, 2)],
)
def test_indices_that_some_or_all_data_sets_reject(make, num_workers, index):
    batches = [[0, 1], [1, 1], [index, 0], [2]]
    arguments = {"num_workers": num_workers, "change": spoil}
    assert_alike(make, batch_sampler=lambda d: batches, **arguments)


# --- Changes while the loader lives ----------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        {"data": torch.zeros(SIZE, 9, 9).byte(), "targets": [3] * SIZE},
        {"targets": [4.5] * SIZE, "transform": np.array},
        {"__getitems__": lambda indices: indices},
    ],
)
def test_without_workers_replaced_items_are_seen(attributes):
    def change(dataset):
        vars(dataset).update(attributes)

    assert_alike(mnist, batch_size=4, epochs=2, change=change)


def test_a_default_device_set_between_batches_is_respected():
    def labels(kind):
        iterator = iter(kind(images(), batch_size=3))
        with torch.device("meta"):
            return next(iterator)[1].device

    assert labels(DataLoader) == labels(TorchDataLoader)


@workers_or_none
def test_inference_mode(num_workers):
    with torch.inference_mode():
        assert_alike(images, batch_size=9, num_workers=num_workers)


@workers_or_none
def test_changed_attributes_take_effect_at_the_next_epoch(num_workers):
    def run(kind):
        loader = kind(images(), batch_size=4, num_workers=2 - num_workers)
        first = next(iter(loader))
        loader.num_workers = num_workers
        loader.prefetch_factor = 2
        loader.collate_fn = len
        return first, list(loader)

    assert_same(run(DataLoader), run(TorchDataLoader))


# --- Workers ---------------------------------------------------------------------------------


def test_workers_see_shared_memory_change():
    labels = torch.zeros(4, dtype=torch.int64).share_memory_()
    loader = DataLoader(TensorDataset(labels), batch_size=1, num_workers=1, prefetch_factor=1)
    first, *_, last = (int(batch[0]) for batch in loader if labels.fill_(7) is not None)
    assert (first, last) == (0, 7)


def with_a_lock():
    dataset = tensors()
    dataset.lock = threading.Lock()
    return dataset


def in_double():
    torch.set_default_dtype(torch.float64)
    return mnist()


NEEDS_WORKERS = {
    "own initialization": (images, {"worker_init_fn": print}),
    "kept": (images, {"persistent_workers": True}),
    "timeout": (images, {"timeout": 60}),
    "another default type": (in_double, {}),
    "labels of several kinds": (lambda: cifar(targets=[1, 2.5] * 14 + [True]), {}),
    "cannot be copied": (with_a_lock, {}),
}


@pytest.mark.parametrize(("make", "arguments"), NEEDS_WORKERS.values(), ids=NEEDS_WORKERS)
def test_workers_are_started_where_they_are_needed(make, arguments, started):
    arguments |= {"batch_size": 8, "num_workers": 1}
    try:
        ours = trace(DataLoader, make, **arguments)
        assert len(started) == 1
        assert_same(ours, trace(TorchDataLoader, make, **arguments))
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_data_set_too_large_to_copy_is_left_to_workers(monkeypatch, started):
    monkeypatch.setattr(loader_module, "LARGEST_COPY", 8 * SIZE - 1)
    small, large = (TensorDataset(torch.arange(n)) for n in (SIZE - 1, SIZE))
    assert len(list(DataLoader(small, batch_size=8, num_workers=1))) == 4
    assert not started
    assert len(list(DataLoader(large, batch_size=8, num_workers=1))) == 4
    assert len(started) == 1


class LoadsInside(Dataset):
    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return [pixels.is_shared() for pixels, _ in self.kind(images(), batch_size=20)]


def test_workers_may_load_with_the_loader():
    ours, theirs = (
        list(DataLoader(LoadsInside(kind), num_workers=1)) for kind in (DataLoader, TorchDataLoader)
    )
    assert_same(ours, theirs)


def test_too_many_workers_cause_a_warning_if_they_are_started():
    workers = 2 * os.cpu_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(DataLoader(images(), num_workers=workers))
    with pytest.warns(UserWarning, match=f"will create {workers} worker processes"):
        DataLoader(images(), num_workers=workers, worker_init_fn=print)


# --- Arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{"timeout": 1}, {"num_workers": 1, "prefetch_factor": 0}, {"drop_last": 1}],
    ids=str,
)
def test_wrong_arguments(arguments):
    outcomes = [
        attempt(lambda: iter(kind(images(), **arguments)))  # noqa: B023 - called at once
        for kind in (DataLoader, TorchDataLoader)
    ]
    assert_same(*outcomes)
    assert issubclass(outcomes[0][0], Exception)


def test_custom_collation():
    assert_alike(images, batch_size=3, collate_fn=len)


@pytest.mark.parametrize("device", ["", "cuda"])
@workers_or_none
def test_warnings_about_pinned_memory(device, num_workers):
    def run(kind):
        arguments = {"pin_memory": True, "pin_memory_device": device, "num_workers": num_workers}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            batch = next(iter(kind(images(), **arguments)))
        return batch, [str(warning.message) for warning in caught]

    assert_same(run(DataLoader), run(TorchDataLoader))


# --- Scaled images ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{}, {"num_workers": 2}, {"num_workers": 1, "timeout": 60}])
def test_scaled_batches_are_those_of_to_tensor(arguments):
    data = images()
    raw, scaled = DataLoader(data, batch_size=4), DataLoader(data, batch_size=4, scale=True)
    assert len(raw) == len(scaled)
    pairs = list(zip(raw, DataLoader(data, batch_size=4, scale=True, **arguments), strict=True))
    assert pairs
    for (pixels, labels), (floats, same_labels) in pairs:
        assert floats.dtype == torch.float32
        assert torch.equal(floats, pixels.to(torch.float32) / 255)  # as `ToTensor` divides
        assert torch.equal(labels, same_labels)


def test_only_raw_pixels_can_be_scaled():
    floats = TensorDataset(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(UsageError, match=r"the images are torch\.float32, wanted raw pixels"):
        list(DataLoader(floats, scale=True))
    with pytest.raises(UsageError, match="the images are dict, wanted raw pixels"):
        list(DataLoader([{"image": 1}], scale=True, batch_size=None, collate_fn=lambda x: x))


class Pair(NamedTuple):
    image: torch.Tensor
    label: int


@pytest.mark.parametrize(
    "make",
    [
        lambda pixels: pixels,
        lambda pixels: (pixels, 1),
        lambda pixels: [pixels, 1],
        lambda pixels: Pair(pixels, 1),
        lambda pixels: (pixels,),
    ],
    ids=["image alone", "tuple", "list", "named tuple", "tuple of one"],
)
def test_scaling_leaves_a_batch_what_it_is(make):
    items = [make(torch.full((1, 2, 2), 51 * i, dtype=torch.uint8)) for i in range(6)]
    raw = next(iter(TorchDataLoader(items, batch_size=6)))
    found = next(iter(DataLoader(items, batch_size=6, scale=True)))
    assert type(found) is type(raw)
    floats = found if isinstance(found, torch.Tensor) else found[0]
    assert torch.equal(floats[:, 0, 0, 0], torch.tensor([0, 51, 102, 153, 204, 255]) / 255)
    if not isinstance(found, torch.Tensor):
        assert all(map(torch.equal, found[1:], raw[1:]))
