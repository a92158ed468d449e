"""What a directory or an archive consists of, whichever of them it is.

A member's name is text that says where an image came from. It is never used as a path, so no name
can lead anywhere. Links, devices and the like are members too, so that they can be told of, but
are not followed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tenfold.errors import DataError

LARGEST_MEMBER = 64 * 2**20
"""Bytes that one image file may have."""

Parts = tuple[str, ...]
"""A name, taken apart at its slashes."""


class Kind(Enum):
    """What a member is."""

    FILE = "file"
    FOLDER = "folder"
    NOT_FOLLOWED = "a link, a device or the like"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a directory or an archive.

    Attributes:
        parts: its name relative to the root, without empty parts and `.`.
        kind: what it is.
        read: the file's bytes; to be called before the next member is asked for. It raises
            DataError if they cannot be had.
    """

    parts: Parts
    kind: Kind
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The parts joined by slashes."""
        return "/".join(self.parts)


def too_large(name: str, size: int) -> DataError:
    """What to say of a file that is over `LARGEST_MEMBER`."""
    return DataError(
        f"{name}: the file has {size:,} bytes or more, over the limit of {LARGEST_MEMBER:,}",
        remedy="scale the image down or remove it",
    )
