"""Whatever a person names or hands over, as the splits of one image data set.

How a text is understood: a name of the catalog, in any spelling that it allows, is that data set,
also where a folder of this name exists (which is then noted). Everything else is a path. So `mnist`
is the catalog's, and `./mnist` or `mnist/` the folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.data.catalog.entries import CatalogEntry
from tenfold.data.catalog.locate import named_root
from tenfold.data.catalog.reading import read_known_folder, read_named
from tenfold.data.catalog.table import DATASETS, find
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.files.npz import read_npz
from tenfold.data.folders.folder import load_image_folder
from tenfold.data.objects import HandedOver, class_names, read_items, resize_images
from tenfold.data.splitting import split_stratified
from tenfold.errors import DataError, UsageError, did_you_mean, listing
from tenfold.listening import Listener, Recorder
from tenfold.types import LabeledArrays, WantedShape

TEST_SPLIT_SEED = 0
"""What chooses the test images of a source without a test split: the same ones in every run."""


@dataclass(frozen=True)
class LoadedData:
    """A data set that was read and checked.

    Attributes:
        splits: a validation split only if the source has one.
        notes: what a person should know about the data, one sentence each.
        source: what it was made of, for people; a name or path that can be opened again, or what
            kind of object was handed over.
        root: the folder of data sets that was looked into, given or named by `TENFOLD_DATA`.
    """

    splits: Splits
    notes: tuple[str, ...]
    source: str
    root: Path | None = None


def load_splits(
    data: HandedOver,
    *,
    data_root: Path | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    download: bool = True,
    listener: Listener | None = None,
) -> LoadedData:
    """Read a data set from wherever it is, and check what can be checked before training.

    Args:
        data: a name of the catalog; the path of a folder or archive of class folders, of a
            folder of IDX or CIFAR files, or of an `.npz`; a map-style PyTorch data set of
            (image, label); an `ImageDataset`; a pair (train, test) of data sets; or `Splits`.
        data_root: a folder of known data sets, before the one that `TENFOLD_DATA` names.
        image_size: (height, width) that images are scaled to; by default they are left as they
            are, or as the reader of folders decides.
        channels: 1 for gray, 3 for color; by default what the images have.
        test_fraction: how much of every class is held out, 0 <= fraction < 1, if the source has no
            test split; 0 for no test split.
        download: whether the network may be used.
        listener: told what a person should know, and how far long reading has come.

    Raises:
        UsageError: the name is unknown, an option is out of range, or the object is no data set.
        DataError: the data is not there, cannot be read, or cannot be trained on.
    """
    if not 0 <= test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}, wanted 0 <= test_fraction < 1")
    wanted = WantedShape(image_size, channels)
    recorder, root = Recorder(listener or Listener()), None
    if isinstance(data, str | os.PathLike):
        found = _understand(data, recorder)
        if isinstance(found, CatalogEntry):
            source = found.name
            arrays = read_named(found, data_root=data_root, download=download, listener=recorder)
            root = named_root(data_root) if found.file_sets else None
        else:
            source = str(found)
            arrays = _read_path(found, wanted, recorder)
        parts = _data_sets(arrays, source)
    else:
        source = _description(data)
        parts = _read_objects(data, source, wanted, recorder)
    fitted = {name: _fitted(part, wanted, recorder) for name, part in parts.items()}
    splits = _with_test(fitted, test_fraction, recorder)
    _check(splits, recorder)
    return LoadedData(splits, tuple(recorder.notes), source, root)


# --- names and paths


def _understand(data: str | os.PathLike[str], listener: Listener) -> CatalogEntry | Path:
    text = os.fspath(data)
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's raises for an unknown user)
    there = text != "" and os.path.exists(path)  # noqa: PTH110 (Path's raises for a long name)
    if isinstance(data, str) and not _looks_like_a_path(text):
        entry = find(text)
        if entry is not None:
            if there:
                listener.note(
                    f"{text!r} is the data set of the catalog; what has this name in "
                    f"the current folder was not read: write './{text}' for it"
                )
            return entry
        if not there:
            raise UsageError(
                f"{text!r} is neither the name of a data set nor a folder or file here",
                remedy=did_you_mean(text.casefold(), DATASETS),
            )
    if not there:
        raise DataError(
            f"{path}: there is no such folder or file",
            remedy=f"check the path, or name one of the catalog: {listing(sorted(DATASETS))}",
        )
    return path.absolute()


def _looks_like_a_path(text: str) -> bool:
    has_separator = any(sep in text for sep in (os.sep, os.altsep or os.sep, "/"))
    return has_separator or text.startswith((".", "~")) or Path(text).suffix != ""


def _read_path(path: Path, wanted: WantedShape, listener: Listener) -> dict[str, LabeledArrays]:
    """By split: an `.npz` file, a folder of IDX or CIFAR files, or class folders of images."""
    if path.suffix.lower() == ".npz" and path.is_file():
        return read_npz(path)
    if path.is_dir():
        known = read_known_folder(path, listener=listener)
        if known is not None:
            return known
    elif not path.is_file():
        raise DataError(
            f"{path}: this is neither a folder nor a regular file", remedy="name one of these"
        )
    return load_image_folder(path, wanted, listener)


def _data_sets(arrays: Mapping[str, LabeledArrays], source: str) -> dict[str, ImageDataset]:
    """By split; what is not split is `train`."""
    if "all" in arrays:
        arrays = {"train": arrays["all"]}
    if "train" not in arrays:
        raise DataError(
            f"{source}: there is no training split, only {listing(sorted(arrays))}",
            remedy="add a `train` folder or array",
        )
    return {
        split: ImageDataset.from_arrays(part, split=split, source=source)
        for split, part in arrays.items()
    }


# --- objects from Python


def _description(data: object) -> str:
    if isinstance(data, ImageDataset):
        return data.source
    if isinstance(data, Splits):
        return data.train.source
    if isinstance(data, tuple) and data:
        return _description(data[0])
    return f"{type(data).__name__} from Python"


def _read_objects(
    data: HandedOver, source: str, wanted: WantedShape, listener: Listener
) -> dict[str, ImageDataset]:
    if isinstance(data, Splits):
        named = (("train", data.train), ("val", data.val), ("test", data.test))
        return {name: part.renamed(name) for name, part in named if part is not None}
    given = data if isinstance(data, tuple) else (data,)
    if len(given) not in (1, 2):
        raise UsageError(
            f"a tuple of {len(given)} was handed over, wanted the pair (train, test)",
            remedy="hand over tenfold.data.Splits if there is a validation split as well",
        )
    splits = dict(zip(("train", "test"), given, strict=False))
    arrays = {
        split: read_items(part, f"{source} ({split})", wanted, listener)
        for split, part in splits.items()
    }
    classes = class_names(given, max(int(labels.max()) for _, labels in arrays.values()))
    return {
        split: part.renamed(split)
        if isinstance(part, ImageDataset)
        else ImageDataset(*arrays[split], classes, split=split, source=source)
        for split, part in splits.items()
    }


# --- checks and what holds for every source


def _fitted(dataset: ImageDataset, wanted: WantedShape, listener: Listener) -> ImageDataset:
    """The data set with images of the wanted size and channels."""
    where = f"{dataset.source} ({dataset.split})"
    images = resize_images(dataset.image_array, wanted, where)
    if images is dataset.image_array:
        return dataset
    fitted = dataset.with_images(images)
    listener.note(
        f"the {dataset.split} images were changed from {dataset.image_shape} to "
        f"{fitted.image_shape}, as (channels x height x width)"
    )
    return fitted


def _with_test(parts: Mapping[str, ImageDataset], fraction: float, listener: Listener) -> Splits:
    """The splits, with a test split held out of the training images if there was none."""
    train, val, test = parts["train"], parts.get("val"), parts.get("test")
    if test is None and fraction:
        whole = train
        train, test = split_stratified(whole, fraction, seed=TEST_SPLIT_SEED, name="test")
        listener.note(
            f"there is no test split: {len(test):,} of the {len(whole):,} images were held out as "
            "one, the same in every run"
        )
    return Splits(train, val, test)


def _check(splits: Splits, listener: Listener) -> None:
    """Refuse what cannot be trained on, and note what a person should know."""
    train, *others = splits
    has_images = np.array([part.class_counts() > 0 for part in splits])
    present, elsewhere = has_images[0], has_images[1:].any(axis=0)
    if present.sum() < 2:
        raise DataError(
            f"{train.source}: all {len(train):,} training images are of one class, "
            f"{train.classes[present.argmax()]!r}",
            remedy="add images of at least one other class",
        )
    untrained = [train.classes[i] for i in np.flatnonzero(elsewhere & ~present)]
    if untrained:
        raise DataError(
            f"{train.source}: there are no training images of {listing(untrained)}, but others are",
            remedy="add training images of them, or remove the others",
        )
    unused = [train.classes[i] for i in np.flatnonzero(~elsewhere & ~present)]
    if unused:
        listener.note(f"there are no images of {listing(unused)}")
    for part in others:
        shared = shared_images(train, part)
        if shared:
            listener.note(
                f"{shared:,} of the {len(part):,} {part.split} images are also in the training "
                "images, pixel for pixel"
            )


def shared_images(train: ImageDataset, other: ImageDataset) -> int:
    """How many images of `other` are also in `train`, equal in every pixel."""
    if train.image_shape != other.image_shape:
        return 0
    rows = [row.tobytes() for row in other.image_array]
    wanted = set(rows)
    found = {row for image in train.image_array if (row := image.tobytes()) in wanted}
    return sum(row in found for row in rows)
