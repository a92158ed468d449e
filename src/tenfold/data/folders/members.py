"""Members: the files and folders of a directory or an archive.

A member's name is only text that says where an image came from. It is never used as a path, so a
malicious name does no harm. Links, devices and other special files are members too, so that they
can be reported, but they are not followed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tenfold.errors import DataError

LARGEST_MEMBER = 64 * 2**20
"""Maximum size of one image file in bytes."""

Parts = tuple[str, ...]
"""A name, split at its slashes."""


_LEFT_BY_SYSTEMS = frozenset(
    {
        "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
        "lost+found", "$recycle.bin", "recycler", "system volume information", "found.000",
        "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",
        "__pycache__",
    }
)  # fmt: skip
"""Files and folders, in lower case, that desktops, file systems and network drives leave behind."""


class Kind(Enum):
    """The kind of a member."""

    FILE = "file"
    FOLDER = "folder"
    NOT_FOLLOWED = "a link or special file"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a directory or an archive.

    Attributes:
        parts: its name relative to the root, without empty parts and `.`.
        kind: file, folder or not followed.
        read: returns the file's bytes; must be called before the next member is requested. It
            raises DataError if they cannot be read.
    """

    parts: Parts
    kind: Kind
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The parts joined by slashes."""
        return "/".join(self.parts)


def is_hidden(parts: Parts) -> bool:
    """Whether a file or folder is hidden or left behind by a system, or is in such a folder."""
    return any(part.startswith(".") or part.lower() in _LEFT_BY_SYSTEMS for part in parts)


def too_large(name: str, size: int) -> DataError:
    """The error for a file over `LARGEST_MEMBER`."""
    return DataError(
        f"{name}: the file has {size:,} bytes or more, over the limit of {LARGEST_MEMBER:,}",
        remedy="scale the image down or remove it",
    )
