"""Checkpoints of a model and an optimizer in tenfold's own format: safetensors, and a header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tenfold.models.older import renamed_weights
from tenfold.models.table import MODELS
from tenfold.storage import Facts, checked, read_tensors, write_tensors
from tenfold.tensors import from_stored, part_of, to_stored
from tenfold.training.optimizer_state import OptimizerHeader, optimizer_to_parts

KIND, VERSION = "tenfold-parts", 2


class _PartsHeader(Facts):
    optimizer: OptimizerHeader
    facts: dict[str, Any]


class PartsCheckpoint(NamedTuple):
    """What is in such a file."""

    weights: dict[str, Tensor]
    """By name."""
    optimizer: tuple[OptimizerHeader, dict[str, Tensor]]
    """Its state."""
    facts: dict[str, Any]
    """What was saved with them."""


def write_parts_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, facts: Mapping[str, object]
) -> None:
    """Write a model, an optimizer and JSON values.

    Raises:
        StorageError: the file could not be written.
    """
    header, moments = optimizer_to_parts(optimizer)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in moments.items()}
    write_tensors(
        path,
        to_stored(tensors),
        kind=KIND,
        version=VERSION,
        header={"optimizer": header.model_dump(), "facts": facts},
    )


def read_parts_checkpoint(path: Path, model: nn.Module) -> PartsCheckpoint:
    """Read what `write_parts_checkpoint` wrote.

    Args:
        path: the file.
        model: that it will be loaded into; tells what older names are called today.

    Raises:
        FileRefusedError: it is missing, damaged, or another file.
    """
    file = read_tensors(path, kind=KIND, version=VERSION)
    header = checked(_PartsHeader, file.header, path)
    tensors = from_stored(file.tensors)
    weights = part_of(tensors, "model")
    if file.version == 1 and weights.keys() != model.state_dict().keys():
        weights = _from_version_1(weights, model)
    return PartsCheckpoint(weights, (header.optimizer, part_of(tensors, "optimizer")), header.facts)


def _from_version_1(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights, some of which had other names, with those that they have in the model."""
    models = {place: name for name, place in MODELS.items()}
    new_names: dict[str, str] = {}
    for path, module in model.named_modules():
        name = models.get(f"{type(module).__module__}:{type(module).__name__}", "")
        if name and not any(isinstance(m, nn.Dropout) for m in module.modules()):
            prefix = f"{path}." if path else ""
            new_names |= renamed_weights(name, {"dropout": 0}, weights, prefix=prefix)
    return {new_names.get(name, name): tensor for name, tensor in weights.items()}
