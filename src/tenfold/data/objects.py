"""Python data set objects to raw pixels and labels.

Any object with `__len__` and an `__getitem__` that returns (image, label) works: torchvision's data
sets, `TensorDataset`, `Subset`, your own class. An image is a Pillow image, raw pixels 0..255 as
uint8, or raw pixels scaled to 0..1, which are scaled back. Any other range is refused: transforms
cannot be undone, and the model does the scaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tenfold.data.dataset import ImageDataset
from tenfold.data.files.reading import typed
from tenfold.data.folders.images import image_to_array
from tenfold.errors import DataError, UsageError, counted
from tenfold.listening import Listener
from tenfold.types import LabelArray, PixelArray, WantedShape, as_array, is_tensor

DatasetLike: TypeAlias = Any
"""Any map-style data set of (image, label)."""

_BATCH = 4096
_ITEMS_BETWEEN_LOOKS = 500
_PIXEL_TOLERANCE = 1e-3  # in pixel values 0..255: above float32 rounding, far below interpolation
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})


def class_names(datasets: Sequence[DatasetLike], highest: int) -> tuple[str, ...]:
    """The first `classes` found on one of the data sets, else "0" to `highest`."""
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
    dataset: DatasetLike, where: str, wanted: WantedShape, listener: Listener
) -> tuple[PixelArray, LabelArray]:
    """All items of a map-style data set, read in batches if they are in memory.

    Args:
        dataset: any map-style data set.
        where: its name in messages.
        wanted: target size and channels; applied here only to images read one by one.
        listener: receives progress.

    Raises:
        UsageError: it is not a map-style data set.
        DataError: it is empty, an item is not (image, label), an image is neither raw pixels nor
            scaled ones, or the images differ in shape.
    """
    if isinstance(dataset, ImageDataset):
        return dataset.image_array, dataset.label_array
    items = _Items(dataset, where, wanted, listener)
    items.require_map_style()
    return items.gathered() or items.one_by_one()


@dataclass(frozen=True)
class _Items:
    """A data set being read.

    Attributes:
        dataset: any map-style data set.
        where: its name in messages.
        wanted: target size and channels of images read one by one.
        listener: receives progress.
    """

    dataset: DatasetLike
    where: str
    wanted: WantedShape
    listener: Listener

    def require_map_style(self) -> None:
        dataset = self.dataset
        is_array = hasattr(dataset, "dtype") or isinstance(dataset, dict | list)
        if is_array or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise UsageError(
                f"{self.where}: {typed(dataset)} is not a data set, wanted one with "
                "__len__ and __getitem__ that gives (image, label)",
                remedy="wrap arrays in torch.utils.data.TensorDataset(torch.as_tensor(images), "
                "torch.as_tensor(labels))",
            )
        if len(dataset) == 0:
            raise DataError(f"{self.where}: the data set is empty")

    def gathered(self) -> tuple[PixelArray, LabelArray] | None:
        """Read a data set held in memory, in batches; None if it is not."""
        from tenfold.data.loading.rows import find_rows

        rows = find_rows(self.dataset, pictures=True)
        if rows is None:
            return None
        n, images, labels = len(self.dataset), [], []
        for start in range(0, n, _BATCH):
            stop = min(start + _BATCH, n)
            batch = rows.batch(list(range(start, stop)))
            if batch is None:
                return None
            if len(batch) != 2:
                raise self._wrong(
                    "item", start, f"is {counted(len(batch), 'tensor')}, wanted (image, label)"
                )
            images.append(self._images(batch[0], start))
            labels.append(self._labels(batch[1], start))
            self.listener.reading("reading images", stop, n)
        return np.concatenate(images), np.concatenate(labels)

    def one_by_one(self) -> tuple[PixelArray, LabelArray]:
        """Read item by item, each scaled at once, so that image sizes may differ."""
        n = len(self.dataset)
        first, _ = self._item(0)
        images, labels = np.empty((n, *first.shape), np.uint8), np.empty(n, np.int64)
        for index in range(n):
            pixels, labels[index] = self._item(index)
            if pixels.shape != first.shape:
                shapes = f"{list(pixels.shape)}, the first one {list(first.shape)}"
                raise self._wrong(
                    "image",
                    index,
                    f"has shape {shapes}, as (channels, height, width)",
                    remedy="choose one image size and number of channels",
                )
            images[index] = pixels
            if (index + 1) % _ITEMS_BETWEEN_LOOKS == 0:
                self.listener.reading("reading images", index + 1, n)
        return images, labels

    def _item(self, index: int) -> tuple[UInt8[np.ndarray, "channels height width"], int]:
        """One item: its pixels in the wanted size and channels, and its label."""
        item = self.dataset[index]
        if not isinstance(item, tuple | list) or len(item) != 2:
            found = f"is {typed(item)}, wanted (image, label)"
            raise self._wrong("item", index, found)
        image, label = item
        if isinstance(image, Image.Image):
            own_channels = 1 if image.mode in _GRAY_MODES else 3
            images = image_to_array(image, channels=own_channels, size=None)[None]
        elif is_tensor(image) or isinstance(image, np.ndarray):
            images = self._images(image[None], index)
        else:
            found = f"is {typed(image)}, wanted a Pillow image, a tensor or an array"
            raise self._wrong("image", index, found)
        labels = self._array(label, "label", index)
        labels = self._labels(labels.reshape(1) if labels.size == 1 else labels[None], index)
        return resize_images(images, self.wanted, self.where)[0], int(labels[0])

    def _images(self, values: Any, start: int) -> PixelArray:  # noqa: ANN401
        """Raw pixels, channels first; image 0 has index `start` in messages.

        Images are (n, height, width), (n, channels, height, width) or (n, height, width,
        channels). If both could be meant, tensors are channels-first and arrays channels-last.
        """
        pixels = self._raw_pixels(self._array(values, "image", start), start)
        if pixels.ndim == 3:
            return pixels[:, None]
        if pixels.ndim == 4:
            is_first, is_last = pixels.shape[1] in (1, 3), pixels.shape[3] in (1, 3)
            if is_first and (is_tensor(values) or not is_last):
                return pixels
            if is_last:
                return np.moveaxis(pixels, 3, 1)
        found = f"has shape {list(pixels.shape[1:])}, wanted [height, width] with 1 or 3 channels"
        raise self._wrong("image", start, f"{found} first or last")

    def _raw_pixels(self, pixels: np.ndarray, start: int) -> np.ndarray:
        """Raw pixels unchanged, floats k / 255 as k."""
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype not in (np.float32, np.float64):
            found = f"is {pixels.dtype}, wanted uint8 in 0..255 or float32 in 0..1"
            raise self._wrong("image", start, found)
        scaled = pixels * 255
        nearest = np.rint(scaled)
        wrong = ~(np.abs(scaled - nearest) <= _PIXEL_TOLERANCE) | (nearest < 0) | (nearest > 255)
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0])
            raise self._wrong(
                "image",
                start + int(place[0]),
                f"has the value {float(pixels[place]):.6g}, wanted one of 0/255, 1/255, ... "
                "255/255",
                remedy="pass the data set without transforms that normalize, scale or augment: "
                "here the model does the scaling, and training the augmentation",
            )
        raw: np.ndarray = nearest.astype(np.uint8)
        return raw

    def _labels(self, values: Any, start: int) -> LabelArray:  # noqa: ANN401
        labels = self._array(values, "label", start)
        if labels.dtype.kind not in "iu" or labels.dtype == np.uint64 or labels.ndim != 1:
            is_text = labels.dtype.kind in "US"
            found = "text" if is_text else f"{labels.dtype} of shape {list(labels.shape[1:])}"
            raise self._wrong(
                "label",
                start,
                f"is {found}, wanted one whole number",
                remedy="number the classes from 0",
            )
        return labels.astype(np.int64)

    def _array(self, values: Any, what: str, index: int) -> np.ndarray:  # noqa: ANN401
        try:
            return as_array(values)
        except (UsageError, ValueError) as error:
            raise self._wrong(what, index, f"cannot be read as an array: {error}") from error

    def _wrong(self, what: str, index: int, found: str, *, remedy: str = "") -> DataError:
        return DataError(f"{self.where}: the {what} at index {index} {found}", remedy=remedy)


def resize_images(
    images: PixelArray, wanted: WantedShape, where: str
) -> UInt8[np.ndarray, "n new_channels new_height new_width"]:
    """Convert images to another size or number of channels, by the same rule as image files.

    Raises:
        DataError: the images have neither 1 nor 3 channels.
    """
    size = wanted.size or (images.shape[2], images.shape[3])
    channels = wanted.channels or images.shape[1]
    if (channels, *size) == images.shape[1:]:
        return images
    if images.shape[1] not in (1, 3):
        raise DataError(
            f"{where}: images of {images.shape[1]} channels cannot be scaled or converted, "
            "wanted 1 or 3 channels",
            remedy="convert them to one shape first",
        )
    arrays = [
        image_to_array(
            Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)),
            channels=channels,
            size=size,
            resize=wanted.resize,
            depth=wanted.depth or 16,
        )
        for image in images
    ]
    return np.stack(arrays)
