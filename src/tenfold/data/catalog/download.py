"""Downloads from mirrors, checked before they are written.

A download stays in memory until it is complete and checked, so no later run can find a partial
file. The largest download is smaller than the arrays decoded from it.
"""

from __future__ import annotations

import gzip
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.data.catalog.checking import (
    MirrorError,
    UnusableError,
    digest,
    digest_as,
    is_known_good,
)
from tenfold.data.catalog.entries import DATA_VARIABLE, CatalogEntry, CatalogFile, FileSet, files_in
from tenfold.data.files.reading import is_gzip
from tenfold.errors import DataError, listing
from tenfold.listening import Listener
from tenfold.storage import remove_file, write_bytes

if TYPE_CHECKING:
    from requests import Response

_LONGEST_CONNECT = 10.0
_PATIENCE = 30.0  # seconds without an answer, or below _SLOWEST, before giving up on a mirror
_SLOWEST = 1024  # bytes a second, over _PATIENCE
_CHUNK = 16 * 1024
_SLACK = 2**20  # what gzip and tar may add to content that does not compress


def download_files(entry: CatalogEntry, cache: Path, *, listener: Listener) -> None:
    """Download the files of the first set that the cache lacks, from the first mirror that works.

    Raises:
        DataError: no mirror delivered a file.
        StorageError: the cache cannot be written.
    """
    file_set = entry.file_sets[0]
    for name, largest, accept in _wanted(file_set, cache):
        received = _Received(name, largest, listener)
        failures = []
        for mirror in file_set.mirrors:
            # The next mirror continues a partial download.
            try:
                _receive_and_accept(received, mirror + name, accept)
                break
            except MirrorError as error:
                failures.append(f"{mirror}: {error}")
        else:
            raise not_here(entry, cache, f"and no mirror delivered {name} ({'; '.join(failures)})")
        for failure in failures:
            listener.note(f"{name}: {failure}; another mirror was used")


def _wanted(
    file_set: FileSet, cache: Path
) -> Iterator[tuple[str, int, Callable[[BufferedIOBase], None]]]:
    """Each file to download: name, maximum size in bytes, and a function that accepts it.

    The function raises `UnusableError` for wrong content.
    """
    if file_set.archive is not None:
        largest = sum(file.largest for file in file_set.files) + _SLACK
        yield file_set.archive.name, largest, partial(unpack, file_set=file_set, cache=cache)
        return
    folder = cache / file_set.folder
    for file in file_set.files:
        # An earlier, interrupted download may have left some of the files.
        found = files_in(folder, file_set).get(file.name)
        if found is None or not is_known_good(found, file):
            largest = file.largest + file.largest // 1000 + _SLACK
            yield f"{file.name}.gz", largest, partial(_keep, file=file, folder=folder)


def _receive_and_accept(
    received: _Received, url: str, accept: Callable[[BufferedIOBase], None]
) -> None:
    was_begun = received.size > 0
    try:
        received.receive(url)
        received.file.seek(0)
        accept(received.file)
    except UnusableError:
        received.restart()
        if not was_begun:
            raise
        # The wrong start may be another mirror's fault.
        _receive_and_accept(received, url, accept)


