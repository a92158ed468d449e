"""A small data set as the catalog has them, and servers that give it, well and badly."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import socket
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.data.catalog.entries import Archive, CatalogEntry, CatalogFile, FileSet
from tenfold.data.catalog.locate import LocatedFiles, locate
from tenfold.listening import Listener
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
    file_set = FileSet(
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
        file_sets=(replace(file_set, **changes),),  # type: ignore[arg-type]
        license="none",
        citation="none",
    )


class Mirror:
    """A running server; `requests` lists the path and the Range header of each request."""

    def __init__(self, url: str, requests: list[tuple[str, str | None]]) -> None:
        self.url = url
        self.requests = requests


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


def refused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.readings: list[tuple[str, int, int | None]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def reading(self, what: str, done: int, total: int | None) -> None:
        self.readings.append((what, done, total))


def find(entry: CatalogEntry, **options: Any) -> tuple[LocatedFiles, Told]:
    told = Told()
    return locate(entry, listener=told, **options), told


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
