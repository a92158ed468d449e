"""The tags of a TIFF file, looked at before Pillow reads them, and the orientation in EXIF data.

Pillow trusts what tags say: it reads all of them into memory, even if all are in the same place of
the file, makes an object of every number that it uses, and has a tile of any size unpacked. EXIF
data, which has the same form, it reads only as far as the first tag that leads out of them; here,
such a tag is skipped.

The formats are those of TIFF 6.0 and of BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from tenfold.errors import DataError

MOST_NUMBERS = 200_000
"""Maximum number of numbers in a tag, such as the places of an image's strips, and in a group of
tags such as those of EXIF; a palette of 16 bits has 196,608."""

MOST_TAGS = 65_535
"""Maximum number of tags in a file, and of a directory's entries; BigTIFF could count more."""

TILE_SIDES = (322, 323)
"""The tags with the width and the height of a tile."""

_ORIENTATION = 274
_GROUPS = (34_665, 34_853, 40_965)
"""The tags that say where tags of EXIF, GPS and interoperability are. Pillow reads these whole."""

_MOST_GROUPS = 12
"""Maximum number of groups of tags in a file: of each kind, one below the image and each group."""

_FIRST_VALUES = {_ORIENTATION, *_GROUPS, *TILE_SIDES}
"""The tags whose value is read."""

_EXIF = b"Exif\0\0"
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES[16] = 8  # of BigTIFF
"""Bytes of a value by its type; Pillow skips tags of other types."""

_OF_BYTES = (1, 2, 7)
"""Types whose values Pillow leaves as bytes."""

_INTEGERS = (1, 3, 4, 6, 8, 9, 13, 16)
_SHARED = 2
"""How many times the size of the data its tags may take, since two may share a value."""

_FORMATS = {b"II": "<", b"MM": ">"}
_CLASSIC, _BIG = 42, 43


class Tag(NamedTuple):
    """A tag.

    Attributes:
        number: which one it is.
        kind: the type of its values, one of `_SIZES`.
        length: how many values it has.
        place: where they are, or 0 if they are in the tag itself.
        value: the first one, as an integer; of some tags only.
    """

    number: int
    kind: int
    length: int
    place: int
    value: int

    @property
    def size(self) -> int:
        """Bytes of all its values."""
        return self.length * _SIZES[self.kind]

    @property
    def end(self) -> int:
        """Where its values end, if they are not in the tag itself."""
        return self.place + self.size

    @property
    def numbers(self) -> int:
        """How many numbers Pillow makes of it."""
        return 0 if self.kind in _OF_BYTES else self.length


_SKIPPED = Tag(-1, 7, 0, 0, 0)
"""In the place of a tag of an unknown type."""


def require_bounded_tags(data: bytes, name: str) -> list[Tag]:
    """The tags of the first image in a TIFF file, if they are not over a limit.

    Args:
        data: of the file. If it is damaged, the tags before the damage.
        name: where it came from, for messages.

    Raises:
        DataError: see `MOST_NUMBERS` and `MOST_TAGS`; or the tags take far more bytes than the
            file has.
    """
    tags = list(_tags(data))
    if problem := _excess(tags, data):
        raise DataError(
            f"{name}: the image is damaged: {problem}", remedy="replace or remove the file"
        )
    return tags


def orientation_in(exif: bytes) -> int | None:
    """The orientation in EXIF data, 1..8 by its standard; None if there is none."""
    data = exif.removeprefix(_EXIF).removeprefix(_EXIF)
    for tag in _tags(data):
        is_it = tag.number == _ORIENTATION and tag.kind in _INTEGERS and tag.length
        if is_it and tag.end <= len(data):
            return tag.value
    return None


def _excess(tags: list[Tag], data: bytes) -> str:
    """What about these tags, and the groups they lead to, is over a limit, if anything."""
    taken = n = 0
    for place, directory in enumerate(_directories(tags, data)):
        if place > _MOST_GROUPS:
            return f"it has more than {_MOST_GROUPS} groups of tags"
        n += sum(tag is not _SKIPPED for tag in directory)
        if max(n, len(directory)) > MOST_TAGS:
            return f"it has more than {MOST_TAGS:,} tags"
        there = [tag for tag in directory if tag.end <= len(data)]
        for tag in there:
            if tag.numbers > MOST_NUMBERS:
                return (
                    f"tag {tag.number} has {tag.numbers:,} numbers, wanted at most {MOST_NUMBERS:,}"
                )
        taken += sum(tag.size for tag in there)
        numbers = sum(tag.numbers for tag in there)
        if place and numbers > MOST_NUMBERS:
            return f"a group of tags has {numbers:,} numbers, wanted at most {MOST_NUMBERS:,}"
    if taken > _SHARED * len(data):
        return f"its tags claim {taken:,} bytes, over {_SHARED} times the file's {len(data):,}"
    return ""


def _directories(tags: list[Tag], data: bytes) -> Iterator[list[Tag]]:
    """The tags, then the groups that they lead to, and those that these lead to, one at a time."""
    yield tags
    places = _places_of_groups(tags, data)
    for depth in range(2):
        deeper: list[int] = []
        for place in places:
            group = list(_tags(data, place))
            yield group
            if depth == 0:
                deeper += _places_of_groups(group, data)
        places = deeper


def _places_of_groups(tags: Iterable[Tag], data: bytes) -> list[int]:
    """Where the groups are that these tags lead to, at most one more than there may be."""
    places = (
        tag.value
        for tag in tags
        if tag.number in _GROUPS and tag.kind in _INTEGERS and tag.length and tag.end <= len(data)
    )
    return list(islice(places, _MOST_GROUPS + 1))


def _tags(data: bytes, place: int | None = None) -> Iterator[Tag]:
    """The tags in the first directory or at another place, as far as they are there.

    There is one for every entry, up to one more than there may be. The place may be left over from
    another file, so that it leads to anything.
    """
    order = _FORMATS.get(data[:2])
    if order is None or len(data) < 16:
        return
    (magic,) = struct.unpack_from(f"{order}H", data, 2)
    if magic == _BIG:
        start, counter, entry, field = 8, "Q", "HHQQ", 8
    else:
        start, counter, entry, field = 4, "H", "HHII", 4
    if place is None:
        (place,) = struct.unpack_from(f"{order}{entry[-1]}", data, start)
    counting, layout = struct.Struct(f"{order}{counter}"), struct.Struct(f"{order}{entry}")
    if place + counting.size > len(data):
        return
    (count,) = counting.unpack_from(data, place)
    place += counting.size
    for _ in range(min(count, MOST_TAGS + 1)):
        if place + layout.size > len(data):
            return
        number, kind, n, value = layout.unpack_from(data, place)
        place += layout.size
        unit = _SIZES.get(kind)
        if unit is None:
            yield _SKIPPED
            continue
        place_of_values = value if n * unit > field else 0
        if number in _FIRST_VALUES and n:
            at = place_of_values or place - field  # a short value is at the field's beginning
            value = int.from_bytes(data[at : at + unit], "little" if order == "<" else "big")
        yield Tag(number, kind, n, place_of_values, value)
