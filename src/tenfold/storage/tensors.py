"""Tensor files with a JSON header.

A tensor file is a valid safetensors file with four metadata entries: the kind of file, the version
of its header, a JSON header, and a SHA-256 over these and the tensors, which `read_tensors` checks.
We read and write the format ourselves, on plain bytes: the safetensors library cannot handle every
dtype without PyTorch or copies.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt

from tenfold.errors import FileRefusedError, UsageError, counted, listing, shell_word
from tenfold.storage.checked import Facts, checked, require_readable
from tenfold.storage.files import read_regular_file, write_bytes

LARGEST_HEADER = 16 * 2**20
"""Maximum size of a file's header in bytes; ours are a few kilobytes."""

# By the dtype's name in NumPy and PyTorch: its name in safetensors, and its size in bytes.
_TYPES = {
    "bool": ("BOOL", 1),
    "uint8": ("U8", 1),
    "int8": ("I8", 1),
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1),
    "uint16": ("U16", 2),
    "int16": ("I16", 2),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "uint32": ("U32", 4),
    "int32": ("I32", 4),
    "float32": ("F32", 4),
    "uint64": ("U64", 8),
    "int64": ("I64", 8),
    "float64": ("F64", 8),
    "complex64": ("C64", 8),
}
_NOT_IN_NUMPY = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
"""NumPy has them only once another package, such as onnx, has added them."""

_TYPE_NAMES = {code: name for name, (code, _) in _TYPES.items()}

_KINDS = {
    "tenfold-bundle": (
        "a model such as a run's model.safetensors",
        "load it with tenfold.load",
    ),
    "tenfold-checkpoint": (
        "a checkpoint of a run",
        "name the run's folder instead",
    ),
    "tenfold-parts": (
        "a checkpoint written by save_checkpoint",
        "load it with tenfold.training.load_checkpoint",
    ),
    "tenfold-decoded": ("an entry of the cache of decoded images", ""),
    "tenfold-features": ("an entry of the cache of features", ""),
}
"""By kind: a description, and the remedy if another kind was wanted."""

_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How torch.save files that are not zip files begin: its magic number, pickled."""

_ENOUGH_TO_TELL = 500
"""Bytes from the start of a file that are enough to tell its format."""

_MOST_AXES, _MOST_VALUES = 32, 2**48


@dataclass(frozen=True, eq=False, slots=True)
class StoredTensor:
    """One tensor as bytes, with its dtype and shape.

    Attributes:
        dtype: PyTorch's name, which is also NumPy's if NumPy has the dtype: `float32`.
        shape: the tensor's shape.
        data: its values in C order, little-endian.

    Raises:
        UsageError: safetensors files do not support the dtype.
    """

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def __post_init__(self) -> None:
        if self.dtype not in _TYPES:
            raise UsageError(
                f"a tensor has dtype {self.dtype}, which cannot be saved, "
                f"wanted one of {listing([*_TYPES])}"
            )

    @classmethod
    def of(cls, array: np.ndarray) -> StoredTensor:
        """From a NumPy array; not copied if it is contiguous."""
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        return cls(plain.dtype.name, array.shape, plain.reshape(-1).view(np.uint8).data)

    def array(self) -> np.ndarray:
        """The values as a NumPy array over the same memory.

        Raises:
            FileRefusedError: NumPy does not have the dtype.
        """
        if self.dtype in _NOT_IN_NUMPY:
            raise FileRefusedError(f"a tensor has dtype {self.dtype}, which NumPy does not have")
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)


class TensorFile(NamedTuple):
    """The checked contents of a tensor file."""

    header: dict[str, Any]
    """The JSON header."""
    tensors: dict[str, StoredTensor]
    """The tensors by name."""
    version: int
    """The header's version, at most the requested one."""
    sha256: str
    """Over kind, version, header and tensors: equal if and only if all of these are."""


