"""The files of a data set in the catalogue: found on the disk, or downloaded into the user's cache.

Whatever a file's origin, its content has the catalogue's digest before it is used. A download
goes to a file without a name, is checked there, and only then written in its place; so nothing
half-received is ever found by a later run, and two processes may ask for the same data set.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tenfold.data.cache import cache_folder
from tenfold.data.catalog import Archive, CatalogEntry, CatalogFile, Layout
from tenfold.errors import DataError, StorageError, listing, printable
from tenfold.storage import make_folder, write_bytes

Progress = Callable[[int, int | None, str], None]
"""Called with the bytes received so far, the bytes expected (None if unknown), and the name."""

DATA_VARIABLE = "TENFOLD_DATA"
"""The environment variable that names a folder of data sets."""

PATIENCE = 30.0
"""Seconds without an answer, or with next to no data, after which a mirror is given up."""

_LONGEST_CONNECT = 10.0
_SLOWEST = 1024  # bytes a second, over PATIENCE
_CHUNK = 16 * 1024
_READ_CHUNK = 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_SLACK = 2**20  # what gzip and tar may add to content that does not compress
_SETTLED = 2.0  # seconds after which a changed file surely has another time stamp


@dataclass(frozen=True)
class LocatedFiles:
    """The complete and checked files of one data set.

    Attributes:
        layout: which of the catalogue entry's layouts they have.
        paths: by the file's name in the catalogue; gzipped or not.
        folder: where they lie.
        notes: what a person should know about how they were found.
    """

    layout: Layout
    paths: Mapping[str, Path]
    folder: Path
    notes: tuple[str, ...]


class _MirrorError(Exception):
    """A mirror that did not give the file; what it did give may be continued elsewhere."""


class _UnusableError(_MirrorError):
    """Bytes that are not the file, whoever sent them."""


class _NoMirrorError(Exception):
    """All mirrors failed."""

    def __init__(self, name: str, failures: Sequence[str]) -> None:
        self.name = name
        self.failures = failures
        super().__init__(name)


def locate(
    entry: CatalogEntry,
    *,
    data_root: Path | None = None,
    download: bool = True,
    progress: Progress | None = None,
    patience: float = PATIENCE,
) -> LocatedFiles:
    """The files of a data set: in `data_root`, else in the user's cache, else downloaded there.

    Args:
        entry: with at least one layout.
        data_root: a folder of data sets in torchvision's layout, gzipped or not; by default the
            one that the environment variable `TENFOLD_DATA` names, if it is set.
        download: whether the network may be used.
        progress: called as data comes in.
        patience: seconds of silence after which a mirror is given up.

    Raises:
        DataError: a file has the wrong content, or the files are nowhere to be had.
        StorageError: the cache cannot be written.
    """
    assert entry.layouts, f"{entry.name} has no files"
    root, cache = _data_root(data_root), cache_folder() / "datasets"
    notes: list[str] = []
    located = _find(root, entry, notes) if root is not None else None
    if located is None:
        located = _find_in_cache(cache, entry, notes, may_replace=download)
    if located is None:
        located = _obtain(entry, root, cache, notes, download, progress, patience)
    return located


def files_in(folder: Path, layout: Layout) -> dict[str, Path]:
    """Which of a layout's files this folder has, gzipped or not, by their catalogue names."""
    found = {}
    for file in layout.files:
        plain, gzipped = folder / file.name, folder / f"{file.name}.gz"
        # Plain content is read faster, but for some files only the gzipped one can be checked.
        candidates = (gzipped, plain) if file.digest is None else (plain, gzipped)
        for path in candidates:
            if path.is_file():
                found[file.name] = path
                break
    return found


def check_file(path: Path, file: CatalogFile) -> str:
    """Compare a file's content with its digest; a note if none was published for it.

    A success is remembered in the user's cache for as long as the file does not change.

    Raises:
        DataError: the content is not what the catalogue says, or cannot be read.
    """
    wanted = file.digest or file.gzip_digest
    try:
        with path.open("rb") as stream:
            if wanted is None or (file.digest is None and not _is_gzip(stream)):
                return (
                    f"{printable(path)}: its content could not be checked, no digest is published"
                )
            memory = _memory_of(path, wanted)
            if memory.exists():
                return ""
            found = _digest_as(stream, file, wanted)
    except _UnusableError as error:
        raise _wrong_file(path, str(error)) from error
    except OSError as error:
        raise DataError(f"{printable(path)}: it cannot be read: {error.strerror}") from error
    if found != wanted and file.digest is None:
        return f"{printable(path)}: it was compressed anew, so its content could not be checked"
    if found != wanted:
        raise _wrong_file(path, f"the digest of its content is {found}, wanted {wanted}")
    _remember(path, memory)
    return ""


