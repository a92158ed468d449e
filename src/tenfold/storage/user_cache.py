"""The user's cache folder; everything in it can be rebuilt or downloaded again."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_dir


def cache_folder() -> Path:
    """`TENFOLD_CACHE` if it is set, else the user's cache folder for tenfold."""
    named = os.environ.get("TENFOLD_CACHE")
    return Path(named) if named else Path(user_cache_dir("tenfold"))


def make_room(
    folder: Path, suffix: str, *, size: int = 0, largest: int | None = None, most: int | None = None
) -> None:
    """Remove the least recently used files of a folder until another one fits.

    Args:
        folder: in the cache; those that use a file set its time of modification.
        suffix: of the files.
        size: of that other file, in bytes.
        largest: total size that the files may have, in bytes; None for any.
        most: number of files that there may be; None for any.
    """
    entries = []
    for path in folder.glob(f"*{suffix}"):
        with suppress(FileNotFoundError):  # removed by another process in the meantime
            status = path.stat()
            entries.append((status.st_mtime_ns, status.st_size, path))
    total, n = sum(entry_size for _, entry_size, _ in entries), len(entries)
    for _, entry_size, path in sorted(entries):
        if (largest is None or total + size <= largest) and (most is None or n < most):
            return
        path.unlink(missing_ok=True)
        total, n = total - entry_size, n - 1
