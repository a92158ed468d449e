"""The second pass over class folders: every image decoded into its place."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median

from tenfold.data.folders.images import decode_image
from tenfold.data.folders.members import read_members
from tenfold.data.folders.survey import Progress, Survey
from tenfold.errors import DataError
from tenfold.types import PixelArray

_IMAGES_A_CHUNK = 64
_BYTES_A_CHUNK = 4 * 2**20
_MOST_WORKERS = 4
_PIXELS_WORTH_A_THREAD = 256 * 256


def decode(
    path: Path,
    survey: Survey,
    targets: list[PixelArray],
    size: tuple[int, int],
    channels: int,
    progress: Progress | None,
) -> list[str]:
    """The second pass: every sound image into its target; what is wrong with the others."""

    def decode_chunk(chunk: list[tuple[int, bytes]]) -> list[str]:
        damaged = []
        for index, data in chunk:
            name = survey.images[index].name
            try:
                targets[index][0] = decode_image(data, name, channels=channels, size=size)
            except DataError as error:
                damaged.append(error.message)
        return damaged

    damaged = []
    done, total = 0, len(targets)
    chunks = _chunks(_encoded(path, survey))
    for count, messages in _mapped(decode_chunk, chunks, _workers(survey)):
        done += count
        damaged += messages
        if progress is not None:
            progress(done, total)
    return damaged


def _encoded(path: Path, survey: Survey) -> Iterator[tuple[int, bytes]]:
    """The bytes of every image whose header is sound, with the image's index."""
    if survey.encoded is not None:
        for index, data in enumerate(survey.encoded):
            if survey.images[index].size is not None:
                yield index, data
        return
    index_of = {image.parts: index for index, image in enumerate(survey.images)}
    left = sum(1 for _ in survey.sound())
    for member in read_members(path):
        found = index_of.get(member.parts)
        if found is not None and survey.images[found].size is not None:
            left -= 1
            yield found, member.read()
    if left:
        raise DataError(
            f"{path}: {left:,} images vanished while they were read",
            remedy="read it again when nobody changes it",
        )


def _chunks(encoded: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Images grouped so that handing them to a thread costs little, and memory stays bounded."""
    chunk: list[tuple[int, bytes]] = []
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
    pixels = [image.size[0] * image.size[1] for image in survey.images if image.size is not None]
    if not pixels or median(pixels) < _PIXELS_WORTH_A_THREAD:
        return 1
    return min(os.cpu_count() or 1, _MOST_WORKERS)


def _mapped(
    function: Callable[[list[tuple[int, bytes]]], list[str]],
    chunks: Iterable[list[tuple[int, bytes]]],
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
