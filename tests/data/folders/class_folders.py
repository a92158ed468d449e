"""Class folders for tests, in directories and archives, and loading them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tenfold.data.folders.folder import load_image_folder, read_image_folder
from tenfold.listening import Listener, Recorder
from tenfold.types import LabeledArrays, WantedShape


def picture(value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    color = value if mode == "L" else (value, 255 - value, 7)
    Image.new(mode, (size[1], size[0]), color).save(file, "PNG")
    return file.getvalue()


TWO_CLASSES = {
    "cat/1.png": picture(10),
    "cat/2.png": picture(20),
    "dog/1.png": picture(30),
}
SPLIT = {
    f"{split}/{name}": data
    for split in ("train", "val", "test")
    for name, data in TWO_CLASSES.items()
}


def directory(root: Path, files: dict[str, bytes]) -> Path:
    """A directory of these files; a name ending in a slash is an empty folder."""
    for name, data in files.items():
        if name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    return root


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.size = len(data)
            entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(entry, io.BytesIO(data))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def source(kind: str, root: Path, files: dict[str, bytes]) -> Path:
    if kind == "directory":
        return directory(root / "pictures", files)
    if kind == "zip":
        return zipped(root / "pictures.zip", files)
    suffix = {"w": "tar", "w:gz": "tar.gz", "w:bz2": "tar.bz2", "w:xz": "tar.xz"}[kind]
    return tar(root / f"pictures.{suffix}", files, kind)


KINDS = ("directory", "zip", "w", "w:gz", "w:bz2", "w:xz")
every_source = pytest.mark.parametrize("kind", KINDS)
main_sources = pytest.mark.parametrize("kind", ["directory", "zip", "w:gz"])


def read(path: Path, **wanted: Any) -> tuple[dict[str, LabeledArrays], list[str]]:
    """The splits of a source, and the notes."""
    recorder = Recorder(Listener())
    return read_image_folder(path, WantedShape(**wanted), recorder).splits, recorder.notes


def load(path: Path, **wanted: Any) -> tuple[dict[str, LabeledArrays], list[str]]:
    """The same, through the cache."""
    recorder = Recorder(Listener())
    return load_image_folder(path, WantedShape(**wanted), recorder).splits, recorder.notes
