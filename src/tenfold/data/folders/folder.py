"""Class folders of images, in a directory or in an archive, to arrays.

`tenfold.data.folders.layout` says which folders are meant. Images are sorted by split, class and
name. Hidden files and what desktops leave behind are passed over and noted; whatever else does not
fit is an error that names all it is about.

An archive is read as a stream and never unpacked to the disk. The images' headers are read first,
so that arrays of the right size can be allocated; then the images are decoded into them. In
between the encoded files are kept in memory if they are few, and else read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import PIL

from tenfold.data.files.reading import LARGEST_ARRAY
from tenfold.data.folders.cache import load_cached, store_cached
from tenfold.data.folders.decoding import decode
from tenfold.data.folders.images import quiet_pillow
from tenfold.data.folders.layout import SPLITS, UNSPLIT, WANTED_LAYOUT, Places, find_places
from tenfold.data.folders.members import sizes_and_times
from tenfold.data.folders.survey import Progress, Survey, survey_images
from tenfold.errors import DataError, UsageError, listing, printable
from tenfold.types import LabelledArrays, PixelArray

DEFAULT_LARGEST_SIDE = 64
"""Pixels of the longer side that images keep unless a size is asked for."""

LARGEST_IMAGE_SIDE = 4096
"""Pixels a side of the size that may be asked for."""

DECODING_VERSION = 1
"""To be raised when the same files would give other arrays than before."""


@dataclass(frozen=True)
class FolderContents:
    """What was read from class folders.

    Attributes:
        splits: `train`, `val`, `test`, those that there are; or `all` without split folders.
        notes: what a person should know about how it was read.
        image_size: (height, width) of every image.
        channels: 1 for grey, 3 for colour.
    """

    splits: dict[str, LabelledArrays]
    notes: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int


def read_image_folder(
    path: Path,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Progress | None = None,
) -> FolderContents:
    """Class folders of images, in a directory or an archive, decoded into memory.

    Args:
        path: the directory or archive.
        image_size: (height, width) of every image. By default the images' own, if all have the
            same of at most `DEFAULT_LARGEST_SIDE`; else a square of the median shorter side, of at
            most that. `tenfold.data.folders.images` says how an image is made to fit.
        channels: 1 or 3; by default 1 if every image is grey, else 3.
        progress: called with the images done and their number, which is 0 while they are counted.

    Raises:
        DataError: the path or the archive cannot be read, the layout is none, classes are empty
            or differ among splits, images are damaged (all are named), or it is too much data.
        UsageError: `image_size` or `channels` is out of range.
    """
    _require_options(image_size, channels)
    with quiet_pillow():
        survey = survey_images(path, progress)
        places = _places(path, survey)
        size = image_size or _default_size(survey)
        depth = channels or (1 if all(image.is_grey for image in survey.sound()) else 3)
        splits, targets = _allocate(path, survey, places, size, depth)
        damaged = [*survey.damaged, *decode(path, survey, targets, size, depth, progress)]
    if damaged:
        raise _damaged_images(path, damaged, len(survey.images))
    return FolderContents(splits, _notes(survey, size, depth), size, depth)


def load_image_folder(
    path: Path,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Progress | None = None,
    use_cache: bool = True,
) -> FolderContents:
    """The same as `read_image_folder`, decoded once and read from the cache afterwards.

    The cache is asked by the source's fingerprint and the options, so a change of either decodes
    anew. A cache that fails never fails the call; the notes say what happened.

    Raises:
        DataError: as `read_image_folder`.
        UsageError: as `read_image_folder`.
    """
    _require_options(image_size, channels)
    if not use_cache:
        return read_image_folder(path, image_size=image_size, channels=channels, progress=progress)
    fingerprint = source_fingerprint(path)
    found, notes = _ask_cache(fingerprint, image_size, channels)
    if found is not None:
        return found
    contents = read_image_folder(path, image_size=image_size, channels=channels, progress=progress)
    if source_fingerprint(path) == fingerprint:
        key = _cache_key(fingerprint, image_size, channels)
        header = {
            "notes": contents.notes,
            "image_size": contents.image_size,
            "channels": contents.channels,
        }
        notes.append(store_cached(key, contents.splits, header))
    else:
        notes.append("the files changed while they were read, so nothing was cached")
    return FolderContents(
        contents.splits,
        (*contents.notes, *filter(None, notes)),
        contents.image_size,
        contents.channels,
    )


def source_fingerprint(path: Path) -> str:
    """A digest that changes when the data at this path does.

    For an archive it is the SHA-256 of its bytes; for a directory one over the sorted names,
    sizes and times of change of all files in it, which does not read them.

    Raises:
        DataError: there is nothing at the path, or it cannot be read.
    """
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DataError(f"{path}: the folder or archive cannot be read: {reason}") from error
    digest = hashlib.sha256(b"directory")
    for entry in sizes_and_times(path):
        digest.update(repr(entry).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _require_options(image_size: tuple[int, int] | None, channels: int | None) -> None:
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is {channels}, wanted 1 for grey or 3 for colour")
    if image_size is not None and not all(1 <= side <= LARGEST_IMAGE_SIDE for side in image_size):
        raise UsageError(
            f"the image size is {image_size[0]}x{image_size[1]}, "
            f"wanted 1..{LARGEST_IMAGE_SIDE} pixels a side"
        )


def _damaged_images(path: Path, damaged: list[str], total: int) -> DataError:
    return DataError(
        f"{path}: {len(damaged):,} of {total:,} images cannot be read: {listing(damaged)}",
        remedy="replace or remove them",
    )


def _places(path: Path, survey: Survey) -> Places:
    if not survey.images:
        others = [*survey.not_images, *survey.hidden, *survey.not_followed]
        found = listing([printable(name) for name in others], 5) or "nothing"
        raise DataError(
            f"{path}: there are no images in it, {found} was found",
            remedy=WANTED_LAYOUT,
        )
    return find_places(path, [image.parts for image in survey.images], survey.folders)


def _default_size(survey: Survey) -> tuple[int, int]:
    sizes = {image.size for image in survey.images if image.size is not None}
    if len(sizes) == 1:
        (size,) = sizes
        if max(size) <= DEFAULT_LARGEST_SIDE:
            return size
    shorter = [min(image.size) for image in survey.images if image.size is not None]
    side = min(int(median(shorter)), DEFAULT_LARGEST_SIDE) if shorter else 1
    return side, side


def _allocate(
    path: Path, survey: Survey, places: Places, size: tuple[int, int], channels: int
) -> tuple[dict[str, LabelledArrays], list[PixelArray]]:
    """The splits with pixels yet to be filled in, and for every image the place of its pixels."""
    _require_room(path, len(survey.images), size, channels)
    label_of = {name: label for label, name in enumerate(places.classes)}
    members: dict[str, list[int]] = {split: [] for split in (*SPLITS.values(), UNSPLIT)}
    for index, (split, _) in enumerate(places.of_image):
        members[split].append(index)
    splits = {}
    targets: dict[int, PixelArray] = {}
    for split, indices in members.items():
        if not indices:
            continue
        indices.sort(key=lambda index: (places.of_image[index][1], survey.images[index].parts))
        images = np.empty((len(indices), channels, *size), dtype=np.uint8)
        labels = np.array([label_of[places.of_image[index][1]] for index in indices], np.int64)
        names = tuple(survey.images[index].name for index in indices)
        splits[split] = LabelledArrays(images, labels, places.classes, names)
        targets.update((index, images[row : row + 1]) for row, index in enumerate(indices))
    return splits, [targets[index] for index in range(len(survey.images))]


def _require_room(path: Path, count: int, size: tuple[int, int], channels: int) -> None:
    room = count * channels * size[0] * size[1]
    if room > LARGEST_ARRAY:
        raise DataError(
            f"{path}: {count:,} images of {channels}x{size[0]}x{size[1]} need "
            f"{room:,} bytes, over the limit of {LARGEST_ARRAY:,}",
            remedy="choose a smaller image size",
        )


def _notes(survey: Survey, size: tuple[int, int], channels: int) -> tuple[str, ...]:
    """What a person should know about how the images were read."""
    notes = []
    sizes = sorted({image.size for image in survey.images if image.size is not None})
    if sizes != [size]:
        known = (
            f"images are {_by(sizes[0])}"
            if len(sizes) == 1
            else f"images have {len(sizes):,} sizes from {_by(sizes[0])} to {_by(sizes[-1])}"
        )
        notes.append(f"{known}, scaled and cropped to {_by(size)} (height x width)")
    grey = sum(image.is_grey for image in survey.images)
    if channels == 3 and grey:
        notes.append(f"{grey:,} of {len(survey.images):,} images are grey, read as colour")
    if channels == 1 and grey < len(survey.images):
        colour = len(survey.images) - grey
        notes.append(f"{colour:,} of {len(survey.images):,} images are in colour, read as grey")
    for what, names in (
        ("passed over as hidden", survey.hidden),
        ("passed over, not images by their names", survey.not_images),
        ("passed over, links and the like in the archive", survey.not_followed),
    ):
        if names:
            shown = listing([printable(name) for name in sorted(names)], 5)
            notes.append(f"{what} ({len(names):,}): {shown}")
    return tuple(notes)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _cache_key(fingerprint: str, image_size: tuple[int, int] | None, channels: int | None) -> str:
    return json.dumps([DECODING_VERSION, PIL.__version__, fingerprint, image_size, channels])


def _ask_cache(
    fingerprint: str, image_size: tuple[int, int] | None, channels: int | None
) -> tuple[FolderContents | None, list[str]]:
    """What was decoded with these options, and what there is to say about the cache.

    What was decoded with default options will do if they came to the same.
    """
    notes = []
    for options in dict.fromkeys([(image_size, channels), (None, None)]):
        cached = load_cached(_cache_key(fingerprint, *options))
        notes.append(cached.note)
        contents = None if cached.splits is None else _from_cache(cached.splits, cached.header)
        if (
            contents is not None
            and image_size in (None, contents.image_size)
            and channels in (None, contents.channels)
        ):
            return contents, []
    return None, notes


def _from_cache(
    splits: dict[str, LabelledArrays], header: Mapping[str, object]
) -> FolderContents | None:
    """The contents as they were stored; None if the header is not what this module stores."""
    match header:
        case {
            "notes": [*notes],
            "image_size": [int() as height, int() as width],
            "channels": int() as channels,
        }:
            return FolderContents(
                splits, tuple(str(note) for note in notes), (height, width), channels
            )
        case _:
            return None
