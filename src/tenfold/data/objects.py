"""Data sets that are handed over from Python, as raw pixels and labels.

Anything with `__len__` and an `__getitem__` that gives (image, label) will do: torchvision's data
sets, `TensorDataset`, `Subset`, one of the user's own. An image is a Pillow image, raw pixels
0..255 as uint8, or what scaling those to 0..1 gives, which is turned back. An image of any other
range is refused: what a transform made cannot be undone, and the model scales by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tenfold.data.folders.images import image_to_array
from tenfold.data.loading.rows import find_rows
from tenfold.errors import DataError, UsageError
from tenfold.types import Images, Labels

Progress = Callable[[str, int, int | None], None]
"""Called with what is read, how far it is, and how much there is (None if unknown)."""

HandedOver: TypeAlias = Any
"""A map-style PyTorch data set of (image, label), whoever wrote it."""

_BATCH = 4096
_PIXEL_TOLERANCE = 1e-3  # of 255 steps: what float32 may lose, far below what interpolation makes
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})


def class_names(datasets: Sequence[HandedOver], labels: Iterable[Tensor]) -> tuple[str, ...]:
    """The first names that one of the data sets has as its `classes`, else the labels' numbers."""
    for dataset in datasets:
        inner = dataset
        while inner is not None:
            names = getattr(inner, "classes", None)
            if isinstance(names, Sequence) and not isinstance(names, str) and len(names) > 0:
                return tuple(str(name) for name in names)
            nested = getattr(inner, "datasets", None)
            inner = nested[0] if nested else getattr(inner, "dataset", None)
    highest = max(int(part.max()) for part in labels)
    return tuple(str(i) for i in range(highest + 1))


def read_items(
    dataset: HandedOver,
    where: str,
    image_size: tuple[int, int] | None,
    channels: int | None,
    progress: Progress | None,
) -> tuple[Images, Labels]:
    """All items of a map-style data set; whole arrays at once where it keeps them so.

    Args:
        dataset: what was handed over.
        where: what messages call it.
        image_size: (height, width) that images are scaled to, or None; arrays that can be taken
            whole are not scaled here.
        channels: 1 or 3, or None, likewise.
        progress: called as images are read.

    Raises:
        UsageError: it is no map-style data set.
        DataError: it is empty, an item is not (image, label), an image is neither raw pixels nor
            scaled ones, or the images differ in shape.
    """
    _require_map_style(dataset, where)
    whole = _gathered(dataset, where, progress)
    if whole is None:
        whole = _raw_arrays(dataset, where)
    if whole is None:
        whole = _read_one_by_one(dataset, where, image_size, channels, progress)
    return whole


def _require_map_style(dataset: HandedOver, where: str) -> None:
    is_array = isinstance(dataset, Tensor | np.ndarray | dict | list)
    if is_array or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise UsageError(
            f"{where}: a {type(dataset).__name__} is not a data set, wanted one with __len__ and "
            "__getitem__ that gives (image, label)",
            remedy="wrap arrays in torch.utils.data.TensorDataset(images, labels)",
        )
    if len(dataset) == 0:
        raise DataError(f"{where}: the data set is empty")


def _gathered(
    dataset: HandedOver, where: str, progress: Progress | None
) -> tuple[Images, Labels] | None:
    """Read a data set that lies in memory as rows, in batches; None if it does not."""
    rows = find_rows(dataset)
    if rows is None:
        return None
    n, images, labels = len(dataset), [], []
    for start in range(0, n, _BATCH):
        stop = min(start + _BATCH, n)
        batch = rows.batch(list(range(start, stop)))
        if batch is None:
            return None
        if len(batch) != 2:
            raise _not_a_pair(where, start, f"{len(batch)} tensors")
        images.append(_raw_batch(batch[0], where, start))
        labels.append(_whole_labels(batch[1], where, start))
        if progress is not None:
            progress("images", stop, n)
    return torch.cat(images), torch.cat(labels)


def _raw_batch(pixels: Tensor, where: str, start: int) -> Images:
    """A batch (n, ...) of raw or scaled pixels as uint8 (n, channels, height, width)."""
    pixels = pixels.cpu()
    raw = pixels if pixels.dtype == torch.uint8 else _unscaled(pixels, where, start)
    return _channels_first(raw, where, start, is_tensor=True)


def _unscaled(pixels: Tensor, where: str, start: int) -> Tensor:
    """Floats that are k / 255 as the whole numbers k; the first axis counts from `start`."""
    if pixels.dtype not in (torch.float32, torch.float64):
        raise DataError(
            f"{where}: the image at index {start} is {pixels.dtype}, wanted uint8 in 0..255 or "
            "float32 in 0..1"
        )
    scaled = pixels * 255
    nearest = scaled.round()
    wrong = ~((scaled - nearest).abs() <= _PIXEL_TOLERANCE) | (nearest < 0) | (nearest > 255)
    if wrong.any():
        place = wrong.nonzero()[0]
        raise DataError(
            f"{where}: the image at index {start + int(place[0])} has the value "
            f"{float(pixels[tuple(place)]):.6g}, which is not one of 0/255, 1/255, ... 255/255",
            remedy="hand the data set over without transforms that normalise, scale or augment: "
            "scaling belongs to the model here, and augmentation to training",
        )
    return nearest.to(torch.uint8)


