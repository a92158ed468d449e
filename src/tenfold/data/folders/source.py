"""A directory or an archive as a stream of members, and a fingerprint to detect changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tenfold.data.files.reading import file_errors, unreadable
from tenfold.data.folders.archives import archive_members
from tenfold.data.folders.members import LARGEST_MEMBER, Kind, Member, too_large
from tenfold.data.folders.walking import walk
from tenfold.errors import DataError, printable
from tenfold.paths import is_folder
from tenfold.storage import open_regular
from tenfold.storage.zips import LONGEST_NAME, MOST_MEMBERS

MOST_FILES = 4_000_000
"""Maximum number of files and folders in a directory."""

DEEPEST = 100
"""Maximum depth to which folders may be nested."""


def source_fingerprint(path: Path) -> str:
    """A digest that changes when the data at this path does.

    For an archive, the SHA-256 of its bytes; for a directory, of the names of its files and
    folders and the files' sizes, mtimes and ctimes, without reading the files. Runs in a directory
    do not count.

    Raises:
        DataError: the path does not exist or cannot be read.
    """
    with file_errors(path, "folder or archive"):
        if not is_folder(path):
            with open_regular(path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256(b"directory")
    for parts, entry in walk(path):
        is_directory = entry.is_dir(follow_symlinks=False)
        facts = ("/".join(parts), *(() if is_directory else _size_and_times(entry)))
        digest.update(repr(facts).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def read_members(path: Path) -> Iterator[Member]:
    """The members of a directory (in the order of `walk`) or of an archive (in its own order).

    A link in a directory to a file inside that directory counts as a file. Runs in a directory are
    left out; those in an archive are not.

    Raises:
        DataError: the path does not exist or is not an archive; or the archive is damaged,
            encrypted or over a limit.
    """
    with file_errors(path, "folder or archive"):
        is_directory = is_folder(path)
        members = _directory_members(path) if is_directory else archive_members(path)
    most = MOST_FILES if is_directory else MOST_MEMBERS
    for count, member in enumerate(members, 1):
        if count > most:
            raise DataError(
                f"{path}: more than {most:,} files and folders",
                remedy="split it into smaller data sets",
            )
        if len(member.parts) - 1 > DEEPEST:
            raise DataError(
                f"{path}: {printable(member.name, 80)}: nested more than {DEEPEST} folders deep",
                remedy="use fewer folders",
            )
        if sum(map(len, member.parts)) > LONGEST_NAME:
            raise DataError(
                f"{path}: {printable(member.name, 80)}: a name of more than {LONGEST_NAME:,} "
                "characters",
                remedy="use shorter names",
            )
        if member.parts:
            yield member


def _size_and_times(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    """Size, mtime and ctime (in nanoseconds) of a file, or of a link's target."""
    try:
        status = entry.stat()
    except OSError:  # a dangling link: only its name counts
        return -1, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _directory_members(root: Path) -> Iterator[Member]:
    inside = os.path.join(os.path.realpath(root), "")  # noqa: PTH118  (ends in a separator)
    for parts, entry in walk(root):
        read = partial(_read_file, Path(entry.path), "/".join(parts))
        yield Member(parts, _kind(entry, inside), read)


def _kind(entry: os.DirEntry[str], inside: str) -> Kind:
    try:
        if entry.is_dir(follow_symlinks=False):
            return Kind.FOLDER
        leads_out = entry.is_symlink() and not os.path.realpath(entry.path).startswith(inside)
        return Kind.FILE if entry.is_file() and not leads_out else Kind.NOT_FOLLOWED
    except OSError:  # reading it will report the error
        return Kind.FILE


def _read_file(path: Path, name: str) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(LARGEST_MEMBER + 1)
    except OSError as error:
        raise unreadable(name, error) from error
    if len(data) > LARGEST_MEMBER:
        raise too_large(name, len(data))
    return data
