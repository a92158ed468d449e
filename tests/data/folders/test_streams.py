"""Limits on an archive's bytes, and the decompression thread."""

from __future__ import annotations

import random
import tarfile
import threading
from contextlib import closing

import pytest
from class_folders import TWO_CLASSES, read, source, tar

from tenfold.data.folders.source import read_members
from tenfold.data.folders.streams import ForwardStream
from tenfold.errors import DataError


def test_abandoned_reading_leaves_no_thread(tmp_path):
    path = tar(tmp_path / "x.tar.gz", {str(n): bytes(1_000_000) for n in range(50)}, "w:gz")
    before = threading.active_count()
    reading = read_members(path)
    next(reading)
    assert threading.active_count() == before + 1
    reading.close()
    assert threading.active_count() == before


def read_on(stream: ForwardStream) -> None:
    while True:
        stream.read_at(stream.tell(), 1000)


def test_a_read_after_damage_raises_again(tmp_path):
    path = source("w:gz", tmp_path, {"cat/1.png": random.Random(0).randbytes(3_000_000)})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with closing(ForwardStream(path, data[:512])) as stream:
        for _ in range(2):
            with pytest.raises(EOFError):
                read_on(stream)


@pytest.mark.parametrize("kind", ["zip", "w:gz", "w:xz", "w:bz2"])
def test_bombs_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("tenfold.data.folders.streams.ALWAYS_ALLOWED", 2**20)
    path = source(kind, tmp_path, {**TWO_CLASSES, "cat/bomb.bin": bytes(2**24)})
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match=r"unpacks to more than [\d,]+ bytes"):
        read(path)


def test_a_tar_header_that_claims_gigabytes_takes_no_memory(tmp_path):
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        entry = tarfile.TarInfo("cat/1.png")
        entry.type, entry.size = kind, 2**33
        (tmp_path / "x.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
        with pytest.raises(DataError, match=r"take 8,589,9\d\d,\d\d\d bytes or more"):
            read(tmp_path / "x.tar")


def test_a_negative_size_in_a_tar_header_is_refused(tmp_path):
    entry = tarfile.TarInfo("cat/1.txt")
    header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xf8\x00"  # base 256, -2048
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header) * 4 + bytes(1024))
    with pytest.raises(DataError):
        read(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:xz", "w:bz2", "zip"])
def test_archives_truncated_anywhere_are_refused(tmp_path, kind):
    path = source(kind, tmp_path, TWO_CLASSES)
    data = path.read_bytes()
    for size in range(600 if kind == "w" else 10, len(data) - 1, max(len(data) // 40, 1)):
        if kind == "w" and not any(data[size:]):
            break  # only the end marker and its padding are left
        path.write_bytes(data[:size])
        with pytest.raises(DataError):
            read(path)


def test_joined_archives_are_refused(tmp_path):
    one = tar(tmp_path / "one.tar", TWO_CLASSES).read_bytes()
    (tmp_path / "both.tar").write_bytes(one * 2)
    with pytest.raises(DataError, match="data after the end of the archive"):
        read(tmp_path / "both.tar")


def test_a_damaged_checksum_is_found(tmp_path):
    path = tar(tmp_path / "x.tar.gz", TWO_CLASSES, "w:gz")
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        read(path)