def _channels_first(pixels: Tensor, where: str, start: int, *, is_tensor: bool) -> Images:
    """Images (n, height, width), (n, channels, height, width) or (n, height, width, channels).

    Where both ends could be the channels, tensors have them first and arrays last.
    """
    if pixels.ndim == 3:
        return pixels[:, None]
    if pixels.ndim == 4:
        is_first, is_last = pixels.shape[1] in (1, 3), pixels.shape[3] in (1, 3)
        if is_first and (is_tensor or not is_last):
            return pixels
        if is_last:
            return pixels.permute(0, 3, 1, 2)
    raise DataError(
        f"{where}: the image at index {start} has shape {list(pixels.shape[1:])}, "
        "wanted [height, width] with 1 or 3 channels before or behind"
    )


def _whole_labels(labels: Tensor, where: str, start: int) -> Labels:
    kinds = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    if labels.dtype not in kinds or labels.ndim != 1:
        raise DataError(
            f"{where}: the label at index {start} is {labels.dtype} of shape "
            f"{list(labels.shape[1:])}, wanted one whole number"
        )
    return labels.cpu().to(torch.int64)


def _raw_arrays(dataset: HandedOver, where: str) -> tuple[Images, Labels] | None:
    """The arrays of a data set of torchvision's kind without transforms; None for any other.

    Some items are compared with the arrays, so that a `__getitem__` that does more is noticed.
    """
    hooks = ("transform", "target_transform", "transforms")
    if not hasattr(dataset, "data") or any(getattr(dataset, hook, None) for hook in hooks):
        return None
    try:
        data, targets = _as_tensor(dataset.data), _as_tensor(dataset.targets)
    except (AttributeError, TypeError, ValueError):
        return None
    n = len(dataset)
    is_raw = data.dtype == torch.uint8 and data.ndim in (3, 4) and targets.dtype == torch.int64
    if not is_raw or len(data) != n or targets.shape != (n,):
        return None
    images = _channels_first(data, where, 0, is_tensor=isinstance(dataset.data, Tensor))
    for index in {0, n // 2, n - 1}:
        pixels, label = _read_item(dataset, index, where, None, None)
        if label != int(targets[index]) or not torch.equal(pixels, images[index]):
            return None
    return images, targets


def _read_one_by_one(
    dataset: HandedOver,
    where: str,
    image_size: tuple[int, int] | None,
    channels: int | None,
    progress: Progress | None,
) -> tuple[Images, Labels]:
    n = len(dataset)
    first, _ = _read_item(dataset, 0, where, image_size, channels)
    images = torch.empty((n, *first.shape), dtype=torch.uint8)
    labels = torch.empty(n, dtype=torch.int64)
    for index in range(n):
        pixels, labels[index] = _read_item(dataset, index, where, image_size, channels)
        if pixels.shape != first.shape:
            raise DataError(
                f"{where}: the image at index {index} has shape {list(pixels.shape)}, the first "
                f"one {list(first.shape)}, as (channels, height, width)",
                remedy="choose an image size and the number of channels for all",
            )
        images[index] = pixels
        if progress is not None and (index + 1) % 500 == 0:
            progress("images", index + 1, n)
    return images, labels


def _read_item(
    dataset: HandedOver,
    index: int,
    where: str,
    image_size: tuple[int, int] | None,
    channels: int | None,
) -> tuple[Tensor, int]:
    """One item: uint8 (channels, height, width) and its label."""
    item = dataset[index]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise _not_a_pair(where, index, f"a {type(item).__name__}")
    image, label = item
    if isinstance(image, Image.Image):
        own_channels = 1 if image.mode in _GREY_MODES else 3
        array = image_to_array(image, channels=channels or own_channels, size=image_size)
        pixels = torch.from_numpy(np.array(array))
    elif isinstance(image, Tensor | np.ndarray):
        raw = _as_tensor(image)[None]
        raw = raw if raw.dtype == torch.uint8 else _unscaled(raw, where, index)
        raw = _channels_first(raw, where, index, is_tensor=isinstance(image, Tensor))
        pixels = resize_images(raw, image_size, channels)[0]
    else:
        raise DataError(
            f"{where}: the image at index {index} is a {type(image).__name__}, "
            "wanted a Pillow image, a tensor or an array"
        )
    return pixels, int(_whole_labels(torch.as_tensor(label).reshape(1), where, index))


def _as_tensor(values: Tensor | np.ndarray | Sequence[object]) -> Tensor:
    """A tensor on the CPU; of anything but a tensor it is a copy, as arrays may be read-only."""
    return values.cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


def _not_a_pair(where: str, index: int, found: str) -> DataError:
    return DataError(f"{where}: the item at index {index} is {found}, wanted (image, label)")


def resize_images(
    images: Images, image_size: tuple[int, int] | None, channels: int | None
) -> UInt8[Tensor, "n new_channels new_height new_width"]:
    """Images of another size or number of channels, by the rule that files are read by."""
    size = image_size or (images.shape[2], images.shape[3])
    wanted = channels or images.shape[1]
    if (wanted, *size) == tuple(images.shape[1:]):
        return images
    arrays = [
        image_to_array(
            Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)),
            channels=wanted,
            size=size,
        )
        for image in images.cpu().numpy()
    ]
    return torch.from_numpy(np.stack(arrays))
