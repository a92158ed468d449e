"""Class folders of images, in a directory or in an archive, to arrays.

The way of an image, each step in a module of its own:

- `source`: the path becomes a stream of members, never unpacked to the disk.
- `survey`: the first pass reads the images' headers, so that arrays of the right size can be
  allocated. In between the encoded files stay in memory if they are few, and else are read again.
- `layout`: each image's split and class, by the folders that it lies in.
- `decoding`: the second pass makes pixels of the images.
- `cache`: what came of it is kept, and next time it is all that is read.

Hidden files and what desktops leave behind are passed over and noted; whatever else does not fit
is an error that names all it is about.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import PIL

from tenfold.data.folders.cache import Decoded, load_cached, store_cached
from tenfold.data.folders.decoding import decode_images
from tenfold.data.folders.layout import WANTED_LAYOUT, Places, find_places
from tenfold.data.folders.pillow import quiet_pillow
from tenfold.data.folders.source import source_fingerprint
from tenfold.data.folders.survey import Survey, survey_images
from tenfold.errors import LONGEST_WORD, DataError, UsageError, listing
from tenfold.listening import Listener, Recorder
from tenfold.types import ImageShape, LabeledArrays, WantedShape

DEFAULT_LARGEST_SIDE = 64
"""Pixels of the longer side that images keep unless a size is asked for."""

LARGEST_IMAGE_SIDE = 4096
"""Pixels a side of the size that may be asked for."""

DECODING_VERSION = 1
"""To be raised when the same files would give other arrays than before."""


def load_image_folder(
    path: Path, wanted: WantedShape, listener: Listener
) -> dict[str, LabeledArrays]:
    """The same as `read_image_folder`, decoded once and read from the cache afterwards.

    The cache is asked by the source's fingerprint and the wanted shape, so a change of either
    decodes anew. A cache that fails never fails the call; the listener is told what happened.

    Raises:
        DataError: as `read_image_folder`.
        UsageError: as `read_image_folder`.
    """
    fingerprint = source_fingerprint(path)
    found = _from_cache(fingerprint, wanted, listener)
    if found is not None:
        for note in found.notes:
            listener.note(note)
        return found.splits
    recorder = Recorder(listener)
    splits = read_image_folder(path, wanted, recorder)
    if source_fingerprint(path) == fingerprint:
        key = _cache_key(fingerprint, wanted)
        store_cached(key, Decoded(splits, recorder.notes), listener)
    else:
        listener.note("the files changed while they were read, so nothing was cached")
    return splits


def read_image_folder(
    path: Path, wanted: WantedShape, listener: Listener
) -> dict[str, LabeledArrays]:
    """Class folders of images, in a directory or an archive, decoded into memory.

    Args:
        path: the directory or archive.
        wanted: the size and channels of every image. The size is by default the images' own, if
            all have the same of at most `DEFAULT_LARGEST_SIDE`; else a square of the median shorter
            side, of at most that. `tenfold.data.folders.images` says how an image is made to fit.
            The channels are by default 1 if every image is gray, else 3.
        listener: is told of progress, and what a person should know about how it was read.

    Returns:
        `train`, `val`, `test`, those that there are; or `all` without split folders.

    Raises:
        DataError: the path or the archive cannot be read, the layout is none, classes are empty
            or differ among splits, images are damaged (all are named), or it is too much data.
        UsageError: the wanted size or number of channels is out of range.
    """
    _require_in_range(wanted)
    with quiet_pillow():
        survey = survey_images(path, listener)
        places = _places(path, survey)
        height, width = wanted.size or _default_size(survey)
        depth = wanted.channels or (1 if all(image.is_gray for image in survey.images) else 3)
        shape = ImageShape(depth, height, width)
        splits = decode_images(path, survey, places, shape, listener)
    _tell(survey, shape, listener)
    return splits


def _require_in_range(wanted: WantedShape) -> None:
    size, channels = wanted
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is {channels}, wanted 1 for gray or 3 for color")
    if size is not None and not all(1 <= side <= LARGEST_IMAGE_SIDE for side in size):
        raise UsageError(
            f"the image size is {_by(size)}, wanted 1..{LARGEST_IMAGE_SIDE} pixels a side"
        )


def _places(path: Path, survey: Survey) -> Places:
    if not survey.images:
        others = [*survey.not_images, *survey.hidden, *survey.not_followed]
        raise DataError(
            f"{path}: there are no images in it, {listing(others, 5) or 'nothing'} was found",
            remedy=WANTED_LAYOUT,
        )
    return find_places(path, [image.parts for image in survey.images], survey.folders)


def _default_size(survey: Survey) -> tuple[int, int]:
    # Where no header can be read any size will do: all images will be refused as damaged.
    sizes = survey.sizes() or [(1, 1)]
    if len(set(sizes)) == 1 and max(sizes[0]) <= DEFAULT_LARGEST_SIDE:
        return sizes[0]
    side = min(int(median(min(size) for size in sizes)), DEFAULT_LARGEST_SIDE)
    return side, side


def _tell(survey: Survey, shape: ImageShape, listener: Listener) -> None:
    """Note what a person should know about how the images were read."""
    channels, size = shape.channels, shape[1:]
    sizes = sorted(set(survey.sizes()))
    if sizes != [size]:
        known = (
            f"images are {_by(sizes[0])}"
            if len(sizes) == 1
            else f"images have {len(sizes):,} sizes from {_by(sizes[0])} to {_by(sizes[-1])}"
        )
        listener.note(f"{known}, scaled and cropped to {_by(size)} (height x width)")
    count = len(survey.images)
    gray = sum(image.is_gray for image in survey.images)
    if channels == 3 and gray:
        listener.note(f"{gray:,} of {count:,} images are gray, read as color")
    if channels == 1 and gray < count:
        listener.note(f"{count - gray:,} of {count:,} images are in color, read as gray")
    for what, names in (
        ("passed over as hidden", survey.hidden),
        ("passed over, not images by their names", survey.not_images),
        ("passed over, links and the like in the archive", survey.not_followed),
    ):
        if names:
            # A name in an archive may have millions of characters, and notes are stored.
            shown = listing([name[:LONGEST_WORD] for name in sorted(names)], 5)
            listener.note(f"{what} ({len(names):,}): {shown}")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _from_cache(fingerprint: str, wanted: WantedShape, listener: Listener) -> Decoded | None:
    """What was decoded to this shape, or without one if that came to the same."""
    for asked in dict.fromkeys([wanted, WantedShape()]):
        found = load_cached(_cache_key(fingerprint, asked), listener)
        if found is not None:
            _, channels, *size = next(iter(found.splits.values())).images.shape
            if wanted.size in (None, tuple(size)) and wanted.channels in (None, channels):
                return found
    return None


def _cache_key(fingerprint: str, asked: WantedShape) -> str:
    return json.dumps([DECODING_VERSION, PIL.__version__, fingerprint, *asked])