def write_tensors(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    *,
    kind: str,
    version: int,
    header: Mapping[str, Any],
) -> str:
    """Write tensors and a JSON header as one safetensors file, like `write_bytes`.

    Args:
        path: the file; by convention its name ends in `.safetensors`.
        tensors: by name.
        kind: the kind of file, such as `"tenfold-bundle"`.
        version: the version of this kind's header; readers refuse a newer one.
        header: any JSON-serializable mapping.

    Returns:
        The digest that `read_tensors` will find.
    """
    text = json.dumps(header, sort_keys=True)
    sha256 = _digest((kind, str(version), text), tensors)
    metadata = {"kind": kind, "version": str(version), "header": text, "sha256": sha256}
    # The widest dtypes first, so that every tensor is aligned to its item size.
    assert "__metadata__" not in tensors
    ordered = sorted(tensors.items(), key=lambda item: (-_TYPES[item[1].dtype][1], item[0]))
    entries: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.data.nbytes
        entries[name] = {
            "dtype": _TYPES[tensor.dtype][0],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    top = json.dumps(entries).encode()
    top += b" " * (-len(top) % 8)
    write_bytes(
        path, b"".join((len(top).to_bytes(8, "little"), top, *(t.data for _, t in ordered)))
    )
    return sha256


def read_tensors(path: Path, *, kind: str, version: int) -> TensorFile:
    """Read a file written by `write_tensors`, without copying the tensors.

    Args:
        path: the file.
        kind: the kind of file wanted.
        version: the newest header version that the caller understands.

    Raises:
        FileRefusedError: it is missing, damaged or of another kind.
        NewerFormatError: a newer tenfold wrote it.
    """
    with read_regular_file(path) as (file, size):
        top = _top(path, file, size, kind)
        metadata = _metadata(path, top.pop("__metadata__", None), kind, version)
        tensors = _tensors(path, top, file, size)
    written_with = (metadata["kind"], metadata["version"], metadata["header"])
    if metadata["sha256"] != _digest(written_with, tensors):
        raise _damaged(path, "its contents do not match its digest")
    header = _json_object(path, metadata["header"])
    return TensorFile(header, tensors, int(metadata["version"]), metadata["sha256"])


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file that any program wrote.

    Raises:
        FileRefusedError: it is missing, damaged, or no such file.
    """
    with read_regular_file(path) as (file, size):
        top = _top(path, file, size, "safetensors")
        metadata = top.pop("__metadata__", None)
        _require_foreign(path, metadata)
        return _tensors(path, top, file, size)


def kind_of(path: Path) -> str:
    """The kind of a tensor file, by its header; empty for any other file."""
    try:
        with read_regular_file(path) as (file, size):
            metadata = _top(path, file, size, "safetensors").get("__metadata__")
    except FileRefusedError:
        return ""
    kind = metadata.get("kind") if isinstance(metadata, dict) else None
    return kind if isinstance(kind, str) else ""


def _require_foreign(path: Path, metadata: object) -> None:
    """Refuse a file of ours where one of another program is wanted."""
    found = metadata.get("kind") if isinstance(metadata, dict) else None
    if isinstance(found, str) and found in _KINDS:
        starts = {
            "tenfold-bundle": f"start from it with --from {shell_word(path)}",
            "tenfold-checkpoint": "start from its run with --from RUN",
        }
        raise FileRefusedError(
            f"{path}: this is {_what(found)}", remedy=starts.get(found, _KINDS[found][1])
        )


def _top(path: Path, file: io.BufferedReader, size: int, kind: str) -> dict[str, Any]:
    """The safetensors header; leaves the file at the tensors' bytes."""
    start = file.read(8)
    header_size = int.from_bytes(start, "little")
    if header_size > LARGEST_HEADER:  # the bytes of another format, read as a size
        raise _foreign(path, kind, start + file.read(_ENOUGH_TO_TELL))
    if len(start) < 8 or header_size > size - 8:
        raise _damaged(path, f"{counted(size, 'byte')}, too few for this safetensors file")
    return _json_object(path, file.read(header_size).decode(errors="replace"))


def _json_object(path: Path, text: str) -> dict[str, Any]:
    """A JSON object without duplicate keys."""

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise ValueError(f"duplicate key among {listing([*table], 5)}")
        return table

    try:
        found = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise _damaged(path, f"its header is not valid JSON: {reason}") from error
    if not isinstance(found, dict):
        raise _damaged(path, "its header is not a JSON object")
    return found


def _metadata(path: Path, metadata: object, kind: str, version: int) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(
        isinstance(metadata.get(key), str) for key in ("kind", "version", "header", "sha256")
    ):
        raise _foreign(path, kind)
    found = metadata["kind"]
    if found != kind:
        remedy = _KINDS[found][1] if found in _KINDS else ""
        raise FileRefusedError(
            f"{path}: this is {_what(found)}, wanted {_what(kind)}", remedy=remedy
        )
    if not re.fullmatch(r"[1-9][0-9]{0,8}", metadata["version"]):
        raise _damaged(path, f"its version is {metadata['version']!r}")
    require_readable(int(metadata["version"]), version, path)
    return metadata


class _Entry(Facts):
    """A tensor's entry in the safetensors header; offsets count from the end of that header."""

    dtype: str
    shape: Annotated[list[NonNegativeInt], Field(max_length=_MOST_AXES)]
    data_offsets: Annotated[tuple[NonNegativeInt, NonNegativeInt], Field(strict=False)]


def _tensors(
    path: Path, top: Mapping[str, Any], file: io.BufferedReader, size: int
) -> dict[str, StoredTensor]:
    """The tensors that the entries describe; they must cover the rest of the file exactly once.

    Nothing is read before that is known.
    """
    entries = {
        name: checked(_Entry, entry, f"{path}: the file is damaged: its tensor {name!r}")
        for name, entry in top.items()
    }
    found: list[tuple[str, str, tuple[int, ...], int]] = []
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        dtype, shape = _TYPE_NAMES.get(entry.dtype), tuple(entry.shape)
        # NumPy and PyTorch multiply the sides of empty tensors too, and refuse an overflow.
        if dtype is None or math.prod(side or 1 for side in shape) > _MOST_VALUES:
            raise _damaged(path, f"its tensor {name!r} is {entry.dtype} of shape {entry.shape}")
        start, end = end, end + math.prod(shape) * _TYPES[dtype][1]
        if entry.data_offsets != (start, end):
            first, last = entry.data_offsets
            raise _damaged(
                path, f"its tensor {name!r} lies at {first}..{last}, wanted {start}..{end}"
            )
        found.append((name, dtype, shape, start))
    there = size - file.tell()
    if end != there:
        raise _damaged(path, f"its tensors take {end:,} bytes, but it has {there:,} for them")
    data = _read(path, file, end)
    ends = [*(start for *_, start in found[1:]), end][: len(found)]
    return {
        name: StoredTensor(dtype, shape, data[start:stop])
        for (name, dtype, shape, start), stop in zip(found, ends, strict=True)
    }


def _read(path: Path, file: io.BufferedReader, size: int) -> memoryview:
    """The next bytes of a file, if there is memory for them."""
    memory = _memory()
    try:
        if memory is not None and size > memory:
            raise MemoryError
        data = memoryview(bytearray(size))
    except (MemoryError, OverflowError) as error:
        raise FileRefusedError(
            f"{path}: its tensors take {size:,} bytes, more than there is memory for"
        ) from error
    if file.readinto(data) != size:
        raise _damaged(path, "it became shorter while it was read")
    return data


def _memory() -> int | None:
    """Bytes of memory that this computer has; None if it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _what(kind: str) -> str:
    return _KINDS[kind][0] if kind in _KINDS else f"a file of kind {kind!r}"


def _foreign(path: Path, kind: str, start: bytes = b"") -> FileRefusedError:
    if kind == "safetensors":
        return FileRefusedError(
            f"{path}: this is neither a safetensors file nor a state dict that torch.save wrote"
        )
    if start.startswith(_LEGACY_TORCH) or (start.startswith(b"PK") and b"data.pkl" in start):
        return FileRefusedError(
            f"{path}: torch.save wrote this file, so it lacks the network, classes and "
            "preprocessing of a tenfold model",
            remedy="start a training from its weights with --weights, or load them into your own "
            "network with tenfold.training.load_weights",
        )
    return FileRefusedError(
        f"{path}: this is not a file that tenfold wrote",
        remedy=f"name {_what(kind)}",
    )


def _damaged(path: Path, what: str) -> FileRefusedError:
    return FileRefusedError(f"{path}: the file is damaged: {what}", remedy="restore or rebuild it")


def _digest(texts: Iterable[str], tensors: Mapping[str, StoredTensor]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(_framed(text))
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(_framed(f"{name} torch.{tensor.dtype} {list(tensor.shape)}"))
        digest.update(tensor.data)
    return digest.hexdigest()


def _framed(text: str) -> bytes:
    """A string prefixed with its length, so that different lists give different streams."""
    data = text.encode(errors="surrogatepass")  # JSON may contain lone surrogates
    return len(data).to_bytes(8, "big") + data
