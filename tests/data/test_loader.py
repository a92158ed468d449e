"""The loader against PyTorch's own: same batches, same bits, same random numbers, same errors."""

from __future__ import annotations

import copy
import functools
import gc
import gzip
import importlib
import itertools
import multiprocessing
import os
import pickle
import shutil
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data._utils import collate as torch_collate
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from tenfold.data.dataset import ImageDataset
from tenfold.data.loading import loader as loader_module
from tenfold.data.loading.loader import DataLoader

# An iterator of PyTorch's that failed in its making complains when it goes, whenever that is.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <function _MultiProcessingDataLoaderIter.__del__"
    ":pytest.PytestUnraisableExceptionWarning"
)

SIZE = 53  # a prime, so that no batch size divides it


@functools.cache
def torchvision():
    """torchvision, which imports beside a CPU build of PyTorch only if two operators of its
    compiled half are defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pytest.importorskip("torchvision", reason="torchvision is not installed")
        except RuntimeError:
            torchvision.kept = library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            return importlib.import_module("torchvision")


def random_pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def some_labels(n: int = SIZE) -> torch.Tensor:
    return torch.arange(n) * 7 % 10


def image_dataset(channels: int = 1) -> ImageDataset:
    return ImageDataset(random_pixels(SIZE, channels, 8, 6), some_labels(), list("0123456789"))


def tensor_dataset() -> TensorDataset:
    images = random_pixels(SIZE, 3, 4, 5).float() / 7
    return TensorDataset(images, some_labels(), torch.arange(SIZE) % 2 == 0)


def vision_dataset(family: str, name: str, *, data, targets, transform):
    """One of torchvision's data sets over given arrays, without the files that it checks."""
    kind = getattr(getattr(torchvision().datasets, family), name)
    dataset = kind.__new__(kind)
    dataset.root = "nowhere"
    dataset.data, dataset.targets = data, targets
    dataset.transform, dataset.target_transform = transform, None
    return dataset


def to_tensor():
    return torchvision().transforms.ToTensor()


def grey_vision_dataset(name: str = "MNIST", targets=None, transform=None):
    return vision_dataset(
        "mnist",
        name,
        data=random_pixels(SIZE, 28, 28),
        targets=some_labels() if targets is None else targets,
        transform=transform or to_tensor(),
    )


def colour_vision_dataset(name: str = "CIFAR10", transform=None):
    # As torchvision lays it out: planes in memory, seen as rows of pixels.
    pixels = random_pixels(SIZE, 3, 32, 32).numpy().transpose(0, 2, 3, 1)
    return vision_dataset(
        "cifar",
        name,
        data=pixels,
        targets=some_labels().tolist(),
        transform=transform or to_tensor(),
    )


def normalizing(*steps):
    transforms = torchvision().transforms
    return transforms.Compose([transforms.ToTensor(), *steps])


def qmnist():
    facts = torch.stack([some_labels(), torch.arange(SIZE)], dim=1)
    dataset = grey_vision_dataset("QMNIST", targets=facts)
    dataset.compat = True
    return dataset


WHOLE_BATCHES = {
    "images": image_dataset,
    "colour images": lambda: image_dataset(3),
    "tensors": tensor_dataset,
    "one tensor": lambda: TensorDataset(some_labels()),
    "rows of one": lambda: TensorDataset(torch.arange(SIZE).double().view(SIZE, 1, 1, 1)),
    "MNIST": grey_vision_dataset,
    "MNIST with a list": lambda: grey_vision_dataset(targets=some_labels().tolist()),
    "FashionMNIST": lambda: grey_vision_dataset("FashionMNIST"),
    "KMNIST": lambda: grey_vision_dataset("KMNIST"),
    "EMNIST": lambda: grey_vision_dataset("EMNIST"),
    "QMNIST": qmnist,
    "CIFAR10": colour_vision_dataset,
    "CIFAR100": lambda: colour_vision_dataset("CIFAR100"),
    "Compose": lambda: grey_vision_dataset(transform=normalizing()),
    "Normalize": lambda: colour_vision_dataset(
        transform=normalizing(
            torchvision().transforms.Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))
        )
    ),
    "Normalize all alike": lambda: colour_vision_dataset(
        transform=normalizing(torchvision().transforms.Normalize((0.5,), (0.3,)))
    ),
    "subset": lambda: Subset(image_dataset(), list(range(SIZE - 1, 0, -2))),
    "subset by tensor": lambda: Subset(tensor_dataset(), torch.randperm(SIZE)[:20]),
    "subset by array": lambda: Subset(tensor_dataset(), np.arange(0, SIZE, 3)),
    "subset by range": lambda: Subset(grey_vision_dataset(), range(-1, -30, -1)),
    "subset of numbers": lambda: Subset(tensor_dataset(), list(np.arange(30))),
    "nested subset": lambda: Subset(Subset(image_dataset(), range(9, 49)), (3, 3, 0, 39, -1)),
    "joined": lambda: ConcatDataset([image_dataset(), Subset(image_dataset(), range(5))]),
    "joined pictures": lambda: (
        grey_vision_dataset() + grey_vision_dataset("FashionMNIST", targets=[3] * SIZE)
    ),
    "subset of joined": lambda: Subset(tensor_dataset() + tensor_dataset(), range(40, 70)),
}
needs_whole_batches = pytest.mark.parametrize("make", WHOLE_BATCHES.values(), ids=WHOLE_BATCHES)
workers_or_none = pytest.mark.parametrize("num_workers", [0, 2])


