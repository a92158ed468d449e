"""Tensor files written and read as PyTorch's tensors, for tests that look into them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tenfold import storage
from tenfold.tensors import from_stored, to_stored


def write_tensors(path: Path, tensors: Mapping[str, Tensor], **named: Any) -> str:
    return storage.write_tensors(path, to_stored(tensors), **named)


def read_tensors(
    path: Path, *, kind: str, version: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    file = storage.read_tensors(path, kind=kind, version=version)
    return file.header, from_stored(file.tensors)


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A digest of names, types, shapes and bits."""
    digest = hashlib.sha256()
    for name, stored in sorted(to_stored(tensors).items()):
        digest.update(repr((name, stored.dtype, stored.shape)).encode())
        digest.update(stored.data)
    return digest.hexdigest()
