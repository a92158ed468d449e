"""Zip files, with the size of their list of members checked before it is read.

`zipfile` makes an object of a kilobyte for every member, which takes as few as 46 bytes in a file.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenfold.storage.files import open_regular

MOST_MEMBERS = 1_000_000
"""Maximum number of members in an archive."""

LONGEST_NAME = 4096
"""Maximum length of a member's name: of one in a zip file in bytes, elsewhere in characters."""

_LARGEST_LIST = 256 * 2**20
"""Maximum size in bytes of the list of members in a file."""

_ENTRY = b"PK\x01\x02"
_ENTRY_SIZE = 46
_LENGTHS = struct.Struct("<HHH")
_LENGTHS_AT = 28


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading.

    Raises:
        OSError: it is missing, unreadable, or no regular file.
        zipfile.BadZipFile: it is damaged, or it has too many members or too long a name.
    """
    with open_regular(path) as file:
        guarded = _Guarded(file)
        with zipfile.ZipFile(guarded) as archive:
            guarded.has_list = True
            yield archive


class _Guarded:
    """A file that checks the list of members as it is read.

    Attributes:
        has_list: whether that is done.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self.has_list = file, False
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self.close, self.name = file.close, file.name

    def read(self, size: int = -1) -> bytes:
        """Read from the file."""
        if self.has_list:
            return self._file.read(size)
        if size > _LARGEST_LIST:
            raise zipfile.BadZipFile(
                f"the list of its members takes {size:,} bytes, over the limit of {_LARGEST_LIST:,}"
            )
        data = self._file.read(size if size >= 0 else _LARGEST_LIST)
        _require_bounded(data)
        return data


def _require_bounded(data: bytes) -> None:
    """Refuse what is a list of too many members, or one with too long a name."""
    count = position = 0
    while data.startswith(_ENTRY, position) and position + _ENTRY_SIZE <= len(data):
        lengths: tuple[int, ...] = _LENGTHS.unpack_from(data, position + _LENGTHS_AT)
        if lengths[0] > LONGEST_NAME:
            raise zipfile.BadZipFile(
                f"the name of a member has {lengths[0]:,} bytes, over the limit of {LONGEST_NAME:,}"
            )
        count += 1
        if count > MOST_MEMBERS:
            raise zipfile.BadZipFile(f"it has more than {MOST_MEMBERS:,} members")
        position += _ENTRY_SIZE + sum(lengths)