@pytest.fixture(autouse=True, scope="module")
def _workers_end_soon():
    """PyTorch waits 5 seconds for each worker of an iterator that an error broke off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
        yield
        gc.collect()


@pytest.fixture
def no_item_is_fetched(monkeypatch):
    """PyTorch's reading item by item fails, and so does starting a process."""

    def fail(*_):
        raise AssertionError("PyTorch's own loading was used")

    monkeypatch.setattr(_MapDatasetFetcher, "fetch", fail)
    monkeypatch.setattr(multiprocessing.Process, "start", fail)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().flatten().view(torch.uint8)


def assert_same(ours, theirs) -> None:
    """Equal types, bits, shapes, strides and places, all the way down."""
    assert type(ours) is type(theirs)
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.stride() == theirs.stride()
        assert ours.device == theirs.device
        assert ours.is_pinned() == theirs.is_pinned()
        assert ours.requires_grad == theirs.requires_grad
        assert torch.equal(bits(ours), bits(theirs))
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for our_part, their_part in zip(ours, theirs, strict=True):
            assert_same(our_part, their_part)
    elif isinstance(theirs, dict):
        assert_same(list(ours.items()), list(theirs.items()))
    else:
        assert ours == theirs


def run_epochs(kind, dataset, *, stop_after=None, epochs=2, sampler=None, **arguments):
    """All batches of some epochs, what the user's own draws between them gave, and what random
    state is left behind."""
    torch.manual_seed(1234)
    if arguments.get("generator") == "own":
        arguments["generator"] = torch.Generator().manual_seed(99)
    if sampler is not None:
        arguments["sampler"] = sampler(dataset)
    if "make_batch_sampler" in arguments:
        arguments["batch_sampler"] = arguments.pop("make_batch_sampler")(dataset)
    loader = kind(dataset, **arguments)
    seen = []
    for _ in range(epochs):
        for batch in itertools.islice(loader, stop_after):
            seen.append((batch, torch.rand(1)))
    own = arguments.get("generator")
    return seen, torch.get_rng_state(), None if own is None else own.get_state()


def assert_alike(dataset, **arguments) -> None:
    assert_same(
        run_epochs(DataLoader, dataset, **arguments),
        run_epochs(TorchDataLoader, dataset, **arguments),
    )


# --- Whole batches ---------------------------------------------------------------------------


@needs_whole_batches
@pytest.mark.parametrize("generator", [None, "own"])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batches_are_pytorchs_bit_for_bit(make, generator, batch_size):
    assert_alike(make(), batch_size=batch_size, shuffle=True, generator=generator)


@needs_whole_batches
@workers_or_none
def test_whole_batches_need_no_item_and_no_process(make, num_workers, no_item_is_fetched):
    dataset = make()
    batches = list(DataLoader(dataset, batch_size=4, shuffle=True, num_workers=num_workers))
    assert sum(len(batch[0]) for batch in batches) == len(dataset)


