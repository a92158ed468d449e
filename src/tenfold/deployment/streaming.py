"""Predictions for any number of files, folders and archives, as they are read."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from io import BufferedIOBase
from itertools import takewhile
from pathlib import Path, PurePath

import numpy as np

from tenfold.data.folders.archives import is_archive
from tenfold.data.folders.damage import reason_of
from tenfold.data.folders.members import LARGEST_MEMBER, Kind, is_hidden, too_large
from tenfold.data.folders.pillow import is_image, quiet_pillow
from tenfold.data.folders.source import read_members
from tenfold.data.folders.survey import IMAGE_EXTENSIONS
from tenfold.deployment.classifier import Classifier, Guess
from tenfold.deployment.inputs import conversion_for, read_image_file
from tenfold.deployment.looks import SAME_LOOK, Look, looks_of
from tenfold.errors import DataError, TenfoldError
from tenfold.paths import is_file, is_folder
from tenfold.types import PixelArray

AT_ONCE = 64
"""Images that are read, decoded and classified before the next ones are read."""

STANDARD_INPUT = "-"
"""The name that stands for standard input."""

_BYTES_AT_ONCE = 32 * 2**20
_NAMES_AT_ONCE = 2**16
"""Bytes of standard input."""
_MOST_WORKERS = 4

_ENOUGH_TO_TELL = 64
_NO_TEXT = (b"\x89", b"\0", b"RIFF", b"BM")
"""What image formats begin with, in whose next bytes there may be a line break."""


@dataclass(frozen=True)
class Answer:
    """What the classifier says about one image, or why it says nothing.

    Attributes:
        name: of the image, as it was given, or with the folder or archive that it is in.
        guesses: the most probable classes, most probable first; empty if it cannot be read.
        problem: why it cannot be read; empty if it can.
        true_class: of the image, if it is known.
        look: how it differs from the training images.
    """

    name: str
    guesses: tuple[Guess, ...] = ()
    problem: str = ""
    true_class: str = ""
    look: Look = SAME_LOOK


@dataclass(frozen=True)
class _Item:
    """An encoded image, or a problem with a name."""

    name: str
    data: bytes = b""
    problem: str = ""


def answers(
    classifier: Classifier,
    names: Iterable[str],
    k: int,
    standard_input: Callable[[], BufferedIOBase],
    skipped: list[str] | None = None,
    *,
    invert: bool = False,
    center: bool = False,
) -> Iterator[Answer]:
    """Classify images in the order in which they are named, without stopping at what is unreadable.

    A name is that of a file; of a folder or archive, for all images in it; a pattern such as
    `photos/*.jpg`; or `-` for standard input, which is one image, or the names of images, one a
    line. Names that come one at a time are answered one at a time. Memory does not grow with the
    number of images.

    Args:
        classifier: the classifier.
        names: the names.
        k: number of guesses for each image.
        standard_input: gives what `-` stands for.
        skipped: gets the names of files in folders and archives that have no image extension.
        invert: see `Classifier.pixels`.
        center: see `Classifier.pixels`.

    Raises:
        UsageError: see `Classifier.pixels`.
    """
    skipped = [] if skipped is None else skipped
    conversion = conversion_for(classifier.bundle.header, invert=invert, center=center)

    def decoded(item: _Item) -> np.ndarray | str:
        """The pixels, or why there are none."""
        if item.problem:
            return item.problem
        try:
            return conversion.decoded(item.data, item.name)
        except DataError as error:
            return reason_of(error, item.name)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_WORKERS)) as pool, quiet_pillow():
        for chunk in _chunks(_items(names, standard_input, skipped)):
            found = list(pool.map(decoded, chunk))
            readable = [each for each in found if not isinstance(each, str)]
            answered = iter(
                classified(classifier, np.stack(readable), k, cropped=center) if readable else ()
            )
            for item, each in zip(chunk, found, strict=True):
                if isinstance(each, str):
                    yield Answer(item.name, problem=each)
                else:
                    guesses, look = next(answered)
                    yield Answer(item.name, guesses, look=look)


def classified(
    classifier: Classifier, pixels: PixelArray, k: int, *, cropped: bool
) -> Iterator[tuple[tuple[Guess, ...], Look]]:
    """For each image, the k most probable classes, and how it differs from the training images.

    Args:
        classifier: the classifier.
        pixels: images in its shape.
        k: number of guesses for each image.
        cropped: whether the images were cropped to their subjects.
    """
    looks = looks_of(pixels, classifier.bundle.header.background, cropped=cropped)
    return zip(classifier.guesses(classifier.logits(pixels), k), looks, strict=True)


def _chunks(items: Iterable[_Item | None]) -> Iterator[list[_Item]]:
    """Images that are decoded and classified together; None ends a chunk."""
    chunk: list[_Item] = []
    room = _BYTES_AT_ONCE
    for item in items:
        if item is not None:
            chunk.append(item)
            room -= len(item.data)
        if chunk and (item is None or room <= 0 or len(chunk) == AT_ONCE):
            yield chunk
            chunk, room = [], _BYTES_AT_ONCE
    if chunk:
        yield chunk


def _read(name: str, read: Callable[[], bytes]) -> _Item:
    """An image with its bytes, or why there are none."""
    try:
        return _Item(name, read())
    except TenfoldError as error:
        return _Item(name, problem=reason_of(error, name))


def _items(
    names: Iterable[str], standard_input: Callable[[], BufferedIOBase], skipped: list[str]
) -> Iterator[_Item | None]:
    for name in names:
        if name == STANDARD_INPUT:
            yield from _from_standard_input(standard_input())
        elif glob.has_magic(name) and not os.path.lexists(name):
            found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (keeps what was given)
            matches = frozenset(map(os.path.normpath, found))
            for each in found:
                yield from _named(each, skipped, matches)
            if not found:
                yield _file(name)
        else:
            yield from _named(name, skipped)


def _is_archive(name: str) -> bool:
    if is_file(name):
        with suppress(OSError):  # reading it will report the error
            return is_archive(Path(name))
    return False


def _named(name: str, skipped: list[str], matches: frozenset[str] = frozenset()) -> Iterator[_Item]:
    """The image of this name, or those in the folder or archive of this name.

    Those whose names, or folders, are among the matches of a pattern are left to these.
    """
    if is_folder(name) or _is_archive(name):
        yield from _inside(name, skipped, matches)
    else:
        yield _file(name)


def _file(name: str) -> _Item:
    return _read(name, partial(read_image_file, Path(name)))


def _inside(name: str, skipped: list[str], matches: frozenset[str]) -> Iterator[_Item]:
    """The images in a folder or an archive; see `_named`."""
    count, own = 0, os.path.normpath(name)
    try:
        for member in read_members(Path(name)):
            if member.kind is Kind.FOLDER or is_hidden(member.parts):
                continue
            full = os.path.join(name, member.name)  # noqa: PTH118 (keeps what was given)
            within = PurePath(os.path.normpath(full))
            inner = takewhile(lambda path: str(path) != own, [within, *within.parents])
            if matches and not matches.isdisjoint(map(str, inner)):
                count += 1
                continue
            if not member.parts[-1].lower().endswith(IMAGE_EXTENSIONS):
                skipped.append(full)
                continue
            count += 1
            if member.kind is Kind.NOT_FOLLOWED:
                yield _Item(full, problem="a link that is not followed, or a special file")
            else:
                yield replace(_read(member.name, member.read), name=full)
    except TenfoldError as error:
        yield _Item(name, problem=reason_of(error, name))
        return
    if not count:
        yield _Item(name, problem="there are no images in it")


def _from_standard_input(stream: BufferedIOBase) -> Iterator[_Item | None]:
    """The image, or those that are named; None where the next name may take long to come."""
    start = _beginning(stream)
    if is_image(start):
        data = start + stream.read(LARGEST_MEMBER + 1 - len(start))
        yield _read(STANDARD_INPUT, partial(_bounded, data))
        return
    if b"\0" in start:
        yield _Item(STANDARD_INPUT, problem="neither an image nor names of images, one a line")
        return
    start = start.removeprefix(b"\xef\xbb\xbf")  # as some editors begin a text in UTF-8
    if not start:
        yield _Item(STANDARD_INPUT, problem="standard input is empty")
    part, rest = start, b""
    while part:
        lines, end, rest = (rest + part).rpartition(b"\n")
        if end:
            yield from _in_lines(lines)
            yield None
        if len(rest) > _NAMES_AT_ONCE:
            yield _Item(STANDARD_INPUT, problem="a line is too long for the name of a file")
            return
        part = stream.read1(_NAMES_AT_ONCE)
    yield from _in_lines(rest)


def _beginning(stream: BufferedIOBase) -> bytes:
    """Enough to tell an image from names: up to the first line break, if it may be text."""
    start = b""
    while len(start) < _ENOUGH_TO_TELL:
        if b"\n" in start and not start.startswith(_NO_TEXT):
            break
        part = stream.read1(_ENOUGH_TO_TELL - len(start))
        if not part:
            break
        start += part
    return start


def _bounded(data: bytes) -> bytes:
    if len(data) > LARGEST_MEMBER:
        raise too_large(STANDARD_INPUT, len(data))
    return data


def _in_lines(lines: bytes) -> Iterator[_Item]:
    """The files named by lines of bytes."""
    for line in lines.split(b"\n"):
        name = os.fsdecode(line.strip(b"\r"))
        if "\0" in name:
            yield _Item(name, problem="not the name of a file")
        elif name.strip():
            yield _file(name)
