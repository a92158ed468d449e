"""The members of a zip or tar archive, streamed and never extracted to disk.

A tar file may be uncompressed, or compressed with gzip, bzip2 or xz. The type is detected from the
first bytes.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from tenfold.data.files.reading import damaged, library_errors, require_known_method
from tenfold.data.folders.members import LARGEST_MEMBER, Kind, Member, Parts, too_large
from tenfold.data.folders.streams import DECOMPRESSORS, Budget, ForwardStream
from tenfold.errors import DataError, listing

_DAMAGED = "the archive is damaged or cannot be read"


def archive_members(path: Path) -> Iterator[Member]:
    """The members of an archive, in archive order.

    Raises:
        DataError: it is not an archive; or, during iteration, it is damaged, encrypted or over a
            limit.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_members(path)
    # Pre-POSIX tar files have no magic number, so go by the file name.
    is_plain_tar = start[257:262] == b"ustar" or path.suffix.lower() == ".tar"
    if is_plain_tar or start.startswith(tuple(DECOMPRESSORS)):
        return _tar_members(path, start)
    raise DataError(
        f"{path}: neither a folder nor a supported archive",
        remedy="name a folder, a .zip, .tar, .tar.gz, .tar.xz or .tar.bz2 archive of one, or "
        "an .npz file",
    )


def _zip_members(path: Path) -> Iterator[Member]:
    with library_errors(f"{path}: {_DAMAGED}"), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        encrypted = [entry.filename for entry in entries if entry.flag_bits & 0x1]
        if encrypted:
            raise DataError(
                f"{path}: members are encrypted: {listing(encrypted, 3)}",
                remedy="create the archive without a password",
            )
        budget = Budget(path)
        for entry in entries:
            budget.spend(entry.file_size)
            require_known_method(f"{path}: {entry.filename}", entry, "unpack it into a folder")
            # Some Windows programs write backslashes, contrary to the format.
            parts = _parts(entry.filename.replace("\\", "/"))
            yield Member(parts, _zip_kind(entry), partial(_read_zip_entry, path, archive, entry))


def _zip_kind(entry: zipfile.ZipInfo) -> Kind:
    if entry.filename.endswith(("/", "\\")):
        return Kind.FOLDER
    mode = entry.external_attr >> 16
    # Archives made on Windows have no mode.
    return Kind.FILE if stat.S_ISREG(mode) or not stat.S_IFMT(mode) else Kind.NOT_FOLLOWED


def _read_zip_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > LARGEST_MEMBER:
        raise too_large(entry.filename, entry.file_size)
    with library_errors(f"{path}: {entry.filename}: {_DAMAGED}"), archive.open(entry) as file:
        data = file.read(LARGEST_MEMBER + 1)
        if len(data) != entry.file_size:
            raise damaged(
                entry.filename,
                f"it unpacks to {len(data):,} bytes, wanted the {entry.file_size:,} it declares",
            )
        return data


def _tar_members(path: Path, start: bytes) -> Iterator[Member]:
    with library_errors(f"{path}: {_DAMAGED}"), closing(ForwardStream(path, start)) as stream:
        archive = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]
        while (entry := archive.next()) is not None:
            parts = _parts(entry.name)
            yield Member(parts, _tar_kind(entry), partial(_read_tar_entry, path, stream, entry))
            # TarFile keeps every member that it has seen; millions would fill memory.
            archive.members.clear()  # type: ignore[attr-defined]
        stream.require_end()


def _tar_kind(entry: tarfile.TarInfo) -> Kind:
    if entry.isdir():
        return Kind.FOLDER
    return Kind.FILE if entry.isreg() and not entry.issparse() else Kind.NOT_FOLLOWED


def _read_tar_entry(path: Path, stream: ForwardStream, entry: tarfile.TarInfo) -> bytes:
    if entry.size > LARGEST_MEMBER:
        raise too_large(entry.name, entry.size)
    with library_errors(f"{path}: {entry.name}: {_DAMAGED}"):
        return stream.read_at(entry.offset_data, entry.size)


def _parts(name: str) -> Parts:
    return tuple(part for part in name.split("/") if part not in ("", "."))
