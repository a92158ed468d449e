"""Whether a file has the content that the catalog says."""

from __future__ import annotations

import gzip
import hashlib
import time
import zlib
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path

from tenfold.data.catalog.entries import CatalogFile
from tenfold.data.files.reading import file_errors, is_gzip
from tenfold.errors import DataError, StorageError
from tenfold.listening import Listener
from tenfold.storage import cache_folder, make_folder, write_bytes

_READ_CHUNK = 2**20
_SETTLED = 2.0  # seconds after which a changed file surely has another time stamp


class MirrorError(Exception):
    """A mirror that did not give the file; what it did give may be continued elsewhere."""


class UnusableError(MirrorError):
    """Bytes that are not the file, whoever sent them."""


def check_file(path: Path, file: CatalogFile, *, listener: Listener) -> bool:
    """Compare a file's content with its digest: whether there was one to compare it with.

    A success is remembered in the user's cache for as long as the file does not change.

    Raises:
        DataError: the content is not what the catalog says, or cannot be read.
    """
    wanted = file.digest or file.gzip_digest
    try:
        with file_errors(path), path.open("rb") as stream:
            if wanted is None or (file.digest is None and not is_gzip(stream)):
                listener.note(f"{path}: its content could not be checked, no digest is published")
                return False
            memory = _memory_of(path, wanted)
            if memory.exists():
                return True
            found = digest_as(stream, file, wanted)
    except UnusableError as error:
        raise wrong_file(path, str(error)) from error
    if found != wanted and file.digest is None:
        listener.note(f"{path}: it was compressed anew, so its content could not be checked")
        return False
    if found != wanted:
        raise wrong_file(path, f"the digest of its content is {found}, wanted {wanted}")
    _remember(path, memory)
    return True


def is_known_good(path: Path, file: CatalogFile) -> bool:
    """Whether a file's content has been compared with the catalog's digest, and is that."""
    try:
        return check_file(path, file, listener=Listener())
    except DataError:
        return False


def digest_as(stream: BufferedIOBase, file: CatalogFile, wanted: str) -> str:
    """The digest of what the catalog's digest is of: the content, or else the gzipped file."""
    if file.digest is None or not is_gzip(stream):
        return digest(stream.read, wanted)
    try:
        with gzip.GzipFile(fileobj=stream) as content:
            return digest(content.read, wanted, largest=file.largest)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnusableError(f"it is a damaged gzip file: {error}") from error


def digest(read: Callable[[int], bytes], like: str, *, largest: int | None = None) -> str:
    """The digest of what `read` gives until its end, by the algorithm of another digest."""
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
    """The empty file that is there if this file, unchanged since, had this digest."""
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
        pass  # without a memory the file is read once more next time, with the same outcome


def wrong_file(path: Path, what: str) -> DataError:
    """The error about a file whose content is wrong."""
    return DataError(
        f"{path}: {what}", remedy="replace the file, or remove it so that it is downloaded"
    )
