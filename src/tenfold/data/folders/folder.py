"""Read class folders of images, in a directory or in an archive, into arrays.

The path of an image, one module per step:

- `source`: the path becomes a stream of members, never extracted to disk. Runs that were trained in
  a directory are passed over (`walking`).
- `survey`: the first pass reads the image headers, so that arrays of the right size can be
  allocated. The encoded files stay in memory for the second pass if they are small enough, and are
  read again otherwise.
- `layout`: the split and class of each image, from the folders it is in.
- `decoding`: the second pass decodes the images.
- `cache`: the result is kept, and is all that is read next time.

Hidden files and files that desktops leave behind are skipped with a note; anything else that does
not fit is an error that names everything it concerns.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL

from tenfold.data.folders.cache import Decoded, load_cached, store_cached
from tenfold.data.folders.damage import left_out_note, refuse
from tenfold.data.folders.decoding import bits_used, decode_images
from tenfold.data.folders.fitting import by, default_size, fitting_note
from tenfold.data.folders.labels import label_images
from tenfold.data.folders.layout import (
    LEFT_OUT,
    WANTED_LAYOUT,
    Images,
    Places,
    refuse_duplicates,
)
from tenfold.data.folders.options import NO_OPTIONS, FolderOptions
from tenfold.data.folders.pillow import quiet_pillow
from tenfold.data.folders.source import source_fingerprint
from tenfold.data.folders.survey import Survey, survey_images
from tenfold.data.lost_classes import without_lost_classes
from tenfold.errors import LONGEST_WORD, DataError, UsageError, counted, encodable, listing
from tenfold.listening import Listener, Recorder
from tenfold.resizing import LARGEST_SIDE, Resize
from tenfold.types import ImageShape, LabeledArrays, WantedShape

DECODING_VERSION = 4
"""Raise this when the same files would be decoded or labeled differently."""


def load_image_folder(
    path: Path, wanted: WantedShape, listener: Listener, options: FolderOptions = NO_OPTIONS
) -> Decoded:
    """Like `read_image_folder`, but decodes once and then reads from the cache.

    The cache key is the source's fingerprint, the wanted shape and the options, so a change of any
    decodes again. A cache failure never fails the call; the listener gets a note.

    Raises:
        DataError: as `read_image_folder`.
        UsageError: as `read_image_folder`.
    """
    fingerprint = source_fingerprint(path) + options.fingerprint()
    found = _from_cache(fingerprint, wanted, listener)
    if found is not None and all(map(options.skips, found.skipped)):
        for note in found.notes:
            listener.note(note)
        return found
    decoded = read_image_folder(path, wanted, listener, options)
    if source_fingerprint(path) + options.fingerprint() == fingerprint:
        store_cached(_cache_key(fingerprint, wanted), decoded, listener)
    else:
        listener.note("the files changed during reading, so nothing was cached")
    return decoded


def read_image_folder(
    path: Path, wanted: WantedShape, listener: Listener, options: FolderOptions = NO_OPTIONS
) -> Decoded:
    """Decode class folders of images, in a directory or an archive, into memory.

    Args:
        path: the directory or archive.
        wanted: the size and channels of every image, and how it is brought to them. The default
            size is `fitting.default_size`; the default is 1 channel if every image is gray, else 3;
            of 16-bit gray, as many bits count as the largest value needs.
        listener: receives progress, and notes about how the images were read.
        options: how the images are labeled and grouped, and which are left out.

    Raises:
        DataError: the path or the archive cannot be read, the layout is wrong, images are damaged
            (all are named), or it is too much data.
        UsageError: the wanted size or number of channels is out of range, or the options do not fit
            the images.
    """
    _require_in_range(wanted)
    recorder = Recorder(listener)
    with quiet_pillow():
        survey = survey_images(path, recorder)
        places, deleted, had = _places(path, survey, options)
        count, depth = len(survey.images), wanted.depth or bits_used(path, survey)
        shape = _shape(survey, wanted)
        splits, damaged = decode_images(
            path, survey, places, shape, wanted.resize, depth or 16, recorder
        )
        used = {image.name for image in survey.images}
        bad = {name: why for name, why in {**survey.damaged, **damaged}.items() if name in used}
        refused = {name: why for name, why in bad.items() if not options.skips(name)}
        if refused or (bad and len(bad) == count):
            raise refuse(path, refused or bad, count, skipping=not refused)
        if bad:  # from here on, as if they were not there
            sound = [image.name not in bad for image in survey.images]
            had |= {
                label for (_, label), kept in zip(places.of_image, sound, strict=True) if not kept
            }
            survey.keep(sound)
            places = places.keep(sound)
            if shape != _shape(survey, wanted):
                shape = _shape(survey, wanted)
                splits, _ = decode_images(
                    path, survey, places, shape, wanted.resize, depth or 16, recorder
                )
            else:
                splits = _without(splits, bad)
    for note in places.notes:
        recorder.note(note)
    if bad:
        recorder.note(left_out_note(path, bad))
    splits = without_lost_classes(splits, had, recorder)
    _tell(survey, shape, wanted.resize, recorder)
    if depth is not None and depth < 16 and wanted.depth is None:
        recorder.note(
            f"16-bit images have no value over {2**depth - 1:,}, which becomes white: the highest "
            f"8 of {depth} bits are used"
        )
    return Decoded(splits, recorder.notes, depth, bad, deleted)


def _shape(survey: Survey, wanted: WantedShape) -> ImageShape:
    """The shape that all images get."""
    # If no header can be read, any size works: all images will be refused as damaged.
    height, width = wanted.size or default_size(survey.sizes() or [(1, 1)])
    sound = [image for image in survey.images if image.size is not None]
    return ImageShape(
        wanted.channels or (1 if all(image.is_gray for image in sound) else 3), height, width
    )


def _without(splits: Mapping[str, LabeledArrays], bad: Container[str]) -> dict[str, LabeledArrays]:
    """The splits without some of their images; a split that loses all of them is gone."""
    found = {}
    for split, part in splits.items():
        assert part.names is not None, "images in folders have names"
        kept = np.flatnonzero([name not in bad for name in part.names])
        if len(kept):
            found[split] = part.chosen(kept)
    return found


def _require_in_range(wanted: WantedShape) -> None:
    size, channels, _, depth = wanted
    if depth is not None and not 8 <= depth <= 16:
        raise UsageError(f"depth is {depth}, wanted 8..16 bits")
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is {channels}, wanted 1 for gray or 3 for color")
    if size is not None and not all(1 <= side <= LARGEST_SIDE for side in size):
        raise UsageError(f"the image size is {by(size)}, wanted 1..{LARGEST_SIDE} pixels a side")


def _places(
    path: Path, survey: Survey, options: FolderOptions
) -> tuple[Places, dict[str, tuple[str, str]], set[str]]:
    """Where images belong.

    That is the place of every image that is used, those of the deleted ones by name, and the
    classes of those that are left out.

    The survey loses the images that are not used.
    """
    if not survey.images:
        others = [*survey.not_images, *survey.hidden, *survey.not_followed]
        found = f", only {listing(others, 5)}" if others else ""
        remedy = WANTED_LAYOUT
        if any("." not in name.rpartition("/")[2] for name in survey.not_images):
            remedy += "; names of images end in an extension, such as .jpg"
        raise DataError(f"{path}: no images in it{found}", remedy=remedy)
    images = [image.parts for image in survey.images]
    refuse_duplicates(path, images)
    of_images = Images(path, images, survey.folders, survey.tables, survey.unread_tables)
    places = label_images(of_images, options)
    survey.not_images = [name for name in survey.not_images if name not in places.tables]
    names = options.deleted_among(image.name for image in survey.images)
    used = [
        place != LEFT_OUT and image.name not in names and image.name not in options.leave_out
        for place, image in zip(places.of_image, survey.images, strict=True)
    ]
    if not any(used):
        remedy = "delete fewer images" if names else WANTED_LAYOUT
        raise DataError(f"{path}: no image is left to read", remedy=remedy)
    deleted, had = dict[str, tuple[str, str]](), set[str]()
    for place, image in zip(places.of_image, survey.images, strict=True):
        if place != LEFT_OUT and image.name in options.leave_out:
            had.add(place[1])
        elif place != LEFT_OUT and image.name in names:
            deleted[encodable(image.name)] = place
    survey.keep(used)
    return places.keep(used), deleted, had


def _tell(survey: Survey, shape: ImageShape, resize: Resize, listener: Listener) -> None:
    """Note what the user should know about how the images were read."""
    channels, count = shape.channels, len(survey.sizes())
    if note := fitting_note(survey.sizes(), shape[1:], resize):
        listener.note(note)
    gray = sum(image.is_gray for image in survey.images)
    if channels == 3 and gray:
        listener.note(f"{_some_of(gray, count)} gray, read as color")
    if channels == 1 and gray < count:
        listener.note(f"{_some_of(count - gray, count)} in color, read as gray")
    for what, names in (
        ("skipped hidden files", survey.hidden),
        ("skipped files without an image extension", survey.not_images),
        ("skipped links and special files in the archive", survey.not_followed),
    ):
        if names:
            # A name in an archive may have millions of characters, and notes are stored.
            shown = listing([name[:LONGEST_WORD] for name in sorted(names)], 5)
            listener.note(f"{what} ({len(names):,}): {shown}")


def _some_of(n: int, count: int) -> str:
    return f"{n:,} of {counted(count, 'image')} {'is' if n == 1 else 'are'}"


def _from_cache(fingerprint: str, wanted: WantedShape, listener: Listener) -> Decoded | None:
    """The entry for this shape, or the one for the default shape if that gave the same."""
    for asked in dict.fromkeys([wanted, wanted._replace(size=None, channels=None)]):
        found = load_cached(_cache_key(fingerprint, asked), listener)
        if found is not None:
            _, channels, *size = next(iter(found.splits.values())).images.shape
            if wanted.size in (None, tuple(size)) and wanted.channels in (None, channels):
                return found
    return None


def _cache_key(fingerprint: str, asked: WantedShape) -> str:
    reads_heic = find_spec("pillow_heif") is not None
    return json.dumps([DECODING_VERSION, PIL.__version__, reads_heic, fingerprint, *asked])
