"""A building block for your own training loop: one epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from tenfold.errors import DataError
from tenfold.evaluation.passes import require_batches
from tenfold.evaluation.threads import use_threads
from tenfold.models.preprocessing import raw_pixels_explained


def train_epoch(
    model: nn.Module,
    data: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    watch: Callable[[int, float, int], None] | None = None,
) -> tuple[float, float]:
    """Train for one epoch on any batches; returns mean training loss and accuracy (0..1).

    Args:
        model: images to logits; set to training mode.
        data: batches of images and labels, such as a `DataLoader`.
        optimizer: over the model's parameters.
        loss: from logits and labels to the batch's mean loss.
        watch: called after every batch with its number from 1, its loss, and the number of images
            seen so far.

    Raises:
        DataError: there are no batches.
        UsageError: the data is a data set, or the images are raw pixels and the network fails on
            them.
    """
    use_threads(torch.get_num_threads())
    require_batches(data)
    model.train()
    loss_sum, correct, seen = 0.0, 0, 0
    for number, (images, labels) in enumerate(data, start=1):
        with raw_pixels_explained(images):
            logits = model(images)
        batch_loss = loss(logits, labels)
        optimizer.zero_grad()
        batch_loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum += batch_loss.item() * len(labels)
        correct += int((logits.argmax(1) == labels).sum())
        seen += len(labels)
        if watch is not None:
            watch(number, batch_loss.item(), seen)
    if not seen:
        raise DataError("train_epoch: the data has no batches, wanted at least one")
    return loss_sum / seen, correct / seen
