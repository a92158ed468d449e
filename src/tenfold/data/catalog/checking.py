"""Checks of files against the catalog's digests."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path

from tenfold.data.catalog.entries import CatalogFile
from tenfold.data.files.reading import file_errors, is_gzip, unzipped
from tenfold.errors import DataError, StorageError
from tenfold.listening import Listener
from tenfold.paths import exists
from tenfold.storage import cache_folder, make_folder, open_regular, write_bytes

_READ_CHUNK = 2**20
_SETTLED = 2.0  # seconds after which another change is sure to get a new time stamp


class MirrorError(Exception):
    """A mirror failed to deliver the file; another mirror can continue a partial download."""


class UnusableError(MirrorError):
    """The received bytes are not the file; the download must start over."""


def check_file(path: Path, file: CatalogFile, *, listener: Listener) -> bool:
    """Compare a file's content with its digest; False if there is no digest to compare with.

    A success is remembered in the user's cache until the file changes.

    Raises:
        DataError: the content does not match the catalog, or cannot be read.
    """
    wanted = file.digest or file.gzip_digest
    try:
        with file_errors(path), open_regular(path) as stream:
            if wanted is None or (file.digest is None and not is_gzip(stream)):
                listener.note(f"{path}: not checked, no digest is published")
                return False
            memory = _memory_of(path, wanted)
            if exists(memory):
                return True
            found = digest_as(stream, file, wanted)
    except UnusableError as error:
        raise wrong_file(path, str(error)) from error
    if found != wanted and file.digest is None:
        listener.note(f"{path}: not checked, the file was recompressed")
        return False
    if found != wanted:
        raise wrong_file(path, f"the digest of its content is {found}, wanted {wanted}")
    _remember(path, memory)
    return True


def is_known_good(path: Path, file: CatalogFile) -> bool:
    """Whether a file's content matches the catalog's digest."""
    try:
        return check_file(path, file, listener=Listener())
    except DataError:
        return False


def digest_as(stream: BufferedIOBase, file: CatalogFile, wanted: str) -> str:
    """A file's digest, comparable to the catalog's: of the content, or else of the gzipped file."""
    if file.digest is None or not is_gzip(stream):
        return digest(stream.read, wanted)
    try:
        return digest(unzipped(stream).read, wanted, largest=file.largest)
    except (EOFError, zlib.error) as error:
        raise UnusableError(f"damaged gzip file: {error}") from error


def digest(read: Callable[[int], bytes], like: str, *, largest: int | None = None) -> str:
    """The digest of everything `read` returns, by the same algorithm as `like`."""
    algorithm = like.partition(":")[0]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = 0
    while chunk := read(_READ_CHUNK):
        size += len(chunk)
        if largest is not None and size > largest:
            raise UnusableError(f"its content is longer than {largest:,} bytes")
        digest.update(chunk)
    return f"{algorithm}:{digest.hexdigest()}"


def _memory_of(path: Path, digest: str) -> Path:
    """The path of an empty marker file: it exists if the file, unchanged since, had this digest."""
    status = path.stat()
    text = (
        f"{path.absolute()} {status.st_ino} {status.st_size} "
        f"{status.st_mtime_ns} {status.st_ctime_ns} {digest}"
    )
    name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / "checked" / name


def _remember(path: Path, memory: Path) -> None:
    status = path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED:
        return
    try:
        make_folder(memory.parent)
        write_bytes(memory, b"")
    except StorageError:
        pass  # without the marker, the file is just checked again next time


def wrong_file(path: Path, what: str) -> DataError:
    """The error for a file with the wrong content."""
    return DataError(
        f"{path}: {what}", remedy="replace the file, or remove it so that it is downloaded"
    )
