"""Bundles and other tensor files: valid and invalid."""

from __future__ import annotations

import struct
from pathlib import Path

import safetensors.torch
import torch

from bad_inputs.makers.files import Maker
from tenfold.models import build
from tensor_files import write_tensors


def bundle(weight: float | None = None, **changes: object) -> Maker:
    """A bundle of a softmax regression on 1x8x8 images of digits, with a changed header.

    Args:
        weight: the value of every weight; None for random ones.
        changes: entries to change in the header.
    """
    sound = {
        "model": "softmax",
        "arguments": {},
        "input_shape": [1, 8, 8],
        "classes": list("0123456789"),
        "preprocessing": {"mean": [], "std": []},
        "data": {},
        "figures": {},
    }
    return tensor_file({**sound, **changes}, weight=weight)


def tensor_file(
    header: dict[str, object],
    *,
    kind: str = "tenfold-bundle",
    version: int = 1,
    weight: float | None = None,
) -> Maker:
    def make(folder: Path) -> None:
        weights = build("softmax", (1, 8, 8), 10).state_dict()
        if weight is not None:
            weights = {name: torch.full_like(tensor, weight) for name, tensor in weights.items()}
        path = folder / "model.safetensors"
        write_tensors(path, weights, kind=kind, version=version, header=header)

    return make


def foreign_tensors(folder: Path) -> None:
    safetensors.torch.save_file({"x": torch.zeros(3)}, folder / "model.safetensors")


def declared_header(declared: int, there: int) -> Maker:
    """A sparse safetensors file whose header declares a length; it takes no disk space."""

    def make(folder: Path) -> None:
        with (folder / "model.safetensors").open("wb") as opened:
            opened.write(struct.pack("<Q", declared))
            opened.truncate(8 + there)

    return make


def framed(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text