def _data_root(given: Path | None) -> Path | None:
    named = os.environ.get(DATA_VARIABLE, "")
    if given is None and not named:
        return None
    text = named if given is None else str(given)
    root = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's raises for an unknown user)
    if not root.is_dir():
        origin = "" if given is not None else f" that {DATA_VARIABLE} names"
        raise DataError(
            f"{printable(root)}: the folder of data sets{origin} is not there",
            remedy="make it, or name another one",
        )
    return root.absolute()


def _find(root: Path, entry: CatalogEntry, notes: list[str]) -> LocatedFiles | None:
    """The first layout that is complete under this root; its files are checked."""
    for layout in entry.layouts:
        folder = root / layout.folder
        paths = files_in(folder, layout)
        missing = [file.name for file in layout.files if file.name not in paths]
        if not missing:
            unchecked = [check_file(paths[file.name], file) for file in layout.files]
            return LocatedFiles(layout, paths, folder, (*notes, *filter(None, unchecked)))
        if paths:
            notes.append(f"{printable(folder)} was not used: it lacks {listing(missing)}")
    return None


def _find_in_cache(
    cache: Path, entry: CatalogEntry, notes: list[str], *, may_replace: bool
) -> LocatedFiles | None:
    unused: list[str] = []  # an unfinished download in our own folder is nobody's concern
    try:
        located = _find(cache, entry, unused)
    except DataError as error:
        if not may_replace:
            raise
        notes.append(f"{error.message}; it is downloaded again")
        return None
    if located is None:
        return None
    own = located.notes[len(unused) :]
    return LocatedFiles(located.layout, located.paths, located.folder, (*notes, *own))


def _obtain(
    entry: CatalogEntry,
    root: Path | None,
    cache: Path,
    notes: list[str],
    download: bool,
    progress: Progress | None,
    patience: float,
) -> LocatedFiles:
    """Fill the cache, from an archive in the root or from the mirrors, and find the files there."""
    layout = entry.layouts[0]
    make_folder(cache / layout.folder)
    with _locked(cache / f".{entry.name}.lock"):
        located = _find_in_cache(cache, entry, [], may_replace=True)  # by another process meanwhile
        if located is None:
            archive = _archive_on_disk(entry, root, cache)
            if archive is not None:
                _unpack_from_disk(*archive, cache)
            elif download:
                _download(entry, cache, notes, progress, patience)
            else:
                reasons = "; ".join(["and downloading is switched off", *notes])
                raise _not_here(entry, cache, reasons)
            located = _find_in_cache(cache, entry, [], may_replace=False)
    assert located is not None, "what was just written is there"
    return LocatedFiles(located.layout, located.paths, located.folder, (*notes, *located.notes))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it ends with its holder."""
    from filelock import FileLock

    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError as error:
        raise StorageError(
            f"{printable(path)}: the lock cannot be taken: {error.strerror or error}",
            remedy="choose a cache folder that can be written, by TENFOLD_CACHE",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _archive_on_disk(
    entry: CatalogEntry, root: Path | None, cache: Path
) -> tuple[Layout, Archive, Path] | None:
    for folder in (root, cache):
        for layout in entry.layouts:
            if folder is None or layout.archive is None:
                continue
            path = folder / layout.archive.name
            if path.is_file():
                return layout, layout.archive, path
    return None


def _unpack_from_disk(layout: Layout, archive: Archive, path: Path, cache: Path) -> None:
    make_folder(cache / layout.folder)
    try:
        with path.open("rb") as stream:
            _unpack(stream, layout, archive, cache / layout.folder)
    except _UnusableError as error:
        raise _wrong_file(path, str(error)) from error


def _download(
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
                accept=lambda stream: _unpack(stream, layout, archive, folder),
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
    except _NoMirrorError as error:
        failures = "; ".join(error.failures)
        raise _not_here(entry, cache, f"and no mirror gave {error.name} ({failures})") from error


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

    A mirror that breaks off is continued by the next one. `accept` raises `_UnusableError` for
    wrong content, which is then received from its beginning again.
    """
    failures: list[str] = []
    with _nameless_file(folder) as file:
        partial = _PartialFile(file, name, largest, progress, patience)
        for mirror in mirrors:
            try:
                _receive_and_accept(mirror + name, partial, accept)
            except _MirrorError as error:
                failures.append(f"{mirror}: {error}")
            else:
                notes.extend(f"{name}: {failure}; another mirror was used" for failure in failures)
                return
    raise _NoMirrorError(name, failures)


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
        except _UnusableError:
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
            raise _MirrorError(self._told(error)) from error
        finally:
            if self._response is not None:
                self._response.close()
        if self._total is not None and self.size < self._total:
            raise _MirrorError(f"broke off after {self.size:,} of {self._total:,} bytes")

    def write(self, chunk: bytes) -> None:
        """Append bytes, as long as they are not too many and do not come too slowly."""
        if self.size + len(chunk) > self._largest:
            raise _UnusableError(f"sends more than the {self._largest:,} bytes that it could have")
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
            raise _UnusableError("has no more than what another mirror sent")
        if status not in (200, 206):
            raise _MirrorError(f"{status} {printable(response.reason, 60)}")
        if status == 200:
            self.restart()
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {self.size}-"):
            raise _MirrorError("continued at another place than it was asked to")
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
            raise _MirrorError(f"sent only {self._watched_bytes:,} bytes in {seconds:.0f} s")
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
    found = _digest_as(stream, file, wanted)
    if found != wanted:
        raise _UnusableError(f"wrong content: its digest is {found}, wanted {wanted}")
    name = f"{file.name}.gz" if _is_gzip(stream) else file.name
    stream.seek(0)
    write_bytes(folder / name, stream.read())