@pytest.mark.parametrize("name", ["images", "tensors", "MNIST", "nested subset", "joined"])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("stop_after", [None, 3])
def test_workers_make_no_difference_but_in_speed(name, persistent, stop_after):
    assert_alike(
        WHOLE_BATCHES[name](),
        batch_size=4,
        shuffle=True,
        num_workers=2,
        persistent_workers=persistent,
        stop_after=stop_after,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_all_256_grey_values_are_scaled_as_to_tensor_does(dtype):
    values = torch.arange(256, dtype=torch.uint8).view(4, 8, 8)
    dataset = vision_dataset(
        "mnist", "MNIST", data=values, targets=some_labels(4), transform=to_tensor()
    )
    assert_alike(dataset, batch_size=4)
    torch.set_default_dtype(dtype)
    try:
        assert_alike(dataset, batch_size=4)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.uint8, torch.int16, torch.uint16, torch.float16, torch.complex64],
)
def test_tensors_of_any_type_and_layout(dtype):
    values = torch.arange(SIZE * 2 * 3 * 4).view(SIZE, 2, 3, 4).to(dtype)
    for tensor in (values, values.contiguous(memory_format=torch.channels_last), values[:, ::2]):
        assert_alike(TensorDataset(tensor), batch_size=5)
    assert_alike(TensorDataset(values, values.transpose(1, 3)), batch_size=5)


@pytest.mark.parametrize("shape", [(SIZE, 0), (SIZE,), (SIZE, 1, 1, 1), (SIZE, 3, 1, 1)])
def test_tensors_of_odd_shapes(shape):
    assert_alike(TensorDataset(torch.ones(shape)), batch_size=5, shuffle=True)


def test_gradients_flow_into_a_data_set_that_asks_for_them():
    dataset = TensorDataset(torch.ones(6, 2, requires_grad=True))
    for kind in (DataLoader, TorchDataLoader):
        dataset.tensors[0].grad = None
        for (batch,) in kind(dataset, batch_size=3):
            batch.sum().backward()
        assert torch.equal(dataset.tensors[0].grad, torch.ones(6, 2))
    assert_same_error(lambda kind: list(kind(dataset, batch_size=3, num_workers=1)))


@needs_whole_batches
@workers_or_none
def test_changing_a_batch_leaves_the_data_set_alone(make, num_workers):
    dataset = make()
    before = copy.deepcopy(list(TorchDataLoader(dataset, batch_size=9)))
    for batch in DataLoader(dataset, batch_size=9, num_workers=num_workers):
        for part in batch:
            part.zero_()
    assert_same(list(TorchDataLoader(dataset, batch_size=9)), before)


def test_batches_do_not_share_memory_with_each_other():
    batches = list(DataLoader(image_dataset(), batch_size=8))
    places = [part.untyped_storage().data_ptr() for batch in batches for part in batch]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_real_images_through_torchvision(name, real_data, tmp_path):
    vision = torchvision()
    raw = tmp_path / name / "raw"
    raw.mkdir(parents=True)
    for packed in (real_data / name / "raw").glob("*.gz"):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    dataset = getattr(vision.datasets, name)(tmp_path, train=False, transform=to_tensor())
    assert_alike(dataset, batch_size=64, shuffle=True, epochs=1)
    assert_alike(Subset(dataset, range(0, 10_000, 7)), batch_size=64, num_workers=2, epochs=1)


# --- A whole training run --------------------------------------------------------------------


def train(kind, dataset, **arguments) -> list[torch.Tensor]:
    torch.manual_seed(5)
    generator = arguments.pop("generator")
    own = torch.Generator().manual_seed(6) if generator else None
    channels = dataset[0][0].numel()
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels, 16), nn.Dropout(), nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = kind(dataset, batch_size=8, shuffle=True, generator=own, **arguments)
    for _ in range(2):
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images / images.max()), labels).backward()
            optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


TRAINED_ON = {
    "images": lambda: image_dataset(3),
    "tensors": lambda: TensorDataset(*tensor_dataset().tensors[:2]),
    "torchvision": grey_vision_dataset,
    "subset": lambda: Subset(image_dataset(), range(3, 50)),
}


@pytest.mark.parametrize("make", TRAINED_ON.values(), ids=TRAINED_ON)
@pytest.mark.parametrize("generator", [False, True])
@workers_or_none
def test_training_ends_with_the_same_weights(make, generator, num_workers):
    dataset = make()
    arguments = {"generator": generator, "num_workers": num_workers}
    ours, theirs = (train(kind, dataset, **arguments) for kind in (DataLoader, TorchDataLoader))
    assert_same(ours, theirs)
    other_order = train(DataLoader, dataset, **(arguments | {"generator": not generator}))
    assert ours[0].isfinite().all()
    assert not torch.equal(ours[0], other_order[0])


# --- Samplers --------------------------------------------------------------------------------


