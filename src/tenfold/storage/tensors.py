"""A tensor file with its JSON header.

It is safetensors with three entries of metadata: what kind of file it is, a JSON header, and a
SHA-256 over kind, header and tensors, which `read_tensors` checks.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tenfold.errors import FileRefusedError, NewerFormatError, TenfoldError
from tenfold.storage.files import reason_of, write_bytes

LARGEST_HEADER = 16 * 2**20
"""Bytes of header that are read at the most; ours are a few kilobytes."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, kind: str, version: int, header: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON header as one safetensors file, as `write_bytes` does.

    Args:
        path: the file; by custom its name ends in `.safetensors`.
        tensors: by name; on any device, of any layout.
        kind: what the file is, such as `"tenfold-bundle"`.
        version: of this kind's header; readers refuse a newer one.
        header: anything that JSON can hold.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header, sort_keys=True)
    metadata = {
        "kind": kind,
        "version": str(version),
        "header": text,
        "sha256": _digest(kind, str(version), text, plain),
    }
    write_bytes(path, safetensors.torch.save(_unshared(plain), metadata))


def read_tensors(
    path: Path, *, kind: str, version: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that `write_tensors` wrote: its header and its tensors, on the CPU.

    Args:
        path: the file.
        kind: what it must be.
        version: the newest version of the header that the caller understands.

    Raises:
        FileRefusedError: it is missing, damaged or of another kind.
        NewerFormatError: it is newer than this tenfold.
    """
    data = _read_bounded(path)
    metadata = _metadata(path, data)
    _require_kind(path, metadata, kind, version)
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise _damaged(path, str(error)) from error
    if metadata.get("sha256") != _digest(
        metadata["kind"], metadata["version"], metadata["header"], tensors
    ):
        raise _damaged(path, "its contents do not have the digest that they were written with")
    try:
        header = json.loads(metadata["header"])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    return header, tensors


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A digest of names, types, shapes and bits, whatever file the tensors lie in."""
    return _digest("", "", "", {name: tensor.detach().cpu() for name, tensor in tensors.items()})


def _read_bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(8)
            header_size = int.from_bytes(start, "little")
            size = os.fstat(file.fileno()).st_size
            if len(start) < 8 or header_size > size - 8:
                raise _damaged(path, f"its {size:,} bytes are too few for a safetensors file")
            if header_size > LARGEST_HEADER:
                raise _damaged(
                    path,
                    f"its header is {header_size:,} bytes, over the limit of {LARGEST_HEADER:,}",
                )
            return start + file.read()
    except FileNotFoundError as error:
        raise FileRefusedError(f"{path}: there is no such file") from error
    except OSError as error:
        raise FileRefusedError(f"{path}: it cannot be read: {reason_of(error)}") from error


def _metadata(path: Path, data: bytes) -> dict[str, str]:
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8:end])["__metadata__"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _foreign(path) from error
    if not isinstance(metadata, dict) or not all(
        isinstance(metadata.get(key), str) for key in ("kind", "version", "header", "sha256")
    ):
        raise _foreign(path)
    return metadata


def _require_kind(path: Path, metadata: dict[str, str], kind: str, version: int) -> None:
    if metadata["kind"] != kind:
        raise FileRefusedError(f"{path}: it is a {metadata['kind']!r}, wanted a {kind!r}")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", metadata["version"]):
        raise _damaged(path, f"its version is {metadata['version']!r}")
    if int(metadata["version"]) > version:
        raise NewerFormatError(
            f"{path}: its format is version {metadata['version']}, "
            f"this tenfold reads up to {version}",
            remedy="install a newer tenfold",
        )


def _damaged(path: Path, what: str) -> TenfoldError:
    return FileRefusedError(f"{path}: the file is damaged: {what}", remedy="restore or rebuild it")


def _foreign(path: Path) -> TenfoldError:
    return FileRefusedError(
        f"{path}: this is not a file that tenfold wrote",
        remedy="name a run folder or its model.safetensors",
    )


def _digest(kind: str, version: str, header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for text in (kind, version, header):
        digest.update(_framed(text))
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(_framed(f"{name} {tensor.dtype} {list(tensor.shape)}"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _framed(text: str) -> bytes:
    """A text with its length in front, so that no two lists of texts give one stream."""
    data = text.encode()
    return len(data).to_bytes(8, "big") + data


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of which no two share memory, which safetensors refuses to save."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        whole = tensor.untyped_storage().nbytes() == tensor.nbytes
        separate[name] = tensor if whole and pointer not in seen else tensor.clone()
        seen.add(pointer)
    return separate