def _unpack(stream: IO[bytes], layout: Layout, archive: Archive, folder: Path) -> None:
    """Check an archive and write the layout's files, and nothing else, into the folder."""
    found = _digest(stream.read, archive.digest)
    if found != archive.digest:
        raise _UnusableError(f"wrong content: its digest is {found}, wanted {archive.digest}")
    stream.seek(0)
    wanted = {f"{Path(layout.folder).name}/{file.name}": file for file in layout.files}
    try:
        with tarfile.open(fileobj=stream, mode="r:gz") as tar:
            for member in tar:
                file = wanted.pop(member.name, None) if member.isreg() else None
                if file is not None:
                    _write_member(tar, member, file, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _UnusableError(f"it is a damaged archive: {printable(error, 120)}") from error
    if wanted:
        raise _UnusableError(f"it lacks {listing(sorted(wanted))}")


def _write_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, file: CatalogFile, folder: Path
) -> None:
    if member.size > file.largest:
        raise _UnusableError(
            f"{member.name} in it is {member.size:,} bytes, wanted at most {file.largest:,}"
        )
    content = tar.extractfile(member)
    assert content is not None, "it is a regular file"
    data = content.read()
    if file.digest is not None and _digest_of(data, file.digest) != file.digest:
        raise _UnusableError(f"{member.name} in it has the wrong digest")
    write_bytes(folder / file.name, data)


def _is_gzip(stream: IO[bytes]) -> bool:
    stream.seek(0)
    start = stream.read(len(_GZIP_MAGIC))
    stream.seek(0)
    return start == _GZIP_MAGIC


def _digest_as(stream: IO[bytes], file: CatalogFile, wanted: str) -> str:
    """The digest of what the catalogue's digest is of: the content, or else the gzipped file."""
    if file.digest is None or not _is_gzip(stream):
        return _digest(stream.read, wanted)
    try:
        with gzip.GzipFile(fileobj=stream) as content:
            return _digest(content.read, wanted, largest=file.largest)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _UnusableError(f"it is a damaged gzip file: {printable(error, 120)}") from error


def _digest(read: Callable[[int], bytes], like: str, *, largest: int | None = None) -> str:
    """The digest of what `read` gives until its end, by the algorithm of another digest."""
    algorithm = like.partition(":")[0]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = 0
    while chunk := read(_READ_CHUNK):
        size += len(chunk)
        if largest is not None and size > largest:
            raise _UnusableError(f"its content is longer than {largest:,} bytes")
        digest.update(chunk)
    return f"{algorithm}:{digest.hexdigest()}"


def _digest_of(data: bytes, like: str) -> str:
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()}"


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


def _wrong_file(path: Path, what: str) -> DataError:
    return DataError(
        f"{printable(path)}: {what}",
        remedy="replace the file, or remove it so that it is downloaded",
    )


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{printable(path)}: the download cannot be written: {error.strerror or error}",
        remedy="free some space, or choose another cache folder by TENFOLD_CACHE",
    )


def _not_here(entry: CatalogEntry, cache: Path, why: str) -> DataError:
    layout = entry.layouts[0]
    names = listing([file.name for file in layout.files])
    archive = f", or {layout.archive.name} into {printable(cache)}" if layout.archive else ""
    gzipped = "" if layout.archive else ", gzipped or not"
    return DataError(
        f"{entry.title}: its files are not on this machine, {why}",
        remedy=f"put {names} into {printable(cache / layout.folder)}{gzipped}{archive}; "
        f"or set {DATA_VARIABLE} to a folder that has {layout.folder} in it",
    )
