"""Finding and downloading data sets, from servers on this machine that behave well and badly."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tenfold.data.catalog.checking import check_file
from tenfold.data.catalog.entries import Archive, CatalogEntry, CatalogFile, Layout
from tenfold.data.catalog.locate import LocatedFiles, locate
from tenfold.data.catalog.table import DATASETS
from tenfold.errors import DataError, StorageError
from tenfold.types import ImageShape

Reply = Callable[[http.server.BaseHTTPRequestHandler], None]

CONTENTS = {
    "images": np.random.default_rng(1).bytes(200_000),
    "labels": b"labels of the images" * 50,
}
GZIPPED = {f"{name}.gz": gzip.compress(data) for name, data in CONTENTS.items()}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def stand_in(*mirrors: str, **changes: object) -> CatalogEntry:
    layout = Layout(
        folder="Tiny/raw",
        format="idx",
        files=tuple(
            CatalogFile(name, "train", len(data), sha256(data)) for name, data in CONTENTS.items()
        ),
        mirrors=mirrors,
    )
    return CatalogEntry(
        name="tiny",
        title="Tiny",
        classes=("a", "b"),
        image_shape=ImageShape(1, 2, 2),
        n_train=3,
        n_test=0,
        layouts=(replace(layout, **changes),),  # type: ignore[arg-type]
        licence="none",
        citation="none",
    )


class Mirror:
    """A running server; `requests` lists the path and the Range header of each request."""

    def __init__(self, url: str, requests: list[tuple[str, str | None]]) -> None:
        self.url = url
        self.requests = requests


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mirror]]:
    """Start a server whose replies are by file name; other names are 404."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with contextlib.ExitStack() as stack:

        def start(replies: dict[str, Reply]) -> Mirror:
            requests: list[tuple[str, str | None]] = []

            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    requests.append((self.path, self.headers.get("Range")))
                    reply = replies.get(self.path.rpartition("/")[2], not_found)
                    with contextlib.suppress(ConnectionError):
                        reply(self)

                def log_message(self, *args: object) -> None:
                    pass

            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return Mirror(f"http://127.0.0.1:{server.server_port}/", requests)

        yield start


def not_found(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


def whole(data: bytes, **headers: str) -> Reply:
    """A server without support for Range."""

    def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return reply


def ranged(data: bytes) -> Reply:
    def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        if asked is None:
            whole(data)(handler)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(data):
            handler.send_error(416)
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:])

    return reply


def broken_off(data: bytes, after: int) -> Reply:
    def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])

    return reply


def stalled(data: bytes, after: int, release: threading.Event) -> Reply:
    def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        release.wait(60)

    return reply


def redirect(target: str) -> Reply:
    def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return reply


def good(make: Callable[[bytes], Reply] = ranged) -> dict[str, Reply]:
    return {name: make(data) for name, data in GZIPPED.items()}


def contents_of(located: LocatedFiles) -> dict[str, bytes]:
    found = {}
    for name, path in located.paths.items():
        data = path.read_bytes()
        found[name] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


def cache() -> Path:
    return Path(os.environ["TENFOLD_CACHE"])


