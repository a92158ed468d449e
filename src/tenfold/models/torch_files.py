"""Files that `torch.save` wrote, read without running code in them."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tenfold.errors import FileRefusedError, printable
from tenfold.storage import open_regular, read_regular_file
from tenfold.storage.zips import opened_zip

MOST_SHARED = 2
"""Times the size of a file that what is in it may take; some may have the same numbers in memory.
"""

SAVE_WEIGHTS = "save only the weights: torch.save(net.state_dict(), FILE)"

_ENOUGH_TO_TELL = 9
"""Bytes from the start of a file that tell whether `torch.save` wrote it."""

_TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def is_by_torch(path: Path) -> bool:
    """Whether `torch.save` seems to have written a file.

    Raises:
        FileRefusedError: it cannot be read.
    """
    with read_regular_file(path) as (stream, _):
        start = stream.read(_ENOUGH_TO_TELL)
    # A safetensors file begins with the size of its header, which may be any bytes.
    return (start[:2] == b"PK" or start[:1] == b"\x80") and start[8:] != b"{"


def read_torch_file(path: Path, *, wanted: str, remedy: str = SAVE_WEIGHTS) -> object:
    """What `torch.save` wrote, on the CPU; only tensors and plain containers are made.

    Args:
        path: the file.
        wanted: what should be in it, for messages.
        remedy: how to save it without other objects.

    Raises:
        FileRefusedError: it is damaged, compressed, or has other objects, which could run code.
    """
    try:
        if zipfile.is_zipfile(path):
            _require_stored(path, wanted)
        # Not by its path: PyTorch would take one that ends in .safetensors for such a file.
        with open_regular(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # either the file is read, or the error says why not
            return torch.load(stream, map_location="cpu", weights_only=True)
    except FileRefusedError:
        raise
    except Exception as error:  # damaged files fail in any way
        if "weights_only" in str(error).casefold() or "Unsupported" in str(error):
            named = re.search(r"GLOBAL ([\w.]+)", str(error))
            such = f", such as {printable(named[1], 80)}" if named else ""
            raise FileRefusedError(
                f"{path}: it has other objects than tensors{such}, which could run code",
                remedy=remedy,
            ) from error
        raise FileRefusedError(
            f"{path}: it is damaged, or not {wanted}", remedy="get or save it again"
        ) from error


def _require_stored(path: Path, wanted: str) -> None:
    """Refuse members that are compressed, which `torch.save` never writes."""
    with opened_zip(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise FileRefusedError(f"{path}: it is compressed, wanted {wanted}")


def is_usual(tensor: Tensor) -> bool:
    """Whether a tensor's numbers are of a type that networks have."""
    return tensor.dtype in _TYPES


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has its own numbers in memory.

    Not if it repeats a few numbers, since it would then take more memory than its file.
    """
    return (
        tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and not (tensor.is_nested or tensor.is_neg())
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite in single precision, in which they are used."""
    return bool(tensor.float().isfinite().all())


def values_within(value: object) -> Iterator[object]:
    """What is in nested mappings, lists and tuples; without end if one of them contains itself."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            left.extend(each.values())
        elif isinstance(each, list | tuple):
            left.extend(each)
        yield each
