"""Predictions for any number of files, folders and archives, as they are read."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tenfold.data.folders.archives import is_archive
from tenfold.data.folders.damage import reason_of
from tenfold.data.folders.images import decode_image
from tenfold.data.folders.members import Kind, is_hidden
from tenfold.data.folders.pillow import is_image, quiet_pillow
from tenfold.data.folders.source import read_members
from tenfold.data.folders.survey import IMAGE_EXTENSIONS
from tenfold.deployment.classifier import Classifier, Guess
from tenfold.deployment.inputs import read_image_file
from tenfold.errors import DataError, TenfoldError

AT_ONCE = 64
"""Images that are read, decoded and classified before the next ones are read."""

STANDARD_INPUT = "-"
"""The name that stands for standard input."""

_MOST_WORKERS = 4


@dataclass(frozen=True)
class Answer:
    """What the classifier says about one image, or why it says nothing.

    Attributes:
        name: of the image, as it was given, or with the folder or archive that it is in.
        guesses: the most probable classes, most probable first; empty if it cannot be read.
        problem: why it cannot be read; empty if it can.
    """

    name: str
    guesses: tuple[Guess, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class _Item:
    """An image to be read, or a problem with a name."""

    name: str
    read: Callable[[], bytes] | None = None
    problem: str = ""


def answers(
    classifier: Classifier, names: Iterable[str], k: int, standard_input: BinaryIO
) -> Iterator[Answer]:
    """Classify images in the order in which they are named, without stopping at what is unreadable.

    A name is that of a file; of a folder or archive, for all images in it; a pattern such as
    `photos/*.jpg`; or `-` for standard input, which is one image, or the names of images, one a
    line. Memory does not grow with the number of images.

    Args:
        classifier: the classifier.
        names: the names.
        k: number of guesses for each image.
        standard_input: what `-` stands for.
    """
    shape, header = classifier.bundle.input_shape, classifier.bundle.header
    decode = partial(
        decode_image,
        channels=shape.channels,
        size=(shape.height, shape.width),
        resize=header.resize,
        depth=header.depth,
    )

    def decoded(item: tuple[str, bytes]) -> np.ndarray | str:
        name, data = item
        try:
            return decode(data, name)
        except DataError as error:
            return reason_of(error, name)

    items = _items(names, standard_input)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_WORKERS)) as pool, quiet_pillow():
        while chunk := list(islice(items, AT_ONCE)):
            found = dict(enumerate(_read(item) for item in chunk))
            loaded = {place: data for place, data in found.items() if isinstance(data, bytes)}
            pairs = [(chunk[place].name, data) for place, data in loaded.items()]
            images = dict(zip(loaded, pool.map(decoded, pairs), strict=True))
            pixels = {place: each for place, each in images.items() if not isinstance(each, str)}
            guesses: dict[int, tuple[Guess, ...]] = {}
            if pixels:
                top = classifier.top(np.stack(list(pixels.values())), k)
                guesses = dict(zip(pixels, top, strict=True))
            for place, item in enumerate(chunk):
                if place in guesses:
                    yield Answer(item.name, guesses[place])
                else:
                    yield Answer(item.name, problem=str(images.get(place, found[place])))


def _read(item: _Item) -> bytes | str:
    """The bytes of an image, or why there are none."""
    if item.read is None:
        return item.problem
    try:
        return item.read()
    except DataError as error:
        return reason_of(error, item.name)


def _items(names: Iterable[str], standard_input: BinaryIO) -> Iterator[_Item]:
    for name in names:
        if name == STANDARD_INPUT:
            yield from _from_standard_input(standard_input)
        elif os.path.isdir(name):  # noqa: PTH112 (Path's raises for a long name)
            yield from _inside(name)
        elif os.path.isfile(name):  # noqa: PTH113
            yield from _inside(name) if is_archive(Path(name)) else [_file(name)]
        elif found := sorted(glob.glob(name, recursive=True)):  # noqa: PTH207
            yield from _items(found, standard_input)
        else:
            yield _file(name)


def _file(name: str) -> _Item:
    return _Item(name, partial(read_image_file, Path(name)))


def _inside(name: str) -> Iterator[_Item]:
    """The images in a folder or an archive."""
    count = 0
    try:
        for member in read_members(Path(name)):
            is_file = member.kind is Kind.FILE and not is_hidden(member.parts)
            if is_file and member.parts[-1].lower().endswith(IMAGE_EXTENSIONS):
                count += 1
                data = _read(_Item(member.name, member.read))
                full = os.path.join(name, member.name)  # noqa: PTH118
                yield _Item(full, lambda data=data: data) if isinstance(data, bytes) else _Item(
                    full, problem=data
                )
    except TenfoldError as error:
        yield _Item(name, problem=reason_of(error, name))
        return
    if not count:
        yield _Item(name, problem="there are no images in it")


def _from_standard_input(stream: BinaryIO) -> Iterator[_Item]:
    start = stream.read(AT_ONCE)
    if is_image(start):
        data = start + stream.read()
        yield _Item(STANDARD_INPUT, lambda: data)
        return
    rest = start
    while part := stream.readline():
        rest += part
        if rest.endswith(b"\n"):
            yield from _named(rest)
            rest = b""
    yield from _named(rest)


def _named(lines: bytes) -> Sequence[_Item]:
    """The files named by lines of bytes."""
    return [_file(os.fsdecode(line.strip(b"\r"))) for line in lines.split(b"\n") if line.strip()]
