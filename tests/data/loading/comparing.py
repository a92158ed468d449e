"""Data sets to load, and the comparison of our loader with PyTorch's."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torch.utils.data import DataLoader as TorchDataLoader

from installed_torchvision import torchvision
from tenfold.data import DataLoader, ImageDataset
from tenfold.data.loading.rows import find_rows

SIZE = 29  # a prime, so that no batch size divides it


def random_pixels(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def some_labels(n: int = SIZE) -> torch.Tensor:
    return torch.arange(n) * 7 % 10


def images() -> ImageDataset:
    return ImageDataset(random_pixels(SIZE, 3, 8, 6), some_labels(), list("0123456789"))


def tensors() -> TensorDataset:
    pixels = random_pixels(SIZE, 3, 4, 5).float() / 7
    return TensorDataset(pixels, some_labels(), torch.arange(SIZE) % 2 == 0)


def over(family: str, name: str, data, targets, transform):
    """A torchvision data set over the given arrays, without its files."""
    kind = getattr(getattr(torchvision().datasets, family), name)
    dataset = kind.__new__(kind)
    dataset.data, dataset.targets = data, targets
    dataset.transform, dataset.target_transform = transform, None
    return dataset


def to_tensor(*steps, composed: bool = True):
    transforms = torchvision().transforms
    first = transforms.ToTensor()
    return transforms.Compose([first, *steps]) if composed else first


def normalize(*numbers):
    return torchvision().transforms.Normalize(*numbers)


def mnist(name: str = "MNIST", *, targets=None, transform=None):
    """Pixels that include every possible value."""
    targets = some_labels() if targets is None else targets
    transform = transform or to_tensor(composed=False)
    return over("mnist", name, random_pixels(SIZE, 28, 28), targets, transform)


def cifar(name: str = "CIFAR10", *, targets=None, transform=None):
    # As in torchvision: planes in memory, viewed as rows of pixels.
    pixels = random_pixels(SIZE, 3, 32, 32).numpy().transpose(0, 2, 3, 1)
    targets = some_labels().tolist() if targets is None else targets
    return over("cifar", name, pixels, targets, transform or to_tensor())


GATHERED = {
    "images": images,
    "tensors": tensors,
    "one tensor": lambda: TensorDataset(some_labels()),
    "MNIST": mnist,
    "MNIST with a list": lambda: mnist(targets=some_labels().tolist()),
    "FashionMNIST": lambda: mnist("FashionMNIST", transform=to_tensor()),
    "KMNIST": lambda: mnist("KMNIST", transform=to_tensor(normalize((0.13,), (0.31,)))),
    "EMNIST": lambda: mnist("EMNIST"),
    "CIFAR10": cifar,
    "CIFAR100": lambda: cifar(
        "CIFAR100", transform=to_tensor(normalize([0.49, 0.48, 0.45], [0.25, 0.24, 0.26]))
    ),
    "CIFAR10, all channels alike": lambda: cifar(transform=to_tensor(normalize((0.5,), (0.3,)))),
    "subset": lambda: Subset(images(), list(range(SIZE - 1, 0, -2))),
    "subset by tensor": lambda: Subset(tensors(), torch.arange(SIZE, 0, -2) - 1),
    "subset by small array": lambda: Subset(tensors(), np.arange(0, SIZE, 3, dtype=np.int32)),
    "subset by range": lambda: Subset(mnist(), range(-1, -20, -1)),
    "subset of numbers": lambda: Subset(tensors(), list(np.arange(20))),
    "nested subset": lambda: Subset(Subset(images(), range(9, 19)), (3, 3, 0, 9, -1)),
    "joined": lambda: ConcatDataset([images(), Subset(images(), range(5))]),
    "joined pictures": lambda: mnist() + mnist("FashionMNIST", targets=[3] * SIZE),
    "subset of joined": lambda: Subset(tensors() + tensors(), range(20, 40)),
}
"""Data sets whose batches are gathered."""


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().flatten().view(torch.uint8)


def facts(tensor: torch.Tensor) -> tuple:
    return (
        tensor.dtype,
        tensor.shape,
        tensor.stride(),
        tensor.device,
        tensor.requires_grad,
        tensor.is_inference(),
        tensor.is_pinned(),
    )


def assert_same(ours, theirs) -> None:
    """Check for equal types, bits, shapes, strides and devices, recursively."""
    assert type(ours) is type(theirs)
    if isinstance(theirs, torch.Tensor):
        assert facts(ours) == facts(theirs)
        assert torch.equal(bits(ours), bits(theirs))
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for our_part, their_part in zip(ours, theirs, strict=True):
            assert_same(our_part, their_part)
    elif isinstance(theirs, dict):
        assert_same(list(ours.items()), list(theirs.items()))
    else:
        assert ours == theirs


def attempt(act):
    """The result, or the type and first line of the error."""
    try:
        return act()
    except StopIteration:
        return "end"
    except Exception as error:  # noqa: BLE001 - which one is PyTorch's to say
        return type(error), str(error).partition("\n")[0]


def trace(
    kind,
    make,
    *,
    epochs: int = 1,
    stop_after: int = 100,
    change=lambda dataset: None,
    own_generator: bool = False,
    sampler=None,
    batch_sampler=None,
    **arguments,
) -> list:
    """Everything observable in some epochs: lengths, batches, errors, and what was drawn when.

    Samplers are made from the data set; `change` is applied to it after two batches per epoch.
    """
    torch.manual_seed(1234)
    dataset = make()
    loader = kind(
        dataset,
        generator=torch.Generator().manual_seed(99) if own_generator else None,
        sampler=sampler and sampler(dataset),
        batch_sampler=batch_sampler and batch_sampler(dataset),
        **arguments,
    )
    seen = [attempt(lambda: len(loader))]
    for _ in range(epochs):
        iterator = iter(loader)
        seen += [attempt(lambda: len(iterator)), *drawn(loader)]  # noqa: B023 - called at once
        for step in range(stop_after):
            batch = attempt(lambda: next(iterator))  # noqa: B023
            seen += [batch, *drawn(loader)]
            if isinstance(batch, str):
                break
            if step == 1:
                change(dataset)
    return seen


def spoil(dataset) -> None:
    """Change all contents of a data set in place."""
    for column in find_rows(dataset).columns:
        if isinstance(column, torch.Tensor):
            column.fill_(1)
        else:
            column[:] = [1] * len(column)


def drawn(loader):
    """A number that depends on everything drawn from each generator."""
    own = loader.generator
    return [torch.rand(1)] if own is None else [torch.rand(1), torch.rand(1, generator=own)]


def assert_alike(make, **arguments) -> None:
    """Check that `trace` cannot tell our loader from PyTorch's."""
    ours, theirs = (trace(kind, make, **arguments) for kind in (DataLoader, TorchDataLoader))
    assert_same(ours, theirs)
