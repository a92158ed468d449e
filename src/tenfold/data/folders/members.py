"""The files in a directory or an archive, one after the other, without unpacking anything.

A member's name is text that says where an image came from; it is never used as a path, so no name
can lead anywhere. Links, devices and the like are passed on as such and never followed, but for
links in a directory that lead to a file inside that directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tenfold.data.folders.archives import (
    _ARCHIVE_HELP,
    _TAR_BLOCK,
    LARGEST_MEMBER,
    Kind,
    Member,
    _decompressor,
    _plain,
    _tar_members,
    _unreadable,
    _zip_members,
    too_large,
)
from tenfold.errors import DataError

MOST_MEMBERS = 4_000_000
"""Files and folders that a directory or archive may have."""


def read_members(path: Path) -> Iterator[Member]:
    """The members of a directory (sorted by name) or of an archive (in its order).

    Raises:
        DataError: there is nothing at the path, it is no archive, the archive is damaged,
            encrypted, or over one of the limits of this module.
    """
    try:
        if path.is_dir():
            return _counted(path, _directory_members(path))
        with path.open("rb") as file:
            start = file.read(_TAR_BLOCK)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such folder or archive", remedy=_ARCHIVE_HELP
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _counted(path, _zip_members(path))
    opener = _decompressor(start)
    if opener is None and (start[257:262] == b"ustar" or path.suffix.lower() == ".tar"):
        opener = _plain
    if opener is None:
        raise DataError(
            f"{path}: this is neither a folder nor an archive that can be read",
            remedy=_ARCHIVE_HELP,
        )
    return _counted(path, _tar_members(path, opener))


def sizes_and_times(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """Name, size, mtime and ctime (in nanoseconds) of every file below a directory, sorted.

    Links count as what they lead to, if they lead to anything.

    Raises:
        DataError: a folder cannot be listed.
    """
    for parts, entry in _walk(path):
        try:
            if not entry.is_dir(follow_symlinks=False):
                status = entry.stat()
                yield "/".join(parts), status.st_size, status.st_mtime_ns, status.st_ctime_ns
        except OSError:  # a link to nothing: its name is all there is to it
            yield "/".join(parts), -1, 0, 0


def _counted(path: Path, members: Iterator[Member]) -> Iterator[Member]:
    for count, member in enumerate(members, 1):
        if count > MOST_MEMBERS:
            raise DataError(
                f"{path}: it has more than {MOST_MEMBERS:,} files and folders",
                remedy="split it into smaller data sets",
            )
        if member.parts:
            yield member


def _walk(root: Path) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str]]]:
    """Every entry below a directory, a folder before what is in it, sorted; links not followed."""
    pending: list[tuple[tuple[str, ...], str]] = [((), os.fspath(root))]
    while pending:
        parts, folder = pending.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(Path(folder), error) from error
        folders = []
        for entry in entries:
            own_parts = (*parts, entry.name)
            yield own_parts, entry
            if entry.is_dir(follow_symlinks=False):
                folders.append((own_parts, entry.path))
        pending.extend(reversed(folders))


def _directory_members(root: Path) -> Iterator[Member]:
    real_root = os.path.realpath(root)
    for parts, entry in _walk(root):
        kind, size = _kind_and_size(entry, real_root)
        path, name = Path(entry.path), "/".join(parts)
        yield Member(parts, kind, size, lambda p=path, n=name: _read_file(p, n))  # type: ignore[misc]


def _kind_and_size(entry: os.DirEntry[str], real_root: str) -> tuple[Kind, int]:
    try:
        if entry.is_symlink():
            inside = os.path.realpath(entry.path).startswith(os.path.join(real_root, ""))  # noqa: PTH118
            if not (inside and entry.is_file()):
                return Kind.LINK, 0
        elif entry.is_dir(follow_symlinks=False):
            return Kind.FOLDER, 0
        status = entry.stat()
    except OSError:  # it vanished or cannot be looked at; reading it will say why
        return Kind.FILE, 0
    return (Kind.FILE, status.st_size) if stat.S_ISREG(status.st_mode) else (Kind.OTHER, 0)


def _read_file(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_MEMBER + 1)
    except OSError as error:
        raise _unreadable(Path(name), error) from error
    if len(data) > LARGEST_MEMBER:
        raise too_large(name, len(data))
    return data
