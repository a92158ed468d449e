"""Bounded reading of archives: a budget of decompressed bytes, and a forward-only tar stream."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tarfile import BLOCKSIZE, TarFile, TarInfo

from tenfold.data.files.reading import damaged
from tenfold.data.folders.members import LARGEST_MEMBER, too_large
from tenfold.data.folders.pool import submitted
from tenfold.errors import DataError
from tenfold.storage import open_regular

LARGEST_ARCHIVE = 64 * 2**30
"""Maximum total size of an archive's members in bytes, decompressed."""

LARGEST_RATIO = 200
"""Maximum ratio of decompressed size to archive size; photographs hardly compress at all."""

ALWAYS_ALLOWED = 2**30
"""Decompressed bytes allowed regardless of the ratio."""

LARGEST_HEADER = 2**20
"""Maximum size of a member's header in bytes, with the long names and other facts before it."""

DECOMPRESSORS: dict[bytes, Callable[[io.BufferedReader], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
"""What opens a compressed file, by its first bytes."""

_LONG_NUMBER = re.compile(rb"[0-9]{300}")

_CHUNK = 2**20
_CHUNKS_AHEAD = 8


class Budget:
    """The decompressed bytes that an archive has left to spend."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = min(LARGEST_ARCHIVE, max(ALWAYS_ALLOWED, LARGEST_RATIO * path.stat().st_size))
        self._spent = 0

    def spend(self, size: int) -> None:
        """Count bytes, actual or declared, and refuse the archive if the limit is exceeded."""
        self._spent += size
        if self._spent > self._limit:
            raise DataError(
                f"{self._path}: it unpacks to more than {self._limit:,} bytes, which images do not",
                remedy="unpack it into a folder if you trust it",
            )


class ForwardStream:
    """The file interface that `tarfile` needs: forward-only, decompressing, with a byte budget.

    Sizes in a tar file cannot be trusted. Here none of them can allocate more than `LARGEST_MEMBER`
    at once, send the reader in circles, or unpack more than the budget. Headers have a limit of
    their own, because `tarfile` keeps what it reads there.

    Args:
        path: the tar file, compressed or not.
        start: its first bytes, which tell its compression.
    """

    def __init__(self, path: Path, start: bytes) -> None:
        self._path = path
        self._budget = Budget(path)
        self._position = 0
        self._last_read = b""
        self._rest = bytearray()
        self._header_room = LARGEST_HEADER
        openers = [opener for magic, opener in DECOMPRESSORS.items() if start.startswith(magic)]
        file = open_regular(path)
        self._chunks = _ChunksAhead(file, openers[0](file) if openers else file)

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def next_entry(self, archive: TarFile) -> TarInfo | None:
        """The next member of the archive that reads this stream; None at the end."""
        self._header_room = LARGEST_HEADER
        return archive.next()

    def read(self, size: int) -> bytes:
        """The next bytes of a header, fewer only at the end."""
        self._header_room -= size
        if self._header_room < 0:
            taken = LARGEST_HEADER - self._header_room
            raise DataError(
                f"{self._path}: the name and other facts of a member take {taken:,} bytes or more, "
                f"over the limit of {LARGEST_HEADER:,}",
                remedy="unpack it into a folder if you trust it",
            )
        data = self._read(size)
        # Some versions of `tarfile` take quadratic time for a long number (CVE-2024-6232).
        if size > BLOCKSIZE and _LONG_NUMBER.search(data):
            raise damaged(self._path, "the archive is damaged: a header has a number without end")
        return data

    def _read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        if not 0 <= size <= LARGEST_MEMBER + BLOCKSIZE:
            raise too_large(f"{self._path}: a header", size)
        while len(self._rest) < size and (chunk := self._chunks.next()):
            self._rest += chunk
        self._last_read = bytes(self._rest[:size])
        del self._rest[:size]
        self._position += len(self._last_read)
        self._budget.spend(len(self._last_read))
        return self._last_read

    def seek(self, position: int) -> None:
        """Read forward to a position."""
        if position < self._position:
            raise damaged(self._path, "the archive is damaged: a header has a negative size")
        while self._position < position:
            if not self._read(min(_CHUNK, position - self._position)):
                raise self._cut_off()

    def read_at(self, position: int, size: int) -> bytes:
        """Exactly `size` bytes from a position ahead."""
        self.seek(position)
        data = self._read(size)
        if len(data) != size:
            raise self._cut_off()
        return data

    def require_end(self) -> None:
        """Refuse an archive without an end marker, or with data after it.

        Reading to the end also makes the decompressor verify its checksum.
        """
        if self._last_read != bytes(BLOCKSIZE):
            raise self._cut_off()
        while rest := self._read(_CHUNK):
            if rest.count(0) != len(rest):
                raise DataError(
                    f"{self._path}: there is data after the end of the archive",
                    remedy="create one archive, not several joined ones",
                )

    def close(self) -> None:
        """Close the file and stop the decompression thread."""
        self._chunks.close()

    def _cut_off(self) -> DataError:
        return damaged(
            self._path, "the archive is damaged: it ends in the middle or a header is broken"
        )


class _ChunksAhead:
    """A file that a background thread reads and decompresses, a few chunks ahead of the reader.

    Decompressors release the GIL, so headers are parsed in parallel.
    """

    def __init__(self, compressed: io.BufferedReader, file: io.BufferedIOBase) -> None:
        self._compressed, self._file = compressed, file
        self._thread = ThreadPoolExecutor(1)
        self._ahead = deque(
            submitted(self._thread, file.read, _CHUNK) for _ in range(_CHUNKS_AHEAD)
        )

    def next(self) -> bytes:
        """The next chunk; empty at the end."""
        # The end or an error stays at the front of the queue: the next read gets it again.
        chunk = self._ahead[0].result()
        if chunk:
            self._ahead.popleft()
            self._ahead.append(submitted(self._thread, self._file.read, _CHUNK))
        return chunk

    def close(self) -> None:
        """Stop the thread and close the file."""
        self._thread.shutdown(cancel_futures=True)
        self._file.close()
        self._compressed.close()
