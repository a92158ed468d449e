"""Disk cache of decoded arrays, so that a folder of images is decoded once.

One file per entry, named by a digest of its key. A damaged, full or read-only cache only costs
time: the user gets a note.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from tenfold.errors import FileRefusedError, StorageError
from tenfold.listening import Listener
from tenfold.paths import exists
from tenfold.storage import (
    Facts,
    StoredTensor,
    cache_folder,
    checked,
    mark_used,
    read_tensors,
    room_for,
    write_tensors,
)
from tenfold.types import LabeledArrays, Originals

LARGEST_CACHE = 10 * 2**30
"""Maximum total size of the entries in bytes; the least recently used are removed first."""

_KIND = "tenfold-decoded"
_VERSION = 1
_SUFFIX = ".safetensors"


class Decoded(NamedTuple):
    """Decoded images; the contents of an entry."""

    splits: dict[str, LabeledArrays]
    """`train`, `val` and `test`, as available; or `all` without splits."""
    notes: list[str]
    """The notes given when the images were decoded, to be repeated."""
    depth: int | None = None
    """Of 16-bit gray, the number of bits that counted, 8..16; None without such images."""
    skipped: Mapping[str, str] = {}
    """Why images were left out because they cannot be read, by name."""
    deleted: Mapping[str, tuple[str, str]] = {}
    """The splits and labels of the images that are deleted, by name."""


class _Split(Facts):
    split: str
    classes: list[str]


class _Told(Facts):
    notes: list[str]
    depth: Annotated[int, Field(ge=8, le=16)] | None = None
    skipped: dict[str, str] = Field(default_factory=dict)
    deleted: dict[str, list[str]] = Field(default_factory=dict)


class _Header(Facts):
    """An entry's JSON header. Version 1 nests the notes in their own object."""

    key: str
    splits: list[_Split] = Field(min_length=1)
    header: _Told


def load_cached(key: str, listener: Listener) -> Decoded | None:
    """The entry for this key, or None if it is missing or damaged; never raises."""
    path = _entry(key)
    try:
        if not exists(path):
            return None
        decoded = _read(path, key)
    except (FileRefusedError, OSError) as error:
        listener.note(f"the cached copy was not used: {error}")
        return None
    except (KeyError, TypeError, ValueError, RecursionError):
        listener.note(f"the cached copy {path} was not used: it has unexpected contents")
        return None
    mark_used(path)
    return decoded


def store_cached(key: str, decoded: Decoded, listener: Listener) -> None:
    """Store arrays under a key, evicting the least recently used entries if necessary.

    Args:
        key: a string that covers everything the arrays depend on.
        decoded: the contents.
        listener: receives a note if they cannot be stored.
    """
    path = _entry(key)
    size = sum(part.images.nbytes + part.labels.nbytes for part in decoded.splits.values())
    try:
        with room_for(path, size=size, largest=LARGEST_CACHE):
            _write(path, key, decoded)
    except StorageError as error:
        listener.note(f"not cached: {error}")


def _entry(key: str) -> Path:
    return cache_folder() / "decoded" / f"{hashlib.sha256(key.encode()).hexdigest()}{_SUFFIX}"


def _write(path: Path, key: str, decoded: Decoded) -> None:
    arrays: dict[str, np.ndarray] = {}
    parts = []
    for split, part in decoded.splits.items():
        parts.append(_Split(split=split, classes=list(part.classes)))
        arrays |= {f"{split}.images": part.images, f"{split}.labels": part.labels}
        formats = None
        if part.originals is not None:
            arrays[f"{split}.sizes"] = part.originals.sizes
            formats = part.originals.formats
        for what, texts in (("names", part.names), ("groups", part.groups), ("formats", formats)):
            if texts is not None:
                encoded = json.dumps(texts).encode()
                arrays[f"{split}.{what}"] = np.frombuffer(encoded, np.uint8)
    told = _Told(
        notes=decoded.notes,
        depth=decoded.depth,
        skipped=dict(decoded.skipped),
        deleted={name: list(place) for name, place in decoded.deleted.items()},
    )
    header = _Header(key=key, splits=parts, header=told).model_dump()
    tensors = {name: StoredTensor.of(array) for name, array in arrays.items()}
    write_tensors(path, tensors, kind=_KIND, version=_VERSION, header=header)


def _read(path: Path, key: str) -> Decoded:
    file = read_tensors(path, kind=_KIND, version=_VERSION)
    arrays = {name: tensor.array() for name, tensor in file.tensors.items()}
    header = checked(_Header, file.header, path)
    if header.key != key:
        raise FileRefusedError(f"{path}: it belongs to another key")
    splits: dict[str, LabeledArrays] = {}
    for part in header.splits:
        images, labels = arrays[f"{part.split}.images"], arrays[f"{part.split}.labels"]
        found = (images.dtype.name, images.ndim, labels.dtype.name, labels.shape)
        if found != ("uint8", 4, "int64", images.shape[:1]):
            raise FileRefusedError(f"{path}: its images and labels are {found}")
        names, groups, formats = (
            None if encoded is None else tuple(json.loads(encoded.tobytes()))
            for what in ("names", "groups", "formats")
            for encoded in [arrays.get(f"{part.split}.{what}")]
        )
        sizes = arrays.get(f"{part.split}.sizes")
        originals = None if sizes is None or formats is None else Originals(sizes, formats)
        splits[part.split] = LabeledArrays(
            images, labels, tuple(part.classes), names, groups, originals
        )
    told = header.header
    deleted = {name: (split, label) for name, (split, label) in told.deleted.items()}
    return Decoded(splits, told.notes, told.depth, told.skipped, deleted)
