"""The second pass over class folders: every image decoded into its place."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from tenfold.data.files.reading import LARGEST_ARRAY
from tenfold.data.folders.images import decode_image
from tenfold.data.folders.layout import SPLITS, UNSPLIT, Places
from tenfold.data.folders.source import read_members
from tenfold.data.folders.survey import Survey
from tenfold.errors import DataError, listing
from tenfold.listening import Listener
from tenfold.types import LabelledArrays, PixelArray

_IMAGES_A_CHUNK = 64
_BYTES_A_CHUNK = 4 * 2**20
_MOST_WORKERS = 4
_PIXELS_WORTH_A_THREAD = 256 * 256

_Chunk = list[tuple[int, bytes]]
"""Encoded images, each with its index in the survey."""


def decode_images(
    path: Path,
    survey: Survey,
    places: Places,
    *,
    size: tuple[int, int],
    channels: int,
    listener: Listener,
) -> dict[str, LabelledArrays]:
    """The splits with the pixels of all images, sorted by class and name.

    Args:
        path: the directory or archive, for messages and to read it again.
        survey: what was found there.
        places: where each of its images belongs.
        size: (height, width) of every image.
        channels: 1 or 3.
        listener: is told of progress.

    Raises:
        DataError: images are damaged (all are named), vanished, or are too much data.
    """
    _require_room(path, len(survey.images), size, channels)
    splits, targets = _allocate(survey, places, size, channels)

    def decode_chunk(chunk: _Chunk) -> list[str]:
        damaged = []
        for index, data in chunk:
            name = survey.images[index].name
            try:
                targets[index][0] = decode_image(data, name, channels=channels, size=size)
            except DataError as error:
                damaged.append(error.message)
        return damaged

    done, damaged = 0, list(survey.damaged)
    for count, messages in _mapped(decode_chunk, _chunks(_encoded(path, survey)), _workers(survey)):
        done += count
        damaged += messages
        listener.reading("images", done, len(targets))
    if damaged:
        raise DataError(
            f"{path}: {len(damaged):,} of {len(targets):,} images cannot be read: "
            f"{listing(damaged)}",
            remedy="replace or remove them",
        )
    return splits


def _require_room(path: Path, count: int, size: tuple[int, int], channels: int) -> None:
    room = count * channels * size[0] * size[1]
    if room > LARGEST_ARRAY:
        raise DataError(
            f"{path}: {count:,} images of {channels}x{size[0]}x{size[1]} need "
            f"{room:,} bytes, over the limit of {LARGEST_ARRAY:,}",
            remedy="choose a smaller image size",
        )


def _allocate(
    survey: Survey, places: Places, size: tuple[int, int], channels: int
) -> tuple[dict[str, LabelledArrays], dict[int, PixelArray]]:
    """The splits with pixels yet to be filled in, and by an image's index where its pixels go."""
    members: dict[str, list[int]] = {split: [] for split in (*SPLITS.values(), UNSPLIT)}
    # Names in a split are alike up to the class, so sorting by name sorts by class first.
    for index in sorted(range(len(survey.images)), key=lambda index: survey.images[index].parts):
        members[places.of_image[index][0]].append(index)
    label_of = {name: label for label, name in enumerate(places.classes)}
    splits: dict[str, LabelledArrays] = {}
    targets: dict[int, PixelArray] = {}
    for split, indices in members.items():
        if indices:
            images = np.empty((len(indices), channels, *size), np.uint8)
            labels = np.array([label_of[places.of_image[index][1]] for index in indices], np.int64)
            names = tuple(survey.images[index].name for index in indices)
            splits[split] = LabelledArrays(images, labels, places.classes, names)
            targets.update((index, images[row : row + 1]) for row, index in enumerate(indices))
    return splits, targets


def _encoded(path: Path, survey: Survey) -> Iterator[tuple[int, bytes]]:
    """The bytes of every image whose header is sound, with the image's index."""
    if survey.encoded is not None:
        for index, data in enumerate(survey.encoded):
            if survey.images[index].size is not None:
                yield index, data
        return
    sound = {
        image.parts: index for index, image in enumerate(survey.images) if image.size is not None
    }
    for member in read_members(path):
        found = sound.pop(member.parts, None)
        if found is not None:
            yield found, member.read()
    if sound:
        raise DataError(
            f"{path}: {len(sound):,} images vanished while they were read",
            remedy="read it again when nobody changes it",
        )


def _chunks(encoded: Iterable[tuple[int, bytes]]) -> Iterator[_Chunk]:
    """Images grouped so that handing them to a thread costs little, and memory stays bounded."""
    chunk: _Chunk = []
    room = _BYTES_A_CHUNK
    for index, data in encoded:
        chunk.append((index, data))
        room -= len(data)
        if room <= 0 or len(chunk) == _IMAGES_A_CHUNK:
            yield chunk
            chunk, room = [], _BYTES_A_CHUNK
    if chunk:
        yield chunk


def _workers(survey: Survey) -> int:
    """How many threads decode: small images cost more to hand over than to decode."""
    pixels = [height * width for height, width in survey.sizes()]
    if not pixels or median(pixels) < _PIXELS_WORTH_A_THREAD:
        return 1
    return min(os.cpu_count() or 1, _MOST_WORKERS)


def _mapped(
    function: Callable[[_Chunk], list[str]],
    chunks: Iterable[_Chunk],
    workers: int,
) -> Iterator[tuple[int, list[str]]]:
    """The size of each chunk and what the function says of it, with few chunks under way."""
    if workers == 1:
        for chunk in chunks:
            yield len(chunk), function(chunk)
        return
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[tuple[int, Future[list[str]]]] = deque()
        for chunk in chunks:
            under_way.append((len(chunk), pool.submit(function, chunk)))
            if len(under_way) > 2 * workers:
                count, future = under_way.popleft()
                yield count, future.result()
        for count, future in under_way:
            yield count, future.result()