class EveryOther(Sampler):
    """Draws from the global generator whenever it is asked for an index."""

    def __init__(self, dataset):
        self.size = len(dataset)

    def __iter__(self):
        for _ in range(self.size // 2):
            yield int(torch.randint(self.size, (1,)))

    def __len__(self):
        return self.size // 2


class SameList(EveryOther):
    """Gives the same list again and again, filled anew."""

    def __iter__(self):
        batch = [0, 0, 0]
        for index in super().__iter__():
            batch[:] = [index, 0, index]
            yield batch


SAMPLERS = {
    "in order": SequentialSampler,
    "replacement": lambda d: RandomSampler(d, replacement=True, num_samples=70),
    "more than there are": lambda d: RandomSampler(d, num_samples=2 * len(d) + 3),
    "own generator": lambda d: RandomSampler(d, generator=torch.Generator().manual_seed(3)),
    "subset": lambda d: SubsetRandomSampler(range(1, len(d), 2)),
    "subset by tensor": lambda d: SubsetRandomSampler(torch.arange(1, len(d), 2)),
    "weighted": lambda d: WeightedRandomSampler(torch.arange(len(d)) % 3, 40),
    "weighted once": lambda d: WeightedRandomSampler([1.0] * len(d), 40, replacement=False),
    "distributed": lambda d: DistributedSampler(d, num_replicas=3, rank=1),
    "list": lambda d: [3, 1, 4, 1, 5, 9, 2, 6],
    "negative": lambda d: [-1, 0, -len(d), 5],
    "arrays": lambda d: np.arange(len(d))[::-3].copy(),
    "own class": EveryOther,
}
SAMPLED = {
    "subset": lambda: Subset(tensor_dataset(), [*range(SIZE - 10), *range(10)]),
    "joined": lambda: tensor_dataset() + tensor_dataset(),
} | {name: WHOLE_BATCHES[name] for name in ("tensors", "MNIST", "CIFAR10")}


@pytest.mark.parametrize("make", SAMPLED.values(), ids=SAMPLED)
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_samplers(make, sampler):
    assert_alike(make(), sampler=sampler, batch_size=4)
    assert_alike(make(), sampler=sampler, batch_size=4, drop_last=True, stop_after=2)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("stop_after", [None, 2])
def test_samplers_are_drawn_from_as_far_ahead_as_for_workers(sampler, stop_after):
    arguments = {"sampler": sampler, "batch_size": 3, "stop_after": stop_after}
    assert_alike(tensor_dataset(), num_workers=2, **arguments)
    assert_alike(
        tensor_dataset(), num_workers=1, prefetch_factor=3, persistent_workers=True, **arguments
    )


BATCH_SAMPLERS = {
    "batches": lambda d: BatchSampler(RandomSampler(d), 4, drop_last=True),
    "lists": lambda d: [[0, 1], [4], [3, 3, 3]],
    "tuples": lambda d: [(0, 1), (4,)],
    "tensors": lambda d: torch.randperm(len(d)).split(5),
    "arrays": lambda d: [np.array([1, 2]), np.array([4, -1])],
    "iterators": lambda d: [iter([0, 1]), iter([2])],
    "same list": SameList,
}


@pytest.mark.parametrize("make_batch_sampler", BATCH_SAMPLERS.values(), ids=BATCH_SAMPLERS)
@pytest.mark.parametrize("name", ["tensors", "subset by tensor", "MNIST", "CIFAR10"])
def test_batch_samplers(make_batch_sampler, name):
    assert_alike(WHOLE_BATCHES[name](), epochs=1, make_batch_sampler=make_batch_sampler)


def test_a_list_that_is_filled_again_is_read_in_time():
    dataset, batches = image_dataset(), []
    for num_workers in (0, 2):
        torch.manual_seed(0)
        loader = DataLoader(dataset, batch_sampler=SameList(dataset), num_workers=num_workers)
        batches.append(list(loader))
    assert_same(*batches)


@pytest.mark.parametrize("name", ["images", "tensors", "MNIST"])
def test_without_batches(name):
    assert_alike(WHOLE_BATCHES[name](), batch_size=None, shuffle=True)


def test_batch_size_none_with_batches_as_samples():
    assert_alike(
        tensor_dataset(),
        batch_size=None,
        sampler=lambda d: BatchSampler(SequentialSampler(d), 8, drop_last=False),
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["tensors", "subset", "joined"]),
    sampler=st.sampled_from([None, *SAMPLERS]),
    shuffle=st.booleans(),
    batch_size=st.integers(1, SIZE + 2),
    drop_last=st.booleans(),
    generator=st.sampled_from([None, "own"]),
    stop_after=st.sampled_from([None, 0, 1, 2]),
    epochs=st.integers(1, 3),
)
def test_any_configuration_is_like_pytorchs(name, sampler, shuffle, **arguments):
    choice = {"shuffle": shuffle} if sampler is None else {"sampler": SAMPLERS[sampler]}
    assert_alike(SAMPLED[name](), **choice, **arguments)


