"""The files of directories and archives, one after the other."""

from __future__ import annotations

import io
import tarfile
import threading

import pytest

from tenfold.data.folders.archives import Kind
from tenfold.data.folders.members import read_members
from tenfold.errors import DataError


def test_a_directory_is_listed_sorted_with_its_folders(tmp_path):
    for name in ("b/2", "b/1", "a/c/3", "d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = [(member.name, member.kind) for member in read_members(tmp_path)]
    assert {name for name, kind in found if kind is Kind.FOLDER} == {"a", "b", "a/c"}
    assert [name for name, kind in found if kind is Kind.FILE] == ["d", "a/c/3", "b/1", "b/2"]
    contents = {m.name: m.read() for m in read_members(tmp_path) if m.kind is Kind.FILE}
    assert all(name.encode() == data for name, data in contents.items())


def tar_of(path, count, size):
    with tarfile.open(path, "w:xz", preset=0) as archive:
        for number in range(count):
            entry = tarfile.TarInfo(f"{number:03}")
            entry.size = size
            archive.addfile(entry, io.BytesIO(bytes([number]) * size))
    return path


def test_members_of_a_tar_need_not_be_read(tmp_path):
    path = tar_of(tmp_path / "x.tar.xz", 30, 100_000)
    for member in read_members(path):
        if int(member.name) % 7 == 0:
            assert member.read() == bytes([int(member.name)]) * 100_000
            assert member.size == 100_000


def test_long_names_are_whole(tmp_path):
    name = "/".join(["x" * 90] * 5)
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "x.tar", "w", format=kind) as archive:
            entry = tarfile.TarInfo(name)
            entry.size = 1
            archive.addfile(entry, io.BytesIO(b"x"))
        (member,) = read_members(tmp_path / "x.tar")
        assert member.name == name
        assert member.parts == tuple(name.split("/"))


def test_reading_that_is_given_up_leaves_no_thread(tmp_path):
    path = tar_of(tmp_path / "x.tar.xz", 50, 1_000_000)
    before = threading.active_count()
    reading = read_members(path)
    next(reading)
    assert threading.active_count() == before + 1
    reading.close()
    assert threading.active_count() == before


def test_sparse_members_are_no_files(tmp_path):
    entry = tarfile.TarInfo("cat/1.png")
    entry.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"00010000000\0"  # its size with the holes
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(1024))
    (member,) = read_members(tmp_path / "x.tar")
    assert member.kind is Kind.OTHER


def test_a_tar_is_known_by_its_content_or_its_name(tmp_path):
    entry = tarfile.TarInfo("a")
    header = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = bytes(8)  # as before POSIX, without the magic
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    for name in ("old.tar", "old"):
        (tmp_path / name).write_bytes(bytes(header) + bytes(1024))
    assert [member.name for member in read_members(tmp_path / "old.tar")] == ["a"]
    with pytest.raises(DataError, match="neither a folder nor an archive"):
        read_members(tmp_path / "old")
