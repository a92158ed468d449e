"""Weights from files of other programs: state dicts of PyTorch, and safetensors files."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tenfold.errors import FileRefusedError, listing, printable
from tenfold.paths import is_folder
from tenfold.storage import read_regular_file, read_safetensors
from tenfold.storage.zips import opened_zip
from tenfold.tensors import from_stored

LARGEST_FILE = 8 * 2**30
"""Bytes that a file of weights may have."""

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Keys under which checkpoints of other programs keep the weights."""

_MOST_WRAPPINGS = 3
"""How deep they may be nested; a hostile file may contain itself."""

_MOST_SHARED = 2
"""Times the size of a file that its weights may take; some may have the same numbers in memory."""

_ENOUGH_TO_TELL = 9
"""Bytes from the start of a file that tell whether `torch.save` wrote it."""

_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "backbone.")
"""What `DataParallel`, `torch.compile`, Lightning and others put before every name."""

_TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)

_WANTED = "a state dict that torch.save wrote, or a safetensors file"
_SAVE = "save only the weights: torch.save(net.state_dict(), FILE)"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by name, on the CPU; no code in it is run.

    Names lose what other programs put before all of them, such as `module.`.

    Args:
        path: of a file that `torch.save` wrote of a module's `state_dict()`, also under one of the
            usual keys of a checkpoint; or of a safetensors file.

    Raises:
        FileRefusedError: it cannot be read, or has anything but finite tensors.
    """
    if is_folder(path):
        raise FileRefusedError(
            f"{path}: a folder, wanted {_WANTED}", remedy="start from a run with --from RUN"
        )
    with read_regular_file(path) as (stream, size):
        start = stream.read(_ENOUGH_TO_TELL)
    if size > LARGEST_FILE:
        raise FileRefusedError(
            f"{path}: {size:,} bytes, over the limit of {LARGEST_FILE:,} for weights"
        )
    if _is_by_torch(start):
        found = _unwrapped(_by_torch(path))
    else:
        found = from_stored(read_safetensors(path))
    weights = _without_prefixes(_tensors(path, found))
    if sum(tensor.nbytes for tensor in weights.values()) > _MOST_SHARED * size:
        raise FileRefusedError(
            f"{path}: its weights take far more memory than the file has", remedy=_SAVE
        )
    # Of the precision that they are used in.
    wrong = [name for name, tensor in weights.items() if not tensor.float().isfinite().all()]
    if wrong:
        raise FileRefusedError(f"{path}: not all of its weights are finite: {listing(wrong, 5)}")
    return weights


def keeps_order(path: Path) -> bool:
    """Whether a file has its weights in the order of their network; safetensors files sort them.

    Raises:
        FileRefusedError: it cannot be read.
    """
    with read_regular_file(path) as (stream, _):
        return _is_by_torch(stream.read(_ENOUGH_TO_TELL))


def _is_by_torch(start: bytes) -> bool:
    # A safetensors file begins with the size of its header, which may be any bytes.
    return (start[:2] == b"PK" or start[:1] == b"\x80") and start[8:] != b"{"


def _by_torch(path: Path) -> object:
    """What `torch.save` wrote; only tensors and plain containers are made."""
    try:
        if zipfile.is_zipfile(path):
            _require_stored(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # either the file is read, or the error says why not
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileRefusedError:
        raise
    except Exception as error:  # damaged files fail in any way
        if "weights_only" in str(error).casefold() or "Unsupported" in str(error):
            named = re.search(r"GLOBAL ([\w.]+)", str(error))
            such = f", such as {printable(named[1], 80)}" if named else ""
            raise FileRefusedError(
                f"{path}: it has other objects than tensors{such}, which could run code",
                remedy=_SAVE,
            ) from error
        raise FileRefusedError(
            f"{path}: it is damaged, or not {_WANTED}", remedy="get or save it again"
        ) from error


def _require_stored(path: Path) -> None:
    """Refuse members that are compressed, which `torch.save` never writes."""
    with opened_zip(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise FileRefusedError(f"{path}: it is compressed, wanted {_WANTED}")


def _unwrapped(found: object) -> object:
    for _ in range(_MOST_WRAPPINGS):
        inner = (found.get(key) for key in _WRAPPINGS) if isinstance(found, Mapping) else ()
        found = next((each for each in inner if isinstance(each, Mapping) and each), found)
    return found


def _tensors(path: Path, found: object) -> dict[str, Tensor]:
    if not isinstance(found, Mapping) or not found:
        raise FileRefusedError(f"{path}: it has no weights by name", remedy=_SAVE)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    odd = [printable(name, 40) for name, tensor in tensors.items() if tensor.dtype not in _TYPES]
    if odd:
        raise FileRefusedError(
            f"{path}: not all of its weights are of a type that networks have: {listing(odd, 5)}",
            remedy="save them in single precision: net.float()",
        )
    others = [
        printable(name, 40)
        for name, value in found.items()
        if name not in tensors or not _is_plain(tensors[name])
    ]
    if others:
        raise FileRefusedError(
            f"{path}: not all of it is plain weights: {listing(others, 5)}", remedy=_SAVE
        )
    return {str(name): tensor.detach() for name, tensor in found.items()}


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has its own numbers in memory.

    Not if it repeats a few numbers, since it would then take more memory than its file.
    """
    return (
        tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and not (tensor.is_nested or tensor.is_neg())
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for _ in range(_MOST_WRAPPINGS):
        shared = [p for p in _PREFIXES if all(name.startswith(p) for name in weights)]
        if not shared:
            break
        weights = {name.removeprefix(shared[0]): tensor for name, tensor in weights.items()}
    return weights
