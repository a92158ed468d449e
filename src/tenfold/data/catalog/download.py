"""Files received from mirrors, checked, and only then written in their place.

A download goes to a file without a name, so nothing half-received is ever found by a later run.
"""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tenfold.data.catalog.checking import (
    MirrorError,
    UnusableError,
    check_file,
    digest,
    digest_as,
    digest_of,
    is_gzip,
)
from tenfold.data.catalog.entries import (
    DATA_VARIABLE,
    Archive,
    CatalogEntry,
    CatalogFile,
    Layout,
    files_in,
)
from tenfold.errors import DataError, StorageError, listing, printable
from tenfold.storage import write_bytes

Progress = Callable[[int, int | None, str], None]
"""Called with the bytes received so far, the bytes expected (None if unknown), and the name."""

PATIENCE = 30.0
"""Seconds without an answer, or with next to no data, after which a mirror is given up."""

_LONGEST_CONNECT = 10.0
_SLOWEST = 1024  # bytes a second, over PATIENCE
_CHUNK = 16 * 1024
_SLACK = 2**20  # what gzip and tar may add to content that does not compress


class NoMirrorError(Exception):
    """All mirrors failed."""

    def __init__(self, name: str, failures: Sequence[str]) -> None:
        self.name = name
        self.failures = failures
        super().__init__(name)


def download_files(
    entry: CatalogEntry,
    cache: Path,
    notes: list[str],
    progress: Progress | None,
    patience: float,
) -> None:
    """Receive what the first layout lacks in the cache, from whichever mirror can give it."""
    layout = entry.layouts[0]
    folder = cache / layout.folder
    try:
        if layout.archive is not None:
            archive = layout.archive
            _retrieve(
                archive.name,
                layout.mirrors,
                folder=cache,
                largest=sum(file.largest for file in layout.files) + _SLACK,
                accept=lambda stream: unpack(stream, layout, archive, folder),
                notes=notes,
                progress=progress,
                patience=patience,
            )
            return
        for file in layout.files:
            if _is_good(folder, layout, file):
                continue
            _retrieve(
                f"{file.name}.gz",
                layout.mirrors,
                folder=cache,
                largest=file.largest + file.largest // 1000 + _SLACK,
                accept=lambda stream, file=file: _keep(stream, file, folder),  # type: ignore[misc]
                notes=notes,
                progress=progress,
                patience=patience,
            )
    except NoMirrorError as error:
        failures = "; ".join(error.failures)
        raise not_here(entry, cache, f"and no mirror gave {error.name} ({failures})") from error


def _is_good(folder: Path, layout: Layout, file: CatalogFile) -> bool:
    """Whether an earlier, interrupted download left this file whole; a damaged one is removed."""
    path = files_in(folder, layout).get(file.name)
    if path is None:
        return False
    try:
        return not check_file(path, file)
    except DataError:
        path.unlink()
        return False


def _retrieve(
    name: str,
    mirrors: Sequence[str],
    *,
    folder: Path,
    largest: int,
    accept: Callable[[IO[bytes]], None],
    notes: list[str],
    progress: Progress | None,
    patience: float,
) -> None:
    """Receive a file into a nameless one in the folder, and hand it to `accept` once it is whole.

    A mirror that breaks off is continued by the next one. `accept` raises `UnusableError` for
    wrong content, which is then received from its beginning again.
    """
    failures: list[str] = []
    with _nameless_file(folder) as file:
        partial = _PartialFile(file, name, largest, progress, patience)
        for mirror in mirrors:
            try:
                _receive_and_accept(mirror + name, partial, accept)
            except MirrorError as error:
                failures.append(f"{mirror}: {error}")
            else:
                notes.extend(f"{name}: {failure}; another mirror was used" for failure in failures)
                return
    raise NoMirrorError(name, failures)


@contextmanager
def _nameless_file(folder: Path) -> Iterator[IO[bytes]]:
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with file:
        yield file


def _receive_and_accept(
    url: str, partial: _PartialFile, accept: Callable[[IO[bytes]], None]
) -> None:
    attempts = 2 if partial.size else 1  # a wrong start may be another mirror's fault
    for attempt in range(1, attempts + 1):
        try:
            partial.receive(url)
            accept(partial.rewound())
        except UnusableError:
            partial.restart()
            if attempt == attempts:
                raise
        else:
            return


