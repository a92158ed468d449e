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

import torch

from tenfold.data.catalog.entries import CatalogEntry
from tenfold.data.catalog.reading import read_known_folder, read_named
from tenfold.data.catalog.table import DATASETS, find
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.files.npz import read_npz
from tenfold.data.folders.folder import load_image_folder
from tenfold.data.objects import HandedOver, Progress, class_names, read_items, resize_images
from tenfold.data.splitting import split_stratified
from tenfold.errors import DataError, UsageError, did_you_mean, listing, printable
from tenfold.listening import Listener, Recorder
from tenfold.types import LabelledArrays

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
    """

    splits: Splits
    notes: tuple[str, ...]
    source: str


def load_splits(
    data: HandedOver,
    *,
    data_root: Path | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    download: bool = True,
    progress: Progress | None = None,
) -> LoadedData:
    """Read a data set from wherever it is, and check what can be checked before training.

    Args:
        data: a name of the catalogue; the path of a folder or archive of class folders, of a
            folder of IDX or CIFAR files, or of an `.npz`; a map-style PyTorch data set of
            (image, label); an `ImageDataset`; a pair (train, test) of data sets; or `Splits`.
        data_root: see `tenfold.data.catalog.locate`.
        image_size: (height, width) that images are scaled to; by default they are left as they
            are, or as the reader of folders decides.
        channels: 1 for grey, 3 for colour; by default what the images have.
        test_fraction: how much of every class is held out, 0 <= fraction < 1, if the source has no
            test split; 0 for no test split.
        download: whether the network may be used.
        progress: called while files come in or images are read.

    Raises:
        UsageError: the name is unknown, an option is out of range, or the object is no data set.
        DataError: the data is not there, cannot be read, or cannot be trained on.
    """
    if not 0 <= test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}, wanted 0 <= test_fraction < 1")
    notes: list[str] = []
    if isinstance(data, str | os.PathLike):
        named = _understand(data, notes)
        if isinstance(named, CatalogEntry):
            source = named.name
            listener = Recorder(_ReadingListener(progress))
            arrays = read_named(named, data_root=data_root, download=download, listener=listener)
            splits = _data_sets(arrays, source)
            notes.extend(listener.notes)
        else:
            source = str(named)
            splits = _read_path(named, image_size, channels, progress, notes)
    else:
        source = _description(data)
        splits = _read_objects(data, source, image_size, channels, progress)
    parts = {name: _fitted(part, image_size, channels, notes) for name, part in splits.items()}
    parts = _with_test(parts, test_fraction, notes)
    whole = Splits(parts["train"], parts.get("val"), parts.get("test"))
    _check(whole, notes)
    return LoadedData(whole, tuple(notes), source)


def shared_images(train: ImageDataset, other: ImageDataset) -> int:
    """How many images of `other` are also in `train`, equal in every pixel."""
    if train.image_shape != other.image_shape:
        return 0
    rows = [row.tobytes() for row in other.images.cpu().numpy()]
    wanted = set(rows)
    found = {row for image in train.images.cpu().numpy() if (row := image.tobytes()) in wanted}
    return sum(row in found for row in rows)


# --- names and paths


def _understand(data: str | os.PathLike[str], notes: list[str]) -> CatalogEntry | Path:
    text = os.fspath(data)
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's raises for an unknown user)
    there = text != "" and _is_there(path)
    if isinstance(data, str) and not _looks_like_a_path(text):
        entry = find(text)
        if entry is not None:
            if there:
                notes.append(
                    f"{text!r} is the data set of the catalogue; what has this name in "
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
            remedy="check the path, or name a data set of the catalogue: "
            + ", ".join(sorted(DATASETS)),
        )
    return path.absolute()


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name, or a folder that may not be looked into
        return False


def _looks_like_a_path(text: str) -> bool:
    has_separator = any(sep in text for sep in (os.sep, os.altsep or os.sep, "/"))
    return has_separator or text.startswith((".", "~")) or Path(text).suffix != ""


class _ReadingListener(Listener):
    """Hands progress on to a callable."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def reading(self, what: str, done: int, total: int | None) -> None:
        """Hand it on."""
        if self._progress is not None:
            self._progress(what, done, total)


def _read_path(
    path: Path,
    image_size: tuple[int, int] | None,
    channels: int | None,
    progress: Progress | None,
    notes: list[str],
) -> dict[str, ImageDataset]:
    if path.suffix.lower() == ".npz" and path.is_file():
        return _data_sets(read_npz(path), str(path))
    if path.is_dir():
        listener = Recorder(Listener())
        known = read_known_folder(path, listener=listener)
        notes.extend(listener.notes)
        if known is not None:
            return _data_sets(known, str(path))
    contents = load_image_folder(
        path,
        image_size=image_size,
        channels=channels,
        progress=None if progress is None else lambda done, total: progress("images", done, total),
    )
    notes.extend(contents.notes)
    return _data_sets(contents.splits, str(path))


