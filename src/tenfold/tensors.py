"""Tensor shapes as types, and conversion to and from stored bytes.

Shapes are checked while the tests run; a type checker sees plain tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tenfold.errors import FileRefusedError
from tenfold.storage import StoredTensor

Images = UInt8[Tensor, "n channels height width"]
"""Raw pixels, 0..255."""

Labels = Int64[Tensor, " n"]
"""Class indices, 0..classes-1."""

Logits = Float[Tensor, "n classes"]
"""Unnormalized scores; softmax over the last axis gives probabilities."""


def to_stored(tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
    """Tensors on any device as stored tensors; those on the CPU share memory where possible."""
    return {name: _stored(tensor.detach().cpu().contiguous()) for name, tensor in tensors.items()}


def from_stored(tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """Stored tensors as PyTorch tensors over the same memory.

    Raises:
        FileRefusedError: PyTorch does not have a tensor's dtype.
    """
    return {name: _tensor(stored) for name, stored in tensors.items()}


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix` and a dot, with both removed."""
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """One line for each tensor that is missing, unexpected, or of another shape or dtype."""
    ours, theirs = (
        {name: f"{list(t.shape)} {str(t.dtype).removeprefix('torch.')}" for name, t in part.items()}
        for part in (wanted, found)
    )
    return [
        f"{name}: {theirs.get(name, 'missing')}, wanted {ours.get(name, 'none')}"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]


def _stored(tensor: Tensor) -> StoredTensor:
    values: memoryview = tensor.reshape(-1).view(torch.uint8).numpy().data
    return StoredTensor(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), values)


def _tensor(stored: StoredTensor) -> Tensor:
    dtype = getattr(torch, stored.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise FileRefusedError(f"a tensor has dtype {stored.dtype}, which PyTorch does not have")
    if not stored.data.nbytes:
        return torch.empty(stored.shape, dtype=dtype)
    return torch.frombuffer(stored.data, dtype=dtype).reshape(stored.shape)
