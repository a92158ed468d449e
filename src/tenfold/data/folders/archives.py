"""The members of a zip or tar archive, as a stream, within bounds.

A tar file may be plain or compressed by gzip, bzip2 or xz; archives are told apart by their first
bytes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import queue
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tenfold.errors import DataError, TenfoldError, listing, printable

LARGEST_MEMBER = 64 * 2**20
"""Bytes that one image file may have."""

LARGEST_ARCHIVE = 64 * 2**30
"""Bytes that all members of an archive may have together, decompressed."""

LARGEST_RATIO = 200
"""How many times its own size an archive may unpack to; photographs hardly compress at all."""

ALWAYS_ALLOWED = 2**30
"""Decompressed bytes that are read whatever the ratio."""

_CHUNK = 2**20
_CHUNKS_AHEAD = 8
_TAR_BLOCK = 512
_NULL_BLOCK = bytes(_TAR_BLOCK)

_ARCHIVE_HELP = "name a folder or a .zip, .tar, .tar.gz, .tar.xz or .tar.bz2 archive of it"


class Kind(Enum):
    """What a member is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a directory or an archive.

    Attributes:
        parts: its name relative to the root, without empty parts and `.`.
        kind: what it is; a link is one that is not followed.
        size: bytes of a file.
        read: the file's bytes; to be called before the next member is asked for. It raises
            DataError if they cannot be had.
    """

    parts: tuple[str, ...]
    kind: Kind
    size: int
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The parts joined by slashes."""
        return "/".join(self.parts)


def too_large(name: str, size: int) -> DataError:
    """What to say of a file that is over `LARGEST_MEMBER`."""
    return DataError(
        f"{name}: the file has {size:,} bytes or more, over the limit of {LARGEST_MEMBER:,}",
        remedy="scale the image down or remove it",
    )


def _zip_members(path: Path) -> Iterator[Member]:
    with _archive_errors(path), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        encrypted = [entry.filename for entry in entries if entry.flag_bits & 0x1]
        if encrypted:
            raise DataError(
                f"{path}: members are encrypted: {listing(encrypted, 3)}",
                remedy="make an archive without a password",
            )
        budget = _Budget(path)
        for entry in entries:
            parts = _parts(entry.filename.replace("\\", "/"))
            budget.spend(entry.file_size)
            yield Member(
                parts,
                _zip_kind(entry),
                entry.file_size,
                lambda entry=entry: _read_zip_entry(path, archive, entry),  # type: ignore[misc]
            )


def _zip_kind(entry: zipfile.ZipInfo) -> Kind:
    mode = entry.external_attr >> 16
    if entry.filename.endswith(("/", "\\")):
        return Kind.FOLDER
    if stat.S_ISLNK(mode):
        return Kind.LINK
    # Archives made on Windows have no mode at all.
    return Kind.FILE if stat.S_ISREG(mode) or not stat.S_IFMT(mode) else Kind.OTHER


def _read_zip_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > LARGEST_MEMBER:
        raise too_large(entry.filename, entry.file_size)
    with _archive_errors(path, entry.filename), archive.open(entry) as file:
        data = file.read(LARGEST_MEMBER + 1)
        if len(data) != entry.file_size:
            raise DataError(
                f"{entry.filename}: {len(data):,} bytes in the archive, "
                f"wanted the {entry.file_size:,} that it declares",
                remedy="make the archive anew",
            )
        return data


def _tar_members(path: Path, opener: Callable[[Path], io.BufferedIOBase]) -> Iterator[Member]:
    with _archive_errors(path), opener(path) as file:
        stream = _ForwardStream(path, file)
        archive = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]
        # TarFile keeps every member that it has seen, so its list is emptied again and again.
        while (entry := archive.next()) is not None:
            yield Member(
                _parts(entry.name),
                _tar_kind(entry),
                entry.size,
                lambda entry=entry: _read_tar_entry(path, stream, entry),  # type: ignore[misc]
            )
            archive.members.clear()  # type: ignore[attr-defined]
        stream.require_end()


def _tar_kind(entry: tarfile.TarInfo) -> Kind:
    if entry.isdir():
        return Kind.FOLDER
    if entry.issym() or entry.islnk():
        return Kind.LINK
    return Kind.FILE if entry.isreg() and not entry.issparse() else Kind.OTHER


def _read_tar_entry(path: Path, stream: _ForwardStream, entry: tarfile.TarInfo) -> bytes:
    if entry.size > LARGEST_MEMBER:
        raise too_large(entry.name, entry.size)
    with _archive_errors(path, entry.name):
        stream.seek(entry.offset_data)
        data = stream.read(entry.size)
        if len(data) != entry.size:
            raise _cut_off(path)
        return data


