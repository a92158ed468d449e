"""Files received from mirrors, checked, and only then written in their place.

A download goes to a file without a name, so nothing half-received is ever found by a later run.
"""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tenfold.data.catalog.checking import (
    MirrorError,
    UnusableError,
    check_file,
    digest,
    digest_as,
    is_gzip,
)
from tenfold.data.catalog.entries import (
    DATA_VARIABLE,
    CatalogEntry,
    CatalogFile,
    FileSet,
    files_in,
)
from tenfold.errors import DataError, StorageError, listing
from tenfold.listening import Listener
from tenfold.storage import write_bytes

if TYPE_CHECKING:
    from requests import Response

PATIENCE = 30.0
"""Seconds without an answer, or with next to no data, after which a mirror is given up."""

_LONGEST_CONNECT = 10.0
_SLOWEST = 1024  # bytes a second, over PATIENCE
_CHUNK = 16 * 1024
_SLACK = 2**20  # what gzip and tar may add to content that does not compress


class _NoMirrorError(Exception):
    """All mirrors failed."""


def download_files(
    entry: CatalogEntry, cache: Path, *, listener: Listener, patience: float
) -> None:
    """Receive what the first set lacks in the cache, from whichever mirror can give it.

    Raises:
        DataError: no mirror gave a file.
        StorageError: the cache cannot be written.
    """
    file_set = entry.file_sets[0]
    try:
        for name, largest, accept in _wanted(file_set, cache):
            with _nameless_file(cache) as file:
                received = _Received(file, name, largest, listener, patience)
                _retrieve(received, file_set.mirrors, accept)
    except _NoMirrorError as error:
        raise not_here(entry, cache, f"and no mirror gave {error}") from error


def _wanted(
    file_set: FileSet, cache: Path
) -> Iterator[tuple[str, int, Callable[[IO[bytes]], None]]]:
    """What to ask the mirrors for: its name, its largest size, and what takes it once it is whole.

    What takes it raises `UnusableError` for wrong content.
    """
    if file_set.archive is not None:
        largest = sum(file.largest for file in file_set.files) + _SLACK
        yield file_set.archive.name, largest, partial(unpack, file_set=file_set, cache=cache)
        return
    folder = cache / file_set.folder
    for file in file_set.files:
        if not _is_good(folder, file_set, file):
            largest = file.largest + file.largest // 1000 + _SLACK
            yield f"{file.name}.gz", largest, partial(_keep, file=file, folder=folder)


def _is_good(folder: Path, file_set: FileSet, file: CatalogFile) -> bool:
    """Whether an earlier, interrupted download left this file whole; a damaged one is removed."""
    path = files_in(folder, file_set).get(file.name)
    if path is None:
        return False
    try:
        return check_file(path, file, listener=Listener())
    except DataError:
        path.unlink()
        return False


@contextmanager
def _nameless_file(folder: Path) -> Iterator[IO[bytes]]:
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with file:
        yield file


def _retrieve(
    received: _Received, mirrors: Sequence[str], accept: Callable[[IO[bytes]], None]
) -> None:
    """Receive a file and hand it over; a mirror that breaks off is continued by the next one."""
    failures: list[str] = []
    for mirror in mirrors:
        try:
            _receive_and_accept(received, mirror + received.name, accept)
        except MirrorError as error:
            failures.append(f"{mirror}: {error}")
        else:
            for failure in failures:
                received.listener.note(f"{received.name}: {failure}; another mirror was used")
            return
    raise _NoMirrorError(f"{received.name} ({'; '.join(failures)})")


def _receive_and_accept(received: _Received, url: str, accept: Callable[[IO[bytes]], None]) -> None:
    was_begun = received.size > 0
    try:
        received.receive(url)
        accept(received.rewound())
    except UnusableError:
        received.restart()
        if not was_begun:
            raise
        # The wrong start may be another mirror's fault.
        _receive_and_accept(received, url, accept)


