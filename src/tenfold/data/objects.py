"""Data sets that are handed over from Python, as raw pixels and labels.

Anything with `__len__` and an `__getitem__` that gives (image, label) will do: torchvision's data
sets, `TensorDataset`, `Subset`, one of the user's own. An image is a Pillow image, raw pixels
0..255 as uint8, or what scaling those to 0..1 gives, which is turned back. An image of any other
range is refused: what a transform made cannot be undone, and the model scales by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tenfold.data.folders.images import image_to_array
from tenfold.errors import DataError, UsageError
from tenfold.listening import Listener
from tenfold.types import LabelArray, PixelArray, as_array

HandedOver: TypeAlias = Any
"""A map-style data set of (image, label), whoever wrote it."""

_BATCH = 4096
_ITEMS_BETWEEN_LOOKS = 500
_PIXEL_TOLERANCE = 1e-3  # of 255 steps: what float32 may lose, far below what interpolation makes
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})


def class_names(datasets: Sequence[HandedOver], highest: int) -> tuple[str, ...]:
    """The first names that one of the data sets has as its `classes`, else 0 to `highest`."""
    for dataset in datasets:
        inner = dataset
        while inner is not None:
            names = getattr(inner, "classes", None)
            if isinstance(names, Sequence) and not isinstance(names, str) and len(names) > 0:
                return tuple(str(name) for name in names)
            nested = getattr(inner, "datasets", None)
            inner = nested[0] if nested else getattr(inner, "dataset", None)
    return tuple(str(i) for i in range(highest + 1))


def read_items(
    dataset: HandedOver,
    where: str,
    image_size: tuple[int, int] | None,
    channels: int | None,
    listener: Listener,
) -> tuple[PixelArray, LabelArray]:
    """All items of a map-style data set; whole arrays at once where it keeps them so.

    Args:
        dataset: what was handed over.
        where: what messages call it.
        image_size: (height, width) that images are scaled to, or None; arrays that can be taken
            whole are not scaled here.
        channels: 1 or 3, or None, likewise.
        listener: told as images are read.

    Raises:
        UsageError: it is no map-style data set.
        DataError: it is empty, an item is not (image, label), an image is neither raw pixels nor
            scaled ones, or the images differ in shape.
    """
    _require_map_style(dataset, where)
    whole = _gathered(dataset, where, listener)
    if whole is None:
        whole = _raw_arrays(dataset, where)
    if whole is None:
        whole = _read_one_by_one(dataset, where, image_size, channels, listener)
    return whole


def _require_map_style(dataset: HandedOver, where: str) -> None:
    is_array = hasattr(dataset, "dtype") or isinstance(dataset, dict | list)
    if is_array or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise UsageError(
            f"{where}: a {type(dataset).__name__} is not a data set, wanted one with __len__ and "
            "__getitem__ that gives (image, label)",
            remedy="wrap arrays in torch.utils.data.TensorDataset(images, labels)",
        )
    if len(dataset) == 0:
        raise DataError(f"{where}: the data set is empty")


def _gathered(
    dataset: HandedOver, where: str, listener: Listener
) -> tuple[PixelArray, LabelArray] | None:
    """Read a data set that lies in memory as rows, in batches; None if it does not."""
    from tenfold.data.loading.rows import find_rows

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
        pixels = _raw_pixels(_array(batch[0], where, "image", start), where, start)
        images.append(_channels_first(pixels, where, start, is_tensor=True))
        labels.append(_whole_labels(_array(batch[1], where, "label", start), where, start))
        listener.reading("images", stop, n)
    return np.concatenate(images), np.concatenate(labels)


def _raw_pixels(pixels: np.ndarray, where: str, start: int) -> np.ndarray:
    """Raw pixels as they are, floats that are k / 255 as k; the first axis counts from `start`."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype not in (np.float32, np.float64):
        raise DataError(
            f"{where}: the image at index {start} is {pixels.dtype}, wanted uint8 in 0..255 or "
            "float32 in 0..1"
        )
    scaled = pixels * 255
    nearest = np.rint(scaled)
    wrong = ~(np.abs(scaled - nearest) <= _PIXEL_TOLERANCE) | (nearest < 0) | (nearest > 255)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise DataError(
            f"{where}: the image at index {start + place[0]} has the value "
            f"{float(pixels[place]):.6g}, which is not one of 0/255, 1/255, ... 255/255",
            remedy="hand the data set over without transforms that normalize, scale or augment: "
            "scaling belongs to the model here, and augmentation to training",
        )
    raw: np.ndarray = nearest.astype(np.uint8)
    return raw


def _channels_first(pixels: np.ndarray, where: str, start: int, *, is_tensor: bool) -> PixelArray:
    """Images (n, height, width), (n, channels, height, width) or (n, height, width, channels).

    Where both ends could be the channels, tensors have them first and arrays last.
    """
    if pixels.ndim == 3:
        return pixels.reshape(len(pixels), 1, *pixels.shape[1:])
    if pixels.ndim == 4:
        is_first, is_last = pixels.shape[1] in (1, 3), pixels.shape[3] in (1, 3)
        if is_first and (is_tensor or not is_last):
            return pixels
        if is_last:
            return np.moveaxis(pixels, 3, 1)
    raise DataError(
        f"{where}: the image at index {start} has shape {list(pixels.shape[1:])}, "
        "wanted [height, width] with 1 or 3 channels before or behind"
    )


