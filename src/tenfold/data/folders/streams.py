"""An archive's bytes within bounds: they are counted, and a tar file's are only read forward."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tarfile import BLOCKSIZE

from tenfold.data.files.reading import damaged
from tenfold.data.folders.members import LARGEST_MEMBER, too_large
from tenfold.errors import DataError

LARGEST_ARCHIVE = 64 * 2**30
"""Bytes that all members of an archive may have together, decompressed."""

LARGEST_RATIO = 200
"""How many times its own size an archive may unpack to; photographs hardly compress at all."""

ALWAYS_ALLOWED = 2**30
"""Decompressed bytes that are read whatever the ratio."""

DECOMPRESSORS: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
"""By the first bytes of a compressed file: what opens it."""

_CHUNK = 2**20
_CHUNKS_AHEAD = 8


class Budget:
    """How many decompressed bytes an archive may still have."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = min(LARGEST_ARCHIVE, max(ALWAYS_ALLOWED, LARGEST_RATIO * path.stat().st_size))
        self._spent = 0

    def spend(self, size: int) -> None:
        """Count bytes, or claims of them, and refuse the archive when they are too many."""
        self._spent += size
        if self._spent > self._limit:
            raise DataError(
                f"{self._path}: it unpacks to more than {self._limit:,} bytes, "
                "which is more than images do",
                remedy="unpack it into a folder if you trust it",
            )


class ForwardStream:
    """What `tarfile` needs of a file, over a decompressor: it reads on, never back, and counts.

    Every size in a tar file is a claim. Here none of them allocates more than `LARGEST_MEMBER`
    at once, makes the reader go in circles, or unpacks more than an archive may hold.

    Args:
        path: the tar file, compressed or not.
        start: its first bytes, by which its compression is known.
    """

    def __init__(self, path: Path, start: bytes) -> None:
        self._path = path
        self._budget = Budget(path)
        self._position = 0
        self._last_read = b""
        self._rest = bytearray()
        openers = [opener for magic, opener in DECOMPRESSORS.items() if start.startswith(magic)]
        self._chunks = _ChunksAhead(openers[0](path) if openers else path.open("rb"))

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def read(self, size: int) -> bytes:
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
        """Read on to a position."""
        if position < self._position:
            raise damaged(self._path, "the archive is damaged: a header has a negative size")
        while self._position < position:
            if not self.read(min(_CHUNK, position - self._position)):
                raise self._cut_off()

    def read_at(self, position: int, size: int) -> bytes:
        """Exactly so many bytes from a position that is still ahead."""
        self.seek(position)
        data = self.read(size)
        if len(data) != size:
            raise self._cut_off()
        return data

    def require_end(self) -> None:
        """Refuse an archive that stopped without its end mark, or that goes on after it.

        Reading to the end also lets the decompressor compare its checksum.
        """
        if self._last_read != bytes(BLOCKSIZE):
            raise self._cut_off()
        while rest := self.read(_CHUNK):
            if rest.count(0) != len(rest):
                raise DataError(
                    f"{self._path}: there is more data after the archive's end",
                    remedy="make one archive of it, not several joined ones",
                )

    def close(self) -> None:
        """Close the file, and end the thread that decompresses it."""
        self._chunks.close()

    def _cut_off(self) -> DataError:
        return damaged(
            self._path, "the archive is damaged: it ends in the middle or a header is broken"
        )


class _ChunksAhead:
    """A file that a thread of its own reads and decompresses, a few chunks ahead of the reader.

    Decompressors release the interpreter's lock, so headers are parsed meanwhile.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(1)
        self._ahead = deque(self._thread.submit(file.read, _CHUNK) for _ in range(_CHUNKS_AHEAD))

    def next(self) -> bytes:
        """The next chunk; empty at the end."""
        # The end and an error stay in front of the queue: whoever reads on meets them again.
        chunk = self._ahead[0].result()
        if chunk:
            self._ahead.popleft()
            self._ahead.append(self._thread.submit(self._file.read, _CHUNK))
        return chunk

    def close(self) -> None:
        """Close the file once the thread has ended."""
        self._thread.shutdown(cancel_futures=True)
        self._file.close()
