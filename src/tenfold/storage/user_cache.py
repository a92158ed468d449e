"""The user's cache folder; everything in it can be rebuilt or downloaded again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_dir

from tenfold.errors import StorageError
from tenfold.storage.files import make_folder, remove_leftovers

_LOCK_SECONDS = 60

_DIGEST = re.compile(r"[0-9a-f]{64}")
"""The name of an entry, without its suffix."""


def cache_folder() -> Path:
    """`TENFOLD_CACHE` if it is set, else the user's cache folder for tenfold."""
    named = os.environ.get("TENFOLD_CACHE")
    return Path(named) if named else Path(user_cache_dir("tenfold"))


def mark_used(path: Path) -> None:
    """Note that a file has been used, if the cache can be written."""
    with suppress(OSError):
        os.utime(path)


@contextmanager
def room_for(
    path: Path, *, size: int = 0, largest: int | None = None, most: int | None = None
) -> Iterator[None]:
    """Lock the folder of a file that the block is to write, and make room for the file.

    Args:
        path: of the file, named by a digest; others of its kind have the same suffix.
        size: of the file, in bytes.
        largest: total size that all of them may have, in bytes; None for any.
        most: number of them that there may be; None for any.

    Raises:
        StorageError: there cannot be room, another process keeps the folder locked, or it cannot be
            written.
    """
    from filelock import FileLock, Timeout

    folder = path.parent
    if largest is not None and size > largest:
        raise StorageError(f"{size:,} bytes are over the limit of {largest:,}")
    make_folder(folder)
    try:
        held = FileLock(folder / "lock").acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise StorageError(f"another process kept {folder} locked") from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(f"{folder}: it cannot be locked: {error}") from error
    with held:
        try:
            remove_leftovers(folder)
            _make_room(folder, path.suffix, size, largest, most)
        except OSError as error:
            raise StorageError(f"{folder}: {error}") from error
        yield


def _make_room(folder: Path, suffix: str, size: int, largest: int | None, most: int | None) -> None:
    """Remove the least recently used files until another one fits; see `room_for`."""
    entries = []
    for path in folder.glob(f"*{suffix}"):
        if not _DIGEST.fullmatch(path.stem):
            continue  # not ours
        with suppress(FileNotFoundError):  # removed by another process in the meantime
            status = path.stat()
            entries.append((status.st_mtime_ns, status.st_size, path))
    total, n = sum(entry_size for _, entry_size, _ in entries), len(entries)
    for _, entry_size, path in sorted(entries):
        if (largest is None or total + size <= largest) and (most is None or n < most):
            return
        path.unlink(missing_ok=True)
        total, n = total - entry_size, n - 1