def _whole_labels(labels: np.ndarray, where: str, start: int) -> LabelArray:
    if labels.dtype.kind not in "iu" or labels.dtype == np.uint64 or labels.ndim != 1:
        is_text = labels.dtype.kind in "US"
        found = "text" if is_text else f"{labels.dtype} of shape {list(labels.shape[1:])}"
        raise DataError(
            f"{where}: the label at index {start} is {found}, wanted one whole number",
            remedy="number the classes from 0",
        )
    return labels.astype(np.int64)


def _raw_arrays(dataset: HandedOver, where: str) -> tuple[PixelArray, LabelArray] | None:
    """The arrays of a data set of torchvision's kind without transforms; None for any other.

    Some items are compared with the arrays, so that a `__getitem__` that does more is noticed.
    """
    hooks = ("transform", "target_transform", "transforms")
    if not hasattr(dataset, "data") or any(getattr(dataset, hook, None) for hook in hooks):
        return None
    try:
        data, targets = as_array(dataset.data), as_array(dataset.targets)
    except (AttributeError, TypeError, ValueError, UsageError):
        return None
    n = len(dataset)
    is_raw = data.dtype == np.uint8 and data.ndim in (3, 4) and targets.dtype == np.int64
    if not is_raw or len(data) != n or targets.shape != (n,):
        return None
    images = _channels_first(data, where, 0, is_tensor=_is_tensor(dataset.data))
    for index in {0, n // 2, n - 1}:
        pixels, label = _read_item(dataset, index, where, None, None)
        if label != targets[index] or not np.array_equal(pixels, images[index]):
            return None
    return images, targets


def _read_one_by_one(
    dataset: HandedOver,
    where: str,
    image_size: tuple[int, int] | None,
    channels: int | None,
    listener: Listener,
) -> tuple[PixelArray, LabelArray]:
    n = len(dataset)
    first, _ = _read_item(dataset, 0, where, image_size, channels)
    images = np.empty((n, *first.shape), dtype=np.uint8)
    labels = np.empty(n, dtype=np.int64)
    for index in range(n):
        pixels, labels[index] = _read_item(dataset, index, where, image_size, channels)
        if pixels.shape != first.shape:
            raise DataError(
                f"{where}: the image at index {index} has shape {list(pixels.shape)}, the first "
                f"one {list(first.shape)}, as (channels, height, width)",
                remedy="choose an image size and the number of channels for all",
            )
        images[index] = pixels
        if (index + 1) % _ITEMS_BETWEEN_LOOKS == 0:
            listener.reading("images", index + 1, n)
    return images, labels


def _read_item(
    dataset: HandedOver,
    index: int,
    where: str,
    image_size: tuple[int, int] | None,
    channels: int | None,
) -> tuple[UInt8[np.ndarray, "channels height width"], int]:
    """One item: its pixels and its label."""
    item = dataset[index]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise _not_a_pair(where, index, f"a {type(item).__name__}")
    image, label = item
    if isinstance(image, Image.Image):
        own_channels = 1 if image.mode in _GREY_MODES else 3
        pixels = image_to_array(image, channels=channels or own_channels, size=image_size)
    elif _is_tensor(image) or isinstance(image, np.ndarray):
        raw = _raw_pixels(_array(image, where, "image", index)[None], where, index)
        raw = _channels_first(raw, where, index, is_tensor=_is_tensor(image))
        pixels = resize_images(raw, image_size, channels, where)[0]
    else:
        raise DataError(
            f"{where}: the image at index {index} is a {type(image).__name__}, "
            "wanted a Pillow image, a tensor or an array"
        )
    labels = _array(label, where, "label", index)
    labels = labels.reshape(1) if labels.size == 1 else labels[None]
    return pixels, int(_whole_labels(labels, where, index)[0])


def _array(values: Any, where: str, what: str, index: int) -> np.ndarray:  # noqa: ANN401
    try:
        return as_array(values)
    except (UsageError, ValueError) as error:
        raise DataError(
            f"{where}: the {what} at index {index} cannot be read as an array: {error}"
        ) from error


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "numpy")


def _not_a_pair(where: str, index: int, found: str) -> DataError:
    return DataError(f"{where}: the item at index {index} is {found}, wanted (image, label)")


def resize_images(
    images: PixelArray, image_size: tuple[int, int] | None, channels: int | None, where: str
) -> UInt8[np.ndarray, "n new_channels new_height new_width"]:
    """Images of another size or number of channels, by the rule that files are read by.

    Raises:
        DataError: they are neither grey nor color.
    """
    size = image_size or (images.shape[2], images.shape[3])
    wanted = channels or images.shape[1]
    if (wanted, *size) == images.shape[1:]:
        return images
    if images.shape[1] not in (1, 3):
        raise DataError(
            f"{where}: images of {images.shape[1]} channels cannot be scaled or changed in color, "
            "wanted 1 or 3 channels",
            remedy="bring them to one shape first",
        )
    arrays = [
        image_to_array(
            Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)),
            channels=wanted,
            size=size,
        )
        for image in images
    ]
    return np.stack(arrays)