@dataclass
class _Received:
    """A file being downloaded, from one mirror or several.

    Attributes:
        name: its name on a mirror.
        largest: maximum size in bytes; beyond it, it cannot be the right file.
        listener: receives progress after every chunk.
        file: the bytes so far.
        size: the number of bytes so far.
        total: the expected number of bytes, if the current mirror announces it.
    """

    name: str
    largest: int
    listener: Listener
    file: BytesIO = field(default_factory=BytesIO)
    size: int = 0
    total: int | None = None

    def receive(self, url: str) -> None:
        """Download the missing bytes; on failure, the bytes received so far are kept."""
        import requests

        self.total = None
        headers = {"Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
        timeout = _LONGEST_CONNECT, _PATIENCE
        try:
            with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
                self._begin(response)
                for chunk in _steady(response.iter_content(_CHUNK)):
                    if self.size + len(chunk) > self.largest:
                        raise UnusableError(
                            f"sends more than the expected {self.largest:,} bytes at most"
                        )
                    self.file.write(chunk)
                    self.size += len(chunk)
                    self.listener.reading(f"downloading {self.name}", self.size, self.total)
        except OSError as error:  # includes all network errors
            raise MirrorError(self._told(error)) from error
        if broken_off := self._broken_off():
            raise MirrorError(broken_off)

    def restart(self) -> None:
        """Discard what was received."""
        self.file = BytesIO()
        self.size = 0

    def _begin(self, response: Response) -> None:
        status, headers = response.status_code, response.headers
        if status == 416:
            raise UnusableError("has no more bytes than another mirror already sent")
        if status not in (200, 206):
            raise MirrorError(f"{status} {response.reason}")
        if status == 200:
            self.restart()
        elif not headers.get("Content-Range", "").startswith(f"bytes {self.size}-"):
            raise MirrorError("continued at the wrong position")
        length = headers.get("Content-Length", "")
        if length.isdecimal() and headers.get("Content-Encoding", "identity") == "identity":
            self.total = self.size + int(length)

    def _broken_off(self) -> str:
        """How far the download got, if the mirror announced more; else empty."""
        if self.total is None or self.size >= self.total:
            return ""
        return f"broke off after {self.size:,} of {self.total:,} bytes"

    def _told(self, error: OSError) -> str:
        """The root cause of a network error, in a few words."""
        innermost: BaseException = error
        while (inner := innermost.__cause__ or innermost.__context__) is not None:
            innermost = inner
        broken_off = self._broken_off()
        if isinstance(innermost, TimeoutError):
            silence = f"no answer for {_PATIENCE:g} s"
            return f"{broken_off}: {silence}" if broken_off else silence
        return broken_off or str(getattr(innermost, "strerror", None) or innermost)


def _steady(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, with a `MirrorError` if they arrive too slowly."""
    start, received = time.monotonic(), 0
    for chunk in chunks:
        yield chunk
        received += len(chunk)
        seconds = time.monotonic() - start
        if seconds >= _PATIENCE:
            if received < _SLOWEST * seconds:
                raise MirrorError(f"sent only {received:,} bytes in {seconds:.0f} s")
            start, received = time.monotonic(), 0


def _keep(stream: BufferedIOBase, *, file: CatalogFile, folder: Path) -> None:
    """Check a received file and write it as received, gzipped or not."""
    wanted = file.digest or file.gzip_digest
    assert wanted is not None, f"{file.name} cannot be checked"
    _require_digest(digest_as(stream, file, wanted), wanted)
    plain, gzipped = folder / file.name, folder / f"{file.name}.gz"
    for damaged in (plain, gzipped):
        remove_file(damaged)
    write_bytes(gzipped if is_gzip(stream) else plain, stream.read())


def unpack(stream: BufferedIOBase, file_set: FileSet, cache: Path) -> None:
    """Check the archive of a set and write only the set's files into the cache.

    Raises:
        UnusableError: the archive is not the published one, or is damaged.
        StorageError: the cache cannot be written.
    """
    archive = file_set.archive
    assert archive is not None, f"{file_set.folder} has no archive"
    _require_digest(digest(stream.read, archive.digest), archive.digest)
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
        raise UnusableError(f"damaged archive: {error}") from error
    if wanted:
        raise UnusableError(f"it lacks {listing(sorted(wanted))}")


def _require_digest(found: str, wanted: str) -> None:
    if found != wanted:
        raise UnusableError(f"wrong content: its digest is {found}, wanted {wanted}")


def _write_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, file: CatalogFile, folder: Path
) -> None:
    if member.size > file.largest:
        raise UnusableError(
            f"its {member.name} is {member.size:,} bytes, wanted at most {file.largest:,}"
        )
    content = tar.extractfile(member)
    assert content is not None, "it is a regular file"
    data = content.read()
    if file.digest is not None and digest(BytesIO(data).read, file.digest) != file.digest:
        raise UnusableError(f"its {member.name} has the wrong digest")
    write_bytes(folder / file.name, data)


def not_here(entry: CatalogEntry, cache: Path, why: str) -> DataError:
    """The error for missing files, with the places to put them."""
    file_set = entry.file_sets[0]
    names = listing([file.name for file in file_set.files])
    archive = file_set.archive
    form = f", or {archive.name} into {cache}" if archive else ", gzipped or not"
    return DataError(
        f"{entry.title}: its files are not on this machine, {why}",
        remedy=f"put {names} into {cache / file_set.folder}{form}; "
        f"or set {DATA_VARIABLE} to a folder that contains {file_set.folder}",
    )
