"""The second pass over class folders: decode every image into its array."""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

from tenfold.data.files.reading import LARGEST_ARRAY
from tenfold.data.folders.damage import reason_of
from tenfold.data.folders.images import bits_of, decode_image
from tenfold.data.folders.layout import SPLITS, UNSPLIT, Places
from tenfold.data.folders.members import Parts
from tenfold.data.folders.pool import submitted
from tenfold.data.folders.source import read_members
from tenfold.data.folders.survey import ImageFile, Survey
from tenfold.errors import DataError, counted
from tenfold.listening import Listener
from tenfold.resizing import Resize
from tenfold.types import ImageShape, LabeledArrays, Originals

_IMAGES_A_CHUNK = 64
_BYTES_A_CHUNK = 4 * 2**20
_MOST_WORKERS = 4
_PIXELS_WORTH_A_THREAD = 256 * 256

_Chunk = list[tuple[ImageFile, bytes]]
"""Images and their encoded bytes."""

_Outcome = tuple[int, dict[str, str]]
"""The number of images in a chunk, and the reason for each one that is damaged, by its name."""


def decode_images(
    path: Path,
    survey: Survey,
    places: Places,
    shape: ImageShape,
    resize: Resize,
    depth: int,
    listener: Listener,
) -> tuple[dict[str, LabeledArrays], dict[str, str]]:
    """Decode all images into splits, sorted by class and name.

    Args:
        path: the directory or archive, for messages and to read it again.
        survey: the result of the first pass.
        places: the split and class of each image; all have one.
        shape: the shape of every image; 1 or 3 channels.
        resize: how images are brought to it.
        depth: of 16-bit gray, the number of bits that count, 8..16.
        listener: receives progress.

    Returns:
        The splits, and the reason for each image that is damaged, by its name; the damaged ones
        have undefined pixels.

    Raises:
        DataError: images vanished, or they are too much data.
    """
    _require_room(path, len(survey.images), shape)
    splits, targets = _allocate(survey, places, shape)

    def decode_chunk(chunk: _Chunk) -> _Outcome:
        damaged = {}
        for image, data in chunk:
            try:
                targets[image.parts][:] = decode_image(
                    data,
                    image.name,
                    channels=shape.channels,
                    size=shape[1:],
                    resize=resize,
                    depth=depth,
                )
            except DataError as error:
                damaged[image.name] = reason_of(error, image.name)
        return len(chunk), damaged

    done, damaged = 0, dict[str, str]()
    for count, reasons in _mapped(decode_chunk, _chunks(_encoded(path, survey)), _workers(survey)):
        done += count
        damaged |= reasons
        listener.reading("reading images", done, len(targets))
    return splits, damaged


def bits_used(path: Path, survey: Survey) -> int | None:
    """The number of bits that the largest value in any 16-bit gray image needs, 8..16.

    Returns:
        None if there is no such image, or none that can be decoded.
    """
    found = []
    if any(image.has_sixteen_bits for image in survey.images):
        for image, data in _encoded(path, survey):
            if image.has_sixteen_bits:
                with suppress(DataError):  # decoding it will say what is wrong
                    found.append(bits_of(data, image.name))
    return max(found, default=None)


def _require_room(path: Path, count: int, shape: ImageShape) -> None:
    room = count * math.prod(shape)
    if room > LARGEST_ARRAY:
        raise DataError(
            f"{path}: {counted(count, 'image')} of {shape} {'needs' if count == 1 else 'need'} "
            f"{room:,} bytes, "
            f"over the limit of {LARGEST_ARRAY:,}",
            remedy="choose a smaller image size",
        )


def _allocate(
    survey: Survey, places: Places, shape: ImageShape
) -> tuple[dict[str, LabeledArrays], dict[Parts, np.ndarray]]:
    """The splits with uninitialized pixels, and for each image the array to fill."""
    label_of = {name: label for label, name in enumerate(places.classes)}
    found = places.of_image
    order = sorted(range(len(found)), key=lambda i: (found[i], survey.images[i].parts))
    splits: dict[str, LabeledArrays] = {}
    targets: dict[Parts, np.ndarray] = {}
    for split in (*SPLITS, UNSPLIT):
        members = [i for i in order if found[i][0] == split]
        if members:
            images = np.empty((len(members), *shape), np.uint8)
            labels = np.array([label_of[found[i][1]] for i in members], np.int64)
            names = tuple(survey.images[i].name for i in members)
            groups = None if places.groups is None else tuple(places.groups[i] for i in members)
            splits[split] = LabeledArrays(
                images,
                labels,
                places.classes,
                names,
                groups,
                _originals([survey.images[i] for i in members]),
            )
            targets |= zip((survey.images[i].parts for i in members), images, strict=True)
    return splits, targets


def _originals(images: Sequence[ImageFile]) -> Originals:
    return Originals(
        np.array([image.size or (1, 1) for image in images], np.int32).reshape(-1, 2),
        tuple(sys.intern(f"{image.format}{', gray' * image.is_gray}") for image in images),
    )


def _encoded(path: Path, survey: Survey) -> Iterator[tuple[ImageFile, bytes]]:
    """Every image with a valid header, and its bytes."""
    if survey.encoded is not None:
        for image, data in zip(survey.images, survey.encoded, strict=True):
            if image.size is not None:
                yield image, data
        return
    sound = {image.parts: image for image in survey.images if image.size is not None}
    for member in read_members(path):
        found = sound.pop(member.parts, None)
        if found is not None:
            yield found, member.read()
    if sound:
        raise DataError(
            f"{path}: {counted(len(sound), 'image')} disappeared during reading",
            remedy="read it again when nothing is changing it",
        )


def _chunks(encoded: Iterable[tuple[ImageFile, bytes]]) -> Iterator[_Chunk]:
    """Images grouped so that the overhead per thread task is small and memory stays bounded."""
    chunk: _Chunk = []
    room = _BYTES_A_CHUNK
    for image, data in encoded:
        chunk.append((image, data))
        room -= len(data)
        if room <= 0 or len(chunk) == _IMAGES_A_CHUNK:
            yield chunk
            chunk, room = [], _BYTES_A_CHUNK
    if chunk:
        yield chunk


def _workers(survey: Survey) -> int:
    """The number of decoding threads: for small images, more threads cost more than they save."""
    pixels = [height * width for height, width in survey.sizes()]
    if not pixels or median(pixels) < _PIXELS_WORTH_A_THREAD:
        return 1
    return min(os.cpu_count() or 1, _MOST_WORKERS)


def _mapped(
    function: Callable[[_Chunk], _Outcome], chunks: Iterable[_Chunk], workers: int
) -> Iterator[_Outcome]:
    """The function's result for each chunk, in order, with a bounded number of chunks in flight."""
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[_Outcome]] = deque()
        for chunk in chunks:
            under_way.append(submitted(pool, function, chunk))
            if len(under_way) > 2 * workers:
                yield under_way.popleft().result()
        for future in under_way:
            yield future.result()
