"""Load a data set from a name, a path or a Python object.

A string is a catalog name if it matches one, in any allowed spelling, even if a folder of that name
exists (a note says so). Everything else is a path. So `mnist` is the catalog's data set, and
`./mnist` or `mnist/` the folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from tenfold.data.catalog.entries import CatalogEntry
from tenfold.data.catalog.locate import named_root
from tenfold.data.catalog.reading import read_known_folder, read_named
from tenfold.data.catalog.table import DATASETS, find
from tenfold.data.checks.brief import checked_before
from tenfold.data.checks.findings import image_name
from tenfold.data.corrections import NO_CORRECTIONS, Corrections, corrected
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.files.npz import read_npz
from tenfold.data.folders.folder import load_image_folder
from tenfold.data.folders.layout import UNSPLIT
from tenfold.data.folders.options import NO_OPTIONS, FolderOptions
from tenfold.data.mistaken import refuse_mistaken
from tenfold.data.objects import DatasetLike, class_names, read_items, resize_images
from tenfold.data.splitting import TooFewImagesError, split_stratified
from tenfold.errors import (
    DataError,
    UsageError,
    counted,
    did_you_mean,
    encodable,
    listing,
    nearest,
    quoted,
)
from tenfold.listening import Listener, Recorder
from tenfold.paths import exists, is_file, is_folder
from tenfold.resizing import DEFAULT_RESIZE, Resize, Size, SizeLike, as_size
from tenfold.storage import absolute, expanded
from tenfold.types import LabeledArrays, WantedShape

USUAL_TEST_FRACTION = 0.2
"""Share of every class that is held out if the source has no test split."""

TEST_SPLIT_SEED = 0
"""Seed for holding out test images if the source has no test split: the same ones in every run."""


FEW_IMAGES = 10
"""Fewer training images of a class are noted."""


@dataclass(frozen=True)
class ReadData:
    """A data set as read, not checked for training.

    Attributes:
        parts: by split; data without splits is `train`.
        notes: what the user should know about the data, one sentence each.
        source: a name or path that can be loaded again, or the type of the object passed in.
        root: the folder of data sets that was searched, given or from `TENFOLD_DATA`.
        has_class_folders: whether each class is a folder, which may be empty.
        depth: of 16-bit gray, the number of bits that count, 8..16; None without such images.
        skipped: why images were left out because they cannot be read, by name.
        corrections: that were applied, by the names that the data has.
    """

    parts: Mapping[str, ImageDataset]
    notes: tuple[str, ...]
    source: str
    root: Path | None = None
    has_class_folders: bool = False
    depth: int | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    corrections: Corrections = NO_CORRECTIONS


@dataclass(frozen=True)
class LoadedData:
    """A data set ready for training.

    Attributes:
        splits: a validation split only if the source has one.
        notes: see `ReadData`.
        source: see `ReadData`.
        root: see `ReadData`.
        depth: see `ReadData`.
        skipped: see `ReadData`.
        has_own_test: whether the source has a test split.
    """

    splits: Splits
    notes: tuple[str, ...]
    source: str
    root: Path | None = None
    depth: int | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    has_own_test: bool = False


def load_splits(
    data: DatasetLike,
    *,
    data_root: Path | None = None,
    image_size: SizeLike | None = None,
    channels: int | None = None,
    resize: Resize = DEFAULT_RESIZE,
    depth: int | None = None,
    options: FolderOptions = NO_OPTIONS,
    corrections: Corrections = NO_CORRECTIONS,
    test_fraction: float = USUAL_TEST_FRACTION,
    duplicates_together: bool = True,
    download: bool = True,
    look_at_pixels: bool = True,
    listener: Listener | None = None,
) -> LoadedData:
    """Read a data set and check that a model can be trained on it.

    Args:
        data: a catalog name; the path of a folder or archive of class folders, of a folder of IDX
            or CIFAR files, or of an `.npz` file; a map-style PyTorch data set of (image, label);
            an `ImageDataset`; a pair (train, test) of data sets; or `Splits`.
        data_root: a folder of known data sets, used instead of `TENFOLD_DATA`.
        image_size: (height, width) to scale images to, one number for a square, or text such as
            `48x64`; by default unchanged, and for class folders a size chosen from the images.
        channels: 1 for gray, 3 for color; by default those of the images.
        resize: how images are brought to a size of other proportions.
        depth: of 16-bit gray, the number of bits that count, 8..16; by default as many as the
            largest value needs.
        options: how the images of a folder or archive are labeled and grouped.
        corrections: images to leave out, and labels to change.
        test_fraction: share of every class to hold out, 0 <= fraction < 1, if the source has no
            test split; 0 for no test split.
        duplicates_together: whether equal images stay together when that share is held out.
        download: whether the network may be used.
        look_at_pixels: whether copies, images of one color and shortcuts are noted.
        listener: receives notes and progress.

    Raises:
        UsageError: the name is unknown, an option is out of range, or the object is not a data set.
        DataError: the data is missing, cannot be read, or cannot be trained on.
    """
    if not 0 <= test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}, wanted 0 <= test_fraction < 1")
    try:
        size = None if image_size is None else as_size(image_size)
    except ValueError as error:
        raise UsageError(f"image_size is {image_size!r}, wanted {error}") from error
    recorder = Recorder(listener or Listener())
    read = read_data(
        data,
        data_root=data_root,
        image_size=size,
        channels=channels,
        resize=resize,
        depth=depth,
        options=options,
        corrections=corrections,
        download=download,
        listener=recorder,
    )
    splits = _training_splits(read, test_fraction, recorder, duplicates_together)
    if look_at_pixels:
        for note in checked_before(list(read.parts.values())):
            recorder.note(note)
    return LoadedData(
        splits,
        tuple(recorder.notes),
        read.source,
        read.root,
        read.depth,
        read.skipped,
        has_own_test="test" in read.parts,
    )


def read_to_show(
    data: DatasetLike,
    *,
    data_root: Path | None = None,
    image_size: Size | None = None,
    resize: Resize = DEFAULT_RESIZE,
    options: FolderOptions = NO_OPTIONS,
    corrections: Corrections = NO_CORRECTIONS,
    download: bool = True,
    listener: Listener | None = None,
) -> ReadData:
    """Read a data set with the splits and notes that training would have.

    If it cannot be trained on, a note says why, and the splits are as read.

    Args:
        data: see `load_splits`.
        data_root: see `load_splits`.
        image_size: see `load_splits`.
        resize: see `load_splits`.
        options: see `load_splits`.
        corrections: see `load_splits`.
        download: see `load_splits`.
        listener: see `load_splits`.

    Raises:
        UsageError: see `read_data`.
        DataError: see `read_data`.
    """
    recorder = Recorder(listener or Listener())
    read = read_data(
        data,
        data_root=data_root,
        image_size=image_size,
        resize=resize,
        options=options,
        corrections=corrections,
        download=download,
        listener=recorder,
    )
    parts, training = read.parts, Recorder(Listener())
    try:
        splits = _training_splits(read, USUAL_TEST_FRACTION, training)
    except DataError as error:
        recorder.note(f"it cannot be trained on: {error}")
    else:
        parts = {part.split: part for part in splits}
        for note in [*training.notes, *checked_before(list(read.parts.values()))]:
            recorder.note(note)
    return replace(read, parts=parts, notes=tuple(recorder.notes))


def read_data(
    data: DatasetLike,
    *,
    data_root: Path | None = None,
    image_size: Size | None = None,
    channels: int | None = None,
    resize: Resize = DEFAULT_RESIZE,
    depth: int | None = None,
    options: FolderOptions = NO_OPTIONS,
    corrections: Corrections = NO_CORRECTIONS,
    download: bool = True,
    listener: Listener | None = None,
) -> ReadData:
    """Read a data set that has at least one image, without checking that it can be trained on.

    Args:
        data: see `load_splits`.
        data_root: see `load_splits`.
        image_size: see `load_splits`.
        channels: see `load_splits`.
        resize: see `load_splits`.
        depth: see `load_splits`.
        options: see `load_splits`.
        corrections: see `load_splits`.
        download: see `load_splits`.
        listener: see `load_splits`.

    Raises:
        UsageError: the name is unknown, an option is out of range, or the object is not a data set.
        DataError: the data is missing or cannot be read.
    """
    wanted = WantedShape(image_size, channels, resize, depth)
    recorder, root, has_class_folders = Recorder(listener or Listener()), None, False
    skipped, gone = dict[str, str](), dict[str, tuple[str, str]]()
    if isinstance(data, str | os.PathLike):
        found = _understand(data, recorder)
        if isinstance(found, CatalogEntry):
            source = found.name
            arrays = read_named(found, data_root=data_root, download=download, listener=recorder)
            root = named_root(data_root) if found.file_sets else None
        else:
            source = str(found)
            known = _read_files(found, recorder)
            has_class_folders = known is None
            if known is None:
                reading = replace(options, deleted=corrections.surely_deleted())
                decoded = load_image_folder(found, wanted, recorder, reading)
                arrays, depth, skipped = decoded.splits, decoded.depth, dict(decoded.skipped)
                gone = dict.fromkeys([*skipped, *options.leave_out], ("", ""))
                for name, (split, label) in decoded.deleted.items():
                    gone[name] = _split_named(split), label
            else:
                arrays = known
        named = {_split_named(name): part for name, part in arrays.items()}
        parts = {
            split: ImageDataset.from_arrays(part, split=split, source=source)
            for split, part in named.items()
        }
    else:
        source = _description(data)
        parts = _read_objects(data, source, wanted, recorder)
    if not has_class_folders and (given := options.given()):
        raise UsageError(
            f"{source}: {given} is only for images in a folder or an archive",
            remedy="leave it out",
        )
    fitted = {name: _fitted(part, wanted, recorder) for name, part in parts.items()}
    if corrections is not NO_CORRECTIONS:
        names = (image_name(part, i) for part in fitted.values() for i in range(len(part)))
        corrections = corrections.for_names([*map(encodable, gone), *names])
    if corrections.new_labels:
        fitted = corrected(fitted, corrections, recorder, gone=gone)
    return ReadData(
        fitted,
        tuple(recorder.notes),
        source,
        root,
        has_class_folders,
        depth,
        skipped,
        corrections,
    )


def _split_named(name: str) -> str:
    """Images without splits are for training."""
    return "train" if name == UNSPLIT else name


# --- names and paths


def _understand(data: str | os.PathLike[str], listener: Listener) -> CatalogEntry | Path:
    text = os.fspath(data)
    path = expanded(text)
    there = text != "" and exists(path)
    if isinstance(data, str) and not _looks_like_a_path(text):
        entry = find(text)
        if entry is not None:
            if there:
                listener.note(
                    f"{text!r} is the catalog's data set; the file or folder of this name here "
                    f"was not read: write './{text}' for it"
                )
            return entry
        if not there:
            alike = nearest(text, _folders_here())
            raise UsageError(
                f"{text!r} is neither the name of a data set nor a folder or file here",
                remedy=did_you_mean(text, [*DATASETS, *([alike] if alike else [])]),
            )
    if not there:
        raise DataError(
            f"{path}: no such folder or file",
            remedy=f"check the path, or use a catalog name: {listing(sorted(DATASETS))}",
        )
    return absolute(path)


def _folders_here() -> list[str]:
    """The names of the folders in the working directory."""
    try:
        here = list(Path().iterdir())
    except OSError:
        return []
    return sorted(path.name for path in here if is_folder(path) and not path.name.startswith("."))


def _looks_like_a_path(text: str) -> bool:
    has_separator = any(sep in text for sep in (os.sep, os.altsep or os.sep, "/"))
    return has_separator or text.startswith((".", "~")) or Path(text).suffix != ""


def _read_files(path: Path, listener: Listener) -> dict[str, LabeledArrays] | None:
    """The splits of an `.npz` file or a folder of IDX or CIFAR files; None for anything else."""
    if path.suffix.lower() == ".npz" and is_file(path):
        return read_npz(path)
    refuse_mistaken(path)
    if is_folder(path):
        return read_known_folder(path, listener=listener)
    if not is_file(path):
        raise DataError(f"{path}: neither a folder nor a regular file", remedy="name one of these")
    return None


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
    data: DatasetLike, source: str, wanted: WantedShape, listener: Listener
) -> dict[str, ImageDataset]:
    if isinstance(data, Splits):
        named = (("train", data.train), ("val", data.val), ("test", data.test))
        return {name: part.renamed(name) for name, part in named if part is not None}
    given = data if isinstance(data, tuple) else (data,)
    if len(given) not in (1, 2):
        raise UsageError(
            f"got a tuple of {len(given)}, wanted a pair (train, test)",
            remedy="pass tenfold.data.Splits if there is a validation split as well",
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


# --- checks that apply to every source


def _fitted(dataset: ImageDataset, wanted: WantedShape, listener: Listener) -> ImageDataset:
    """The data set with its images in the wanted size and channels."""
    where = f"{dataset.source} ({dataset.split})"
    images = resize_images(dataset.image_array, wanted, where)
    if images is dataset.image_array:
        return dataset
    fitted = dataset.with_images(images)
    listener.note(
        f"the {dataset.split} images were converted from {dataset.image_shape} to "
        f"{fitted.image_shape} (channels x height x width)"
    )
    return fitted


def _training_splits(
    read: ReadData, test_fraction: float, listener: Listener, duplicates_together: bool = True
) -> Splits:
    """The splits for training; tells what the user should know before.

    Raises:
        DataError: no model can be trained on them.
    """
    _require_training_images(read)
    splits = _with_test(read.parts, test_fraction, duplicates_together, listener)
    _check(splits, listener)
    return splits


def _require_training_images(read: ReadData) -> None:
    """Refuse empty class folders, a single class, and classes without training images.

    Raises:
        DataError: names every such class.
    """
    source, train = read.source, read.parts.get("train")
    if train is None:
        raise DataError(
            f"{source}: no training images, only {listing(sorted(read.parts))}",
            remedy="add a `train` folder or array with images",
        )
    counts = {name: _counts_by_class(part) for name, part in read.parts.items()}
    present = [name for name, n in counts["train"].items() if n]
    empty = [name for name in train.classes if not any(n.get(name) for n in counts.values())]
    if empty and read.has_class_folders:
        raise DataError(
            f"{source}: class folders have no images: {quoted(empty)}",
            remedy="add images to these folders, or remove them",
        )
    if len(present) < 2:
        folders = "; each class is its own folder" if read.has_class_folders else ""
        raise DataError(
            f"{source}: {_all_of(len(train))} of one class, {present[0]!r}",
            remedy=f"add images of at least one other class{folders}",
        )
    for split, found in counts.items():
        untrained = [name for name, n in found.items() if n and name not in present]
        if untrained:
            those, whose = (
                ("that class", "its") if len(untrained) == 1 else ("those classes", "their")
            )
            raise DataError(
                f"{source}: {split} images of {quoted(untrained)}, "
                f"but no training images of {those}",
                remedy=f"add training images of {those}, or remove {whose} {split} images",
            )


def _all_of(n: int) -> str:
    return "its only training image is" if n == 1 else f"all {n:,} training images are"


def _counts_by_class(part: ImageDataset) -> dict[str, int]:
    return dict(zip(part.classes, part.class_counts().tolist(), strict=True))


def _with_test(
    parts: Mapping[str, ImageDataset],
    fraction: float,
    duplicates_together: bool,
    listener: Listener,
) -> Splits:
    """The splits; a missing test split is held out of the training images."""
    train, val, test = parts["train"], parts.get("val"), parts.get("test")
    if test is None and fraction:
        whole = train
        try:
            train, test = split_stratified(
                whole,
                fraction,
                seed=TEST_SPLIT_SEED,
                name="test",
                duplicates_together=duplicates_together,
            )
        except TooFewImagesError:
            listener.note("there are no test images, and too few others to hold any out")
            return Splits(train, val, None)
        listener.note(
            f"there is no test split: {len(test):,} of the {counted(len(whole), 'image')} "
            f"{'was' if len(test) == 1 else 'were'} held out for testing, the same ones in every "
            f"run{_kept_together(whole)}; --set test=0.1 holds out another share"
        )
    return Splits(train, val, test)


def _kept_together(dataset: ImageDataset) -> str:
    if dataset.groups is None:
        return ""
    return f" ({len(set(dataset.groups)):,} groups, each kept together)"


def _check(splits: Splits, listener: Listener) -> None:
    """Note what the user should know before training."""
    train, *others = splits
    few = {name: n for name, n in _counts_by_class(train).items() if 0 < n < FEW_IMAGES}
    if few:
        named = listing([f"{name!r} ({n})" for name, n in few.items()])
        listener.note(f"few training images, so little can be learned about: {named}")
    for one, other in combinations(splits, 2):
        if divided := sorted(set(one.groups or ()) & set(other.groups or ())):
            listener.note(
                f"{counted(len(divided), 'group')} {'has' if len(divided) == 1 else 'have'} images "
                f"in both {one.split} and {other.split}: {quoted(divided, 5)}"
            )
    unused = [name for name, n in _counts_by_class(train).items() if not n]
    if unused:
        listener.note(f"there are no images of {quoted(unused)}")
    for part in others:
        note_absent_classes(train, part, listener)


def note_absent_classes(train: ImageDataset, part: ImageDataset, listener: Listener) -> None:
    """Note which classes with training images have none in another split."""
    counts = _counts_by_class(part)
    if missing := [name for name, n in _counts_by_class(train).items() if n and not counts[name]]:
        listener.note(f"there are no {part.split} images of {quoted(missing)}")
