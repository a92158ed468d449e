"""Atomic file writes.

A write goes to a temporary file in the same folder, which is synced to disk, read back, compared,
and renamed into place; then the folder is synced. So a reader always sees the whole old file or
the whole new one, even if the process dies; a failed write leaves the old one.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from tenfold.errors import FileRefusedError, FileUnreadableError, StorageError, reason_of
from tenfold.paths import exists, is_folder

_PASSING = {
    errno.EACCES: "make it readable for this user",
    errno.EPERM: "make it readable for this user",
    errno.EMFILE: "close other files, or raise the limit on open files",
    errno.ENFILE: "close other files, or raise the limit on open files",
    errno.ENOMEM: "end other programs",
    **dict.fromkeys(
        (errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EBUSY, errno.EAGAIN),
        "try again later",
    ),
}
"""By error number, what to do if a file cannot be read though nothing is wrong with it."""

_WAYS_TO_WRITE = {
    errno.ENOSPC: "free some space there, or choose another folder",
    errno.EDQUOT: "free some space there, or choose another folder",
    errno.EFBIG: "raise the limit on the size of files, or choose another folder",
    errno.EROFS: "make its folder writable, or choose another one",
    errno.EACCES: "make its folder writable, or choose another one",
    errno.EPERM: "make its folder writable, or choose another one",
    errno.ENOENT: "put the folder back, or choose another one",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""By error number, what to do if a file cannot be written."""

_TEMPORARY_NAME = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: a crash at any time leaves the old file or the new one, whole.

    A link is replaced and not followed, so that a folder of links to another run's files can be
    written without changing these, and so is a pipe; for paths that users name, see `destination`.

    Raises:
        StorageError: the disk is full, the folder is read-only, a sync failed, or there is a
            folder, a device or a socket. The old file is unchanged and nothing else is left behind;
            but on a file system without hard links, a failed sync of the folder leaves the new
            file, whole.
    """
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together, like `write_bytes`: all, or if one fails, none.

    A crash leaves each of them whole, but some of them may be new and others old.

    Raises:
        StorageError: see `write_bytes`.
    """
    with ExitStack() as stack:
        written = dict[Path, Path]()
        for path, data in contents.items():
            stack.enter_context(_explained(path, _failure(data)))
            written[path] = stack.enter_context(_written(path, data))
        for path, temporary in written.items():
            stack.enter_context(_explained(path, _failure(contents[path])))
            stack.enter_context(_in_place(temporary, path))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, like `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file, like `write_bytes`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # File names need not be valid Unicode; surrogates for such bytes get JSON's own escapes.
    write_bytes(path, text.encode(errors="backslashreplace"))


def destination(path: Path) -> Path:
    """Where to write a file that a user has named: where a link leads that is there.

    Raises:
        StorageError: what is there is no regular file, such as a device, and is not to be replaced;
            or it cannot be looked at.
    """
    with _explained(path, "cannot be written"):
        _require_replaceable(path, os.stat, stat.S_ISREG)
        return Path(os.path.realpath(path)) if path.is_symlink() else path


def append_text(path: Path, text: str) -> None:
    """Append to a UTF-8 text file, which need not exist, without waiting for the disk.

    If the machine crashes, the end of the file may be missing. A link is not followed.

    Raises:
        StorageError: it could not be written, and is as it was before.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with _explained(path, "cannot be extended"):
        descriptor = os.open(path, flags, 0o666)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise StorageError(f"{path}: not a regular file")
            try:
                _write_all(descriptor, text.encode())
            except OSError:
                with suppress(OSError):  # the first error is the one to report
                    os.ftruncate(descriptor, status.st_size)
                raise
        finally:
            os.close(descriptor)


def flush(path: Path) -> None:
    """Wait until a file and its name are on disk; does nothing if there is none.

    Raises:
        StorageError: it could not be flushed.
    """
    with _explained(path, "cannot be flushed"), suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync_folder(path.parent)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading, if it is a regular one.

    Opening a pipe would wait for a writer, and a device may have no end.

    Raises:
        OSError: it is missing, unreadable, or no regular file.
    """
    file = open(path, "rb", opener=_open_without_blocking)  # noqa: SIM115 - closed by the caller
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return file


@contextmanager
def read_regular_file(path: Path) -> Iterator[tuple[io.BufferedReader, int]]:
    """Open a file for reading; gives the file and its size in bytes.

    Raises:
        FileRefusedError: it is missing, cannot be read, or is a pipe, a device or a folder.
        FileUnreadableError: it may be readable at another time.
    """
    try:
        with open_regular(path) as file:
            yield file, os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise FileRefusedError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise refusal_of(path, error) from error


def refusal_of(path: Path, error: OSError | ValueError) -> FileRefusedError:
    """The error for what the system does not read: `FileUnreadableError` if it may do so later."""
    message = f"{path}: cannot be read: {reason_of(error)}"
    remedy = _PASSING.get(getattr(error, "errno", 0), "")
    return FileUnreadableError(message, remedy=remedy) if remedy else FileRefusedError(message)


def _open_without_blocking(path: str, flags: int) -> int:
    """Open without blocking: opening a pipe would wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: Path, limit: int) -> str:
    """The text of a UTF-8 file.

    Args:
        path: the file.
        limit: maximum size in bytes.

    Raises:
        FileRefusedError: it is missing, unreadable, too large, not a regular file or not text.
    """
    try:
        with read_regular_file(path) as (file, _):
            data = file.read(limit + 1)
        if len(data) > limit:
            raise FileRefusedError(f"{path}: larger than {limit:,} bytes")
        return data.decode("utf-8-sig")  # editors on Windows start a file with a byte-order mark
    except UnicodeDecodeError as error:
        raise FileRefusedError(f"{path}: not UTF-8 text") from error


def for_spreadsheets(table: str) -> str:
    """A table as CSV, as Excel opens it: UTF-8 only if the file begins with a mark."""
    return table if table.isascii() else f"\ufeff{table}"


def absolute(path: Path) -> Path:
    """The absolute path; unchanged if the working directory no longer exists."""
    try:
        return path.absolute()
    except OSError:  # using the path will report the error
        return path


def make_folder(path: Path) -> bool:
    """Create a folder and its parents and sync them to disk; True if it did not exist.

    Raises:
        StorageError: it cannot be created, or a file has its name.
    """
    with _explained(path, "cannot create the folder"):
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()  # refuses a name that is too long, before anything is made
        missing = list(takewhile(lambda each: not is_folder(each), (path, *path.parents)))
        made = [_make_one(each) for each in reversed(missing)]
        return any(made[-1:])  # none if it was there already


def _make_one(path: Path) -> bool:
    """Create a folder in one that exists; False if another process was faster."""
    try:
        path.mkdir()
    except FileExistsError as error:
        if is_folder(path):
            return False
        raise StorageError(
            f"{path}: this is a file, wanted a folder", remedy="choose another folder"
        ) from error
    _sync_folder(path.parent)
    return True


def remove_file(path: Path) -> None:
    """Remove a file; does nothing if it does not exist.

    Raises:
        StorageError: it cannot be removed.
    """
    with _explained(path, "cannot be removed"):
        path.unlink(missing_ok=True)


def set_aside(path: Path, word: str) -> Path:
    """Rename a file out of the way, to a name that is not in use; returns the new path.

    Args:
        path: the file.
        word: appended to its name, such as `"damaged"`.

    Raises:
        StorageError: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.{word}")
    number = 1
    while exists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.{word}-{number}")
    with _explained(path, "cannot be renamed"):
        os.replace(path, aside)
    return aside


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` as the home folder; as it is if there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path's raises for an unknown user)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder.

    Call it only while no other process writes there.
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY_NAME.fullmatch(path.name):
            _remove_if_there(path)