# --- What must go PyTorch's way --------------------------------------------------------------


class Doubled(ImageDataset):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image * 2, label


class Renamed(TensorDataset):
    def __getitems__(self, indices):
        return [("row", index) for index in indices]


class DoubledSubset(Subset):
    def __getitem__(self, index):
        return super().__getitem__(index), 2

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def labels_of_floats():
    dataset = image_dataset()
    dataset.labels = dataset.labels.double()
    return dataset


def with_instance_method():
    dataset = Subset(image_dataset(), range(5))
    dataset.__getitems__ = lambda indices: indices
    return dataset


def with_target_transform():
    dataset = grey_vision_dataset()
    dataset.target_transform = lambda label: -label
    return dataset


def of_numpy_labels():
    dataset = colour_vision_dataset()
    dataset.targets = np.array(dataset.targets, dtype=np.int32)
    return dataset


def vision_subclass():
    parent = torchvision().datasets.MNIST

    class Inverted(parent):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return 1 - image, label

    dataset = grey_vision_dataset()
    dataset.__class__ = Inverted
    return dataset


OTHER_DATASETS = {
    "subclass": lambda: Doubled(random_pixels(9, 1, 2, 2), some_labels(9), list("0123456789")),
    "getitems": lambda: Renamed(torch.arange(9)),
    "subset's subclass": lambda: DoubledSubset(image_dataset(), range(9)),
    "subset's instance": with_instance_method,
    "float labels": labels_of_floats,
    "target transform": with_target_transform,
    "numpy labels": of_numpy_labels,
    "torchvision subclass": vision_subclass,
    "own transform": lambda: grey_vision_dataset(transform=np.array),
    "more transforms": lambda: grey_vision_dataset(transform=normalizing(lambda image: image + 1)),
    "transforms on tensors": lambda: colour_vision_dataset(
        transform=normalizing(torchvision().transforms.Grayscale())
    ),
    "full QMNIST": lambda: vision_dataset_with_all_facts(),
    "stacked": lambda: StackDataset(a=tensor_dataset(), b=image_dataset()),
    "list": lambda: [1.5, 2.5, 3.5],
    "strings": lambda: ["a", "b", "c"],
    "dicts": lambda: [{"x": i, "y": torch.ones(2) * i} for i in range(9)],
}


def vision_dataset_with_all_facts():
    dataset = qmnist()
    dataset.compat = False
    return dataset


@pytest.mark.parametrize("make", OTHER_DATASETS.values(), ids=OTHER_DATASETS)
@workers_or_none
def test_other_data_sets_are_read_as_pytorch_reads_them(make, num_workers):
    assert_alike(make(), batch_size=2, shuffle=True, num_workers=num_workers, stop_after=4)


@workers_or_none
def test_ints_and_tensors_in_one_batch(num_workers):
    dataset = image_dataset() + TensorDataset(random_pixels(9, 1, 8, 6), some_labels(9))
    assert_alike(dataset, sampler=lambda d: range(5, 55), batch_size=10, num_workers=num_workers)
    arguments = {"sampler": [SIZE, 0], "batch_size": 2, "num_workers": num_workers}
    assert_same_error(lambda kind: list(kind(dataset, **arguments)))


def test_a_replaced_method_is_called(monkeypatch):
    dataset = tensor_dataset()
    monkeypatch.setattr(TensorDataset, "__getitem__", lambda self, index: index)
    assert_same(next(iter(DataLoader(dataset, batch_size=3))), torch.tensor([0, 1, 2]))


def test_a_replaced_method_of_torchvision_is_called(monkeypatch):
    dataset = grey_vision_dataset()
    original = torchvision().datasets.MNIST.__getitem__

    @functools.wraps(original)
    def shifted(self, index):
        image, label = original(self, index)
        return image + 1, label

    monkeypatch.setattr(torchvision().datasets.MNIST, "__getitem__", shifted)
    assert_alike(dataset, batch_size=4)
    assert next(iter(DataLoader(dataset)))[0].min() >= 1


