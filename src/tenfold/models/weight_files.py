"""Weights from files of other programs: state dicts of PyTorch, and safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tenfold.errors import FileRefusedError, listing, printable
from tenfold.models.torch_files import (
    MOST_SHARED,
    SAVE_WEIGHTS,
    is_by_torch,
    is_finite,
    is_plain,
    is_usual,
    read_torch_file,
)
from tenfold.models.weight_names import without_prefixes
from tenfold.paths import is_folder
from tenfold.storage import read_regular_file, read_safetensors
from tenfold.tensors import from_stored

LARGEST_FILE = 8 * 2**30
"""Bytes that a file of weights may have."""

_WRAPPINGS = (
    "state_dict",
    "model_state_dict",
    "net_state_dict",
    "model_state",
    "model",
    "net",
    "weights",
)
"""Keys under which checkpoints of other programs keep the weights."""

_MOST_WRAPPINGS = 3
"""How deep they may be nested; a hostile file may contain itself."""

_WANTED = "a state dict that torch.save wrote, or a safetensors file"


@dataclass(frozen=True)
class WeightsFile:
    """What is in a file of weights.

    Attributes:
        weights: by their names in the file, on the CPU, finite.
        others: what a checkpoint has besides them, by key; not checked.
        size: of the file in bytes.
        keeps_order: whether the weights are in the order of their network; safetensors files sort
            them.
    """

    weights: dict[str, Tensor]
    others: dict[str, object]
    size: int
    keeps_order: bool

    @property
    def bare(self) -> dict[str, Tensor]:
        """The weights without what other programs put before all names, such as `module.`."""
        names = without_prefixes(self.weights)
        return {names[name]: tensor for name, tensor in self.weights.items()}


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by name, on the CPU; no code in it is run.

    Names lose what other programs put before all of them, such as `module.`.

    Args:
        path: of a file that `torch.save` wrote of a module's `state_dict()`, also under one of the
            usual keys of a checkpoint; or of a safetensors file.

    Raises:
        FileRefusedError: it cannot be read, or has anything but finite tensors.
    """
    return read_weights(path).bare


def read_weights(path: Path, *, remedy: str = SAVE_WEIGHTS) -> WeightsFile:
    """The weights in a file, and what a checkpoint has besides them; no code in it is run.

    Args:
        path: see `read_state_dict`.
        remedy: how to save what it should have without other objects.

    Raises:
        FileRefusedError: it cannot be read, or its weights are not finite tensors.
    """
    if is_folder(path):
        raise FileRefusedError(
            f"{path}: a folder, wanted {_WANTED}", remedy="start from a run with --from RUN"
        )
    with read_regular_file(path) as (_, size):
        pass
    if size > LARGEST_FILE:
        raise FileRefusedError(
            f"{path}: {size:,} bytes, over the limit of {LARGEST_FILE:,} for weights"
        )
    by_torch = is_by_torch(path)
    if by_torch:
        found, others = _unwrapped(path, read_torch_file(path, wanted=_WANTED, remedy=remedy))
    else:
        found, others = from_stored(read_safetensors(path)), {}
    weights = _tensors(path, found)
    if sum(tensor.nbytes for tensor in weights.values()) > MOST_SHARED * size:
        raise FileRefusedError(
            f"{path}: its weights take far more memory than the file has", remedy=SAVE_WEIGHTS
        )
    wrong = [name for name, tensor in weights.items() if not is_finite(tensor)]
    if wrong:
        raise FileRefusedError(f"{path}: not all of its weights are finite: {listing(wrong, 5)}")
    return WeightsFile(weights, others, size, by_torch)


def _unwrapped(path: Path, found: object) -> tuple[object, dict[str, object]]:
    """The weights in what a file has, and everything else."""
    others: dict[str, object] = {}
    for _ in range(_MOST_WRAPPINGS):
        keys = _wrappings(found, _MOST_WRAPPINGS)
        if not isinstance(found, Mapping) or not keys:
            break
        if len(keys) > 1:
            raise FileRefusedError(
                f"{path}: it has weights of several networks: {listing(keys)}",
                remedy=SAVE_WEIGHTS,
            )
        others = {str(key): value for key, value in found.items() if key != keys[0]} | others
        found = found[keys[0]]
    return found, others


def _wrappings(found: object, depth: int) -> list[str]:
    """The keys under which there are weights."""
    if not isinstance(found, Mapping) or not depth:
        return []
    inner = {key: found[key] for key in _WRAPPINGS if isinstance(found.get(key), Mapping)}
    return [
        key
        for key, value in inner.items()
        if any(isinstance(each, Tensor) for each in value.values()) or _wrappings(value, depth - 1)
    ]


def _tensors(path: Path, found: object) -> dict[str, Tensor]:
    if not isinstance(found, Mapping) or not found:
        raise FileRefusedError(f"{path}: it has no weights by name", remedy=SAVE_WEIGHTS)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    odd = [printable(name, 40) for name, tensor in tensors.items() if not is_usual(tensor)]
    if odd:
        raise FileRefusedError(
            f"{path}: not all of its weights are of a type that networks have: {listing(odd, 5)}",
            remedy="save them in single precision: net.float()",
        )
    others = [
        printable(name, 40)
        for name, value in found.items()
        if name not in tensors or not is_plain(tensors[name])
    ]
    if others:
        raise FileRefusedError(
            f"{path}: not all of it is plain weights: {listing(others, 5)}", remedy=SAVE_WEIGHTS
        )
    return {str(name): tensor.detach() for name, tensor in found.items()}