@contextmanager
def _explained(path: Path, failure: str) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError."""
    try:
        yield
    except OSError as error:
        remedy = _WAYS_TO_WRITE.get(error.errno or 0, "")
        raise StorageError(f"{path}: {failure}: {reason_of(error)}", remedy=remedy) from error


def _require_replaceable(
    path: Path, look: Callable[[Path], os.stat_result], *kinds: Callable[[int], bool]
) -> None:
    """Require that what is at a path, if anything is, is of one of these kinds."""
    try:
        mode = look(path).st_mode
    except (FileNotFoundError, NotADirectoryError):  # writing reports the latter
        return
    if not any(is_of(mode) for is_of in kinds):
        found = "this is a folder" if stat.S_ISDIR(mode) else "this is a device or a pipe"
        raise StorageError(f"{path}: {found}, wanted a file", remedy="choose another name")


def _write_and_sync(path: Path, data: bytes) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.write(descriptor, rest)
        if not written:
            raise OSError(errno.EIO, "no more bytes could be written")
        rest = rest[written:]


def _verify(path: Path, data: bytes) -> None:
    if path.read_bytes() != data:
        raise OSError(errno.EIO, "the bytes read back differ from those written")


def _failure(data: bytes) -> str:
    return f"writing {len(data):,} bytes failed"


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """Write to a temporary file beside a path, which is removed at the end if it is still there."""
    temporary = _temporary(path)
    try:
        _require_replaceable(path, os.lstat, stat.S_ISREG, stat.S_ISLNK, stat.S_ISFIFO)
        _write_and_sync(temporary, data)
        _verify(temporary, data)
        yield temporary
    finally:
        _remove_if_there(temporary)


@contextmanager
def _in_place(temporary: Path, path: Path) -> Iterator[None]:
    """Rename a file and sync its folder; if that or the block fails, undo the rename."""
    old = _temporary(path)
    undo = _way_back(path, old)
    try:
        os.replace(temporary, path)
        try:
            _sync_folder(path.parent)
            yield
        except (OSError, StorageError):
            undo()
            raise
    finally:
        _remove_if_there(old)


def _way_back(path: Path, second: Path) -> Callable[[], object]:
    """Hard-link a file to a second name; returns what restores its state once it is replaced."""
    try:
        os.link(path, second)
    except FileNotFoundError:
        return path.unlink
    except OSError:  # a file system without hard links
        return lambda: None
    return lambda: os.replace(second, path)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are journaled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: this file system does not sync folders
            raise
    finally:
        os.close(descriptor)


def _remove_if_there(path: Path) -> None:
    with suppress(OSError):  # if the folder is unreachable, the original error is the one to report
        path.unlink(missing_ok=True)