class _PartialFile:
    """What has come in of a file, over one mirror or several.

    pooch's downloader writes into it as into any file; the answer's head comes to `_begin` first.

    Args:
        file: where the bytes go.
        name: for `progress`.
        largest: bytes after which a mirror cannot be sending the right file.
        progress: called after every chunk.
        patience: seconds of silence that are borne.
    """

    def __init__(
        self,
        file: IO[bytes],
        name: str,
        largest: int,
        progress: Progress | None,
        patience: float,
    ) -> None:
        self.size = 0
        self._file = file
        self._name = name
        self._largest = largest
        self._progress = progress
        self._patience = patience
        self._total: int | None = None
        self._response: Any = None
        self._watch_start = 0.0
        self._watched_bytes = 0

    def receive(self, url: str) -> None:
        """Receive what is missing; `size` grows also if that fails in the middle."""
        import pooch

        self._forget_answer()
        headers = {"Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
        downloader = pooch.HTTPDownloader(
            chunk_size=_CHUNK,
            timeout=(min(_LONGEST_CONNECT, self._patience), self._patience),
            headers=headers,
            hooks={"response": self._begin},
        )
        try:
            downloader(url, self, None)
        except OSError as error:  # all errors of the network are; ours of the disk are not
            raise MirrorError(self._told(error)) from error
        finally:
            if self._response is not None:
                self._response.close()
        if self._total is not None and self.size < self._total:
            raise MirrorError(f"broke off after {self.size:,} of {self._total:,} bytes")

    def write(self, chunk: bytes) -> None:
        """Append bytes, as long as they are not too many and do not come too slowly."""
        if self.size + len(chunk) > self._largest:
            raise UnusableError(f"sends more than the {self._largest:,} bytes that it could have")
        try:
            self._file.write(chunk)
        except OSError as error:
            raise _cannot_write(Path(self._name), error) from error
        self.size += len(chunk)
        self._watch_speed(len(chunk))
        if self._progress is not None:
            self._progress(self.size, self._total, self._name)

    def flush(self) -> None:
        """Nothing: nobody reads before the end."""

    def restart(self) -> None:
        """Forget what has come in."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0

    def rewound(self) -> IO[bytes]:
        """The file, to be read from its beginning."""
        self._file.seek(0)
        return self._file

    def _forget_answer(self) -> None:
        self._response = self._total = None

    def _begin(self, response: Any, **_: object) -> None:  # noqa: ANN401 (requests has no types)
        self._response = response
        status = response.status_code
        if response.is_redirect:
            return
        if status == 416:
            raise UnusableError("has no more than what another mirror sent")
        if status not in (200, 206):
            raise MirrorError(f"{status} {printable(response.reason, 60)}")
        if status == 200:
            self.restart()
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {self.size}-"):
            raise MirrorError("continued at another place than it was asked to")
        self._total = self._expected(response.headers)
        self._watch_start, self._watched_bytes = time.monotonic(), 0

    def _expected(self, headers: Mapping[str, str]) -> int | None:
        length = headers.get("Content-Length", "")
        if not length.isdecimal() or headers.get("Content-Encoding", "identity") != "identity":
            return None
        return self.size + int(length)

    def _watch_speed(self, new_bytes: int) -> None:
        self._watched_bytes += new_bytes
        seconds = time.monotonic() - self._watch_start
        if seconds < self._patience:
            return
        if self._watched_bytes < _SLOWEST * seconds:
            raise MirrorError(f"sent only {self._watched_bytes:,} bytes in {seconds:.0f} s")
        self._watch_start, self._watched_bytes = time.monotonic(), 0

    def _told(self, error: OSError) -> str:
        """The innermost reason of an error that wraps others, in a few words."""
        innermost: BaseException = error
        while (inner := innermost.__cause__ or innermost.__context__) is not None:
            innermost = inner
        silent = isinstance(innermost, TimeoutError)
        silence = f"no answer for {self._patience:g} s"
        if self._total is not None and self.size < self._total:
            how_far = f"broke off after {self.size:,} of {self._total:,} bytes"
            return f"{how_far}: {silence}" if silent else how_far
        strerror = getattr(innermost, "strerror", None)
        return silence if silent else printable(strerror or innermost, 120)


def _keep(stream: IO[bytes], file: CatalogFile, folder: Path) -> None:
    """Check a received file and write it, gzipped or not as it came."""
    wanted = file.digest or file.gzip_digest
    assert wanted is not None, f"{file.name} cannot be checked"
    found = digest_as(stream, file, wanted)
    if found != wanted:
        raise UnusableError(f"wrong content: its digest is {found}, wanted {wanted}")
    name = f"{file.name}.gz" if is_gzip(stream) else file.name
    stream.seek(0)
    write_bytes(folder / name, stream.read())


def unpack(stream: IO[bytes], layout: Layout, archive: Archive, folder: Path) -> None:
    """Check an archive and write the layout's files, and nothing else, into the folder."""
    found = digest(stream.read, archive.digest)
    if found != archive.digest:
        raise UnusableError(f"wrong content: its digest is {found}, wanted {archive.digest}")
    stream.seek(0)
    wanted = {f"{Path(layout.folder).name}/{file.name}": file for file in layout.files}
    try:
        with tarfile.open(fileobj=stream, mode="r:gz") as tar:
            for member in tar:
                file = wanted.pop(member.name, None) if member.isreg() else None
                if file is not None:
                    _write_member(tar, member, file, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnusableError(f"it is a damaged archive: {printable(error, 120)}") from error
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
    if file.digest is not None and digest_of(data, file.digest) != file.digest:
        raise UnusableError(f"{member.name} in it has the wrong digest")
    write_bytes(folder / file.name, data)


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path}: the download cannot be written: {error.strerror or error}",
        remedy="free some space, or choose another cache folder by TENFOLD_CACHE",
    )


def not_here(entry: CatalogEntry, cache: Path, why: str) -> DataError:
    """The error about files that could not be had, with the places to put them."""
    layout = entry.layouts[0]
    names = listing([file.name for file in layout.files])
    archive = f", or {layout.archive.name} into {printable(cache)}" if layout.archive else ""
    gzipped = "" if layout.archive else ", gzipped or not"
    return DataError(
        f"{entry.title}: its files are not on this machine, {why}",
        remedy=f"put {names} into {cache / layout.folder}{gzipped}{archive}; "
        f"or set {DATA_VARIABLE} to a folder that has {layout.folder} in it",
    )
