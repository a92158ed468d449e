"""The one way a file is written, and a tensor file with its JSON header.

A write goes to a temporary file in the same folder, is flushed to the disk, read back and
compared, and renamed into place; then the folder is flushed. So a reader sees the old file or the
new one, whole, whenever the process dies; and a write that fails leaves the old one.

A tensor file is safetensors with three entries of metadata: what kind of file it is, a JSON
header, and a SHA-256 over kind, header and tensors, which `read_tensors` checks.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tenfold.errors import (
    FileRefusedError,
    NewerFormatError,
    StorageError,
    TenfoldError,
    printable,
)

LARGEST_HEADER = 16 * 2**20
"""Bytes of header that are read at the most; ours are a few kilobytes."""

_TEMPORARY_NAME = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file so that a death at any instant leaves the old one or the new one.

    Raises:
        StorageError: the disk is full, the folder is read-only, the sync failed; the old file is
            as it was and nothing else is left behind. Only where the file system knows no hard
            links, a failed sync of the folder leaves the new file, whole.
    """
    temporary = _temporary(path)
    try:
        _write_and_sync(temporary, data)
        _verify(temporary, data)
        _put_in_place(temporary, path)
    except OSError as error:
        raise StorageError(
            f"{printable(path)}: writing {len(data):,} bytes failed: {_reason(error)}",
            remedy="free some space or choose another folder",
        ) from error
    finally:
        _remove_if_there(temporary)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file, as `write_bytes` does."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Names of files need not be Unicode; what stands for such a byte is escaped as JSON does it.
    write_bytes(path, text.encode(errors="backslashreplace"))


def make_folder(path: Path) -> bool:
    """Create a folder and its parents, and flush them to the disk; whether it was not there.

    Raises:
        StorageError: it could not be made, or something else has its name.
    """
    try:
        if path.is_dir():
            return False
        if path.parent != path:
            make_folder(path.parent)
        path.mkdir()
        _sync_folder(path.parent)
        return True
    except FileExistsError as error:
        if path.is_dir():  # another process was faster
            return False
        raise StorageError(
            f"{printable(path)}: there is a file of this name, wanted a folder",
            remedy="choose another folder",
        ) from error
    except OSError as error:
        raise StorageError(
            f"{printable(path)}: the folder cannot be made: {_reason(error)}",
            remedy="choose a folder that can be written",
        ) from error


def remove_file(path: Path) -> None:
    """Remove a file that may be gone already.

    Raises:
        StorageError: it could not be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{printable(path)}: it cannot be removed: {_reason(error)}") from error


def set_aside(path: Path, word: str) -> Path:
    """Rename a file so that nobody takes it for what its name says; its new, unused name.

    Args:
        path: the file.
        word: what is appended to its name, such as `"damaged"`.

    Raises:
        StorageError: it could not be renamed.
    """
    aside = path.with_name(f"{path.name}.{word}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{word}-{number}")
    try:
        os.replace(path, aside)
    except OSError as error:
        raise StorageError(f"{printable(path)}: it cannot be renamed: {_reason(error)}") from error
    return aside


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed writer left in a folder.

    Call it only while no other process writes there.
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY_NAME.fullmatch(path.name):
            _remove_if_there(path)


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


def _write_and_sync(path: Path, data: bytes) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
    try:
        rest = memoryview(data)
        while rest:
            written = os.write(descriptor, rest)
            if not written:
                raise OSError(errno.EIO, "nothing more could be written")
            rest = rest[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _verify(path: Path, data: bytes) -> None:
    if path.read_bytes() != data:
        raise OSError(errno.EIO, "what was read back is not what was written")


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename a file and flush its folder; if that fails, undo the renaming."""
    old = _temporary(path)
    has_old = _link(path, old)
    try:
        os.replace(temporary, path)
        try:
            _sync_folder(path.parent)
        except OSError:
            if has_old:
                os.replace(old, path)
            elif has_old is None:
                path.unlink()
            raise
    finally:
        _remove_if_there(old)


def _link(path: Path, second: Path) -> bool | None:
    """Give a file a second name: whether that worked, None where there is no such file."""
    try:
        os.link(path, second)
    except FileNotFoundError:
        return None
    except OSError:  # a file system without hard links
        return False
    return True


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there, and the rename is journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system whose folders need no flushing says that
            raise
    finally:
        os.close(descriptor)


def _remove_if_there(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # an unreachable folder: the error that led here is the one to tell
        pass


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


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
        raise FileRefusedError(f"{printable(path)}: there is no such file") from error
    except OSError as error:
        raise FileRefusedError(f"{printable(path)}: it cannot be read: {_reason(error)}") from error


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
        raise FileRefusedError(
            f"{printable(path)}: it is a {printable(metadata['kind'], 40)!r}, wanted a {kind!r}"
        )
    if not re.fullmatch(r"[1-9][0-9]{0,8}", metadata["version"]):
        raise _damaged(path, f"its version is {printable(metadata['version'], 40)!r}")
    if int(metadata["version"]) > version:
        raise NewerFormatError(
            f"{printable(path)}: its format is version {printable(metadata['version'], 40)}, "
            f"this tenfold reads up to {version}",
            remedy="install a newer tenfold",
        )


def _damaged(path: Path, what: str) -> TenfoldError:
    return FileRefusedError(
        f"{printable(path)}: the file is damaged: {printable(what)}", remedy="restore or rebuild it"
    )


def _foreign(path: Path) -> TenfoldError:
    return FileRefusedError(
        f"{printable(path)}: this is not a file that tenfold wrote",
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
