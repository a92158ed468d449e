"""The files of the page, as they are sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"

INDEX = "index.html"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        data: its contents.
        media_type: of them.
        tag: changes with them.
    """

    data: bytes
    media_type: str
    tag: str


def page_files(folder: Path = STATIC) -> dict[str, PageFile]:
    """All files of the page, by name; none if they are not installed."""
    found = (path for path in sorted(folder.glob("*")) if path.suffix in _TYPES)
    return {path.name: _read(path) for path in found}


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return PageFile(data, _TYPES[path.suffix], tag)
