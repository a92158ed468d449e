"""torchvision's data sets whose items lie in memory as rows; recognised without being imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from tenfold.data.loading.sources import Rows, RowSource, are_labels, can_be_gathered, is_written_in

Foreign: TypeAlias = Any
"""An object of torchvision's, which is recognised without being imported."""


def torchvision_source(dataset: Foreign) -> RowSource | None:
    """Batches of one of torchvision's data sets, which are known without being imported here."""
    kind = type(dataset)
    module = sys.modules[kind.__module__]
    reader = TORCHVISION_READERS[kind.__module__].get(kind.__name__)
    if reader is None or getattr(module, kind.__name__, None) is not kind:
        return None
    defined_by, columns_of = reader
    if not is_written_in(module, kind.__getitem__, f"{defined_by}.__getitem__"):
        return None
    columns = columns_of(dataset)
    if dataset.target_transform is not None or columns is None:
        return None
    transform = _batch_transform(dataset.transform, channels=columns[0].shape[1])
    return None if transform is None else Rows("scaled image and int", columns, transform)


def _mnist_columns(dataset: Foreign) -> tuple[Tensor, Tensor | list[Any]] | None:
    images, labels = dataset.data, dataset.targets
    is_known = (
        _are_grey_images(images)
        and (type(labels) is list or are_labels(labels))
        and len(labels) == len(images)
    )
    return (images.unsqueeze(1), labels) if is_known else None


def _qmnist_columns(dataset: Foreign) -> tuple[Tensor, Tensor | list[Any]] | None:
    """The class is the first of the numbers that QMNIST has for an image."""
    images, facts = dataset.data, dataset.targets
    is_known = (
        dataset.compat is True
        and _are_grey_images(images)
        and can_be_gathered(facts)
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
        can_be_gathered(images)
        and isinstance(images, Tensor)
        and images.dtype == torch.uint8
        and images.ndim == 3
    )


TORCHVISION_READERS: dict[str, dict[str, tuple[str, Callable[[Any], Any]]]] = {
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
        if not is_written_in(transforms, transforms.Compose.__call__, "Compose.__call__"):
            return None
        steps = transform.transforms
    is_known = (
        1 <= len(steps) <= 2
        and type(steps[0]) is transforms.ToTensor
        and is_written_in(transforms, transforms.ToTensor.__call__, "ToTensor.__call__")
        and is_written_in(functional, functional.to_tensor, "to_tensor")
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
        and is_written_in(transforms, transforms.Normalize.forward, "Normalize.forward")
        and is_written_in(functional, functional.normalize, "normalize")
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
