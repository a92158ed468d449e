"""The members of zip and tar archives, and malicious archives."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile

import pytest
from class_folders import TWO_CLASSES, main_sources, picture, read, source, tar, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.data.folders.members import Kind
from tenfold.data.folders.source import read_members
from tenfold.errors import DataError


def test_members_of_a_tar_need_not_be_read(tmp_path):
    files = {f"{number:03}": bytes([number]) * 100_000 for number in range(30)}
    path = tar(tmp_path / "x.tar.xz", files, "w:xz")
    for member in read_members(path):
        if int(member.name) % 7 == 0:
            assert member.read() == files[member.name]


def test_long_names_are_complete(tmp_path):
    name = "/".join(["x" * 90] * 5)
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "x.tar", "w", format=kind) as archive:
            entry = tarfile.TarInfo(name)
            entry.size = 1
            archive.addfile(entry, io.BytesIO(b"x"))
        (member,) = read_members(tmp_path / "x.tar")
        assert member.name == name
        assert member.parts == tuple(name.split("/"))


def test_sparse_members_are_not_files(tmp_path):
    entry = tarfile.TarInfo("cat/1.png")
    entry.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"00010000000\0"  # its size with the holes
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(1024))
    (member,) = read_members(tmp_path / "x.tar")
    assert member.kind is Kind.NOT_FOLLOWED


def test_a_tar_is_known_by_its_content_or_its_name(tmp_path):
    entry = tarfile.TarInfo("a")
    header = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = bytes(8)  # as before POSIX, without the magic
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    for name in ("old.tar", "old"):
        (tmp_path / name).write_bytes(bytes(header) + bytes(1024))
    assert [member.name for member in read_members(tmp_path / "old.tar")] == ["a"]
    with pytest.raises(DataError, match="neither a folder nor a supported archive"):
        list(read_members(tmp_path / "old"))


def test_names_that_lead_elsewhere_are_harmless(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    names = {"/abs/cat/1.png": picture(1), "/abs/dog/1.png": picture(2)}
    for path in (zipped(inside / "x.zip", names), tar(inside / "x.tar", names)):
        assert read(path)[0]["all"].classes == ("cat", "dog")
    climbing = {**TWO_CLASSES, "../../evil/1.png": picture()}
    for path in (zipped(inside / "y.zip", climbing), tar(inside / "y.tar", climbing)):
        splits, notes = read(path)
        assert splits["all"].classes == ("cat", "dog")
        assert notes == ["skipped hidden files (1): ../../evil/1.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inside"]
    assert len(list(inside.iterdir())) == 4


def test_backslashes_of_windows_archives_are_slashes(tmp_path):
    path = zipped(tmp_path / "x.zip", {k.replace("/", "#"): v for k, v in TWO_CLASSES.items()})
    path.write_bytes(path.read_bytes().replace(b"cat#", b"cat\\").replace(b"dog#", b"dog\\"))
    assert read(path)[0]["all"].names[0] == "cat/1.png"


def test_folders_of_windows_archives_are_folders(tmp_path):
    files = {"cat#": b"", "cat#1.png": picture(), "emu#": b""}
    path = zipped(tmp_path / "x.zip", files)
    path.write_bytes(path.read_bytes().replace(b"cat#", b"cat\\").replace(b"emu#", b"emu\\"))
    splits, notes = read(path)
    assert splits["all"].classes == ("cat", "emu")
    assert splits["all"].names == ("cat/1.png",)
    assert notes == []


def test_encrypted_archives_are_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", TWO_CLASSES)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"encrypted: cat/1\.png; create the archive without"):
        read(path)


@pytest.mark.parametrize(
    ("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")]
)
def test_another_compression_is_refused_once_and_unpacking_helps(tmp_path, method, name):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for each, data in TWO_CLASSES.items():
            archive.writestr(each, data)
    first = next(iter(TWO_CLASSES))
    wanted = f"{path}: {first}: compressed by {name}, wanted deflate or none"
    with pytest.raises(DataError, match=re.escape(wanted) + "; unpack it"):
        read(path)
    zipfile.ZipFile(path).extractall(tmp_path / "x")
    splits, _ = read(tmp_path / "x")
    assert sum(len(split.images) for split in splits.values()) == len(TWO_CLASSES)


@main_sources
def test_one_large_file_is_named(tmp_path, monkeypatch, kind):
    for module in ("members", "streams", "archives", "source"):
        monkeypatch.setattr(f"tenfold.data.folders.{module}.LARGEST_MEMBER", 4096)
    monkeypatch.setattr("tenfold.data.folders.streams._CHUNK", 512)
    files = {**TWO_CLASSES, "cat/large.png": picture() + bytes(10_000)}
    with pytest.raises(
        DataError, match=r"1 of 4 .*: the file has .* over the limit of 4,096: cat/large\.png"
    ):
        read(source(kind, tmp_path, files))


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in TWO_CLASSES.items():
            archive.writestr(name, data)
    data = bytearray(path.read_bytes())
    data[data.index(picture(20)) + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"1 of 3 images cannot be read: .*CRC-32.*: cat/2\.png"):
        read(path)


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:xz"])
@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_archive_raises_only_our_errors(tmp_path, kind, data):
    path = source(kind, tmp_path, TWO_CLASSES)
    sample = bytearray(path.read_bytes())
    places = st.one_of(st.integers(0, min(600, len(sample)) - 1), st.integers(0, len(sample) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        sample[place] = value
    path.write_bytes(sample)
    try:
        read(path)
    except DataError:
        pass
