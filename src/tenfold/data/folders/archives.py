"""The members of a zip or tar archive, streamed and never extracted to disk.

A tar file may be uncompressed, or compressed with gzip, bzip2 or xz. The type is detected from the
first bytes.
"""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tenfold.data.files.reading import damaged, library_errors, require_known_method
from tenfold.data.folders import text
from tenfold.data.folders.members import LARGEST_MEMBER, Kind, Member, Parts, too_large
from tenfold.data.folders.streams import DECOMPRESSORS, Budget, ForwardStream
from tenfold.errors import DataError, listing
from tenfold.paths import is_folder
from tenfold.storage import open_regular
from tenfold.storage.zips import opened_zip

_DAMAGED = "the archive is damaged or cannot be read"


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its first bytes and its name.

    Raises:
        OSError: the file cannot be opened.
    """
    return _kind_of(path) != ""


def archive_members(path: Path) -> Iterator[Member]:
    """The members of an archive, in archive order.

    Raises:
        DataError: it is not an archive; or, during iteration, it is damaged, encrypted or over a
            limit.
        OSError: the file cannot be opened.
    """
    kind = _kind_of(path)
    if kind == "zip":
        return _zip_members(path)
    if kind == "tar":
        with open_regular(path) as file:
            return _tar_members(path, file.read(tarfile.BLOCKSIZE))
    raise DataError(
        f"{path}: neither a folder nor a supported archive",
        remedy="name a folder, a .zip, .tar, .tar.gz, .tar.xz or .tar.bz2 archive of one, or "
        "an .npz file",
    )


def _kind_of(path: Path) -> str:
    """`zip`, `tar`, or empty for no archive."""
    with open_regular(path) as file:
        start = file.read(tarfile.BLOCKSIZE)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    # Pre-POSIX tar files have no magic number, so go by the file name.
    is_plain_tar = start[257:262] == b"ustar" or path.suffix.lower() == ".tar"
    return "tar" if is_plain_tar or start.startswith(tuple(DECOMPRESSORS)) else ""


def _zip_members(path: Path) -> Iterator[Member]:
    with library_errors(f"{path}: {_DAMAGED}"), opened_zip(path) as archive:
        entries = archive.infolist()
        encrypted = [entry.filename for entry in entries if entry.flag_bits & 0x1]
        if encrypted:
            raise DataError(
                f"{path}: members are encrypted: {listing(encrypted, 3)}",
                remedy="create the archive without a password",
            )
        budget = Budget(path)
        encoding = _encoding_of(entries)
        for entry in entries:
            budget.spend(entry.file_size)
            require_known_method(f"{path}: {entry.filename}", entry, "unpack it into a folder")
            # Some Windows programs write backslashes, contrary to the format.
            parts = _parts(_name_of(entry, encoding).replace("\\", "/"))
            read = partial(_read_zip_entry, path, archive, entry, "/".join(parts))
            yield Member(parts, _zip_kind(entry), read)


def guessed_encoding(path: Path) -> str:
    """The encoding that an archive's names are taken to be in, if that is a guess; else empty.

    Names in a zip archive are in UTF-8 if it says so. If it does not, they are by the format in
    CP437, but programs write UTF-8, or the code page of their own country. Names that are valid
    UTF-8 are in UTF-8. Otherwise, they are in GBK if all can be, and if most that are not plain
    ASCII consist of the common characters of GB 2312. Otherwise, they are in CP437.

    Raises:
        DataError: it is damaged.
        OSError: it cannot be opened.
    """
    if is_folder(path) or _kind_of(path) != "zip":
        return ""
    with library_errors(f"{path}: {_DAMAGED}"), opened_zip(path) as archive:
        encoding = _encoding_of(archive.infolist())
    return "" if encoding == "utf-8" else encoding.upper()


_SAYS_UTF_8 = 0x800  # a flag of an entry


def _encoding_of(entries: Sequence[zipfile.ZipInfo]) -> str:
    """The encoding of the names that do not say theirs, if any is not plain ASCII."""
    silent = [_raw_name(entry) for entry in entries if not _says_its_encoding(entry)]
    return text.guessed_encoding(silent, "cp437")


def _raw_name(entry: zipfile.ZipInfo) -> bytes:
    return entry.orig_filename.encode("cp437", "replace")  # as `zipfile` has decoded it


def _says_its_encoding(entry: zipfile.ZipInfo) -> bool:
    """Whether its name is marked as UTF-8, or has been replaced by one that is.

    From version 3.12, Python reads Info-ZIP's Unicode Path Extra Field.
    """
    own = entry.orig_filename.partition("\0")[0].replace(os.sep, "/")
    return bool(entry.flag_bits & _SAYS_UTF_8) or entry.filename != own


def _name_of(entry: zipfile.ZipInfo, encoding: str) -> str:
    if _says_its_encoding(entry):
        return entry.filename
    return _raw_name(entry).partition(b"\0")[0].decode(encoding, "replace")


def _zip_kind(entry: zipfile.ZipInfo) -> Kind:
    if entry.filename.endswith(("/", "\\")):
        return Kind.FOLDER
    mode = entry.external_attr >> 16
    # Archives made on Windows have no mode.
    return Kind.FILE if stat.S_ISREG(mode) or not stat.S_IFMT(mode) else Kind.NOT_FOLLOWED


def _read_zip_entry(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str
) -> bytes:
    if entry.file_size > LARGEST_MEMBER:
        raise too_large(name, entry.file_size)
    with library_errors(f"{path}: {name}: {_DAMAGED}"), archive.open(entry) as file:
        data = file.read(LARGEST_MEMBER + 1)
        if len(data) != entry.file_size:
            raise damaged(
                name,
                f"it unpacks to {len(data):,} bytes, wanted the {entry.file_size:,} it declares",
            )
        return data


def _tar_members(path: Path, start: bytes) -> Iterator[Member]:
    with library_errors(f"{path}: {_DAMAGED}"), closing(ForwardStream(path, start)) as stream:
        archive = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]
        while (entry := stream.next_entry(archive)) is not None:
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