def test_hooks_on_a_transform_are_called():
    normalize = torchvision().transforms.Normalize((0.5,), (0.5,))
    dataset = grey_vision_dataset(transform=normalizing(normalize))
    normalize.register_forward_hook(lambda module, arguments, output: output * 2)
    assert_alike(dataset, batch_size=4)


def test_functions_put_into_the_default_collation_are_called(monkeypatch):
    def largest(batch, *, collate_fn_map):
        return max(batch)

    monkeypatch.setitem(torch_collate.default_collate_fn_map, int, largest)
    _, label = next(iter(DataLoader(image_dataset(), batch_size=10)))
    assert label == 9


def test_own_collation_is_called():
    assert_alike(image_dataset(), batch_size=3, collate_fn=len)
    assert_alike(image_dataset(), batch_size=3, collate_fn=lambda items: default_collate(items)[1])


def test_a_default_device_is_heeded():
    iterator = iter(DataLoader(image_dataset(), batch_size=3))
    with torch.device("meta"):
        _, labels = next(iterator)
    assert labels.device.type == "meta"


def test_without_a_transform_the_error_is_pytorchs():
    dataset = grey_vision_dataset()
    dataset.transform = None
    assert_same_error(lambda kind: list(kind(dataset, batch_size=2)))


# --- Changes while the loader lives ----------------------------------------------------------


def test_changes_between_batches_and_epochs_are_seen():
    def run(kind):
        dataset = grey_vision_dataset()
        loader = kind(dataset, batch_size=8)
        seen = []
        for step, batch in enumerate(loader):
            seen.append(batch)
            if step == 1:
                dataset.transform = normalizing(lambda image: image * 3)
        dataset.transform = to_tensor()
        dataset.data = 255 - dataset.data
        dataset.targets[:] = 1
        return seen + list(loader)

    assert_same(run(DataLoader), run(TorchDataLoader))


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_keep_the_data_they_started_with(persistent):
    def run(kind):
        dataset = image_dataset()
        loader = kind(dataset, batch_size=8, num_workers=2, persistent_workers=persistent)
        seen = []
        for _ in range(2):
            for batch in loader:
                seen.append(batch)
                dataset.labels.add_(1)
                dataset.images.zero_()
        return seen

    assert_same(run(DataLoader), run(TorchDataLoader))


def test_workers_see_shared_memory_change():
    labels = torch.zeros(4, dtype=torch.int64).share_memory_()
    loader = DataLoader(TensorDataset(labels), batch_size=1, num_workers=1, prefetch_factor=1)
    first, *_, last = (int(batch[0]) for batch in loader if labels.fill_(7) is not None)
    assert (first, last) == (0, 7)


def test_a_data_set_too_large_to_copy_is_left_to_workers(monkeypatch):
    monkeypatch.setattr(loader_module, "LARGEST_COPY", 1000)
    loader = DataLoader(image_dataset(), batch_size=8, num_workers=1)
    assert len(iter(loader)._workers) == 1
    assert_alike(image_dataset(), batch_size=8, num_workers=1)


def test_generator_of_workers_is_drawn_from_alike_over_many_epochs():
    assert_alike(image_dataset(), batch_size=8, num_workers=2, generator="own", epochs=3)


@workers_or_none
def test_a_used_up_iterator_stays_used_up(num_workers):
    iterator = iter(DataLoader(image_dataset(), batch_size=30, num_workers=num_workers))
    assert len(list(iterator)) == 2
    assert list(iterator) == []


# --- Workers that can be observed ------------------------------------------------------------


def test_worker_init_fn_runs_in_workers():
    started = multiprocessing.get_context("fork").Value("i", 0)

    def count(worker):
        with started.get_lock():
            started.value += 10 + worker

    batches = list(DataLoader(image_dataset(), batch_size=8, num_workers=2, worker_init_fn=count))
    assert started.value == 21
    assert_same(batches, list(TorchDataLoader(image_dataset(), batch_size=8)))


