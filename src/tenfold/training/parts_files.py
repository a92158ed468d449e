"""Saving and loading checkpoints of a model and an optimizer, for your own training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.errors import FileRefusedError, UsageError, did_you_mean
from tenfold.models.torch_files import is_by_torch
from tenfold.models.weight_names import with_own_prefixes
from tenfold.models.weight_order import NotMatchedError
from tenfold.storage import as_json
from tenfold.training.optimizer_state import load_optimizer
from tenfold.training.parts_checkpoint import read_parts_checkpoint, write_parts_checkpoint
from tenfold.training.state import require_same_weights
from tenfold.training.torch_checkpoint import read_torch_checkpoint, write_torch_checkpoint
from tenfold.training.weights import matched_names, weights_of

_WRITERS = {"safetensors": write_parts_checkpoint, "torch": write_torch_checkpoint}


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    format: str = "safetensors",  # noqa: A002 - as Pillow and others call it
    **facts: object,
) -> None:
    """Save the state of a model and an optimizer, and facts such as the epoch and the loss.

    The write is atomic: if the process dies, the old file or the new one is there, complete.

    Args:
        path: the file; by convention its name ends in `.safetensors`, or in `.pth` for PyTorch's.
        model: any module.
        optimizer: any PyTorch optimizer.
        format: `"safetensors"`, or `"torch"` for a dictionary by `torch.save`, as tutorials write
            it, with `model_state_dict`, `optimizer_state_dict` and the facts, all on the CPU;
            `torch.load(path, weights_only=True)` reads it.
        facts: JSON values; tensors and NumPy arrays of one element are saved as numbers.

    Raises:
        UsageError: a fact cannot be stored as JSON or has the name of a state, the format is
            unknown or not that of the file's name, or the model has lazy layers that have not seen
            a batch yet.
        StorageError: the file could not be written.
    """
    if format not in _WRITERS:
        raise UsageError(
            f"save_checkpoint: there is no format {format!r}", remedy=did_you_mean(format, _WRITERS)
        )
    weights_of(model)
    plain = {name: _plain(name, fact) for name, fact in facts.items()}
    _WRITERS[format](Path(path), model, optimizer, plain)


def _plain(name: str, fact: object) -> object:
    """A fact as a JSON value."""
    try:
        return as_json(fact)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"save_checkpoint: {name} cannot be saved: {error}, wanted a JSON value: "
            "numbers, strings, and lists and dicts of these",
            remedy="convert it first, for example a tensor with .tolist()",
        ) from error


def load_checkpoint(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Restore a model and an optimizer from a checkpoint; returns the facts.

    Args:
        path: a file by `save_checkpoint` in any format, or a tutorial's by `torch.save`: a
            dictionary that has the model's state dict under a usual key, such as
            `model_state_dict` or `net`, and the optimizer's under any. No code in it is run.
        model: of the same architecture; in case of an error unchanged, like the optimizer.
        optimizer: of the same kind over the same parameters; None to evaluate only, which a file
            with weights alone is enough for.

    Returns:
        Everything else in the file, by its key; tensors of one element as numbers, and larger ones,
        which only `torch.save` writes, as they are.

    Raises:
        FileRefusedError: the file is missing, damaged, not such a checkpoint, or does not fit.
        UsageError: the model has lazy layers that have not seen a batch yet.
    """
    path = Path(path)
    own = weights_of(model)
    if by_torch := is_by_torch(path):
        found, state, facts = read_torch_checkpoint(path, optimizer)
        names = with_own_prefixes(found, own)
        weights = {names[name]: tensor for name, tensor in found.items()}
    else:
        weights, state, facts = read_parts_checkpoint(path, model)
    try:
        require_same_weights(own, weights)
        if optimizer is not None and state is not None:
            load_optimizer(optimizer, *state)
    except FileRefusedError as error:
        remedy = error.remedy or _remedy(own, weights, by_torch)
        raise FileRefusedError(f"{path}: {error.message}", remedy=remedy) from error
    model.load_state_dict(weights)
    return facts


def _remedy(own: dict[str, Tensor], weights: dict[str, Tensor], keeps_order: bool) -> str:
    """What to do about a checkpoint that does not fit."""
    try:
        if matched_names(own, weights, keeps_order):
            return (
                "its names are others, but its weights alone fit in their order: "
                "tenfold.training.load_weights(path, model)"
            )
    except NotMatchedError:
        pass
    return "build the model and the optimizer as they were when it was saved"
