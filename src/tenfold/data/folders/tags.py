"""The tags of a TIFF file, and of the EXIF data in others, checked before Pillow reads them.

Pillow trusts what they say: it reads every tag into memory, even if all of them are in the same
place of the file, makes an object of every number, and has a tile of any size unpacked.

The formats are those of TIFF 6.0 and of BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tenfold.errors import DataError

MOST_NUMBERS = 100_000
"""Maximum number of numbers in one tag, such as the places of the strips of an image."""

TILE_SIDES = (322, 323)
"""The tags with the width and the height of a tile."""

_EXIF = b"Exif\0\0"
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= dict.fromkeys((16, 17, 18), 8)  # of BigTIFF
"""Bytes of a value by its type."""

_OF_BYTES = (1, 2, 6, 7)
"""Types whose values Pillow leaves as bytes."""

_FORMATS = {b"II": "<", b"MM": ">"}
_CLASSIC, _BIG = 42, 43


class Tag(NamedTuple):
    """A tag: its number, the type and the number of its values, and its first value.

    The last is only right if all values fit into the tag itself.
    """

    number: int
    kind: int
    length: int
    value: int


def require_bounded_tags(data: bytes, name: str) -> list[Tag]:
    """The tags of the first image, if they are not over a limit.

    Args:
        data: of a TIFF file, or EXIF data. If they are damaged, the tags before the damage.
        name: where they came from, for messages.

    Raises:
        DataError: a tag has more than `MOST_NUMBERS` numbers, or all of them take more bytes than
            there are.
    """
    tags, taken = [], 0
    for tag in _tags(data.removeprefix(_EXIF)):
        if tag.length > MOST_NUMBERS and tag.kind not in _OF_BYTES:
            raise _refused(name, f"tag {tag.number} has {tag.length:,} numbers", MOST_NUMBERS)
        taken += tag.length * _SIZES.get(tag.kind, 1)
        if taken > len(data):
            raise _refused(name, f"its tags take {taken:,} bytes", len(data))
        tags.append(tag)
    return tags


def _refused(name: str, found: str, limit: int) -> DataError:
    return DataError(
        f"{name}: the image is damaged: {found}, over the limit of {limit:,}",
        remedy="replace or remove the file",
    )


def _tags(data: bytes) -> Iterator[Tag]:
    """The tags, as far as they are there."""
    order = _FORMATS.get(data[:2])
    if order is None or len(data) < 16:
        return
    (magic,) = struct.unpack_from(f"{order}H", data, 2)
    if magic == _BIG:
        start, counter, entry = 8, "Q", "HHQQ"
    else:
        start, counter, entry = 4, "H", "HHII"
    (place,) = struct.unpack_from(f"{order}{'Q' if magic == _BIG else 'I'}", data, start)
    counting, layout = struct.Struct(f"{order}{counter}"), struct.Struct(f"{order}{entry}")
    if place + counting.size > len(data):
        return
    (count,) = counting.unpack_from(data, place)
    place += counting.size
    for _ in range(min(count, len(data) // layout.size)):
        if place + layout.size > len(data):
            return
        number, kind, n, value = layout.unpack_from(data, place)
        if order == ">":  # a value that is shorter than its field is on its left
            value >>= 8 * max(0, (8 if magic == _BIG else 4) - _SIZES.get(kind, 1) * n)
        elif kind in _SIZES and n == 1:
            value &= 256 ** _SIZES[kind] - 1
        yield Tag(number, kind, n, value)
        place += layout.size
