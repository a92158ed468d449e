"""Makers of wrong inputs: any file or folder, and changes to existing ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Maker = Callable[[Path], None]
"""Creates a part of an input in the given folder."""


def all_of(*makers: Maker) -> Maker:
    def make(folder: Path) -> None:
        for maker in makers:
            maker(folder)

    return make


def file(name: str, data: bytes | str = b"") -> Maker:
    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    return make


def empty_folder(name: str) -> Maker:
    return lambda folder: (folder / name).mkdir(parents=True)


def without(name: str) -> Maker:
    return lambda folder: (folder / name).unlink()


def truncated(name: str, by: int = 1) -> Maker:
    def make(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-by])

    return make


def replaced(name: str, old: str, new: str) -> Maker:
    def make(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return make


def linked(name: str, target: str) -> Maker:
    return lambda folder: (folder / name).symlink_to(target)
