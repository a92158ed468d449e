"""The one way a file is written.

A write goes to a temporary file in the same folder, is flushed to the disk, read back and
compared, and renamed into place; then the folder is flushed. So a reader sees the old file or the
new one, whole, whenever the process dies; and a write that fails leaves the old one.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tenfold.errors import FileRefusedError, StorageError

_TEMPORARY_NAME = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file so that a death at any instant leaves the old one or the new one.

    Raises:
        StorageError: the disk is full, the folder is read-only, the sync failed; the old file is
            as it was and nothing else is left behind. Only where the file system knows no hard
            links, a failed sync of the folder leaves the new file, whole.
    """
    temporary = _temporary(path)
    failure = f"writing {len(data):,} bytes failed"
    try:
        with _explained(path, failure, remedy="free some space or choose another folder"):
            _write_and_sync(temporary, data)
            _verify(temporary, data)
            _put_in_place(temporary, path)
    finally:
        _remove_if_there(temporary)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file, as `write_bytes` does."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Names of files need not be Unicode; what stands for such a byte is escaped as JSON does it.
    write_bytes(path, text.encode(errors="backslashreplace"))


@contextmanager
def read_regular_file(path: Path) -> Iterator[tuple[io.BufferedReader, int]]:
    """A file to be read inside the block, and its size in bytes.

    Raises:
        FileRefusedError: it is missing, cannot be read, or is a pipe, a device or a folder.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileRefusedError(f"{path}: this is not a regular file")
            yield file, status.st_size
    except FileNotFoundError as error:
        raise FileRefusedError(f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        raise FileRefusedError(f"{path}: it cannot be read: {reason_of(error)}") from error


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting: a pipe would be opened only when somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: Path, limit: int) -> str:
    """The text of a UTF-8 file.

    Args:
        path: the file.
        limit: maximum size in bytes.

    Raises:
        FileRefusedError: it is missing, unreadable, too long, not a regular file or not text.
    """
    try:
        with read_regular_file(path) as (file, _):
            data = file.read(limit + 1)
        if len(data) > limit:
            raise FileRefusedError(f"{path}: it has more than {limit:,} bytes")
        return data.decode("utf-8-sig")  # editors on Windows begin a file with a byte-order mark
    except UnicodeDecodeError as error:
        raise FileRefusedError(f"{path}: it is not UTF-8 text") from error


def absolute(path: Path) -> Path:
    """The path from the root of the file system; as it is if the working directory is gone."""
    try:
        return path.absolute()
    except OSError:  # whoever uses the path will say what is wrong with it
        return path


def make_folder(path: Path) -> bool:
    """Create a folder and its parents, and flush them to the disk; whether it was not there.

    Raises:
        StorageError: it could not be made, or something else has its name.
    """
    remedy = "choose a folder that can be written"
    with _explained(path, "the folder cannot be made", remedy=remedy):
        if path.is_dir():
            return False
        if path.parent != path:
            make_folder(path.parent)
        try:
            path.mkdir()
        except FileExistsError as error:
            if path.is_dir():  # another process was faster
                return False
            raise StorageError(
                f"{path}: there is a file of this name, wanted a folder",
                remedy="choose another folder",
            ) from error
        _sync_folder(path.parent)
        return True


def remove_file(path: Path) -> None:
    """Remove a file that may be gone already.

    Raises:
        StorageError: it could not be removed.
    """
    with _explained(path, "it cannot be removed"):
        path.unlink(missing_ok=True)


def set_aside(path: Path, word: str) -> Path:
    """Rename a file so that nobody takes it for what its name says; its new, unused name.

    Args:
        path: the file.
        word: what is appended to its name, such as `"damaged"`.

    Raises:
        StorageError: it could not be renamed.
    """
    aside = path.with_name(f"{path.name}.{word}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{word}-{number}")
    with _explained(path, "it cannot be renamed"):
        os.replace(path, aside)
    return aside


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed writer left in a folder.

    Call it only while no other process writes there.
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY_NAME.fullmatch(path.name):
            _remove_if_there(path)


@contextmanager
def _explained(path: Path, failure: str, *, remedy: str = "") -> Iterator[None]:
    """Turn what the system refuses inside the block into a sentence."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: {failure}: {reason_of(error)}", remedy=remedy) from error


def _write_and_sync(path: Path, data: bytes) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
    try:
        rest = memoryview(data)
        while rest:
            written = os.write(descriptor, rest)
            if not written:
                raise OSError(errno.EIO, "nothing more could be written")
            rest = rest[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _verify(path: Path, data: bytes) -> None:
    if path.read_bytes() != data:
        raise OSError(errno.EIO, "what was read back is not what was written")


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename a file and flush its folder; if that fails, undo the renaming."""
    old = _temporary(path)
    undo = _way_back(path, old)
    try:
        os.replace(temporary, path)
        try:
            _sync_folder(path.parent)
        except OSError:
            undo()
            raise
    finally:
        _remove_if_there(old)


def _way_back(path: Path, second: Path) -> Callable[[], object]:
    """Give a file a second name; what brings back the file, or its absence, once it is replaced."""
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
    if os.name == "nt":  # a folder cannot be opened there, and the rename is journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system whose folders need no flushing says that
            raise
    finally:
        os.close(descriptor)


def _remove_if_there(path: Path) -> None:
    with suppress(OSError):  # an unreachable folder: the error that led here is the one to tell
        path.unlink(missing_ok=True)


def reason_of(error: OSError | ValueError) -> str:
    """Why the system refused, in its own words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