class _ForwardStream:
    """What `tarfile` needs of a file, over a decompressor: it reads on, never back, and counts.

    Every size in a tar file is a claim. Here none of them allocates more than `LARGEST_MEMBER`
    at once, makes the reader go in circles, or unpacks more than an archive may hold.
    """

    def __init__(self, path: Path, file: io.BufferedIOBase) -> None:
        self._path = path
        self._file = file
        self._position = 0
        self._budget = _Budget(path)
        self._last_read = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LARGEST_MEMBER + _TAR_BLOCK:
            raise too_large(f"{self._path}: a header", size)
        self._last_read = self._file.read(size)
        self._position += len(self._last_read)
        self._budget.spend(len(self._last_read))
        return self._last_read

    def seek(self, position: int) -> None:
        if position < self._position:
            raise DataError(
                f"{self._path}: the archive is damaged: a header has a negative size",
                remedy="make the archive anew",
            )
        while self._position < position:
            if not self.read(min(_CHUNK, position - self._position)):
                raise _cut_off(self._path)

    def require_end(self) -> None:
        """Refuse an archive that stopped without its end mark, or that goes on after it.

        Reading to the end also lets the decompressor compare its checksum.
        """
        if self._last_read != _NULL_BLOCK:
            raise _cut_off(self._path)
        while rest := self.read(_CHUNK):
            if rest.count(0) != len(rest):
                raise DataError(
                    f"{self._path}: there is more data after the archive's end",
                    remedy="make one archive of it, not several joined ones",
                )


class _Budget:
    """How many decompressed bytes an archive may still have."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = min(LARGEST_ARCHIVE, max(ALWAYS_ALLOWED, LARGEST_RATIO * path.stat().st_size))
        self._spent = 0

    def spend(self, size: int) -> None:
        self._spent += size
        if self._spent > self._limit:
            raise DataError(
                f"{self._path}: it unpacks to more than {self._limit:,} bytes, "
                "which is more than images do",
                remedy="unpack it into a folder if you trust it",
            )


def _decompressor(start: bytes) -> Callable[[Path], io.BufferedIOBase] | None:
    for magic, opener in _DECOMPRESSORS.items():
        if start.startswith(magic):
            return lambda path: io.BufferedReader(_ReadAhead(opener(path)))
    return None


class _ReadAhead(io.RawIOBase):
    """A stream that a thread of its own decompresses, a few chunks ahead of the reader."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._ready: queue.Queue[bytes | Exception] = queue.Queue(_CHUNKS_AHEAD)
        self._rest = memoryview(b"")
        self._at_end = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        if not self._rest and not self._at_end:
            chunk = self._ready.get()
            if isinstance(chunk, Exception):
                self._at_end = True
                raise chunk
            self._at_end = not chunk
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._stopped.set()
            while self._thread.is_alive():  # it may wait for room
                try:
                    self._ready.get(timeout=0.01)
                except queue.Empty:
                    pass
            self._file.close()
        super().close()

    def _fill(self) -> None:
        chunk: bytes | Exception = b"-"
        while chunk and not isinstance(chunk, Exception) and not self._stopped.is_set():
            try:
                chunk = self._file.read(_CHUNK)
            except (
                OSError,
                EOFError,
                ValueError,
                MemoryError,
                lzma.LZMAError,
                zlib.error,
            ) as error:
                chunk = error
            self._ready.put(chunk)


def _plain(path: Path) -> io.BufferedIOBase:
    return io.BufferedReader(io.FileIO(path), _CHUNK)


_DECOMPRESSORS: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split("/") if part not in ("", "."))


@contextmanager
def _archive_errors(path: Path, name: str = "") -> Iterator[None]:
    """Whatever the readers of archives raise becomes a DataError that names the place.

    On bytes that were made up they raise about any exception, so any is caught here.
    """
    try:
        yield
    except TenfoldError:
        raise
    except Exception as error:
        place = f"{path}: {name}" if name else str(path)
        reason = printable(str(error) or type(error).__name__, 120)
        raise DataError(
            f"{place}: the archive is damaged or cannot be read: {reason}",
            remedy="fetch it or make it anew",
        ) from error


def _cut_off(path: Path) -> DataError:
    return DataError(
        f"{path}: the archive is damaged: it ends in the middle or a header is broken",
        remedy="fetch it or make it anew",
    )


def _unreadable(path: Path, error: OSError | ValueError) -> DataError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return DataError(f"{path}: it cannot be read: {reason}")
