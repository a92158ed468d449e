"""Hostile archives."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from bad_inputs.makers.files import Maker
from bad_inputs.makers.pictures import picture
from hostile.rows import Row

ZIP, TAR = "load_splits('./photos.zip')", "load_splits('./photos.tar')"

MEMBERS = {"tenfold.data.folders.source.MOST_MEMBERS": 20_000}
UNPACKED = {"tenfold.data.folders.streams.ALWAYS_ALLOWED": 2**24}


def zipped(names: Iterable[str | zipfile.ZipInfo], data: bytes = b"") -> Maker:
    """A zip file of members with the same content; `data` by default is a picture."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
            for name in names:
                archive.writestr(name, data or picture())

    return make


def patched(make: Maker, change: Callable[[bytearray], None], name: str = "photos.zip") -> Maker:
    """The same file with some bytes changed."""

    def making(folder: Path) -> None:
        make(folder)
        data = bytearray((folder / name).read_bytes())
        change(data)
        (folder / name).write_bytes(data)

    return making


def entry_field(at: int, layout: str, value: int) -> Callable[[bytearray], None]:
    """Changes a field of the first member in a zip file's list."""

    def change(data: bytearray) -> None:
        struct.pack_into(layout, data, data.index(b"PK\x01\x02") + at, value)

    return change


def end_field(at: int, layout: str, value: int) -> Callable[[bytearray], None]:
    """Changes a field of a zip file's end."""

    def change(data: bytearray) -> None:
        struct.pack_into(layout, data, data.rindex(b"PK\x05\x06") + at, value)

    return change


def many_members(count: int, name: bytes = b"a.png") -> Maker:
    """A zip file that lists the same empty member many times."""

    def make(folder: Path) -> None:
        head = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0)
        fields = (20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0)
        entry = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", *fields) + name
        size, start = count * len(entry), len(head) + len(name)
        big = struct.pack(
            "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start
        )
        big += struct.pack("<4sIQI", b"PK\x06\x07", 0, start + size, 1)
        most = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, *most, 0)
        (folder / "photos.zip").write_bytes(head + name + entry * count + big + end)

    return make


def zeros(method: int = zipfile.ZIP_DEFLATED) -> Maker:
    """A zip file with 160 MB of zeros."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "photos.zip", "w", method) as archive:
            write_zeros(archive, "cat/1.png", b"")
            archive.writestr("dog/1.png", b"")
        if method != zipfile.ZIP_DEFLATED:  # the size that its list declares
            understate(folder / "photos.zip")

    return make


def write_zeros(archive: zipfile.ZipFile, name: str, start: bytes) -> None:
    """A member of 160 MB."""
    with archive.open(name, "w") as member:
        member.write(start)
        for _ in range(160):
            member.write(bytes(2**20))


def understate(path: Path) -> None:
    """Declare 1 MB less 128 for a zip file's first member, which is less than it has."""
    data = bytearray(path.read_bytes())
    entry_field(24, "<I", 2**20 - 128)(data)
    path.write_bytes(data)


def linked_entry() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("cat/1.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def long_name(name: bytes) -> bytes:
    """The header before a member that has its long name."""
    return header("././@LongLink", tarfile.GNUTYPE_LONGNAME, len(name)) + padded(name)


def pax(records: bytes) -> bytes:
    """The header before a member that has more facts about it."""
    return header("pax", tarfile.XHDTYPE, len(records)) + padded(records)


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest) + len(str(len(rest)))
    size = len(rest) + len(str(size))
    return str(size).encode() + rest


def tarred(data: bytes, compress: Callable[[bytes], bytes] = bytes) -> Maker:
    """A tar file of these bytes and its end."""

    def make(folder: Path) -> None:
        (folder / "photos.tar").write_bytes(compress(data + bytes(1024)))

    return make


def negative(data: bytes) -> bytes:
    """A header whose size is -2048, in base 256."""
    changed = bytearray(data)
    changed[124:136] = b"\xff" * 10 + b"\xf8\x00"
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    return bytes(changed)


def sparse_map() -> bytes:
    """A sparse file in PAX format 1.0 that has a billion parts, as far as the map goes."""
    facts = record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")
    numbers = b"1000000000\n" + b"1\n" * 8_000_000
    return pax(facts) + header("cat/1.png", size=len(numbers)) + padded(numbers)


def old_sparse() -> bytes:
    """An old sparse file whose map goes on without end."""
    start = bytearray(header("cat/1.png", tarfile.GNUTYPE_SPARSE))
    start[482] = 1  # the map goes on
    start[148:156] = b" " * 8
    start[148:156] = b"%06o\0 " % sum(start)
    part = (b"%011o\0" % 1) * 42 + b"\1" + bytes(7)
    return bytes(start) + part * 50_000


def special(kind: bytes, target: str = "/etc/passwd") -> bytes:
    entry = tarfile.TarInfo("cat/link.png")
    entry.type, entry.linkname = kind, target
    return entry.tobuf(tarfile.GNU_FORMAT)


def member(name: str) -> bytes:
    return header(name, size=len(picture())) + padded(picture())


DEEP = "/".join(["a"] * 20_000) + "/1.png"

