"""Checks of files against the catalog's digests."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pytest

from mirrors import CONTENTS, cache, sha256, stand_in
from tenfold.data.catalog.checking import check_file
from tenfold.data.catalog.entries import CatalogFile
from tenfold.errors import DataError
from tenfold.listening import Listener, Recorder


def test_a_change_after_a_check_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.data.catalog.checking._SETTLED", 0.0)
    file = stand_in().file_sets[0].files[1]
    path = tmp_path / file.name
    path.write_bytes(CONTENTS["labels"])
    before = path.stat()
    time.sleep(0.05)  # longer than a tick of the file system's clock
    assert check_file(path, file, listener=Listener())
    assert list((cache() / "checked").iterdir()), "the check is remembered"
    path.write_bytes(CONTENTS["labels"][::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match="the digest of its content"):
        check_file(path, file, listener=Listener())


def test_a_check_right_after_a_change_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another change could get the same time stamp."""
    monkeypatch.setattr("tenfold.data.catalog.checking._SETTLED", 3600.0)
    file = stand_in().file_sets[0].files[1]
    path = tmp_path / file.name
    path.write_bytes(CONTENTS["labels"])
    assert check_file(path, file, listener=Listener())
    assert not (cache() / "checked").exists()


def test_files_without_a_published_content_digest(tmp_path: Path) -> None:
    published = gzip.compress(CONTENTS["labels"], mtime=1)
    file = CatalogFile("labels", "train", 1000, gzip_digest=sha256(published))
    for name, data, said in [
        ("labels.gz", published, ""),
        ("again.gz", gzip.compress(CONTENTS["labels"], mtime=2), "recompressed"),
        ("labels", CONTENTS["labels"], "no digest is published"),
    ]:
        (tmp_path / name).write_bytes(data)
        told = Recorder(Listener())
        assert check_file(tmp_path / name, file, listener=told) is (not said)
        assert all(said in note for note in told.notes)
        assert len(told.notes) == (1 if said else 0)
