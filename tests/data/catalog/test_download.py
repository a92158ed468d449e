"""Downloading data sets, from servers on this machine that behave well and badly."""

from __future__ import annotations

import gzip
import http.server
import re
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mirrors import (
    CONTENTS,
    GZIPPED,
    Mirror,
    Reply,
    archived,
    broken_off,
    cache,
    contents_of,
    files_below,
    find,
    good,
    members,
    put,
    ranged,
    redirect,
    refused_address,
    stalled,
    stand_in,
    tar_of,
    whole,
)
from tenfold.data.catalog.locate import locate
from tenfold.data.catalog.table import DATASETS
from tenfold.errors import DataError
from tenfold.listening import Listener


def test_real_mnist_is_downloaded_whole(real_data: Path, serve: Callable[..., Mirror]) -> None:
    folder = real_data / "MNIST/raw"
    mirror = serve({path.name: ranged(path.read_bytes()) for path in folder.glob("*.gz")})
    mnist = DATASETS["mnist"]
    entry = replace(mnist, file_sets=(replace(mnist.file_sets[0], mirrors=(mirror.url,)),))
    located, told = find(entry)
    assert located.folder == cache() / "datasets/MNIST/raw"
    for path in located.paths.values():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    name = "train-images-idx3-ubyte.gz"
    sizes = [(done, total) for what, done, total in told.readings if what == f"downloading {name}"]
    assert sizes == sorted(sizes)
    assert sizes[-1] == ((folder / name).stat().st_size,) * 2
    assert len(mirror.requests) == 4
    again, _ = find(entry, download=False)
    assert again.paths == located.paths
    assert len(mirror.requests) == 4


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ({}, "404 Not Found"),
        (good(lambda data: whole(b"<html>Sign in to the network</html>")), "wrong content"),
        (good(lambda data: whole(gzip.compress(b"other"))), "wrong content"),
        (good(lambda data: whole(data[:-9])), "damaged gzip"),
        (good(lambda data: whole(data + b"\0" * 3_000_000)), "sends more than"),
        (good(lambda data: broken_off(data, 0)), "broke off after 0 of"),
        (good(lambda data: lambda handler: None), "without response"),
        (good(lambda data: redirect("/nowhere")), "404 Not Found"),
    ],
    ids=["404", "html", "other", "cut", "long", "empty", "silent", "redirect to 404"],
)
def test_a_failing_mirror_is_followed_by_the_next(
    serve: Callable[..., Mirror], first: dict[str, Reply], said: str
) -> None:
    bad, fine = serve(first), serve(good())
    located, told = find(stand_in(bad.url, fine.url))
    assert contents_of(located) == CONTENTS
    assert len(told.notes) == 2, "one for each file"
    for note in told.notes:
        assert bad.url in note
    assert re.search(said, told.notes[0])
    assert files_below(cache()) == ["datasets/Tiny/raw/images.gz", "datasets/Tiny/raw/labels.gz"]


def test_a_mirror_that_refuses_the_connection(serve: Callable[..., Mirror]) -> None:
    fine = serve(good())
    located, told = find(stand_in(refused_address(), fine.url))
    assert contents_of(located) == CONTENTS
    assert "Connection refused" in told.notes[0]


def test_a_mirror_that_stalls_is_given_up_and_continued(
    serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenfold.data.catalog.download._PATIENCE", 0.3)
    release = threading.Event()
    slow = serve({"images.gz": stalled(GZIPPED["images.gz"], 100_000, release)})
    fine = serve(good())
    try:
        located, told = find(stand_in(slow.url, fine.url))
    finally:
        release.set()
    assert contents_of(located) == CONTENTS
    assert "no answer for 0.3 s" in told.notes[0]
    path, asked = fine.requests[0]
    assert path == "/images.gz"
    assert asked is not None
    assert 0 < int(asked.removeprefix("bytes=").removesuffix("-")) <= 100_000


def test_a_mirror_that_trickles_is_given_up(
    serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenfold.data.catalog.download._PATIENCE", 0.2)
    monkeypatch.setattr("tenfold.data.catalog.download._SLOWEST", 10**9)

    def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
        data = GZIPPED["images.gz"]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, len(data), 20_000):
            handler.wfile.write(data[start : start + 20_000])
            time.sleep(0.05)

    slow, fine = serve({"images.gz": trickle}), serve(good())
    located, told = find(stand_in(slow.url, fine.url))
    assert contents_of(located) == CONTENTS
    assert "sent only" in told.notes[0]


def test_a_broken_download_is_continued_by_the_next_mirror(serve: Callable[..., Mirror]) -> None:
    short = serve({"images.gz": broken_off(GZIPPED["images.gz"], 150_000)})
    fine = serve(good())
    located, told = find(stand_in(short.url, fine.url))
    assert contents_of(located) == CONTENTS
    assert fine.requests[0][0] == "/images.gz"
    assert fine.requests[0][1] is not None
    images = [
        (done, total) for what, done, total in told.readings if what == "downloading images.gz"
    ]
    assert images == sorted(images), "what came in is not received twice"
    assert {total for _, total in images} == {len(GZIPPED["images.gz"])}
    assert "broke off after" in told.notes[0]


def test_a_mirror_without_ranges_starts_over(serve: Callable[..., Mirror]) -> None:
    short = serve({"images.gz": broken_off(GZIPPED["images.gz"], 150_000)})
    fine = serve(good(whole))
    assert contents_of(find(stand_in(short.url, fine.url))[0]) == CONTENTS


@pytest.mark.parametrize("garbage", [b"\0" * 300_000, b"x" * 150_000], ids=["long", "short"])
def test_a_wrong_start_is_received_again(serve: Callable[..., Mirror], garbage: bytes) -> None:
    short = serve({"images.gz": broken_off(garbage, len(garbage) - 1)})
    fine = serve(good())
    assert contents_of(find(stand_in(short.url, fine.url))[0]) == CONTENTS
    asked = [asked for path, asked in fine.requests if path == "/images.gz"]
    assert asked[0] is not None
    assert asked[1:] == [None]


def test_a_mirror_that_continues_at_the_wrong_position(serve: Callable[..., Mirror]) -> None:
    data = GZIPPED["images.gz"]

    def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 5-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - 5))
        handler.end_headers()
        handler.wfile.write(data[5:])

    short, odd = serve({"images.gz": broken_off(data, 150_000)}), serve({"images.gz": elsewhere})
    fine = serve(good())
    located, told = find(stand_in(short.url, odd.url, fine.url))
    assert contents_of(located) == CONTENTS
    assert "wrong position" in told.notes[1]


