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
from tenfold.types import ImageShape, LabeledArrays

DEFAULT_LARGEST_SIDE = 64
"""Pixels of the longer side that images keep unless a size is asked for."""

LARGEST_IMAGE_SIDE = 4096
"""Pixels a side of the size that may be asked for."""

DECODING_VERSION = 1
"""To be raised when the same files would give other arrays than before."""

_Options = tuple[tuple[int, int] | None, int | None]
"""The size and the channels that are asked for."""


def load_image_folder(
    path: Path,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    listener: Listener,
) -> dict[str, LabeledArrays]:
    """The same as `read_image_folder`, decoded once and read from the cache afterwards.

    The cache is asked by the source's fingerprint and the options, so a change of either decodes
    anew. A cache that fails never fails the call; the listener is told what happened.

    Raises:
        DataError: as `read_image_folder`.
        UsageError: as `read_image_folder`.
    """
    fingerprint, options = source_fingerprint(path), (image_size, channels)
    found = _from_cache(fingerprint, options, listener)
    if found is not None:
        for note in found.notes:
            listener.note(note)
        return found.splits
    recorder = Recorder(listener)
    splits = read_image_folder(path, image_size=image_size, channels=channels, listener=recorder)
    if source_fingerprint(path) == fingerprint:
        key = _cache_key(fingerprint, options)
        store_cached(key, Decoded(splits, recorder.notes), listener)
    else:
        listener.note("the files changed while they were read, so nothing was cached")
    return splits


def read_image_folder(
    path: Path,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    listener: Listener,
) -> dict[str, LabeledArrays]:
    """Class folders of images, in a directory or an archive, decoded into memory.

    Args:
        path: the directory or archive.
        image_size: (height, width) of every image. By default the images' own, if all have the
            same of at most `DEFAULT_LARGEST_SIDE`; else a square of the median shorter side, of at
            most that. `tenfold.data.folders.images` says how an image is made to fit.
        channels: 1 for gray, 3 for color; by default 1 if every image is gray, else 3.
        listener: is told of progress, and what a person should know about how it was read.

    Returns:
        `train`, `val`, `test`, those that there are; or `all` without split folders.

    Raises:
        DataError: the path or the archive cannot be read, the layout is none, classes are empty
            or differ among splits, images are damaged (all are named), or it is too much data.
        UsageError: `image_size` or `channels` is out of range.
    """
    _require_options(image_size, channels)
    with quiet_pillow():
        survey = survey_images(path, listener)
        places = _places(path, survey)
        height, width = image_size or _default_size(survey)
        depth = channels or (1 if all(image.is_gray for image in survey.images) else 3)
        shape = ImageShape(depth, height, width)
        splits = decode_images(path, survey, places, shape, listener)
    _tell(survey, shape, listener)
    return splits


def _require_options(image_size: tuple[int, int] | None, channels: int | None) -> None:
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is {channels}, wanted 1 for gray or 3 for color")
    if image_size is not None and not all(1 <= side <= LARGEST_IMAGE_SIDE for side in image_size):
        raise UsageError(
            f"the image size is {image_size[0]}x{image_size[1]}, "
            f"wanted 1..{LARGEST_IMAGE_SIDE} pixels a side"
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


def _from_cache(fingerprint: str, options: _Options, listener: Listener) -> Decoded | None:
    """What was decoded with these options, or with none if that came to the same."""
    image_size, channels = options
    for asked in dict.fromkeys([options, (None, None)]):
        found = load_cached(_cache_key(fingerprint, asked), listener)
        if found is not None:
            _, depth, *size = next(iter(found.splits.values())).images.shape
            if image_size in (None, tuple(size)) and channels in (None, depth):
                return found
    return None


def _cache_key(fingerprint: str, options: _Options) -> str:
    return json.dumps([DECODING_VERSION, PIL.__version__, fingerprint, *options])
