"""Decoded arrays kept on disk, so that a folder of images is decoded once.

One file an entry, named by a digest of its key. A cache that is damaged, full or not writable
costs time and nothing else: what happened comes back as a note, for a person to be told.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from filelock import Timeout as LockTimeout
from torch import Tensor

from tenfold.errors import FileRefusedError, StorageError, printable
from tenfold.storage import (
    cache_folder,
    make_folder,
    read_tensors,
    remove_leftovers,
    write_tensors,
)
from tenfold.types import LabelledArrays

LARGEST_CACHE = 10 * 2**30
"""Bytes that all entries may have together; the ones used longest ago go first."""

_KIND = "tenfold-decoded"
_VERSION = 1
_SUFFIX = ".safetensors"
_LOCK_SECONDS = 60


class Cached(NamedTuple):
    """What the cache has for a key."""

    splits: dict[str, LabelledArrays] | None
    """By split; None if the cache has nothing that can be used."""
    header: dict[str, Any]
    """What was stored beside the arrays."""
    note: str = ""
    """What a person should be told, such as that an entry was damaged; mostly empty."""


def load_cached(key: str) -> Cached:
    """What was stored under this key, if it is there and whole; it never raises."""
    path = _entry(key)
    try:
        if not path.exists():
            return Cached(None, {})
        header, tensors = read_tensors(path, kind=_KIND, version=_VERSION)
        splits = _unpacked(header, tensors, key)
    except (FileRefusedError, OSError) as error:
        return Cached(None, {}, f"the cached copy was not used: {printable(error)}")
    except (KeyError, TypeError, ValueError) as error:
        reason = printable(f"{type(error).__name__}: {error}")
        return Cached(None, {}, f"the cached copy {printable(path)} was not used: {reason}")
    _mark_as_used(path)
    return Cached(splits, header["header"])


def store_cached(key: str, splits: Mapping[str, LabelledArrays], header: Mapping[str, Any]) -> str:
    """Store arrays under a key, dropping what was used longest ago where there is no room.

    Args:
        key: any text that says all that the arrays depend on.
        splits: by name.
        header: anything that JSON can hold; comes back from `load_cached`.

    Returns:
        Why it was not stored, or an empty text.
    """
    folder = _entries_folder()
    size = sum(arrays.images.nbytes + arrays.labels.nbytes for arrays in splits.values())
    if size > LARGEST_CACHE:
        return f"not cached: {size:,} bytes are over the limit of {LARGEST_CACHE:,}"
    tensors, description = _packed(splits)
    try:
        make_folder(folder)
        with FileLock(folder / "lock", timeout=_LOCK_SECONDS):
            remove_leftovers(folder)
            _make_room(folder, size)
            write_tensors(
                _entry(key),
                tensors,
                kind=_KIND,
                version=_VERSION,
                header={"key": key, "splits": description, "header": dict(header)},
            )
    except LockTimeout:
        return f"not cached: another process kept {printable(folder)} locked"
    except (StorageError, OSError, NotImplementedError) as error:
        return f"not cached: {printable(error)}"
    return ""


def _entries_folder() -> Path:
    return cache_folder() / "decoded"


def _entry(key: str) -> Path:
    return _entries_folder() / f"{hashlib.sha256(key.encode()).hexdigest()}{_SUFFIX}"


def _packed(
    splits: Mapping[str, LabelledArrays],
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The arrays as named tensors, and what is no tensor as JSON."""
    tensors = {}
    description = []
    for split, arrays in splits.items():
        tensors[f"{split}.images"] = torch.from_numpy(np.ascontiguousarray(arrays.images))
        tensors[f"{split}.labels"] = torch.from_numpy(np.ascontiguousarray(arrays.labels))
        if arrays.names is not None:
            text = json.dumps(arrays.names).encode()
            tensors[f"{split}.names"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        description.append({"split": split, "classes": list(arrays.classes)})
    return tensors, description


def _unpacked(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], key: str
) -> dict[str, LabelledArrays]:
    if header["key"] != key or not isinstance(header["header"], dict):
        raise ValueError("it belongs to another key")
    splits = {}
    for description in header["splits"]:
        split = description["split"]
        names = tensors.get(f"{split}.names")
        splits[split] = LabelledArrays(
            tensors[f"{split}.images"].numpy(),
            tensors[f"{split}.labels"].numpy(),
            tuple(description["classes"]),
            None if names is None else tuple(json.loads(names.numpy().tobytes())),
        )
    return splits


def _mark_as_used(path: Path) -> None:
    """Set the entry's time to now, by which `_make_room` chooses."""
    try:
        os.utime(path)
    except OSError:  # a cache that can only be read still serves; its order then stays as it is
        pass


def _make_room(folder: Path, size: int) -> None:
    """Remove the entries used longest ago until one of this size fits."""
    entries = []
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            status = path.stat()
        except FileNotFoundError:  # removed by hand meanwhile
            continue
        entries.append((status.st_mtime_ns, status.st_size, path))
    total = sum(entry_size for _, entry_size, _ in entries)
    for _, entry_size, path in sorted(entries):
        if total + size <= LARGEST_CACHE:
            return
        path.unlink(missing_ok=True)
        total -= entry_size