class _Received:
    """What has come in of a file, over one mirror or several.

    Args:
        file: where the bytes go.
        name: on a mirror.
        largest: bytes after which a mirror cannot be sending the right file.
        listener: is told after every chunk.
        patience: seconds of silence that are borne.
    """

    def __init__(
        self, file: IO[bytes], name: str, largest: int, listener: Listener, patience: float
    ) -> None:
        self.name = name
        self.size = 0
        self.listener = listener
        self._file = file
        self._largest = largest
        self._patience = patience
        self._total: int | None = None

    def receive(self, url: str) -> None:
        """Receive what is missing; `size` grows also if that fails in the middle."""
        import requests

        self._total = None
        headers = {"Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
        timeout = min(_LONGEST_CONNECT, self._patience), self._patience
        try:
            with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
                self._begin(response)
                for chunk in _steady(response.iter_content(_CHUNK), self._patience):
                    self._append(chunk)
        except OSError as error:  # all errors of the network are; ours of the disk are not
            raise MirrorError(self._told(error)) from error
        if broken_off := self._broken_off():
            raise MirrorError(broken_off)

    def restart(self) -> None:
        """Forget what has come in."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0

    def rewound(self) -> IO[bytes]:
        """The file, to be read from its beginning."""
        self._file.seek(0)
        return self._file

    def _begin(self, response: Response) -> None:
        status, headers = response.status_code, response.headers
        if status == 416:
            raise UnusableError("has no more than what another mirror sent")
        if status not in (200, 206):
            raise MirrorError(f"{status} {response.reason}")
        if status == 200:
            self.restart()
        elif not headers.get("Content-Range", "").startswith(f"bytes {self.size}-"):
            raise MirrorError("continued at another place than it was asked to")
        length = headers.get("Content-Length", "")
        if length.isdecimal() and headers.get("Content-Encoding", "identity") == "identity":
            self._total = self.size + int(length)

    def _append(self, chunk: bytes) -> None:
        if self.size + len(chunk) > self._largest:
            raise UnusableError(f"sends more than the {self._largest:,} bytes that it could have")
        try:
            self._file.write(chunk)
        except OSError as error:
            raise _cannot_write(Path(self.name), error) from error
        self.size += len(chunk)
        self.listener.reading(self.name, self.size, self._total)

    def _broken_off(self) -> str:
        """How far it came, if the mirror announced more."""
        if self._total is None or self.size >= self._total:
            return ""
        return f"broke off after {self.size:,} of {self._total:,} bytes"

    def _told(self, error: OSError) -> str:
        """The innermost reason of an error that wraps others, in a few words."""
        innermost: BaseException = error
        while (inner := innermost.__cause__ or innermost.__context__) is not None:
            innermost = inner
        broken_off = self._broken_off()
        if isinstance(innermost, TimeoutError):
            silence = f"no answer for {self._patience:g} s"
            return f"{broken_off}: {silence}" if broken_off else silence
        return broken_off or str(getattr(innermost, "strerror", None) or innermost)


def _steady(chunks: Iterable[bytes], patience: float) -> Iterator[bytes]:
    """The chunks, as long as they do not come too slowly."""
    start, received = time.monotonic(), 0
    for chunk in chunks:
        yield chunk
        received += len(chunk)
        seconds = time.monotonic() - start
        if seconds >= patience:
            if received < _SLOWEST * seconds:
                raise MirrorError(f"sent only {received:,} bytes in {seconds:.0f} s")
            start, received = time.monotonic(), 0


def _keep(stream: IO[bytes], *, file: CatalogFile, folder: Path) -> None:
    """Check a received file and write it, gzipped or not as it came."""
    wanted = file.digest or file.gzip_digest
    assert wanted is not None, f"{file.name} cannot be checked"
    found = digest_as(stream, file, wanted)
    if found != wanted:
        raise UnusableError(f"wrong content: its digest is {found}, wanted {wanted}")
    name = f"{file.name}.gz" if is_gzip(stream) else file.name
    stream.seek(0)
    write_bytes(folder / name, stream.read())


def unpack(stream: IO[bytes], file_set: FileSet, cache: Path) -> None:
    """Check the archive of a set and write its files, and nothing else, below the cache.

    Raises:
        UnusableError: the archive is not the published one, or damaged.
        StorageError: the cache cannot be written.
    """
    archive = file_set.archive
    assert archive is not None, f"{file_set.folder} has no archive"
    found = digest(stream.read, archive.digest)
    if found != archive.digest:
        raise UnusableError(f"wrong content: its digest is {found}, wanted {archive.digest}")
    stream.seek(0)
    folder = cache / file_set.folder
    wanted = {f"{folder.name}/{file.name}": file for file in file_set.files}
    try:
        with tarfile.open(fileobj=stream, mode="r:gz") as tar:
            for member in tar:
                file = wanted.pop(member.name, None) if member.isreg() else None
                if file is not None:
                    _write_member(tar, member, file, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnusableError(f"it is a damaged archive: {error}") from error
    if wanted:
        raise UnusableError(f"it lacks {listing(sorted(wanted))}")


def _write_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, file: CatalogFile, folder: Path
) -> None:
    if member.size > file.largest:
        raise UnusableError(
            f"{member.name} in it is {member.size:,} bytes, wanted at most {file.largest:,}"
        )
    content = tar.extractfile(member)
    assert content is not None, "it is a regular file"
    data = content.read()
    if file.digest is not None and digest(BytesIO(data).read, file.digest) != file.digest:
        raise UnusableError(f"{member.name} in it has the wrong digest")
    write_bytes(folder / file.name, data)


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path}: the download cannot be written: {error.strerror or error}",
        remedy="free some space, or choose another cache folder by TENFOLD_CACHE",
    )


def not_here(entry: CatalogEntry, cache: Path, why: str) -> DataError:
    """The error about files that could not be had, with the places to put them."""
    file_set = entry.file_sets[0]
    names = listing([file.name for file in file_set.files])
    archive = f", or {file_set.archive.name} into {cache}" if file_set.archive else ""
    gzipped = "" if file_set.archive else ", gzipped or not"
    return DataError(
        f"{entry.title}: its files are not on this machine, {why}",
        remedy=f"put {names} into {cache / file_set.folder}{gzipped}{archive}; "
        f"or set {DATA_VARIABLE} to a folder that has {file_set.folder} in it",
    )