def test_a_redirect_is_followed(serve: Callable[..., Mirror]) -> None:
    fine = serve(good())
    moved = serve({name: redirect(fine.url + name) for name in GZIPPED})
    located, told = find(stand_in(moved.url))
    assert contents_of(located) == CONTENTS
    assert told.notes == []


def test_an_unannounced_length(serve: Callable[..., Mirror]) -> None:
    def without_length(data: bytes) -> Reply:
        def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(data)

        return reply

    mirror = serve(good(without_length))
    located, told = find(stand_in(mirror.url))
    assert contents_of(located) == CONTENTS
    assert {total for _, _, total in told.readings} == {None}


def test_gzip_that_the_server_calls_an_encoding(serve: Callable[..., Mirror]) -> None:
    mirror = serve(good(lambda data: whole(data, Content_Encoding="gzip")))
    located, _ = find(stand_in(mirror.url))
    assert contents_of(located) == CONTENTS
    assert located.paths["images"].name == "images", "it came decompressed"


def test_when_all_mirrors_fail_the_message_says_what_to_put_where(
    serve: Callable[..., Mirror],
) -> None:
    missing, refused = serve({}), refused_address()
    with pytest.raises(DataError) as caught:
        find(stand_in(missing.url, refused))
    message = str(caught.value)
    assert f"{missing.url}: 404 Not Found" in message
    assert f"{refused}: Connection refused" in message
    assert f"put images, labels into {cache() / 'datasets/Tiny/raw'}" in message
    assert "set TENFOLD_DATA to a folder that contains Tiny/raw" in message
    assert files_below(cache()) == []
    put(cache() / "datasets/Tiny/raw", GZIPPED)
    assert contents_of(find(stand_in(), download=False)[0]) == CONTENTS


def test_an_interrupt_leaves_nothing_half_written(serve: Callable[..., Mirror]) -> None:
    mirror = serve(good())

    class Interrupting(Listener):
        def reading(self, what: str, done: int, total: int | None) -> None:
            if what == "downloading images.gz" and done > 100_000:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        locate(stand_in(mirror.url), listener=Interrupting())
    assert files_below(cache()) == []
    assert contents_of(find(stand_in(mirror.url))[0]) == CONTENTS


def test_an_archive_is_unpacked_by_name(serve: Callable[..., Mirror], tmp_path: Path) -> None:
    link = tarfile.TarInfo("raw/labels")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    strangers = [
        (tarfile.TarInfo("../outside"), b"x"),
        (tarfile.TarInfo("/absolute"), b"x"),
        (tarfile.TarInfo("raw/other"), b"x"),
        (link, b""),
    ]
    data = tar_of([*strangers, *members(CONTENTS)])
    bad = serve({"tiny.tar.gz": broken_off(data, 150_000)})
    fine = serve({"tiny.tar.gz": ranged(data)})
    located, _ = find(archived(data, bad.url, fine.url))
    assert contents_of(located) == CONTENTS
    assert files_below(cache()) == ["datasets/Tiny/raw/images", "datasets/Tiny/raw/labels"]
    assert not located.paths["labels"].is_symlink()


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"images": CONTENTS["images"]}, "it lacks raw/labels"),
        ({**CONTENTS, "labels": b"x" * 1001}, "1,001 bytes, wanted at most 1,000"),
        ({**CONTENTS, "labels": b"x" * 1000}, "raw/labels has the wrong digest"),
    ],
    ids=["member missing", "member too long", "member wrong"],
)
def test_an_archive_with_wrong_members(
    tmp_path: Path, contents: dict[str, bytes], said: str
) -> None:
    data = tar_of(members(contents))
    put(tmp_path, {"tiny.tar.gz": data})
    with pytest.raises(DataError, match=said):
        find(archived(data), data_root=tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    data = tar_of(members(CONTENTS))
    put(tmp_path, {"tiny.tar.gz": data[:-100]})
    with pytest.raises(DataError, match="wrong content") as caught:
        find(archived(data), data_root=tmp_path)
    assert str(tmp_path / "tiny.tar.gz") in str(caught.value)
    with pytest.raises(DataError, match="damaged archive"):
        find(archived(data[:-100]), data_root=tmp_path)


def test_the_message_names_the_archive(serve: Callable[..., Mirror]) -> None:
    with pytest.raises(DataError, match=r"or tiny.tar.gz into .*datasets"):
        find(archived(b"", serve({}).url))
