"""Building blocks for your own training loop: one epoch, and saving and loading checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.errors import DataError, FileRefusedError, UsageError
from tenfold.evaluation.passes import moved, require_batches
from tenfold.evaluation.threads import use_threads
from tenfold.models.mistakes.explaining import explained
from tenfold.models.mistakes.labels import require_one_each
from tenfold.models.mistakes.trial import device_of
from tenfold.models.older import renamed_weights
from tenfold.models.table import MODELS
from tenfold.storage import Facts, checked, read_tensors, write_tensors
from tenfold.tensors import from_stored, part_of, to_stored
from tenfold.training.optimizer_state import OptimizerHeader, load_optimizer, optimizer_to_parts
from tenfold.training.state import require_same_weights

KIND, VERSION = "tenfold-parts", 2


class _PartsHeader(Facts):
    optimizer: OptimizerHeader
    facts: dict[str, Any]


def train_epoch(
    model: nn.Module,
    data: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    watch: Callable[[int, float, int], None] | None = None,
) -> tuple[float, float]:
    """Train for one epoch on any batches; returns mean training loss and accuracy (0..1).

    Args:
        model: images to logits; set to training mode. It gets the batches on its device.
        data: batches of images and labels, such as a `DataLoader`.
        optimizer: over the model's parameters.
        loss: from logits and labels to the batch's mean loss.
        watch: called after every batch with its number from 1, its loss, and the number of images
            seen so far.

    Raises:
        DataError: there are no batches.
        UsageError: the data is a data set, the labels are one-hot rows, or a step fails because of
            a known mistake.
    """
    use_threads(torch.get_num_threads())
    require_batches(data)
    model.train()
    device = device_of(model)
    loss_sum, correct, seen = 0.0, 0, 0
    for number, (images, labels) in enumerate(data, start=1):
        with explained(model, images, labels):
            require_one_each(labels)
            inputs, wanted = moved(images, device), moved(labels, device)
            logits = model(inputs)
            batch_loss = loss(logits, wanted)
            optimizer.zero_grad()
            batch_loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            correct += int((logits.argmax(1) == wanted).sum())
        loss_sum += batch_loss.item() * len(labels)
        seen += len(labels)
        if watch is not None:
            watch(number, batch_loss.item(), seen)
    if not seen:
        raise DataError("train_epoch: the data has no batches, wanted at least one")
    return loss_sum / seen, correct / seen


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, **facts: object
) -> None:
    """Save the state of a model and an optimizer, and facts such as the epoch and the loss.

    The write is atomic: if the process dies, the old file or the new one is there, complete.

    Args:
        path: the file; by convention its name ends in `.safetensors`.
        model: any module.
        optimizer: any PyTorch optimizer.
        facts: JSON values; tensors and NumPy arrays of one element are saved as numbers.

    Raises:
        UsageError: a fact cannot be stored as JSON.
        StorageError: the file could not be written.
    """
    plain = {name: _plain(name, fact) for name, fact in facts.items()}
    header, moments = optimizer_to_parts(optimizer)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in moments.items()}
    write_tensors(
        Path(path),
        to_stored(tensors),
        kind=KIND,
        version=VERSION,
        header={"optimizer": header.model_dump(), "facts": plain},
    )


def _plain(name: str, fact: object) -> object:
    """A fact as a JSON value."""
    try:
        return json.loads(json.dumps(fact, default=_number))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"save_checkpoint: {name} cannot be saved: {error}, wanted a JSON value: "
            "numbers, strings, and lists and dicts of these",
            remedy="convert it first, for example a tensor with .tolist()",
        ) from error


def _number(value: object) -> object:
    """The number in a tensor or an array of one element.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, Tensor | np.ndarray | np.generic) and math.prod(value.shape) == 1:
        return value.item()
    shape = f" of shape {list(value.shape)}" if isinstance(value, Tensor | np.ndarray) else ""
    raise TypeError(f"found an object of type {type(value).__name__}{shape}")


def load_checkpoint(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Restore a model and an optimizer from `save_checkpoint`'s file; returns the facts.

    Args:
        path: the file.
        model: of the same architecture.
        optimizer: of the same kind over the same parameters; None to evaluate only.

    Raises:
        FileRefusedError: the file is missing, damaged, not such a checkpoint, or does not fit.
    """
    file = read_tensors(Path(path), kind=KIND, version=VERSION)
    header = checked(_PartsHeader, file.header, path)
    try:
        tensors = from_stored(file.tensors)
        weights = part_of(tensors, "model")
        if file.version == 1 and weights.keys() != model.state_dict().keys():
            weights = _from_version_1(weights, model)
        require_same_weights(model.state_dict(), weights)
        if optimizer is not None:
            load_optimizer(optimizer, header.optimizer, part_of(tensors, "optimizer"))
    except FileRefusedError as error:
        raise FileRefusedError(f"{path}: {error}") from error
    model.load_state_dict(weights)
    return header.facts


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