class WorkerInfo(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        info = torch.utils.data.get_worker_info()
        return os.getpid(), info.id, info.num_workers, info.seed


def test_workers_know_who_they_are():
    torch.manual_seed(0)
    ours = next(iter(DataLoader(WorkerInfo(), batch_size=2, num_workers=2)))
    torch.manual_seed(0)
    theirs = next(iter(TorchDataLoader(WorkerInfo(), batch_size=2, num_workers=2)))
    assert_same(ours[1:], theirs[1:])
    assert (ours[0] != os.getpid()).all()


def test_persistent_workers_give_the_same_iterator_again():
    loader = DataLoader(image_dataset(), num_workers=1, persistent_workers=True)
    first = iter(loader)
    assert iter(loader) is first
    assert loader._iterator is first
    fresh = DataLoader(image_dataset(), num_workers=1)
    assert iter(fresh) is not iter(fresh)


class Sleeper(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        time.sleep(2)


def test_timeout():
    assert_same_error(lambda kind: next(iter(kind(Sleeper(), num_workers=1, timeout=0.1))))


class Mortal(Sleeper):
    def __getitem__(self, index):
        os._exit(3)


def test_death_of_a_worker():
    for kind in (DataLoader, TorchDataLoader):
        with pytest.raises(RuntimeError, match=r"DataLoader worker .* exited unexpectedly"):
            next(iter(kind(Mortal(), num_workers=1)))


class Failing(Sleeper):
    def __getitem__(self, index):
        raise KeyError(f"item {index}")


def first_line(error: BaseException) -> tuple[type, str]:
    return type(error), str(error).splitlines()[0] if str(error) else ""


def assert_same_error(act) -> None:
    errors = []
    for kind in (DataLoader, TorchDataLoader):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is PyTorch's to say
            act(kind)
        errors.append(first_line(raised.value))
    assert errors[0] == errors[1]


@workers_or_none
def test_errors_in_a_data_set(num_workers):
    assert_same_error(lambda kind: list(kind(Failing(), num_workers=num_workers)))


FAULTY = {
    "images": image_dataset,
    "tensors": tensor_dataset,
    "MNIST": grey_vision_dataset,
    "CIFAR10": colour_vision_dataset,
    "subset": lambda: Subset(image_dataset(), [0, 1, SIZE]),
    "subset of a few": lambda: Subset(image_dataset(), [0, 1]),
    "joined": lambda: image_dataset() + image_dataset(),
}


@pytest.mark.parametrize("make", FAULTY.values(), ids=FAULTY)
@pytest.mark.parametrize("index", [2, 1000, -1000, "one", 1.5, None, [], True])
@workers_or_none
def test_indices_that_are_not_there(make, index, num_workers):
    def last_batch(kind):
        dataset = make()
        loader = kind(dataset, batch_sampler=[[0, 1], [index, 0], [0]], num_workers=num_workers)
        iterator = iter(loader)
        seen = [next(iterator)]
        try:
            seen.append(next(iterator))
        except Exception as error:  # noqa: BLE001
            seen.append(first_line(error))
        return [*seen, *iterator]

    assert_same(last_batch(DataLoader), last_batch(TorchDataLoader))


@workers_or_none
def test_an_empty_batch(num_workers):
    arguments = {"batch_sampler": [[]], "num_workers": num_workers}
    assert_same_error(lambda kind: list(kind(image_dataset(), **arguments)))


class FailingSampler(EveryOther):
    def __iter__(self):
        yield from (0, 1, 2, 3)
        raise LookupError("no more")


@workers_or_none
@pytest.mark.parametrize("taken", range(5))
def test_errors_in_a_sampler_come_at_the_same_batch(num_workers, taken):
    def run(kind):
        dataset = image_dataset()
        try:
            loader = kind(dataset, sampler=FailingSampler(dataset), num_workers=num_workers)
            return list(itertools.islice(loader, taken))
        except LookupError as error:
            return str(error)

    assert_same(run(DataLoader), run(TorchDataLoader))


# --- The object itself -----------------------------------------------------------------------


class Counted(IterableDataset):
    def __init__(self, n=10, reported=None):
        self.n, self.reported = n, n if reported is None else reported

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.reported


WRONG_ARGUMENTS = [
    {"num_workers": -1},
    {"timeout": -1},
    {"prefetch_factor": 2},
    {"prefetch_factor": -1, "num_workers": 1},
    {"persistent_workers": True},
    {"batch_size": 0},
    {"batch_size": 1.5},
    {"batch_size": True},
    {"batch_size": None, "drop_last": True},
    {"drop_last": 1},
    {"shuffle": True, "sampler": [1]},
    {"batch_sampler": [[1]], "batch_size": 2},
    {"batch_sampler": [[1]], "shuffle": True},
    {"batch_sampler": [[1]], "drop_last": True},
    {"multiprocessing_context": "fork"},
    {"multiprocessing_context": "no such", "num_workers": 1},
    {"multiprocessing_context": object, "num_workers": 1},
    {"no_such_argument": 1},
]


@pytest.mark.parametrize("arguments", WRONG_ARGUMENTS, ids=str)
def test_wrong_arguments(arguments):
    assert_same_error(lambda kind: kind(image_dataset(), **arguments))


@pytest.mark.parametrize(
    "arguments", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}], ids=str
)
def test_wrong_arguments_for_a_stream(arguments):
    assert_same_error(lambda kind: kind(Counted(), **arguments))


