"""Shared helpers of the file readers: size limits, errors that name the file, bounded reads."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError, TenfoldError, counted, reason_of
from tenfold.storage import open_regular
from tenfold.types import LabeledArrays

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LARGEST_ARRAY = 16 * 2**30
"""Maximum size of the decoded pixels of one split, in bytes."""

LARGEST_DEFLATE_RATIO = 1032
"""Maximum compression ratio of deflate, which gzip and npz use."""

CHUNK = 2**20

PIECE = 2**24
"""Bytes of an array to read at once.

After each, the reader needs Python's lock again, which another thread may hold for milliseconds.
"""

FETCH_AGAIN = "fetch the file again or recreate it"
_GZIP_MAGIC = b"\x1f\x8b"
_WITH_GZIP_HEADER = 31
_METHODS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}


def damaged(place: Path | str, what: str) -> DataError:
    """The error for a damaged file."""
    return DataError(f"{place}: {what}", remedy=FETCH_AGAIN)


def require_known_method(place: str, entry: zipfile.ZipInfo, remedy: str) -> None:
    """Refuse a member of a zip file that could unpack to any size.

    The methods other than deflate that Python reads, bzip2 and LZMA, have no maximum ratio, and
    `zipfile` decompresses as much as there is, however few bytes are asked for.
    """
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        raise DataError(f"{place}: compressed by {method}, wanted deflate or none", remedy=remedy)


def unreadable(place: Path | str, error: OSError | ValueError) -> DataError:
    """The error for a file or folder that the system cannot read."""
    return DataError(f"{place}: cannot be read: {reason_of(error)}")


@contextmanager
def file_errors(path: Path, what: str = "file") -> Iterator[None]:
    """Turn file-system and decompression failures into errors that name the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such {what}", remedy="check the name or fetch the data"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"the gzip data is damaged or truncated: {error}") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


@contextmanager
def library_errors(what: str, *, remedy: str = FETCH_AGAIN) -> Iterator[None]:
    """Turn any exception from a library into a DataError; tenfold's own errors pass through.

    On malformed bytes, archive and image readers can raise any exception, so all are caught.
    """
    try:
        yield
    except TenfoldError:
        raise
    except Exception as error:
        raise DataError(f"{what}: {str(error) or type(error).__name__}", remedy=remedy) from error


def require_matching(
    place: str, images: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> None:
    """Refuse unequal numbers of images and labels, and labels out of range."""
    if len(images) != len(labels):
        raise DataError(
            f"{place}: {counted(len(images), 'image')} but {counted(len(labels), 'label')}",
            remedy="use matching images and labels",
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise DataError(
            f"{place}: label {labels[wrong[0]]} at index {wrong[0]:,} is out of range, "
            f"wanted {_labels_of(len(classes))}",
            remedy="correct the labels or name more classes"
            if labels.min() == 0
            else "number the classes from 0",
        )


def _labels_of(n: int) -> str:
    """The labels that so many classes have."""
    return "0 for 1 class" if n == 1 else f"0..{n - 1} for {n:,} classes" if n else "named classes"


def labeled(
    place: str, images: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> LabeledArrays:
    """Combine images and labels, if they match."""
    require_matching(place, images, labels, classes)
    return LabeledArrays(images, labels, tuple(classes))


def joined(batches: Sequence[LabeledArrays]) -> LabeledArrays:
    """Concatenate batches of the same classes."""
    images = np.concatenate([batch.images for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    return LabeledArrays(images, labels, batches[0].classes)


def read_whole(path: Path, limit: int) -> bytes:
    """A file's contents; refuses a file of more than `limit` bytes."""
    with file_errors(path), open_regular(path) as file:
        data = file.read(min(path.stat().st_size, limit + 1))
    if len(data) > limit:
        raise DataError(f"{path}: larger than {limit:,} bytes")
    return data


def is_gzip(file: io.BufferedIOBase) -> bool:
    """Whether a file is gzipped; rewinds it."""
    file.seek(0)
    start = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    return start == _GZIP_MAGIC


def unzipped(file: io.BufferedIOBase) -> io.BufferedReader:
    """The content of an open gzip file, which is read from its start.

    Reading raises EOFError if it is truncated, and `zlib.error` if it is damaged.
    """
    return io.BufferedReader(_Unzipped(file))


class _Unzipped(io.RawIOBase):
    """Like `gzip.GzipFile`, but reads 1 MiB at a time; in some Pythons, that reads 8 KiB."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file, self._rest = file, b""
        self._inflating = zlib.decompressobj(wbits=_WITH_GZIP_HEADER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            if self._inflating.eof and not self._begin_member():
                return 0
            piece = self._rest or self._file.read(CHUNK)
            data = self._inflating.decompress(piece, len(view))
            self._rest = self._inflating.unconsumed_tail
            if data:
                view[: len(data)] = data
                return len(data)
            if not piece and not self._inflating.eof:
                raise EOFError("it ends before its end marker")

    def _begin_member(self) -> bool:
        """Begin the next member, if there is one; zeros may fill up the file's end."""
        rest = self._inflating.unused_data.lstrip(b"\0")
        while not rest:
            piece = self._file.read(CHUNK)
            if not piece:
                return False
            rest = piece.lstrip(b"\0")
        self._inflating, self._rest = zlib.decompressobj(wbits=_WITH_GZIP_HEADER), rest
        return True


def fill(file: io.BufferedIOBase, array: NDArray[np.uint8]) -> int:
    """Fill an array from a file; returns the number of bytes read."""
    filled = 0
    # In pieces: a decompressor first buffers everything that it is asked for.
    while count := file.readinto(array.data[filled : filled + PIECE]):
        filled += count
    return filled


def described(value: object) -> str:
    """A short description of a value, for messages."""
    if isinstance(value, np.ndarray):
        kind = "text" if value.dtype.kind in "US" else value.dtype
        return f"{kind} of shape {value.shape}"
    return "missing" if value is None else typed(value)


def typed(value: object) -> str:
    """A value's type with its article, for messages: `a list`, `an int`; or `None`."""
    if value is None:
        return "None"
    name = type(value).__name__
    article = "an" if name[0] in "aeioAEIO" or name.startswith("nd") else "a"
    return f"{article} {name}"