def files_below(folder: Path) -> list[str]:
    """All files but locks and the memory of checks."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.parent.name != "checked"
    )


@pytest.fixture(autouse=True)
def _no_data_on_disk(monkeypatch: pytest.MonkeyPatch, real_data_or_none: str | None) -> None:
    monkeypatch.delenv("TENFOLD_DATA", raising=False)


@pytest.fixture(scope="session")
def real_data_or_none(request: pytest.FixtureRequest) -> str | None:
    """Resolves `real_data` before a test takes its variable away."""
    if not os.environ.get("TENFOLD_DATA"):
        return None
    return str(request.getfixturevalue("real_data"))


def refused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


# --- on the disk


@pytest.mark.parametrize("files", [CONTENTS, GZIPPED], ids=["plain", "gzipped"])
def test_files_in_the_data_root_are_used(tmp_path: Path, files: dict[str, bytes]) -> None:
    put(tmp_path / "Tiny/raw", files)
    located = locate(stand_in(), data_root=tmp_path, download=False)
    assert contents_of(located) == CONTENTS
    assert located.folder == tmp_path / "Tiny/raw"
    assert located.notes == ()


def test_the_environment_names_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "env/Tiny/raw", GZIPPED)
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path / "env"))
    assert locate(stand_in(), download=False).folder == tmp_path / "env/Tiny/raw"
    put(tmp_path / "given/Tiny/raw", GZIPPED)
    located = locate(stand_in(), data_root=tmp_path / "given", download=False)
    assert located.folder == tmp_path / "given/Tiny/raw"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_files_have_the_published_digests(real_data: Path, name: str) -> None:
    located = locate(DATASETS[name], data_root=real_data, download=False)
    assert located.notes == ()
    assert set(located.paths) == {file.name for file in DATASETS[name].layouts[0].files}


def test_a_wrong_file_in_the_data_root_is_refused(tmp_path: Path) -> None:
    wrong = CONTENTS["labels"].replace(b"labels", b"Labels")
    put(tmp_path / "Tiny/raw", {**CONTENTS, "labels": wrong})
    with pytest.raises(DataError) as caught:
        locate(stand_in(), data_root=tmp_path)
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
        locate(stand_in(), data_root=tmp_path)


def test_a_data_root_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="is not there"):
        locate(stand_in(), data_root=tmp_path / "absent")
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="that TENFOLD_DATA names is not there"):
        locate(stand_in())


def test_a_change_after_a_check_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.data.catalog.checking._SETTLED", 0.0)
    file = stand_in().layouts[0].files[1]
    path = tmp_path / file.name
    path.write_bytes(CONTENTS["labels"])
    before = path.stat()
    time.sleep(0.05)  # longer than a tick of the file system's clock
    assert check_file(path, file) == ""
    assert list((cache() / "checked").iterdir()), "the check is remembered"
    path.write_bytes(CONTENTS["labels"][::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match="the digest of its content"):
        check_file(path, file)


def test_files_without_a_published_content_digest(tmp_path: Path) -> None:
    published = gzip.compress(CONTENTS["labels"], mtime=1)
    file = CatalogFile("labels", "train", 1000, gzip_digest=sha256(published))
    for name, data, said in [
        ("labels.gz", published, ""),
        ("again.gz", gzip.compress(CONTENTS["labels"], mtime=2), "compressed anew"),
        ("labels", CONTENTS["labels"], "no digest is published"),
    ]:
        (tmp_path / name).write_bytes(data)
        note = check_file(tmp_path / name, file)
        assert said in note if said else not note


# --- downloading


def test_real_mnist_is_downloaded_whole(real_data: Path, serve: Callable[..., Mirror]) -> None:
    folder = real_data / "MNIST/raw"
    mirror = serve({path.name: ranged(path.read_bytes()) for path in folder.glob("*.gz")})
    mnist = DATASETS["mnist"]
    entry = replace(mnist, layouts=(replace(mnist.layouts[0], mirrors=(mirror.url,)),))
    calls: list[tuple[int, int | None, str]] = []
    located = locate(entry, progress=lambda *call: calls.append(call))
    assert located.folder == cache() / "datasets/MNIST/raw"
    for path in located.paths.values():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    name = "train-images-idx3-ubyte.gz"
    sizes = [(done, total) for done, total, what in calls if what == name]
    assert sizes == sorted(sizes)
    assert sizes[-1] == ((folder / name).stat().st_size,) * 2
    assert len(mirror.requests) == 4
    again = locate(entry, download=False)
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
    located = locate(stand_in(bad.url, fine.url))
    assert contents_of(located) == CONTENTS
    assert len(located.notes) == 2, "one for each file"
    for note in located.notes:
        assert bad.url in note
    assert re.search(said, located.notes[0])
    assert files_below(cache()) == ["datasets/Tiny/raw/images.gz", "datasets/Tiny/raw/labels.gz"]


def test_a_mirror_that_refuses_the_connection(serve: Callable[..., Mirror]) -> None:
    fine = serve(good())
    located = locate(stand_in(refused_address(), fine.url))
    assert contents_of(located) == CONTENTS
    assert "Connection refused" in located.notes[0]


def test_a_mirror_that_stalls_is_given_up_and_continued(serve: Callable[..., Mirror]) -> None:
    release = threading.Event()
    slow = serve({"images.gz": stalled(GZIPPED["images.gz"], 100_000, release)})
    fine = serve(good())
    try:
        located = locate(stand_in(slow.url, fine.url), patience=0.3)
    finally:
        release.set()
    assert contents_of(located) == CONTENTS
    assert "no answer for 0.3 s" in located.notes[0]
    path, asked = fine.requests[0]
    assert path == "/images.gz"
    assert asked is not None
    assert 0 < int(asked.removeprefix("bytes=").removesuffix("-")) <= 100_000


def test_a_mirror_that_trickles_is_given_up(
    serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
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
    located = locate(stand_in(slow.url, fine.url), patience=0.2)
    assert contents_of(located) == CONTENTS
    assert "sent only" in located.notes[0]


def test_a_broken_download_is_continued_by_the_next_mirror(serve: Callable[..., Mirror]) -> None:
    short = serve({"images.gz": broken_off(GZIPPED["images.gz"], 150_000)})
    fine = serve(good())
    calls: list[tuple[int, int | None, str]] = []
    located = locate(stand_in(short.url, fine.url), progress=lambda *call: calls.append(call))
    assert contents_of(located) == CONTENTS
    assert fine.requests[0][0] == "/images.gz"
    assert fine.requests[0][1] is not None
    images = [(done, total) for done, total, name in calls if name == "images.gz"]
    assert images == sorted(images), "what came in is not received twice"
    assert {total for _, total in images} == {len(GZIPPED["images.gz"])}
    assert "broke off after" in located.notes[0]


def test_a_mirror_without_ranges_starts_anew(serve: Callable[..., Mirror]) -> None:
    short = serve({"images.gz": broken_off(GZIPPED["images.gz"], 150_000)})
    fine = serve(good(whole))
    assert contents_of(locate(stand_in(short.url, fine.url))) == CONTENTS


@pytest.mark.parametrize("garbage", [b"\0" * 300_000, b"x" * 150_000], ids=["long", "short"])
def test_a_wrong_start_is_received_again(serve: Callable[..., Mirror], garbage: bytes) -> None:
    short = serve({"images.gz": broken_off(garbage, len(garbage) - 1)})
    fine = serve(good())
    assert contents_of(locate(stand_in(short.url, fine.url))) == CONTENTS
    asked = [asked for path, asked in fine.requests if path == "/images.gz"]
    assert asked[0] is not None
    assert asked[1:] == [None]


def test_a_mirror_that_continues_at_the_wrong_place(serve: Callable[..., Mirror]) -> None:
    data = GZIPPED["images.gz"]

    def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 5-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - 5))
        handler.end_headers()
        handler.wfile.write(data[5:])

    short, odd = serve({"images.gz": broken_off(data, 150_000)}), serve({"images.gz": elsewhere})
    fine = serve(good())
    located = locate(stand_in(short.url, odd.url, fine.url))
    assert contents_of(located) == CONTENTS
    assert "another place" in located.notes[1]


def test_a_redirect_is_followed(serve: Callable[..., Mirror]) -> None:
    fine = serve(good())
    moved = serve({name: redirect(fine.url + name) for name in GZIPPED})
    located = locate(stand_in(moved.url))
    assert contents_of(located) == CONTENTS
    assert located.notes == ()


def test_a_length_that_is_not_told(serve: Callable[..., Mirror]) -> None:
    def without_length(data: bytes) -> Reply:
        def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(data)

        return reply

    mirror = serve(good(without_length))
    totals = []
    located = locate(stand_in(mirror.url), progress=lambda done, total, name: totals.append(total))
    assert contents_of(located) == CONTENTS
    assert set(totals) == {None}


def test_gzip_that_the_server_calls_an_encoding(serve: Callable[..., Mirror]) -> None:
    mirror = serve(good(lambda data: whole(data, Content_Encoding="gzip")))
    located = locate(stand_in(mirror.url))
    assert contents_of(located) == CONTENTS
    assert located.paths["images"].name == "images", "it came decompressed"


def test_when_all_mirrors_fail_the_message_says_what_to_put_where(
    serve: Callable[..., Mirror],
) -> None:
    missing, refused = serve({}), refused_address()
    with pytest.raises(DataError) as caught:
        locate(stand_in(missing.url, refused))
    message = str(caught.value)
    assert f"{missing.url}: 404 Not Found" in message
    assert f"{refused}: Connection refused" in message
    assert f"put images, labels into {cache() / 'datasets/Tiny/raw'}" in message
    assert "set TENFOLD_DATA to a folder that has Tiny/raw in it" in message
    assert files_below(cache()) == []
    put(cache() / "datasets/Tiny/raw", GZIPPED)
    assert contents_of(locate(stand_in(), download=False)) == CONTENTS


def test_without_permission_nothing_is_requested(serve: Callable[..., Mirror]) -> None:
    fine = serve(good())
    with pytest.raises(DataError, match="downloading is switched off"):
        locate(stand_in(fine.url), download=False)
    assert fine.requests == []


def test_an_incomplete_data_root_is_told_and_not_used(
    tmp_path: Path, serve: Callable[..., Mirror]
) -> None:
    put(tmp_path / "Tiny/raw", {"images.gz": GZIPPED["images.gz"]})
    located = locate(stand_in(serve(good()).url), data_root=tmp_path)
    assert located.folder == cache() / "datasets/Tiny/raw"
    assert located.notes == (f"{tmp_path / 'Tiny/raw'} was not used: it lacks labels",)


def test_a_damaged_file_in_the_cache_is_downloaded_again(serve: Callable[..., Mirror]) -> None:
    folder = cache() / "datasets/Tiny/raw"
    put(folder, {"images": b"damaged", "labels.gz": GZIPPED["labels.gz"]})
    with pytest.raises(DataError, match="the digest of its content"):
        locate(stand_in(), download=False)
    mirror = serve(good())
    located = locate(stand_in(mirror.url))
    assert contents_of(located) == CONTENTS
    assert [path for path, _ in mirror.requests] == ["/images.gz"], "the good one is kept"
    assert "it is downloaded again" in located.notes[0]


def test_an_interrupt_leaves_nothing_half_written(serve: Callable[..., Mirror]) -> None:
    mirror = serve(good())

    def interrupt(done: int, total: int | None, name: str) -> None:
        if name == "images.gz" and done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        locate(stand_in(mirror.url), progress=interrupt)
    assert files_below(cache()) == []
    assert contents_of(locate(stand_in(mirror.url))) == CONTENTS


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="there is a file of this name"):
        locate(stand_in(serve(good()).url))


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from test_fetch import CONTENTS, contents_of, stand_in
from tenfold.data.catalog.locate import locate

assert contents_of(locate(stand_in(sys.argv[1]))) == CONTENTS
"""