@pytest.mark.parametrize(
    "arguments",
    [{"timeout": 1}, {"num_workers": 1, "prefetch_factor": 0}],
    ids=str,
)
def test_wrong_arguments_that_show_when_iterating(arguments):
    assert_same_error(lambda kind: iter(kind(image_dataset(), **arguments)))


def test_shuffling_nothing():
    assert_same_error(lambda kind: kind([], shuffle=True))
    assert list(DataLoader(Subset(image_dataset(), []))) == []


@pytest.mark.parametrize(
    "name", ["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"]
)
def test_attributes_that_cannot_be_set_later(name):
    assert_same_error(lambda kind: setattr(kind(image_dataset()), name, None))


def test_attributes_are_pytorchs():
    ours, theirs = (
        kind(image_dataset(), 4, True, num_workers=2) for kind in (DataLoader, TorchDataLoader)
    )
    assert vars(ours).keys() == vars(theirs).keys()
    assert isinstance(ours, TorchDataLoader)
    ours.num_workers = 0
    ours.collate_fn = len
    assert next(iter(ours)) == 4


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 8, SIZE, SIZE + 1, None])
def test_length(drop_last, batch_size):
    if batch_size is None and drop_last:
        pytest.skip("without batches there is no last one")
    arguments = {"batch_size": batch_size, "drop_last": drop_last}
    loader = DataLoader(image_dataset(), **arguments)
    assert len(loader) == len(TorchDataLoader(image_dataset(), **arguments))
    assert len(loader) == len(iter(loader)) == len(list(loader))
    assert len(DataLoader(Counted(), **arguments)) == len(TorchDataLoader(Counted(), **arguments))


@workers_or_none
@pytest.mark.parametrize("batch_size", [None, 3])
def test_streams(num_workers, batch_size):
    assert_alike(Counted(), batch_size=batch_size, num_workers=num_workers)
    assert_alike(Counted(), batch_size=batch_size, num_workers=num_workers, stop_after=2)


def test_a_stream_longer_than_it_says():
    loader = DataLoader(Counted(10, reported=4), batch_size=None)
    assert len(loader) == 4
    with pytest.warns(UserWarning, match=r"Length of IterableDataset .* was reported to be 4"):
        assert list(loader) == list(range(10))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="an accelerator can pin memory")
def test_pinned_memory_without_an_accelerator():
    for num_workers in (0, 2):
        loader = DataLoader(image_dataset(), pin_memory=True, num_workers=num_workers)
        with pytest.warns(UserWarning, match="no accelerator is found"):
            assert not next(iter(loader))[0].is_pinned()


def test_too_many_workers():
    workers = 2 * os.cpu_count()
    with pytest.warns(UserWarning, match=f"will create {workers} worker processes"):
        loader = DataLoader(image_dataset(), num_workers=workers)
    with pytest.warns(UserWarning, match=f"will create {workers} worker processes"):
        iter(loader)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_load_the_same(duplicate):
    loader = DataLoader(image_dataset(), batch_size=5, shuffle=True, num_workers=1)
    torch.manual_seed(0)
    batches = list(loader)
    torch.manual_seed(0)
    assert_same(list(duplicate(loader)), batches)


@workers_or_none
def test_iterators_cannot_be_pickled(num_workers):
    iterator = iter(DataLoader(image_dataset(), num_workers=num_workers))
    with pytest.raises(NotImplementedError, match="cannot be pickled"):
        pickle.dumps(iterator)


def test_inference_mode_makes_inference_tensors():
    def run(kind):
        with torch.inference_mode():
            return [part.is_inference() for part in next(iter(kind(image_dataset())))]

    assert run(DataLoader) == run(TorchDataLoader)


def test_workers_may_load_with_the_loader():
    loader = DataLoader(LoadsInside(), num_workers=1)
    assert [batch.tolist() for batch in loader] == [[3], [3]]


class LoadsInside(Sleeper):
    def __getitem__(self, index):
        return len(list(DataLoader(image_dataset(), batch_size=20)))
