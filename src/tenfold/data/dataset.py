"""The in-memory image data set, its fingerprint, and splits."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Int64

from tenfold.data.files.reading import require_matching
from tenfold.errors import DataError, UsageError, counted, quoted
from tenfold.types import (
    ImageShape,
    LabelArray,
    LabeledArrays,
    Originals,
    PixelArray,
    as_array,
    in_memory_order,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import ConcatDataset, Dataset

    from tenfold.tensors import Images, Labels

    MapDataset = Dataset[tuple[Tensor, int]]
    MapDatasets = ConcatDataset[tuple[Tensor, int]]
else:  # PyTorch is imported only when a tensor is needed
    Images = Labels = Tensor = Any
    MapDataset = MapDatasets = object


class ImageDataset(MapDataset):
    """Labeled images of one size, all in memory as one array of raw pixels.

    A map-style PyTorch data set: `dataset[i]` is an image (a uint8 tensor, channels x height x
    width) and its label as an int. `batch` gives whole batches.

    Args:
        images: uint8, 0..255, shape (n, channels, height, width); an array or a tensor. Copied
            only if necessary.
        labels: int64, 0..len(classes)-1, shape (n,); likewise.
        classes: class names, in index order.
        split: which part this is: `train`, `val`, `test`, ...
        source: where the data came from, for display: a catalog name or a path.
        names: where each image came from, one name per image, if known.
        groups: what each image belongs to, one group per image; images of one group, such as
            pictures of one person, are held out together. None if each stands for itself.
        originals: what the files of the images were like; None without files.

    Attributes:
        image_array: the images as a NumPy array.
        label_array: the labels as a NumPy array.

    Raises:
        DataError: no images, a wrong shape or type, counts that differ, a label out of range,
            or duplicate class names.
    """

    def __init__(
        self,
        images: PixelArray | Tensor,
        labels: LabelArray | Tensor,
        classes: Sequence[str],
        *,
        split: str = "train",
        source: str = "memory",
        names: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        originals: Originals | None = None,
    ) -> None:
        self.image_array: PixelArray = in_memory_order(as_array(images))
        self.label_array: LabelArray = in_memory_order(as_array(labels))
        self.classes = tuple(str(name) for name in classes)
        self.split = split
        self.source = source
        self.names = None if names is None else tuple(names)
        self.groups = None if groups is None else tuple(groups)
        self.originals = originals
        _require_sound(self)

    @classmethod
    def from_arrays(cls, arrays: LabeledArrays, *, split: str, source: str) -> ImageDataset:
        """A data set over a reader's arrays."""
        images, labels, classes, names, groups, originals = arrays
        return cls(
            images,
            labels,
            classes,
            split=split,
            source=source,
            names=names,
            groups=groups,
            originals=originals,
        )

    @property
    def arrays(self) -> LabeledArrays:
        """What `from_arrays` takes."""
        return LabeledArrays(
            self.image_array,
            self.label_array,
            self.classes,
            self.names,
            self.groups,
            self.originals,
        )

    @cached_property
    def images(self) -> Images:
        """The images as a tensor over the same memory."""
        import torch

        return torch.from_numpy(self.image_array)

    @cached_property
    def labels(self) -> Labels:
        """The labels as a tensor over the same memory."""
        import torch

        return torch.from_numpy(self.label_array)

    def __len__(self) -> int:
        return len(self.image_array)

    def __getitem__(self, index: SupportsIndex | slice) -> tuple[Tensor, int]:
        if isinstance(index, slice):
            raise UsageError(
                "a data set gives one image at a time, found a slice",
                remedy="select several with select(torch.arange(100))",
            )
        place = operator.index(index)
        return self.images[place], int(self.label_array[place])

    def __add__(self, other: MapDataset) -> MapDatasets:
        """Concatenate, like PyTorch's data sets."""
        from torch.utils.data import ConcatDataset

        return ConcatDataset([self, other])

    def __getstate__(self) -> dict[str, object]:
        """The state without the cached tensors, which are recreated on demand."""
        return {key: v for key, v in vars(self).items() if key not in ("images", "labels")}

    def __repr__(self) -> str:
        return (
            f"ImageDataset({self.source!r}, split={self.split!r}, n={len(self)}, "
            f"shape={self.image_shape}, classes={len(self.classes)})"
        )

    @property
    def image_shape(self) -> ImageShape:
        """Channels, height and width of every image."""
        return ImageShape(*self.image_array.shape[1:])

    def batch(self, indices: Tensor) -> tuple[Images, Labels]:
        """The images and labels at these indices (int64, shape (batch,))."""
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)

    def select(self, indices: LabelArray | Tensor, *, split: str | None = None) -> ImageDataset:
        """A data set of the selected images, in the given order.

        Args:
            indices: image indices, int64, shape (chosen,); or a boolean mask over all images.
            split: the new split name; None keeps the current one.

        Raises:
            UsageError: the indices are not a list of them.
        """
        chosen = np.arange(len(self))[as_array(indices)]
        if chosen.ndim != 1:
            raise UsageError(
                f"the indices of images have the shape {tuple(chosen.shape)}, wanted (n,)",
                remedy="give a list, such as torch.arange(100)",
            )
        arrays = self.arrays.chosen(chosen)
        return ImageDataset.from_arrays(arrays, split=split or self.split, source=self.source)

    def renamed(self, split: str) -> ImageDataset:
        """The same images under another split name."""
        return ImageDataset.from_arrays(self.arrays, split=split, source=self.source)

    def with_images(self, images: PixelArray) -> ImageDataset:
        """The same labels and names with other pixels, of any one size."""
        arrays = self.arrays._replace(images=images)
        return ImageDataset.from_arrays(arrays, split=self.split, source=self.source)

    def with_labels(self, labels: LabelArray, classes: Sequence[str]) -> ImageDataset:
        """The same images and names with other labels."""
        arrays = self.arrays._replace(labels=labels, classes=tuple(classes))
        return ImageDataset.from_arrays(arrays, split=self.split, source=self.source)

    def with_classes(self, classes: tuple[str, ...], whose: str) -> ImageDataset:
        """The same images, labeled with these classes in their order.

        Args:
            classes: among them are those of all images.
            whose: what messages call them, such as `the model's classes`.

        Raises:
            DataError: some images are of other classes.
        """
        if self.classes == classes:
            return self
        known = {name: label for label, name in enumerate(classes)}
        counts = zip(self.classes, self.class_counts().tolist(), strict=True)
        unknown = [name for name, n in counts if n and name not in known]
        if unknown:
            raise DataError(
                f"{self.source}: some images are of {quoted(unknown)}, "
                f"but {whose} are {quoted(classes)}",
                remedy="leave these images out, or give their class one of those names",
            )
        labels = np.array([known.get(name, 0) for name in self.classes])  # 0 where no image is
        return self.with_labels(labels[self.label_array], classes)

    def joined(self, other: ImageDataset) -> ImageDataset:
        """The images of both, which have the same classes and shape, without groups.

        If only one has names, the others are called `train image 0` and so on.
        """
        names = None
        if self.names is not None or other.names is not None:
            names = [
                name
                for part in (self, other)
                for name in part.names
                or [f"{part.split} image {place}" for place in range(len(part))]
            ]
        return ImageDataset(
            np.concatenate([self.image_array, other.image_array]),
            np.concatenate([self.label_array, other.label_array]),
            self.classes,
            split=self.split,
            source=self.source,
            names=names,
        )

    def class_counts(self) -> Int64[np.ndarray, " classes"]:
        """The number of images in each class."""
        return np.bincount(self.label_array, minlength=len(self.classes))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of shape, pixels, labels and class names: equal if and only if the data is."""
        digest = hashlib.sha256()
        digest.update(repr((self.image_array.shape, self.classes)).encode())
        digest.update(self.image_array.data)
        digest.update(self.label_array.data)
        return digest.hexdigest()


def _require_sound(dataset: ImageDataset) -> None:
    images, labels, classes = dataset.image_array, dataset.label_array, dataset.classes
    where = f"{dataset.source} ({dataset.split})"
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(
            f"{where}: images are {_kind(images)} of shape {list(images.shape)}, "
            "wanted uint8 of shape [n, channels, height, width]",
            remedy=_remedy_for_images(images),
        )
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise DataError(
            f"{where}: labels are {_kind(labels)} of shape {list(labels.shape)}, "
            "wanted int64 of shape [n]",
            remedy=_remedy_for_labels(labels),
        )
    if images.size == 0:
        raise DataError(f"{where}: there are no pixels: images have shape {list(images.shape)}")
    require_matching(where, images, labels, classes)
    if len(set(classes)) < len(classes):
        twice = [name for name in dict.fromkeys(classes) if classes.count(name) > 1]
        raise DataError(
            f"{where}: {len(classes)} classes, but more than one is called {quoted(twice)}",
            remedy="give every class its own name",
        )
    formats = None if dataset.originals is None else dataset.originals.formats
    for noun, texts in (("name", dataset.names), ("group", dataset.groups), ("format", formats)):
        if texts is not None and len(texts) != len(images):
            found = f"{counted(len(images), 'image')} but {counted(len(texts), noun)}"
            raise DataError(f"{where}: {found}")


def _kind(array: np.ndarray) -> str:
    return "text" if array.dtype.kind in "US" else str(array.dtype)


def _remedy_for_images(images: np.ndarray) -> str:
    if images.dtype == np.uint8:
        return "pass images[:, None] if they are gray" if images.ndim == 3 else ""
    is_scaled = images.dtype.kind == "f" and images.size and images.min() >= 0 and images.max() <= 1
    if is_scaled:
        return "pass numpy.asarray(255 * images).round().astype('uint8')"
    return "pass raw pixels 0..255 as uint8"


def _remedy_for_labels(labels: np.ndarray) -> str:
    if labels.ndim == 2:
        is_column = labels.shape[1] == 1
        one_hot = "pass labels.argmax(axis=1) if they are one-hot"
        return "pass labels.reshape(-1)" if is_column else one_hot
    if labels.dtype.kind in "iu" and labels.ndim == 1:
        return "pass numpy.asarray(labels).astype('int64')"
    if labels.dtype.kind in "US":
        return "number the classes from 0, and give their names as classes"
    return "number the classes from 0"


@dataclass(frozen=True)
class Splits:
    """The disjoint splits of a data set, with the same classes and image shape.

    Attributes:
        train: what the model is trained on.
        val: what selects the best epoch; None without a validation split.
        test: used once, at the end; None without a test split.
    """

    train: ImageDataset
    val: ImageDataset | None = None
    test: ImageDataset | None = None

    def __post_init__(self) -> None:
        for other in self:
            _require_same_classes(self.train, other)
            if other.image_shape != self.train.image_shape:
                raise DataError(
                    f"{self.train.source}: {self.train.split} has images of "
                    f"{self.train.image_shape}, {other.split} of {other.image_shape}"
                )

    def __iter__(self) -> Iterator[ImageDataset]:
        return (part for part in (self.train, self.val, self.test) if part is not None)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the splits' fingerprints."""
        return fingerprint_of(self)


def fingerprint_of(parts: Iterable[ImageDataset]) -> str:
    """SHA-256 of the fingerprints of splits, which need not fit together."""
    text = "/".join(f"{part.split}:{part.fingerprint}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


def _require_same_classes(train: ImageDataset, other: ImageDataset) -> None:
    wanted, found = train.classes, other.classes
    if found == wanted:
        return
    if sorted(found) == sorted(wanted):
        raise DataError(
            f"{train.source}: the classes of {other.split} are in another order than those of "
            f"{train.split}: found {quoted(found)}, wanted {quoted(wanted)}",
            remedy="use the same class order in all splits",
        )
    missing = quoted(sorted(set(wanted) - set(found))) or "none"
    added = quoted(sorted(set(found) - set(wanted))) or "none"
    raise DataError(
        f"{train.source}: the classes of {train.split} and {other.split} differ: "
        f"only in {train.split}: {missing}; only in {other.split}: {added}",
        remedy="give every split the same class folders, in the same order",
    )