def start_process(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, url, str(Path(__file__).parent)])


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
    assert contents_of(locate(stand_in(fine.url))) == CONTENTS
    assert [path for path, _ in fine.requests] == ["/labels.gz"]


# --- archives


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def members(contents: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(f"raw/{name}"), data) for name, data in contents.items()]


def archived(data: bytes, *mirrors: str) -> CatalogEntry:
    return stand_in(*mirrors, archive=Archive("tiny.tar.gz", sha256(data)))


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
    located = locate(archived(data, bad.url, fine.url))
    assert contents_of(located) == CONTENTS
    assert files_below(cache()) == ["datasets/Tiny/raw/images", "datasets/Tiny/raw/labels"]
    assert not located.paths["labels"].is_symlink()


def test_an_archive_on_the_disk_is_unpacked_into_the_cache(tmp_path: Path) -> None:
    data = tar_of(members(CONTENTS))
    put(tmp_path, {"tiny.tar.gz": data})
    located = locate(archived(data), data_root=tmp_path, download=False)
    assert contents_of(located) == CONTENTS
    assert located.folder == cache() / "datasets/Tiny/raw"
    assert files_below(tmp_path) == ["tiny.tar.gz"]


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"images": CONTENTS["images"]}, "it lacks raw/labels"),
        ({**CONTENTS, "labels": b"x" * 1001}, "1,001 bytes, wanted at most 1,000"),
        ({**CONTENTS, "labels": b"x" * 1000}, "raw/labels in it has the wrong digest"),
    ],
    ids=["member missing", "member too long", "member wrong"],
)
def test_an_archive_with_wrong_members(
    tmp_path: Path, contents: dict[str, bytes], said: str
) -> None:
    data = tar_of(members(contents))
    put(tmp_path, {"tiny.tar.gz": data})
    with pytest.raises(DataError, match=said):
        locate(archived(data), data_root=tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    data = tar_of(members(CONTENTS))
    put(tmp_path, {"tiny.tar.gz": data[:-100]})
    with pytest.raises(DataError, match="wrong content") as caught:
        locate(archived(data), data_root=tmp_path)
    assert str(tmp_path / "tiny.tar.gz") in str(caught.value)
    with pytest.raises(DataError, match="damaged archive"):
        locate(archived(data[:-100]), data_root=tmp_path)


def test_the_message_names_the_archive(serve: Callable[..., Mirror]) -> None:
    with pytest.raises(DataError, match=r"or tiny.tar.gz into .*datasets"):
        locate(archived(b"", serve({}).url))
