"""Recognition of torchvision's in-memory data sets, without importing torchvision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from tenfold.data.loading.gathering import Rows, are_class_indices, can_be_gathered, part, take
from tenfold.data.loading.untouched import is_original, only_calls_forward

Foreign: TypeAlias = Any
"""A torchvision object."""

_READERS = {"torchvision.datasets.mnist": "MNIST", "torchvision.datasets.cifar": "CIFAR10"}
"""For each module, the class whose `__getitem__` the others inherit."""


def torchvision_rows(dataset: Foreign, pictures: bool) -> Rows | None:
    """The rows of a data set of the MNIST or CIFAR family, with scaling; None if not recognized.

    Known transforms are `ToTensor()`, and a `Compose` of it, optionally followed by `Normalize`;
    and, if items may be pictures, no transform, which leaves raw pixels.
    """
    kind = type(dataset)
    module = sys.modules.get(kind.__module__)
    reader: Foreign = getattr(module, _READERS.get(kind.__module__, ""), None)
    if not is_original(reader, "__getitem__") or kind.__getitem__ is not reader.__getitem__:
        return None
    images, labels = _planes(dataset.data, reader.__name__), dataset.targets
    if images is None or dataset.target_transform is not None:
        return None
    are_labels = type(labels) is list or are_class_indices(labels)
    if not are_labels or len(labels) != len(images):
        return None
    if pictures and dataset.transform is None:
        columns = (images, labels)
        return Rows((part(images), int), len(images), columns, partial(take, columns))
    transform = _batch_transform(dataset.transform, channels=images.shape[1])
    if transform is None:
        return None

    def gather(places: np.ndarray) -> list[Tensor] | None:
        batch = take((images, labels), places)
        return None if batch is None else [transform(batch[0]), batch[1]]

    parts = ((torch.get_default_dtype(), images.shape[1:]), int)
    return Rows(parts, len(images), (images, labels), gather)


def _planes(pixels: Foreign, family: str) -> Tensor | None:
    """A family's pixels as (n, channels, height, width): gray tensors, or color arrays."""
    if family == "MNIST":
        is_known = can_be_gathered(pixels) and pixels.dtype == torch.uint8 and pixels.ndim == 3
        return pixels.unsqueeze(1) if is_known else None
    is_known = (
        type(pixels) is np.ndarray
        and pixels.dtype == np.uint8
        and pixels.ndim == 4
        and pixels.shape[3] == 3
        and pixels.size > 0
        # A tensor will share this memory.
        and pixels.flags.writeable
        and min(pixels.strides) > 0
    )
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2)) if is_known else None


def _batch_transform(transform: Foreign, channels: int) -> Callable[[Tensor], Tensor] | None:
    """The equivalent of a per-image transform for a whole batch of raw pixels; None if unknown."""
    transforms = sys.modules.get("torchvision.transforms.transforms")
    functional = sys.modules.get("torchvision.transforms.functional")
    if transforms is None or functional is None:
        return None
    steps = transform.transforms if type(transform) is transforms.Compose else [transform]
    functions = (
        (transforms.Compose, "__call__"),
        (transforms.ToTensor, "__call__"),
        (transforms.Normalize, "forward"),
        (functional, "to_tensor"),
        (functional, "normalize"),
    )
    if type(steps) not in (list, tuple) or not all(
        is_original(*function) for function in functions
    ):
        return None
    kinds = [type(step) for step in steps]
    dtype = torch.get_default_dtype()

    def scale(images: Tensor) -> Tensor:
        return images.to(dtype).div_(255)

    if kinds == [transforms.ToTensor]:
        return scale
    if kinds != [transforms.ToTensor, transforms.Normalize]:
        return None
    mean, std = steps[1].mean, steps[1].std
    fits = all(
        type(numbers) in (list, tuple)
        and len(numbers) in (1, channels)
        and all(type(number) in (float, int) for number in numbers)
        for numbers in (mean, std)
    )
    # A standard deviation of 0 is an error, even if it is 0 only after conversion to this dtype.
    if not fits or not only_calls_forward(steps[1]) or min(map(abs, std)) < torch.finfo(dtype).tiny:
        return None
    normalize = partial(functional.normalize, mean=tuple(mean), std=tuple(std), inplace=True)
    return lambda images: normalize(scale(images))
