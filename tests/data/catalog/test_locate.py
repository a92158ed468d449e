"""Finding data sets on disk and in the cache, also by several processes at once."""

from __future__ import annotations

import gzip
import http.server
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import mirrors
from mirrors import (
    CONTENTS,
    GZIPPED,
    Mirror,
    archived,
    cache,
    contents_of,
    files_below,
    find,
    good,
    members,
    put,
    sha256,
    stalled,
    stand_in,
    tar_of,
)
from tenfold.data.catalog.table import DATASETS
from tenfold.errors import DataError, StorageError


@pytest.mark.parametrize("files", [CONTENTS, GZIPPED], ids=["plain", "gzipped"])
def test_files_in_the_data_root_are_used(tmp_path: Path, files: dict[str, bytes]) -> None:
    put(tmp_path / "Tiny/raw", files)
    located, told = find(stand_in(), data_root=tmp_path, download=False)
    assert contents_of(located) == CONTENTS
    assert located.folder == tmp_path / "Tiny/raw"
    assert told.notes == []


def test_the_environment_names_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "env/Tiny/raw", GZIPPED)
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path / "env"))
    assert find(stand_in(), download=False)[0].folder == tmp_path / "env/Tiny/raw"
    put(tmp_path / "given/Tiny/raw", GZIPPED)
    located, _ = find(stand_in(), data_root=tmp_path / "given", download=False)
    assert located.folder == tmp_path / "given/Tiny/raw"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_files_have_the_published_digests(real_data: Path, name: str) -> None:
    located, told = find(DATASETS[name], data_root=real_data, download=False)
    assert told.notes == []
    assert set(located.paths) == {file.name for file in DATASETS[name].file_sets[0].files}


def test_a_wrong_file_in_the_data_root_is_refused(tmp_path: Path) -> None:
    wrong = CONTENTS["labels"].replace(b"labels", b"Labels")
    put(tmp_path / "Tiny/raw", {**CONTENTS, "labels": wrong})
    with pytest.raises(DataError) as caught:
        find(stand_in(), data_root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "Tiny/raw/labels") in message
    assert sha256(wrong) in message
    assert sha256(CONTENTS["labels"]) in message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GZIPPED["labels.gz"][:-12], "damaged gzip"),
        (GZIPPED["labels.gz"][:4] + b"\xff" * 40, "damaged gzip"),
        (gzip.compress(b"\0" * 10_000_000), "longer than 1,000 bytes"),
    ],
    ids=["cut", "garbled", "too long"],
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    put(tmp_path / "Tiny/raw", {**GZIPPED, "labels.gz": data})
    with pytest.raises(DataError, match=said):
        find(stand_in(), data_root=tmp_path)


def test_a_missing_data_root_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find(stand_in(), data_root=tmp_path / "absent")
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="named by TENFOLD_DATA does not exist"):
        find(stand_in())


def test_without_permission_nothing_is_requested(serve: Callable[..., Mirror]) -> None:
    fine = serve(good())
    with pytest.raises(DataError, match="downloading is switched off"):
        find(stand_in(fine.url), download=False)
    assert fine.requests == []


def test_an_incomplete_data_root_is_reported_and_not_used(
    tmp_path: Path, serve: Callable[..., Mirror]
) -> None:
    put(tmp_path / "Tiny/raw", {"images.gz": GZIPPED["images.gz"]})
    located, told = find(stand_in(serve(good()).url), data_root=tmp_path)
    assert located.folder == cache() / "datasets/Tiny/raw"
    assert told.notes == [f"{tmp_path / 'Tiny/raw'} was not used: it lacks labels"]


def test_a_damaged_file_in_the_cache_is_downloaded_again(serve: Callable[..., Mirror]) -> None:
    folder = cache() / "datasets/Tiny/raw"
    put(folder, {"images": b"damaged", "labels.gz": GZIPPED["labels.gz"]})
    with pytest.raises(DataError, match="the digest of its content"):
        find(stand_in(), download=False)
    mirror = serve(good())
    located, told = find(stand_in(mirror.url))
    assert contents_of(located) == CONTENTS
    assert [path for path, _ in mirror.requests] == ["/images.gz"], "the good one is kept"
    assert "downloading it again" in told.notes[0]


def test_an_unfinished_download_in_the_cache_is_continued_without_a_note(
    serve: Callable[..., Mirror],
) -> None:
    put(cache() / "datasets/Tiny/raw", {"images.gz": GZIPPED["images.gz"]})
    mirror = serve(good())
    located, told = find(stand_in(mirror.url))
    assert contents_of(located) == CONTENTS
    assert [path for path, _ in mirror.requests] == ["/labels.gz"]
    assert told.notes == []


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="wanted a folder"):
        find(stand_in(serve(good()).url))


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from mirrors import CONTENTS, contents_of, find, stand_in

assert contents_of(find(stand_in(sys.argv[1]))[0]) == CONTENTS
"""


def start_process(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, url, str(Path(mirrors.__file__).parent)])


def test_two_processes_at_once(serve: Callable[..., Mirror]) -> None:
    mirror = serve(good())
    processes = [start_process(mirror.url) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(path for path, _ in mirror.requests) == ["/images.gz", "/labels.gz"]


def test_a_killed_process_leaves_nothing_behind(serve: Callable[..., Mirror]) -> None:
    release, began = threading.Event(), threading.Event()
    data = GZIPPED["labels.gz"]

    def stall(handler: http.server.BaseHTTPRequestHandler) -> None:
        began.set()
        stalled(data, len(data) // 2, release)(handler)

    mirror = serve({**good(), "labels.gz": stall})
    process = start_process(mirror.url)
    try:
        assert began.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
        release.set()
    assert files_below(cache()) == ["datasets/Tiny/raw/images.gz"]
    fine = serve(good())
    assert contents_of(find(stand_in(fine.url))[0]) == CONTENTS
    assert [path for path, _ in fine.requests] == ["/labels.gz"]


def test_an_archive_on_the_disk_is_unpacked_into_the_cache(tmp_path: Path) -> None:
    data = tar_of(members(CONTENTS))
    put(tmp_path, {"tiny.tar.gz": data})
    located, _ = find(archived(data), data_root=tmp_path, download=False)
    assert contents_of(located) == CONTENTS
    assert located.folder == cache() / "datasets/Tiny/raw"
    assert files_below(tmp_path) == ["tiny.tar.gz"]
