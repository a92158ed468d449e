"""Directories and archives as streams of members, and detection of changes."""

from __future__ import annotations

import os

import pytest
from class_folders import SPLIT, TWO_CLASSES, directory, picture, read, source

from tenfold.data.folders.folder import read_image_folder
from tenfold.data.folders.members import Kind
from tenfold.data.folders.options import FolderOptions
from tenfold.data.folders.source import read_members, source_fingerprint
from tenfold.errors import DataError
from tenfold.listening import Listener, Recorder
from tenfold.types import WantedShape


def test_a_directory_is_listed_sorted_with_its_folders(tmp_path):
    for name in ("b/2", "b/1", "a/c/3", "d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = [(member.name, member.kind) for member in read_members(tmp_path)]
    assert {name for name, kind in found if kind is Kind.FOLDER} == {"a", "b", "a/c"}
    assert [name for name, kind in found if kind is Kind.FILE] == ["d", "a/c/3", "b/1", "b/2"]
    contents = {m.name: m.read() for m in read_members(tmp_path) if m.kind is Kind.FILE}
    assert all(name.encode() == data for name, data in contents.items())


def test_anything_but_a_folder_or_archive_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder or archive"):
        read(tmp_path / "absent")
    for data in (b"", b"words", picture(), b"\x28\xb5\x2f\xfd"):
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(DataError, match="neither a folder nor a supported archive"):
            read(tmp_path / "file")


def test_links_in_directories(tmp_path):
    outside = tmp_path / "secret.png"
    outside.write_bytes(picture(99))
    root = directory(tmp_path / "data", TWO_CLASSES)
    (root / "dog/same.png").symlink_to(root / "cat/1.png")
    assert read(root)[0]["all"].images[:, 0, 0, 0].tolist() == [10, 20, 30, 10]
    (root / "dog/folder").symlink_to(root)
    with pytest.raises(DataError, match="not read: dog/folder; put the files"):
        read(root)
    (root / "dog/folder").unlink()
    (root / "dog/out.png").symlink_to(outside)
    (root / "dog/none.png").symlink_to("gone")
    os.mkfifo(root / "dog/pipe.png")
    said = "3 of 7 images .* out of the folder .*: dog/none.png, dog/out.png, dog/pipe.png; replace"
    with pytest.raises(DataError, match=said):
        read(root)
    recorder = Recorder(Listener())
    options = FolderOptions(skip_bad=True)
    found = read_image_folder(root, WantedShape(), recorder, options).splits["all"]
    assert found.images[:, 0, 0, 0].tolist() == [10, 20, 30, 10]
    assert "left out 3 images that cannot be read" in "".join(recorder.notes)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    for name in ("MOST_MEMBERS", "MOST_FILES"):
        monkeypatch.setattr(f"tenfold.data.folders.source.{name}", 4)
    for kind in ("directory", "zip", "w"):
        with pytest.raises(DataError, match="more than 4 files and folders"):
            read(source(kind, tmp_path / kind if kind == "directory" else tmp_path, SPLIT))


def test_the_fingerprint_of_an_archive_is_its_digest(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert source_fingerprint(path).startswith("ba7816bf8f01cfea")
    with pytest.raises(DataError, match="no such folder or archive"):
        source_fingerprint(tmp_path / "absent")


def test_the_fingerprint_of_a_directory_follows_its_files(tmp_path):
    root = directory(tmp_path / "data", TWO_CLASSES)
    seen = {source_fingerprint(root)}
    assert source_fingerprint(root) in seen
    changes = [
        lambda: (root / "cat/3.png").write_bytes(b"new"),
        lambda: (root / "cat/3.png").write_bytes(b"now"),
        lambda: (root / "cat/3.png").rename(root / "cat/4.png"),
        lambda: os.utime(root / "cat/4.png", ns=(1, 1)),
        lambda: (root / "cat/4.png").unlink(),
    ]
    for change in changes[:-1]:
        change()
        fingerprint = source_fingerprint(root)
        assert fingerprint not in seen
        seen.add(fingerprint)
    changes[-1]()
    assert source_fingerprint(root) in seen