ROWS = {
    "zip, 20,000 folders deep": Row(zipped([DEEP]), ZIP, says="over the limit of 4,096"),
    "zip, 1,000 folders deep": Row(zipped([DEEP[-2000:]]), ZIP, says="folders deep"),
    "zip, name of 60,000 letters": Row(
        zipped(["a" * 60_000 + ".png"]), ZIP, says="has 60,004 bytes"
    ),
    "zip of 1,100,000 members": Row(many_members(1_100_000), ZIP, 300, says="1,000,000 members"),
    "zip of 900 members of one name": Row(many_members(900), ZIP, says="duplicate names"),
    "zip with a list of 4 GB": Row(
        patched(zipped(["cat/1.png"]), end_field(12, "<I", 2**32 - 2)), ZIP, says="damaged"
    ),
    "zip that says 65,535 members": Row(
        patched(zipped(["cat/1.png", "dog/1.png"]), end_field(10, "<H", 65_534)),
        ZIP,
        ends="accepted",
    ),
    "zip with a member of 2 GB": Row(
        patched(zipped(["cat/1.png"]), entry_field(24, "<I", 2**31)), ZIP, says="unpacks to more"
    ),
    "zip with a password": Row(
        patched(zipped(["cat/1.png"]), entry_field(8, "<H", 1)), ZIP, says="encrypted"
    ),
    "zip whose members are beyond its end": Row(
        patched(zipped(["cat/1.png", "dog/1.png"]), entry_field(42, "<I", 2**31)), ZIP
    ),
    "zip of links": Row(zipped([linked_entry()], b"/etc/passwd"), ZIP),
    "zip with names that lead out": Row(
        zipped(["../../cat/1.png", "/etc/dog/1.png", "C:\\x\\1.png"]), ZIP, ends="accepted"
    ),
    "zip with control characters in names": Row(
        zipped(["cat\x1b[2J/1.png", "dog\u202e/1.png"]), ZIP, says="unprintable characters"
    ),
    "zip of zips": Row(zipped(["cat/1.zip", "dog/1.zip"], b"PK\x05\x06" + bytes(18)), ZIP),
    "zip of zeros": Row(zeros(), ZIP),
    "zip of zeros, bzip2": Row(zeros(zipfile.ZIP_BZIP2), ZIP, says="bzip2"),
    "zip of zeros, LZMA": Row(zeros(zipfile.ZIP_LZMA), ZIP, says="LZMA"),
    "tar, 20,000 folders deep": Row(
        tarred(long_name(DEEP.encode()) + member("x")), TAR, says="folders deep"
    ),
    "tar, name of 30 MB": Row(
        tarred(long_name(b"a" * 30_000_000) + member("x")), TAR, 200, says="over the limit"
    ),
    "tar, name of 30 MB in other facts": Row(
        tarred(pax(record(b"path", b"a" * 30_000_000)) + member("x")), TAR, 200, says="of a member"
    ),
    "tar, name of 1 MB": Row(tarred(long_name(b"a" * 1_000_000) + member("x")), TAR, says="4,096"),
    "tar, other facts that are one number": Row(
        tarred(pax(b"1" * 500_000) + member("x")), TAR, says="number without end"
    ),
    "tar of 5,000 names for one member": Row(tarred(long_name(b"a") * 5000 + member("x")), TAR),
    "tar of 30,000 members": Row(
        tarred(header("cat/1.txt") * 30_000), TAR, says="more than 20,000", limits=MEMBERS
    ),
    "tar with a sparse file of a billion parts": Row(tarred(sparse_map()), TAR, says="of a member"),
    "tar with an old sparse file without end": Row(tarred(old_sparse()), TAR, says="of a member"),
    "tar with a negative size": Row(tarred(negative(header("cat/1.png")) * 4), TAR),
    "tar with a member of 2 to 60 bytes": Row(tarred(header("cat/1.png", size=2**60)), TAR),
    "tar with a name of 2 to 33 bytes": Row(
        tarred(header("x", tarfile.GNUTYPE_LONGNAME, 2**33)), TAR, says="over the limit"
    ),
    **{
        f"tar with {what}": Row(tarred(special(kind) + member("dog/1.png")), TAR)
        for what, kind in {
            "a link": tarfile.SYMTYPE,
            "a hard link": tarfile.LNKTYPE,
            "a device": tarfile.CHRTYPE,
            "a pipe": tarfile.FIFOTYPE,
        }.items()
    },
    "tar with names that lead out": Row(
        tarred(member("../../cat/1.png") + member("/etc/dog/1.png")), TAR
    ),
    "two tar files": Row(tarred(member("cat/1.png") + bytes(1024) + member("dog/1.png")), TAR),
    **{
        f"tar of zeros, {name}": Row(
            tarred(header("cat/1.png", size=2**26) + bytes(2**26), compress),
            TAR,
            250,  # three times what an image may have
            says="unpacks to more",
            limits=UNPACKED,
        )
        for name, compress in {
            "gzip": gzip.compress,
            "bzip2": bz2.compress,
            "xz": partial(lzma.compress, preset=0),
        }.items()
    },
}
"""By what is hostile about it."""