def _data_sets(arrays: Mapping[str, LabelledArrays], source: str) -> dict[str, ImageDataset]:
    """By split; what is not split is `train`."""
    if "train" not in arrays and "all" not in arrays:
        raise DataError(
            f"{source}: there is no training split, only {listing(sorted(arrays))}",
            remedy="add a `train` folder or array",
        )
    names = {split: "train" if split == "all" else split for split in arrays}
    return {
        names[split]: ImageDataset.from_arrays(part, split=names[split], source=source)
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
    data: HandedOver,
    source: str,
    image_size: tuple[int, int] | None,
    channels: int | None,
    progress: Progress | None,
) -> dict[str, ImageDataset]:
    if isinstance(data, Splits):
        return {part.split: part for part in _named_parts(data)}
    given = data if isinstance(data, tuple) else (data,)
    if len(given) not in (1, 2):
        raise UsageError(
            f"a tuple of {len(given)} was handed over, wanted the pair (train, test)",
            remedy="hand over tenfold.data.Splits if there is a validation split as well",
        )
    raw = {
        split: part
        if isinstance(part, ImageDataset)
        else read_items(part, f"{source} ({split})", image_size, channels, progress)
        for split, part in zip(("train", "test"), given, strict=False)
    }
    labels = [part.labels if isinstance(part, ImageDataset) else part[1] for part in raw.values()]
    classes = class_names(given, labels)
    return {
        split: part.renamed(split)
        if isinstance(part, ImageDataset)
        else ImageDataset(*part, classes, split=split, source=source)
        for split, part in raw.items()
    }


def _named_parts(splits: Splits) -> list[ImageDataset]:
    named = (("train", splits.train), ("val", splits.val), ("test", splits.test))
    return [part.renamed(name) for name, part in named if part is not None]


# --- checks and what holds for every source


def _fitted(
    dataset: ImageDataset,
    image_size: tuple[int, int] | None,
    channels: int | None,
    notes: list[str],
) -> ImageDataset:
    """The data set with images of the wanted size and channels."""
    images = resize_images(dataset.images, image_size, channels)
    if images is dataset.images:
        return dataset
    fitted = ImageDataset(
        images,
        dataset.labels,
        dataset.classes,
        split=dataset.split,
        source=dataset.source,
        names=dataset.names,
    )
    notes.append(
        f"the {dataset.split} images were changed from {dataset.image_shape} to "
        f"{fitted.image_shape}, as (channels x height x width)"
    )
    return fitted


def _with_test(
    parts: dict[str, ImageDataset], fraction: float, notes: list[str]
) -> dict[str, ImageDataset]:
    """The parts with a test split, held out of the training split if there was none."""
    if "test" in parts:
        return parts
    if fraction == 0:
        notes.append("there are no test images")
        return parts
    whole = parts["train"]
    train, test = split_stratified(whole, fraction, seed=TEST_SPLIT_SEED, name="test")
    notes.append(
        f"there is no test split: {len(test):,} of the {len(whole):,} images were held out as one, "
        "the same in every run"
    )
    return {**parts, "train": train, "test": test}


def _check(splits: Splits, notes: list[str]) -> None:
    """Refuse what cannot be trained on, and note what a person should know."""
    train = splits.train
    where, names = printable(train.source), train.classes
    present = train.class_counts() > 0
    if int(present.sum()) < 2:
        only = printable(names[int(present.nonzero()[0])])
        raise DataError(
            f"{where}: all {len(train):,} training images are of one class, {only!r}",
            remedy="add images of at least one other class",
        )
    elsewhere = torch.zeros_like(present)
    for part in (splits.val, splits.test):
        if part is not None:
            elsewhere |= part.class_counts() > 0
    untrained = [printable(names[i]) for i in (elsewhere & ~present).nonzero().flatten().tolist()]
    if untrained:
        raise DataError(
            f"{where}: there are no training images of {listing(untrained)}, but others are",
            remedy="add training images of them, or remove the others",
        )
    unused = [printable(names[i]) for i in (~elsewhere & ~present).nonzero().flatten().tolist()]
    if unused:
        notes.append(f"there are no images of {listing(unused)}")
    notes.extend(
        f"{shared:,} of the {len(part):,} {part.split} images are also in the training images, "
        "pixel for pixel"
        for part in (splits.val, splits.test)
        if part is not None and (shared := shared_images(train, part)) > 0
    )
