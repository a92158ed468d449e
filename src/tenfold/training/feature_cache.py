"""Disk cache of features, so that the same network sees the same images once.

One file per entry, named by a digest of all that the features depend on. A damaged, full or
read-only cache only costs time.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from tenfold.errors import FileRefusedError
from tenfold.storage import (
    cache_folder,
    mark_used,
    read_tensors,
    room_for,
    write_tensors,
)
from tenfold.tensors import from_stored, to_stored

LARGEST_CACHE = 4 * 2**30
"""Maximum total size of the entries in bytes; the least recently used are removed first."""

_KIND, _VERSION = "tenfold-features", 1
_SUFFIX = ".safetensors"


def load_features(digest: str, n: int) -> Tensor | None:
    """The features of `n` images, float32, n x features; None if they are not stored or damaged.

    Args:
        digest: of all that they depend on, in hexadecimal.
        n: number of images.
    """
    path = _entry(digest)
    try:
        file = read_tensors(path, kind=_KIND, version=_VERSION)
        features = from_stored(file.tensors)["features"]
    except (FileRefusedError, OSError, KeyError):
        return None
    if features.ndim != 2 or len(features) != n or not features.is_floating_point():
        return None
    mark_used(path)
    return features


def store_features(digest: str, features: Tensor) -> None:
    """Store features, removing the least recently used ones if necessary.

    Raises:
        StorageError: they cannot be stored.
    """
    path = _entry(digest)
    with room_for(path, size=features.nbytes, largest=LARGEST_CACHE):
        stored = to_stored({"features": features})
        write_tensors(path, stored, kind=_KIND, version=_VERSION, header={})


def _entry(digest: str) -> Path:
    return cache_folder() / "features" / f"{digest}{_SUFFIX}"
