"""The tags of a TIFF file, and of the EXIF data in others, looked at before Pillow reads them.

Pillow trusts what they say: it reads every tag into memory, even if all of them are in the same
place of the file, makes an object of every number that it uses, and has a tile of any size
unpacked. A tag that leads out of the file does no harm: Pillow skips it.

The formats are those of TIFF 6.0 and of BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tenfold.errors import DataError

MOST_NUMBERS = 200_000
"""Maximum number of numbers in a tag that Pillow uses, such as the places of an image's strips; a
palette of 16 bits has 196,608."""

ORIENTATION = 274
TILE_SIDES = (322, 323)
"""The tags with the width and the height of a tile."""

_USED = {
    *(254, 256, 257, 258, 259, 262, 266, 273, ORIENTATION, 277, 278, 279, 282, 283, 284, 296),
    *(317, 320, *TILE_SIDES, 324, 325, 330, 332, 338, 339, 347, 530, 532),
}
"""The tags of which Pillow makes numbers when it reads the pixels of an image."""

_EXIF = b"Exif\0\0"
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= dict.fromkeys((16, 17, 18), 8)  # of BigTIFF
"""Bytes of a value by its type."""

_OF_BYTES = (1, 2, 7)
"""Types whose values Pillow leaves as bytes."""

_SHORT, _LONG = 3, 4
_SHARED = 2
"""How many times the size of the data its tags may take, since two may share a value."""

_FORMATS = {b"II": "<", b"MM": ">"}
_CLASSIC, _BIG = 42, 43


class Tag(NamedTuple):
    """A tag: its number, the type and the number of its values, and its value.

    If the values do not fit into the tag, the last is where they are.
    """

    number: int
    kind: int
    length: int
    value: int


def require_bounded_tags(data: bytes, name: str) -> list[Tag]:
    """The tags of the first image in a TIFF file, if they are not over a limit.

    Args:
        data: of the file. If it is damaged, the tags before the damage.
        name: where it came from, for messages.

    Raises:
        DataError: see `MOST_NUMBERS`; or the tags take far more bytes than the file has.
    """
    tags = list(_tags(data))
    if problem := _excess(tags, data):
        raise DataError(
            f"{name}: the image is damaged: {problem}", remedy="replace or remove the file"
        )
    return tags


def safe_orientation(exif: bytes) -> int | None:
    """The orientation in EXIF data that is over a limit, so that Pillow must not read it.

    Returns:
        None if Pillow may read it; 0 if it has no orientation.
    """
    data = exif.removeprefix(_EXIF)
    tags = list(_tags(data))
    if not _excess(tags, data):
        return None
    found = [tag.value for tag in tags if tag.number == ORIENTATION and tag.length == 1]
    return found[-1] if found else 0


def _excess(tags: Sequence[Tag], data: bytes) -> str:
    """What about these tags is over a limit, if anything."""
    taken = 0
    for tag in tags:
        size = tag.length * _SIZES.get(tag.kind, 1)
        if tag.value + size > len(data):
            continue  # Pillow skips it
        if tag.length > MOST_NUMBERS and tag.kind not in _OF_BYTES and tag.number in _USED:
            return f"tag {tag.number} has {tag.length:,} numbers, wanted at most {MOST_NUMBERS:,}"
        taken += size
    if taken > _SHARED * len(data):
        return f"its tags claim {taken:,} bytes, but the file has {len(data):,}"
    return ""


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
        elif n == 1 and kind in (_SHORT, _LONG):
            value &= 256 ** _SIZES[kind] - 1
        yield Tag(number, kind, n, value)
        place += layout.size
